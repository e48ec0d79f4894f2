"""Hits that do not all say the same: maximal marginal relevance (Carbonell and Goldstein, 1998)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def diverse_order(
    scores: FloatArray, vectors: npt.NDArray[np.float32], k: int, *, diversity: float
) -> list[int]:
    """Return the places of up to `k` candidates, in the order in which they are chosen.

    Each next one has the highest (1 - diversity) * score - diversity * likeness, where the
    likeness is its highest cosine similarity to one that is chosen already, 0 where none is above
    0: to be the opposite of a hit is no merit. `scores` (n,) are brought to 0..1 first, `vectors`
    (n, dim) have length 1. With 0 the order is that of the scores, equal ones as they come.
    """
    if not len(scores):
        return []
    span = scores.max() - scores.min()
    relevance = (scores - scores.min()) / span if span > 0 else np.ones(len(scores))
    likeness = np.zeros(len(scores))
    left = np.ones(len(scores), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < min(k, len(scores)):
        gain = np.where(left, (1 - diversity) * relevance - diversity * likeness, -np.inf)
        best = int(gain.argmax())
        chosen.append(best)
        left[best] = False
        likeness = np.maximum(likeness, vectors @ vectors[best])
    return chosen
