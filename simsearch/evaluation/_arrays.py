"""The door of this package: what a caller hands over becomes a checked array, or an error."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simsearch.errors import InvalidData

FloatArray = npt.NDArray[np.float64]


def series(values: npt.ArrayLike, name: str) -> FloatArray:
    """Return `values` as (n,) float64; a message about them calls them `name`.

    Raises InvalidData unless they are one-dimensional, at least two, numbers and finite.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidData(f"{name} must be a list of numbers: {error}") from error
    if array.ndim != 1:
        raise InvalidData(f"{name} must have one dimension, got shape {array.shape}")
    if len(array) < 2:
        raise InvalidData(f"{name} must have at least 2 values, got {len(array)}")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise InvalidData(f"{name} must be finite, got {array[bad[0]]} at position {bad[0]}")
    return array


def mid_ranks(values: FloatArray) -> FloatArray:
    """Return the ranks of `values` (n,), from 1; equal values share the mean of their ranks."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((sizes.cumsum() - (sizes - 1) / 2)[group], dtype=np.float64)


def same_length(**arrays: FloatArray) -> None:
    """Raise InvalidData, naming every array, unless all have the same length."""
    if len({len(array) for array in arrays.values()}) > 1:
        lengths = ", ".join(f"{len(array)} {name}" for name, array in arrays.items())
        raise InvalidData(f"need one value for each unit, got {lengths}")
