"""The directions in which vectors differ most, found on some of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def principal_axes(vectors: FloatArray, *, centred: bool) -> tuple[FloatArray, FloatArray]:
    """Return an orthonormal basis (dim, dim), a column an axis, and the share of each (dim,).

    The first axes hold the most of the squared length of the vectors (n, dim), n at least 1, or,
    `centred`, of their variance. Of the two directions of an axis it is the one in which its
    largest component is positive, so that a picture is not mirrored from one run to the next.
    """
    rows = vectors.astype(np.float64)
    if centred:
        rows -= rows.mean(axis=0)
    values, axes = np.linalg.eigh(rows.T @ rows)
    values, axes = np.maximum(values[::-1], 0), axes[:, ::-1]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.where(axes[largest, np.arange(len(axes))] < 0, -1.0, 1.0)
    total = values.sum()
    shares = values / total if total > 0 else values
    return axes.astype(np.float32), shares.astype(np.float32)
