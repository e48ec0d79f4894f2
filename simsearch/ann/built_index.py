"""One index of FAISS, built, with what is turned at it when it is searched, and its vectors."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, Final

import faiss
import numpy as np
import numpy.typing as npt

from simsearch.ann.candidates import Candidate, Parameters
from simsearch.ann.checks import check_depth, checked_vectors
from simsearch.ann.exact import BLOCK, fetch_depth
from simsearch.ann.order import best
from simsearch.ann.products import similarities_at
from simsearch.ann.subset import Subset
from simsearch.errors import InvalidInput

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


# More than so many standard deviations below the mean is no chance, but for a query in twenty.
_DEVIATIONS: Final = 2
# For each neighbour that a filter has left out, so many times more rows are compared.
_FOR_EACH: Final = 4
# To compare a larger part of the rows than one in so many is no quicker than all that pass.
_MOST: Final = 16
# What is missing among more rows may be so many times as much.
_GROWN: Final = 3


class BuiltIndex:
    """Vectors (n, dim) under the positions 0 to n - 1, searched by inner product.

    Approximate, unless it is flat: a search may miss a neighbour, and where its parameters let it
    see too little it gives fewer than `k` rows, padded with -1. What the codes find is compared by
    the vectors, which may be memory-mapped: similarities are exact.
    """

    def __init__(
        self, index: Any, candidate: Candidate, parameters: Parameters, vectors: FloatArray
    ) -> None:
        self._index = index
        self.candidate = candidate
        self.parameters = parameters
        self.vectors = vectors

    @classmethod
    def build(
        cls,
        candidate: Candidate,
        vectors: FloatArray,
        *,
        seed: int,
        held_out: IntArray | None = None,
    ) -> BuiltIndex:
        """Build an index of all rows of `vectors` (n, dim), which may be memory-mapped.

        It is trained on a random part of them where it needs training, without the rows
        `held_out`, which are ascending. Its parameters are those that see most.

        Raises:
            InvalidInput: there are too few rows, or a value is not finite.
        """
        rows, dim = vectors.shape
        held_out = np.empty(0, dtype=np.int64) if held_out is None else held_out
        if rows - len(held_out) < max(1, candidate.points_to_train):
            raise InvalidInput(
                f"{candidate.name} needs {max(1, candidate.points_to_train):,} vectors to be "
                f"built, got {rows - len(held_out):,} (build it flat)"
            )
        index = faiss.index_factory(dim, candidate.factory, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained or candidate.points_to_train:
            index.train(_training_part(candidate, vectors, held_out, seed))
        for start in range(0, rows, BLOCK):
            index.add(checked_vectors(vectors[start : start + BLOCK], dim))
        most = Parameters(
            *(
                values[-1] if values else None
                for values in (candidate.nprobes, candidate.k_factors, candidate.ef_searches)
            )
        )
        return cls(index, candidate, most, vectors)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self._index.d)

    @property
    def exact(self) -> bool:
        """Whether every search finds the exact neighbours."""
        return isinstance(self._index, faiss.IndexFlat)

    @property
    def faiss_index(self) -> Any:
        """What FAISS built; for index_file.py."""
        return self._index

    def with_parameters(self, parameters: Parameters) -> BuiltIndex:
        """Return the same index, searched with other parameters."""
        return BuiltIndex(self._index, self.candidate, parameters, self.vectors)

    def search(
        self, queries: FloatArray, k: int, *, skip: IntArray | None = None
    ) -> tuple[IntArray, FloatArray]:
        """Return positions and similarities, best first, both (n_queries, min(k, n)).

        `skip` (n_queries,): this row is left out for each query, as if it were not in the index; -1
        for none. What was not found is -1, at the end.

        Raises:
            InvalidInput: dimensions differ, a value is not finite, or `k` is below 1.
        """
        check_depth(k)
        queries = checked_vectors(queries, self.dim)
        k = min(k, len(self))
        if not len(queries):
            return np.empty((0, k), dtype=np.int64), np.empty((0, k), dtype=np.float32)
        depth = k * (self.parameters.k_factor or 1) + (0 if skip is None else 1)
        rows = self._by_codes(queries, depth)
        if skip is not None:
            rows[rows == skip[:, None]] = -1
        return self._compared(queries, rows, k)

    def search_among(
        self, queries: FloatArray, k: int, among: Subset, *, by_chance: bool = False
    ) -> tuple[IntArray, FloatArray]:
        """Return positions in `among` and similarities, both (n_queries, min(k, n)), as `search`.

        So many rows are found that enough of them are in it, if chance has put them there. Where
        more are missing than by chance, of all or of the first half, quarter, and so on, because
        the filter has to do with the query, the best of the others are neighbours of a lower rank,
        which codes find less well: more of them are compared. A query of which this would be too
        many, or the index one of lists or a graph, is given none: the best of too few would be a
        list that looks whole and is not. (FAISS can be told which rows to search, and never says
        so.) Where rows were drawn `by_chance`, nothing is made up for.

        Raises:
            InvalidInput: as `search`.
        """
        check_depth(k)
        queries = checked_vectors(queries, self.dim)
        k = min(k, len(self))
        if not len(queries):
            return np.empty((0, k), dtype=np.int64), np.empty((0, k), dtype=np.float32)
        share = len(among) / among.of
        depth = min(fetch_depth(k * self._reach(k), share), len(self))
        rows = _passing(self._by_codes(queries, depth), among)
        found, similarities = self._compared(queries, rows, k)
        if by_chance:
            return found, similarities
        if depth < len(self):
            missing = _missing(rows, share, k)
        else:  # every row was asked for: what is not there was not reached
            missing = len(among) - np.count_nonzero(rows >= 0, axis=1)
            missing[missing <= k] = 0
        for line in np.flatnonzero(missing > 0).tolist():
            its = slice(line, line + 1)
            found[its], similarities[its] = -1, -np.inf
            more = self._more(queries[its], k, among, depth, float(missing[line]))
            if more is not None:
                found[its], similarities[its] = self._compared(queries[its], more, k)
        return found, similarities

    def _more(
        self, query: FloatArray, k: int, among: Subset, depth: int, missing: float
    ) -> IntArray | None:
        """Return more rows (1, m) in `among`, None if there would have to be too many.

        So many are `missing` of the first `depth`. Lists and graphs were proven to find what is
        near, and are asked for no more.
        """
        share = len(among) / among.of
        more = depth + math.ceil(_FOR_EACH * self._reach(k) * missing / share)
        narrow = bool(self.candidate.nprobes or self.candidate.ef_searches)
        if narrow or missing > depth * share / 2 or more > len(self) / _MOST:
            return None
        rows = _passing(self._by_codes(query, more), among)
        if more * share - np.count_nonzero(rows >= 0) > _GROWN * missing:
            return None
        return rows

    def _reach(self, k: int) -> int:
        """How many rows are looked at for each of `k`: codes, or nodes of a graph."""
        of_graph = math.ceil((self.parameters.ef_search or 1) / max(1, k))
        return self.parameters.k_factor or of_graph

    def _compared(self, queries: FloatArray, rows: IntArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return the `k` best of the rows of each query by their vectors, and the similarities."""
        if len(rows) == 1 and np.count_nonzero(rows >= 0) >= k:
            rows = rows[rows >= 0][None]  # of many rows that do not pass, most are not sorted
        return best(rows, similarities_at(self.vectors, queries, rows), k)

    def _by_codes(self, queries: FloatArray, depth: int) -> IntArray:
        """Return the rows that are found, (n_queries, depth), best first; -1 at the end."""
        depth = min(depth, len(self))
        rows: IntArray = self._index.search(queries, depth, params=self._search_parameters)[1]
        return rows

    def size_in_bytes(self) -> int:
        """Return the size of its codes, as a file and about the same in memory."""
        size = 0

        def count(piece: bytes) -> int:
            nonlocal size
            size += len(piece)
            return len(piece)

        faiss.write_index(self._index, faiss.PyCallbackIOWriter(count))  # type: ignore[attr-defined]
        return size

    @cached_property
    def _inner(self) -> Any:
        """What FAISS built, without the projection that vectors go through before."""
        index = self._index
        if isinstance(index, faiss.IndexPreTransform):
            index = faiss.downcast_index(index.index)
        return index

    @cached_property
    def _search_parameters(self) -> Any:
        """What FAISS is told of lists and graphs: to make it costs more than to read it."""
        own: Any
        if isinstance(self._inner, faiss.IndexIVF):
            own = faiss.SearchParametersIVF()
            own.nprobe = self.parameters.nprobe
        elif isinstance(self._inner, faiss.IndexHNSW):
            own = faiss.SearchParametersHNSW()  # type: ignore[attr-defined]
            own.efSearch = self.parameters.ef_search
        else:
            return None
        if self._inner is self._index:
            return own
        through = faiss.SearchParametersPreTransform()
        through.index_params = own
        return through


