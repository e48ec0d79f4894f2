"""What stands in front of every call of FAISS.

FAISS checks its arguments with asserts, which `python -O` removes: a query of another dimension
would read past its end. A NaN is taken, and its row never found again.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simsearch.errors import InvalidInput

FloatArray = npt.NDArray[np.float32]


def checked_vectors(vectors: FloatArray, dim: int) -> FloatArray:
    """Return vectors (n, dim) as FAISS takes them: float32, finite, in one piece.

    Raises:
        InvalidInput: they have another shape, or a value is not finite.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise InvalidInput(f"expected vectors of shape (n, {dim}), got {vectors.shape}")
    refuse_not_finite(vectors)
    return np.ascontiguousarray(vectors, dtype=np.float32)


def refuse_not_finite(vectors: FloatArray) -> None:
    """Refuse vectors with NaN or infinity."""
    # The sum of a million finite unit vectors is finite, and takes no memory to find out.
    if not np.isfinite(vectors.sum()) and not np.isfinite(vectors).all():
        raise InvalidInput("vectors must be finite; FAISS would never return a row with NaN")


def check_depth(k: int) -> None:
    """Refuse a number of neighbours below 1, for which FAISS has no words."""
    if k < 1:
        raise InvalidInput(f"k must be at least 1, got {k}")
