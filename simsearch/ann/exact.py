"""The exact neighbours, by which every other index is measured."""

from __future__ import annotations

import math
from typing import Final

import faiss
import numpy as np
import numpy.typing as npt

from simsearch.ann.checks import check_depth, checked_vectors
from simsearch.ann.order import best
from simsearch.ann.products import nearest_passing, nearest_rows
from simsearch.ann.subset import Subset

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

BLOCK: Final = 65_536  # rows that are looked at, or added to an index, at a time
_GATHERED: Final = 16_384  # rows that are copied together at a time: 25 MB in dim 384


def exact_neighbours(
    vectors: FloatArray, queries: FloatArray, k: int, *, skip: IntArray | None = None
) -> tuple[IntArray, FloatArray]:
    """Return positions and similarities of the nearest rows of `vectors` (n, dim), best first.

    Both are (n_queries, min(k, n)), by inner product; equal similarities are in the order of the
    rows. `vectors` may be memory-mapped: they are read a block at a time. `skip` (n_queries,):
    this row is left out for each query, which then has min(k, n - 1) neighbours; -1 for none.

    Raises:
        InvalidInput: dimensions differ, a value is not finite, or `k` is below 1.
    """
    check_depth(k)
    queries = checked_vectors(queries, vectors.shape[1])
    depth = k if skip is None else k + 1
    kept_rows = np.empty((len(queries), 0), dtype=np.int64)
    kept = np.empty((len(queries), 0), dtype=np.float32)
    if len(queries):
        for start in range(0, len(vectors), BLOCK):
            block = checked_vectors(vectors[start : start + BLOCK], queries.shape[1])
            rows, found = nearest_rows(block, queries, min(depth, len(block)))
            kept_rows, kept = best(
                np.hstack([kept_rows, rows + start]), np.hstack([kept, found]), depth
            )
    return (kept_rows, kept) if skip is None else without(kept_rows, kept, skip, k)


def neighbours_among(
    vectors: FloatArray, rows: IntArray, queries: FloatArray, k: int
) -> tuple[IntArray, FloatArray]:
    """Return rows and similarities of the nearest of `rows` (m,), both (n_queries, min(k, m)).

    As `exact_neighbours`, but for vectors (n, dim) and queries that were checked before. The rows
    are copied together first: that is a pass over them, after which one matrix product answers
    every query.
    """
    kept_rows = np.empty((len(queries), 0), dtype=np.int64)
    kept = np.empty((len(queries), 0), dtype=np.float32)
    for start in range(0, len(rows), _GATHERED):
        chosen = rows[start : start + _GATHERED]
        places, found = nearest_rows(vectors[chosen], queries, min(k, len(chosen)))
        kept_rows, kept = best(np.hstack([kept_rows, chosen[places]]), np.hstack([kept, found]), k)
    return kept_rows, kept


def neighbours_in(
    vectors: FloatArray,
    subset: Subset | None,
    queries: FloatArray,
    k: int,
    *,
    by_chance: bool = True,
) -> tuple[IntArray, FloatArray]:
    """Return rows and similarities of the nearest in `subset`, both (n_queries, min(k, m)).

    As `neighbours_among`, by whichever way reads less: rows in a row, of which some are dropped,
    or those that count, copied together. None is all. Unless rows are in it `by_chance`, the
    nearest of all tell nothing of the nearest in it, and are not looked for.
    """
    k = min(k, len(vectors) if subset is None else len(subset))
    if not k or not len(queries):
        return np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    if subset is None or subset.whole:
        return nearest_rows(vectors, queries, k)
    if gathering_is_cheaper(len(queries), len(subset), subset.of):
        return neighbours_among(vectors, subset.positions, queries, k)
    if len(queries) == 1 and by_chance:
        found = _dropping(vectors, subset, queries, k)
        if found is not None:
            return found
    found = nearest_passing(vectors, queries, k, subset.mask)
    return found or neighbours_among(vectors, subset.positions, queries, k)


def _dropping(
    vectors: FloatArray, subset: Subset, queries: FloatArray, k: int
) -> tuple[IntArray, FloatArray] | None:
    """Return the nearest in `subset` of one query, out of the nearest of all.

    FAISS reads rows in a row at twice the speed of a product of numpy's. None where too few of the
    nearest are in the subset, because a filter is no chance, or where the last is as near as what
    was not found.
    """
    depth = min(len(vectors), fetch_depth(k, len(subset) / subset.of))
    found, rows = faiss.knn(queries, vectors, depth, metric=faiss.METRIC_INNER_PRODUCT)
    passing = subset.mask[rows[0]]
    if np.count_nonzero(passing) < k:
        return None
    rows, similarities = best(rows[:, passing], found[:, passing], k)
    whole = depth == len(vectors) or similarities[0, -1] > found[0, -1]
    return (rows, similarities) if whole else None


def without_own(
    rows: IntArray, similarities: FloatArray, own: IntArray
) -> tuple[IntArray, FloatArray]:
    """Return all columns but one of each line: the row `own` of that line, or else the last."""
    unwanted = rows == own[:, None]
    order = np.argsort(unwanted, axis=1, kind="stable")
    missing = ~unwanted.any(axis=1)
    order[missing] = np.arange(rows.shape[1])
    order = order[:, :-1]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(similarities, order, axis=1)


def without(
    rows: IntArray, similarities: FloatArray, skip: IntArray, k: int
) -> tuple[IntArray, FloatArray]:
    """Return the first `k` columns of each line once the row `skip` of that line is left out."""
    unwanted = (rows == skip[:, None]) & (skip[:, None] >= 0)
    order = np.argsort(unwanted, axis=1, kind="stable")
    if len(skip) and (skip >= 0).all():
        order = order[:, : max(0, rows.shape[1] - 1)]
    order = order[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(similarities, order, axis=1)


def gathering_is_cheaper(queries: int, among: int, rows: int) -> bool:
    """Whether to copy rows together and multiply, or read all and drop the others.

    Both are exact. A row that is copied from where it lies costs as much as ten that are read in a
    row; from 20 queries on, where a search of all is a product of matrices, dropping is none.
    """
    return queries >= 20 or among * (9 + queries) <= queries * rows


def fetch_depth(k: int, selectivity: float) -> int:
    """Return how many to ask for so that `k` of them pass, but for one time in a thousand.

    If each passes by chance with the same probability s: then d of them let d s pass, with a
    standard deviation of sqrt(d s (1 - s)), and d s - 3 sqrt(d s (1 - s)) = k is solved for d.
    """
    spread = 3 * math.sqrt(1 - selectivity)
    return math.ceil(((spread + math.sqrt(spread**2 + 4 * k)) / 2) ** 2 / selectivity)
