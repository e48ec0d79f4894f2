"""Shorter embeddings: the first components of longer ones, renormalised.

It costs little with encoders trained for it (Kusupati et al., Matryoshka Representation Learning,
2022), and more with others.
"""

from __future__ import annotations

import numpy as np

from simsearch.encoder.refusals import UnencodableText
from simsearch.encoder.runtime import FloatArray
from simsearch.errors import InvalidInput


def truncate_embeddings(embeddings: FloatArray, dim: int) -> FloatArray:
    """Return the first `dim` components of each row, (n, d) -> (n, dim), of unit length.

    Raises:
        InvalidInput: `dim` is not 1..d.
        UnencodableText: a row has nothing in its first components, so no direction is left of it.
    """
    width = embeddings.shape[1]
    if not 1 <= dim <= width:
        raise InvalidInput(f"dim must be 1..{width}, the width of the embeddings, got {dim}")
    # In float64, in which the square of no float32 becomes 0.
    cut = embeddings[:, :dim].astype(np.float64)
    norms = np.linalg.norm(cut, axis=1, keepdims=True)
    without = ~(np.isfinite(norms) & (norms > 0))
    if without.any():
        raise UnencodableText(int(np.flatnonzero(without)[0]), dim=dim)
    return np.ascontiguousarray(cut / norms, dtype=np.float32)
