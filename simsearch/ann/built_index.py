"""One index of FAISS, built, with what is turned at it when it is searched, and its vectors."""

from __future__ import annotations

from functools import cached_property
from typing import Any

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
        self,
        queries: FloatArray,
        k: int,
        *,
        among: Subset | None = None,
        overfetch: bool = False,
        skip: IntArray | None = None,
    ) -> tuple[IntArray, FloatArray]:
        """Return positions and similarities, best first, both (n_queries, min(k, n)).

        `among` says which rows are searched: FAISS is told so, or with `overfetch` so many more are
        found that enough of them are among those. `skip` (n_queries,): this row is left out for
        each query, as if it were not in the index; -1 for none. What was not found is -1, at the
        end.

        Raises:
            InvalidInput: dimensions differ, a value is not finite, `k` is below 1, or this kind
                of index cannot be told which rows to search.
        """
        check_depth(k)
        queries = checked_vectors(queries, self.dim)
        k = min(k, len(self))
        if not len(queries):
            return np.empty((0, k), dtype=np.int64), np.empty((0, k), dtype=np.float32)
        told = among is not None and not overfetch
        parameters = self._search_parameters(among) if told else self._unfiltered
        depth = k * (self.parameters.k_factor or 1) + (0 if skip is None else 1)
        if among is not None and overfetch:
            depth = fetch_depth(depth, len(among) / among.of)
        similarities, rows = self._index.search(queries, min(depth, len(self)), params=parameters)
        if skip is not None:
            rows[rows == skip[:, None]] = -1
        if among is not None and overfetch:
            rows[~among.mask[rows]] = -1
        if not self.exact:
            similarities = similarities_at(self.vectors, queries, rows)
        return best(rows, similarities, k)

    @cached_property
    def _unfiltered(self) -> Any:
        """The parameters of a search among all rows: to make them costs more than to read them."""
        return self._search_parameters(None)

    @property
    def selects(self) -> bool:
        """Whether a search can be told which rows to look at."""
        return not isinstance(self._inner, faiss.IndexFastScan)

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

    def _search_parameters(self, among: Subset | None) -> Any:
        if among is not None and not self.selects:
            raise InvalidInput(f"{self.candidate.name} cannot be told which rows to search")
        own: Any
        if isinstance(self._inner, faiss.IndexIVF):
            own = faiss.SearchParametersIVF()
            own.nprobe = self.parameters.nprobe
        elif isinstance(self._inner, faiss.IndexHNSW):
            own = faiss.SearchParametersHNSW()  # type: ignore[attr-defined]
            own.efSearch = self.parameters.ef_search
        elif among is None:
            return None
        else:
            own = faiss.SearchParameters()
        if among is not None:
            own.sel = among.selector
        if self._inner is self._index:
            return own
        through = faiss.SearchParametersPreTransform()
        through.index_params = own
        return through


def _training_part(
    candidate: Candidate, vectors: FloatArray, held_out: IntArray, seed: int
) -> FloatArray:
    # 256 points a centroid are all that FAISS's k-means takes; 39 are all that it asks for.
    wanted = max(16_384, candidate.points_to_train * 256 // 39)
    rows = np.setdiff1d(np.arange(len(vectors)), held_out, assume_unique=True)
    if wanted < len(rows):
        rows = np.sort(np.random.default_rng(seed).choice(rows, wanted, replace=False))
    return checked_vectors(vectors[rows], vectors.shape[1])
