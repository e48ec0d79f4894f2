"""ANN recall@k: which part of the exact neighbours an index finds, and how sure that is.

Not the recall of retrieval, which counts relevant documents.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_Z: Final = 1.959964  # of a 95% interval
_ROUNDING: Final = 1e-6  # of an inner product of unit vectors in float32


@dataclass(frozen=True, slots=True)
class Recall:
    """Mean recall over queries, and its 95% interval."""

    value: float
    low: float
    high: float


def recall_of_each(
    vectors: FloatArray, queries: FloatArray, found: IntArray, exact: FloatArray
) -> npt.NDArray[np.float64]:
    """Return the recall of each query (n_queries,).

    `found` (n_queries, any) are the rows that an index gave, -1 where it gave none; `exact`
    (n_queries, k) the similarities of the exact neighbours. A row counts when it is as near as the
    k-th of those: among equal texts no row is the right one.
    """
    k = exact.shape[1]
    if k == 0:
        return np.ones(len(queries))
    found = found[:, :k]
    rows = np.maximum(found, 0)
    near = np.zeros(found.shape, dtype=bool)
    for number, query in enumerate(queries):  # in one go it would be k times as large
        near[number] = vectors[rows[number]] @ query >= exact[number, -1] - _ROUNDING
    return np.asarray((near & (found >= 0)).sum(axis=1) / k, dtype=np.float64)


def recalled(found: FloatArray, exact: FloatArray) -> npt.NDArray[np.float64]:
    """Return the recall of each query (n_queries,), whose similarities are exact.

    Both are (n_queries, k), best first. As `recall_of_each`.
    """
    if exact.shape[1] == 0:
        return np.ones(len(exact))
    near = found[:, : exact.shape[1]] >= exact[:, -1:] - _ROUNDING
    return np.asarray(near.sum(axis=1) / exact.shape[1], dtype=np.float64)


def recall_with_interval(of_each: npt.NDArray[np.float64], k: int) -> Recall:
    """Return the mean recall of queries with `k` neighbours each, and its interval.

    Wilson's interval, in which every neighbour is a trial; where the misses of a query come
    together, as their spread over the queries shows, there are as many fewer trials (the design
    effect of cluster sampling). Unlike a bootstrap it does not say "certain" when no miss was seen.
    """
    n = len(of_each)
    mean = float(of_each.mean())
    spread = mean * (1 - mean)
    clustering = 1.0
    if n > 1 and spread > 0:
        clustering = max(1.0, float(of_each.var(ddof=1)) * k / spread)
    trials = n * k / clustering
    squared = _Z**2
    centre = (mean + squared / (2 * trials)) / (1 + squared / trials)
    half = _Z / (1 + squared / trials)
    half *= math.sqrt(spread / trials + squared / (4 * trials**2))
    return Recall(mean, max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half)))
