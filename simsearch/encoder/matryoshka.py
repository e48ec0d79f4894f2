"""Shorter embeddings: the first components of longer ones, renormalised.

It costs little with encoders trained for it (Kusupati et al., Matryoshka Representation Learning,
2022), and more with others.
"""

from __future__ import annotations

import numpy as np

from simsearch.encoder.runtime import FloatArray
from simsearch.errors import InvalidInput


def truncate_embeddings(embeddings: FloatArray, dim: int) -> FloatArray:
    """Return the first `dim` components of each row, (n, d) -> (n, dim), of unit length.

    Raises:
        InvalidInput: `dim` is not 1..d.
    """
    width = embeddings.shape[1]
    if not 1 <= dim <= width:
        raise InvalidInput(f"dim must be 1..{width}, the width of the embeddings, got {dim}")
    cut = embeddings[:, :dim]
    norms = np.linalg.norm(cut, axis=1, keepdims=True)
    # A row may have all its length in what was cut off; it stays zero instead of becoming NaN.
    shorter: FloatArray = np.divide(cut, norms, out=np.zeros_like(cut), where=norms > 0)
    return np.ascontiguousarray(shorter, dtype=np.float32)
