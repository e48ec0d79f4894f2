"""The nearest rows, exactly, equal ones in order: by FAISS one by one, or by products for many.

FAISS 1.15 compares batches of fewer than 128,000 queries one by one, at 1.6 ms a query among 20,000
rows of dim 384; a product of matrices takes 0.2 (docs/log.md, 2026-11-26). Its sums are rounded in
another order, by which equal rows come out unequal. So it only leaves out what cannot be among the
nearest, and what is returned was computed as for a single query. FAISS in turn keeps any of the
rows that tie for the last place, so ties there are looked at once more.
"""

from __future__ import annotations

from typing import Final

import faiss
import numpy as np
import numpy.typing as npt

from simsearch.ann.order import best
from simsearch.errors import CorruptIndex

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

WORTH_IT: Final = 8  # queries from which on the product is quicker
_ROWS: Final = 16_384  # rows that are multiplied at a time,
_QUERIES: Final = 256  # with so many queries: 16 MB of products
_GROUP: Final = 64  # neighbouring rows that are looked at by the highest of their products
_UNIT: Final = 2.0**-24  # the error of one float32 operation, relative
# Candidates of a query, beside `k`, over which comparing all rows is no worse: where very many are
# equal.
_SPARE: Final = 1024
_SPARE_TIES: Final = 64  # few rows tie for the last place, mostly: so many more are looked at first


def nearest_rows(vectors: FloatArray, queries: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
    """Return rows and similarities of the nearest, both (n_queries, k), `k` at most len(vectors).

    By inner product, best first, equal ones in the order of rows. Both arrays were checked before.
    """
    if len(queries) < WORTH_IT:
        return _one_by_one(vectors, queries, k)
    rows = np.empty((len(queries), k), dtype=np.int64)
    similarities = np.empty((len(queries), k), dtype=np.float32)
    for start in range(0, len(queries), _QUERIES):
        part = slice(start, start + _QUERIES)
        found = nearest_passing(vectors, queries[part], k, None)
        rows[part], similarities[part] = found or _one_by_one(vectors, queries[part], k)
    return rows, similarities


def nearest_passing(
    vectors: FloatArray, queries: FloatArray, k: int, mask: Mask | None
) -> tuple[IntArray, FloatArray] | None:
    """Return what `nearest_rows` does, of the rows where `mask` (n,) is true, `k` at least.

    By products with all rows; None of `mask` is all. None if there are too many candidates: very
    many are equal, or few pass.
    """
    candidates = _candidates(vectors, queries, k, mask, most=k + _SPARE)
    if candidates is None:
        return None
    return best(candidates, similarities_at(vectors, queries, candidates), k)


def _one_by_one(vectors: FloatArray, queries: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
    depth = min(k + 1, len(vectors))
    similarities, rows = faiss.knn(queries, vectors, depth, metric=faiss.METRIC_INNER_PRODUCT)
    tied = np.flatnonzero(similarities[:, k - 1] == similarities[:, -1]) if depth > k else ()
    rows, similarities = best(rows, similarities, k)
    for line in tied:
        query = queries[line : line + 1]
        deeper = min(4 * k + _SPARE_TIES, len(vectors))
        its, near = faiss.knn(query, vectors, deeper, metric=faiss.METRIC_INNER_PRODUCT)
        if deeper < len(vectors) and its[0, -1] == similarities[line, -1]:  # very many are equal
            every = _candidates(vectors, query, k, None, most=len(vectors))
            if every is not None:  # it never is: no number of rows is too many
                near, its = every, similarities_at(vectors, query, every)
        (rows[line],), (similarities[line],) = best(near, its, k)
    return rows, similarities


def _candidates(
    vectors: FloatArray, queries: FloatArray, k: int, mask: Mask | None, *, most: int
) -> IntArray | None:
    """Return the rows (n_queries, m) among which the nearest `k` of each query are.

    -1 fills up. None if there are more than `most`.
    """
    lengths = np.sqrt(np.einsum("ij,ij->i", queries, queries))
    bounds = np.full(len(queries), -np.inf, dtype=np.float32)
    found: list[tuple[IntArray, IntArray]] = []
    for start in range(0, len(vectors), _ROWS):
        block = vectors[start : start + _ROWS]
        products = queries @ block.T
        if mask is not None:
            products[:, ~mask[start : start + _ROWS]] = -np.inf
        bounds = np.maximum(bounds, _lower_bounds(products, k))
        # Neither way of adding up is off by more than dim * unit * lengths: that, for the row that
        # sets the bound and for the row that is compared with it, each computed in both ways.
        longest = np.sqrt(np.einsum("ij,ij->i", block, block).max())
        slack = 4 * vectors.shape[1] * _UNIT * longest * lengths
        near = products >= (bounds - slack)[:, None]
        if mask is not None:  # without a bound yet, what does not pass is above it, too
            near &= mask[start : start + _ROWS]
        its_queries, rows = np.nonzero(near)
        if len(rows) > most * len(queries):
            return None
        found.append((its_queries, rows + start))
    its_queries = np.concatenate([each for each, _ in found])
    rows = np.concatenate([each for _, each in found])
    counts = np.bincount(its_queries, minlength=len(queries))
    if counts.max() > most:
        return None
    candidates = np.full((len(queries), int(counts.max())), -1, dtype=np.int64)
    order = np.argsort(its_queries, kind="stable")
    candidates[np.arange(candidates.shape[1]) < counts[:, None]] = rows[order]
    return candidates


def _lower_bounds(products: FloatArray, k: int) -> FloatArray:
    """Return for each line what its `k`-th highest value is not below.

    That of the highest values of groups is not above it, and is found in a fraction of the time.
    """
    size = max(1, min(_GROUP, products.shape[1] // k))
    groups = products.shape[1] // size
    if groups < k:
        return np.full(len(products), -np.inf, dtype=np.float32)
    highest = products[:, : groups * size].reshape(len(products), groups, size).max(axis=2)
    bounds: FloatArray = np.partition(highest, groups - k, axis=1)[:, groups - k]
    return bounds


def similarities_at(vectors: FloatArray, queries: FloatArray, rows: IntArray) -> FloatArray:
    """Return the similarity of each query to each of its rows (n_queries, m); minus infinity of -1.

    Computed where the vectors lie, on all threads: numpy's product of copied rows takes twice as
    long (docs/log.md, 2026-11-26).

    Raises:
        CorruptIndex: a row is beyond the vectors; FAISS would read there.
    """
    if rows.max(initial=-1) >= len(vectors):
        raise CorruptIndex("an index names a row that it was not built of (build it again)")
    similarities = np.empty(rows.shape, dtype=np.float32)
    given = [np.ascontiguousarray(each) for each in (queries, vectors, rows)]
    faiss.fvec_inner_products_by_idx(  # type: ignore[attr-defined]
        *map(faiss.swig_ptr, (similarities, *given)), vectors.shape[1], *rows.shape
    )
    return similarities
