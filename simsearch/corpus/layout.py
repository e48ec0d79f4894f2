"""Vectors become places on a plane."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from simsearch.ann import principal_axes
from simsearch.errors import InvalidInput

FloatArray = npt.NDArray[np.float32]

_FEWEST: Final = 10  # documents that t-SNE can tell anything about
_PERPLEXITY: Final = 30


class Projection(StrEnum):
    """How vectors become places on a plane."""

    PCA = "pca"  # the two directions in which they differ most
    TSNE = "tsne"  # what is near stays near; distances between far groups mean nothing


def as_projection(value: Projection | str) -> Projection:
    """Return the member of that name.

    Raises:
        InvalidInput: there is none.
    """
    try:
        return Projection(value)
    except ValueError:
        raise InvalidInput(
            f"method must be one of {', '.join(Projection)}, got {value!r}"
        ) from None


def places_on_plane(vectors: FloatArray, method: Projection, *, seed: int) -> FloatArray:
    """Return places (n, 2) of unit vectors (n, dim), n at least 1, between -1 and 1.

    Both axes have one scale; the middle is that of the outermost places. Vectors that are all the
    same are all at 0.

    Raises:
        InvalidInput: for t-SNE openTSNE is not installed, or there are fewer than 10 vectors.
    """
    plane = _principal_plane(vectors) if method is Projection.PCA else _tsne(vectors, seed)
    low, high = plane.min(axis=0), plane.max(axis=0)
    centred = plane - (low + high) / 2
    size = float(np.abs(centred).max())
    placed = centred / size if size > 1e-6 else np.zeros_like(centred)
    return np.asarray(placed, dtype=np.float32)


def _principal_plane(vectors: FloatArray) -> FloatArray:
    axes, _ = principal_axes(vectors, centred=True)
    plane: FloatArray = (vectors - vectors.mean(axis=0)) @ axes[:, :2]
    return plane


def _tsne(vectors: FloatArray, seed: int) -> FloatArray:
    """t-SNE (van der Maaten and Hinton, 2008), begun by PCA so that a seed changes little."""
    if len(vectors) < _FEWEST:
        raise InvalidInput(
            f"t-SNE takes {_FEWEST} documents or more, got {len(vectors)} (take --method pca)"
        )
    try:
        from openTSNE import TSNE
    except ImportError:
        raise InvalidInput(
            "t-SNE needs openTSNE (pip install 'simsearch[map]', or take --method pca)"
        ) from None
    fitted = TSNE(
        perplexity=min(_PERPLEXITY, (len(vectors) - 1) / 3),
        metric="cosine",
        initialization="pca",
        neighbors="exact",
        random_state=seed,
    ).fit(vectors)
    return np.asarray(fitted, dtype=np.float32)
