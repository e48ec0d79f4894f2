"""Correlation of two series: how well scores follow a human judgement of similarity."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simsearch.errors import InvalidData
from simsearch.evaluation._arrays import FloatArray, mid_ranks, same_length, series

# Below this spread, relative to the mean, what is left after centring is mostly rounding error:
# the bound at which scipy.stats.pearsonr warns, 1.8e-12.
_NEARLY_CONSTANT = float(np.finfo(np.float64).eps) ** 0.75


def spearman(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return the rank correlation of `a` and `b`, both (n,), in [-1, 1]; ties share a mean rank.

    Spearman 1904, The proof and measurement of association between two things.
    Raises InvalidData unless both have the same n >= 2, are finite, and neither is constant.
    """
    left, right = _pair(a, b)
    return _correlation(mid_ranks(left), mid_ranks(right))


def pearson(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return the linear correlation of `a` and `b`, both (n,), in [-1, 1].

    Pearson 1895, Note on regression and inheritance in the case of two parents.
    Raises InvalidData unless both have the same n >= 2, are finite, and neither is constant
    (a spread below 1.8e-12 of the mean is rounding error, and counts as constant).
    """
    return _correlation(*_pair(a, b))


def _pair(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    left, right = series(a, "a"), series(b, "b")
    same_length(a=left, b=right)
    return left, right


def _correlation(a: FloatArray, b: FloatArray) -> float:
    cosine = float(_direction(a, "a") @ _direction(b, "b"))
    return min(1.0, max(-1.0, cosine))  # rounding may leave 1.0000000000000002


def _direction(values: FloatArray, name: str) -> FloatArray:
    scaled = values / (np.abs(values).max() or 1.0)  # squares of 1e200 would overflow
    centred = scaled - scaled.mean()
    length = float(np.linalg.norm(centred))
    if length <= _NEARLY_CONSTANT * abs(scaled.mean()):
        raise InvalidData(
            f"{name} is constant: {len(values)} values like {values[0]:g}; "
            "a correlation needs values that differ"
        )
    return np.asarray(centred / length, dtype=np.float64)