def _missing(rows: IntArray, share: float, k: int) -> FloatArray:
    """Return how many rows of each line are missing, (n,), 0 where it may be chance.

    `rows` (n, depth), best first, are -1 where they do not pass; a `share` of them would by chance.
    What leaves out the nearest is seen in the first rows long before it is seen in all.
    """
    halvings = math.floor(math.log2(rows.shape[1] * share / k))  # until fewer than k would pass
    firsts = rows.shape[1] >> np.arange(halvings, -1, -1)
    parts = np.add.reduceat(rows >= 0, [0, *firsts[:-1]], axis=1, dtype=np.int64)
    missing = firsts * share - parts.cumsum(axis=1)
    strange = (missing > _DEVIATIONS * np.sqrt(firsts * share * (1 - share))).any(axis=1)
    return np.where(strange, missing.max(axis=1), 0)


def _passing(rows: IntArray, among: Subset) -> IntArray:
    """Return rows with -1 in the place of those that are not in `among`."""
    return np.where(among.mask[rows], rows, -1)


def _training_part(
    candidate: Candidate, vectors: FloatArray, held_out: IntArray, seed: int
) -> FloatArray:
    # 256 points a centroid are all that FAISS's k-means takes; 39 are all that it asks for.
    wanted = max(16_384, candidate.points_to_train * 256 // 39)
    rows = np.setdiff1d(np.arange(len(vectors)), held_out, assume_unique=True)
    if wanted < len(rows):
        rows = np.sort(np.random.default_rng(seed).choice(rows, wanted, replace=False))
    return checked_vectors(vectors[rows], vectors.shape[1])
