"""Two rankings of one query into one: of the dense and of the lexical search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# What the ranks of reciprocal rank fusion are added to, by its authors (Cormack, Clarke and
# Buettcher, SIGIR 2009).
_RANK_OFFSET: Final = 60


class SearchMode(StrEnum):
    """What ranks the documents."""

    DENSE = "dense"  # the cosine similarity of embeddings
    LEXICAL = "lexical"  # the words that they share, by BM25
    HYBRID = "hybrid"  # both


class FusionWay(StrEnum):
    """How two rankings become one."""

    CONVEX = "convex"  # a weighted mean of scores, each brought to 0..1
    RECIPROCAL = "reciprocal"  # the sum of 1 / (60 + rank)


@dataclass(frozen=True, slots=True)
class Fusion:
    """How the dense and the lexical ranking become one; `weight` is that of the dense one.

    The default weight was chosen on three collections (docs/log.md, 2026-11-26).
    """

    way: FusionWay = FusionWay.CONVEX
    weight: float = 0.6


@dataclass(frozen=True, slots=True)
class Candidates:
    """The documents that a query has met: their numbers, and what each search gave them, (n,).

    `dense` are cosine similarities, `lexical` BM25 scores: 0 where the lexical search did not
    meet the document.
    """

    numbers: npt.NDArray[np.int64]
    dense: FloatArray
    lexical: FloatArray


def fused(candidates: Candidates, fusion: Fusion) -> tuple[FloatArray, FloatArray]:
    """Return what the dense and the lexical search add to the score of each candidate, (n,) each.

    The score is the sum of the two, and depends on the other candidates of the query.
    """
    if fusion.way is FusionWay.RECIPROCAL:
        return reciprocal_ranks(candidates.dense), reciprocal_ranks(candidates.lexical, above=0.0)
    weight = fusion.weight
    # No word shared is no score, whatever the worst candidate has.
    lexical = _scaled(candidates.lexical, lowest=0.0)
    return weight * _scaled(candidates.dense), (1 - weight) * lexical


def best_first(scores: FloatArray, numbers: npt.NDArray[np.int64], k: int) -> Sequence[int]:
    """Return the places of the `k` best, best first; equal scores in the order of numbers."""
    found: list[int] = np.lexsort((numbers, -scores))[:k].tolist()
    return found


def _scaled(scores: FloatArray, lowest: float | None = None) -> FloatArray:
    """Return scores brought to 0..1, from the lowest of them (or the given one) to the highest."""
    if not len(scores):
        return scores
    low = scores.min() if lowest is None else lowest
    span = scores.max() - low
    return (scores - low) / span if span > 0 else np.full(len(scores), float(lowest is None))


def reciprocal_ranks(scores: FloatArray, above: float = -np.inf) -> FloatArray:
    """Return 1 / (60 + rank) of each score (n,) that is higher than `above`, 0 of the others."""
    ranks = np.empty(len(scores))
    ranks[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return np.where(scores > above, 1 / (_RANK_OFFSET + ranks), 0.0)
