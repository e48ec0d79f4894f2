"""One index of FAISS, built, with what is turned at it when it is searched."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from simsearch.ann.candidates import Candidate, Parameters
from simsearch.ann.checks import check_depth, checked_vectors
from simsearch.ann.exact import BLOCK, best
from simsearch.ann.subset import Subset
from simsearch.errors import InvalidInput

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


class BuiltIndex:
    """Vectors (n, dim) under the positions 0 to n - 1, searched by inner product.

    Approximate, unless it is flat: a search may miss a neighbour, and where its parameters let it
    see too little it gives fewer than `k` rows, padded with -1.
    """

    def __init__(self, index: Any, candidate: Candidate, parameters: Parameters) -> None:
        self._index = index
        self.candidate = candidate
        self.parameters = parameters
        self._parameters_for_all: Any = None  # made once: to wrap them costs more than to read them

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
        return cls(index, candidate, most)

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
        return BuiltIndex(self._index, self.candidate, parameters)

    def search(
        self, queries: FloatArray, k: int, *, among: Subset | None = None
    ) -> tuple[IntArray, FloatArray]:
        """Return positions and similarities, best first, both (n_queries, min(k, n)).

        `among` says which rows are searched. What was not found is -1, at the end.

        Raises:
            InvalidInput: dimensions differ, a value is not finite, `k` is below 1, or this kind
                of index cannot be told which rows to search.
        """
        check_depth(k)
        queries = checked_vectors(queries, self.dim)
        k = min(k, len(self))
        if not len(queries):
            return np.empty((0, k), dtype=np.int64), np.empty((0, k), dtype=np.float32)
        if among is not None:
            parameters = self._search_parameters(among)
        else:
            parameters = self._parameters_for_all = (
                self._parameters_for_all or self._search_parameters(None)
            )
        similarities, rows = self._index.search(queries, k, params=parameters)
        return best(rows, similarities, k)

    @property
    def selects(self) -> bool:
        """Whether a search can be told which rows to look at."""
        inner = self._inner()
        return not isinstance(inner, faiss.IndexFastScan) or isinstance(inner, faiss.IndexIVF)

    def size_in_bytes(self) -> int:
        """Return the size of its file, which is about what it takes in memory."""
        size = 0

        def count(piece: bytes) -> int:
            nonlocal size
            size += len(piece)
            return len(piece)

        faiss.write_index(self._index, faiss.PyCallbackIOWriter(count))  # type: ignore[attr-defined]
        return size

    def _inner(self) -> Any:
        """Return the index that looks through the codes: what a refined one stands on."""
        if isinstance(self._index, faiss.IndexRefine):
            return faiss.downcast_index(self._index.base_index)
        return self._index

    def _search_parameters(self, among: Subset | None) -> Any:
        inner = self._inner()
        if among is not None and not self.selects:
            raise InvalidInput(f"{self.candidate.name} cannot be told which rows to search")
        plain = among is None
        if isinstance(inner, faiss.IndexIVF):
            parameters: Any = faiss.SearchParametersIVF()
            parameters.nprobe = self.parameters.nprobe
            plain = False
        elif isinstance(inner, faiss.IndexHNSW):
            parameters = faiss.SearchParametersHNSW()  # type: ignore[attr-defined]
            parameters.efSearch = self.parameters.ef_search
            plain = False
        elif isinstance(inner, faiss.IndexRaBitQ):
            parameters = faiss.RaBitQSearchParameters()
            parameters.qb = inner.qb
            parameters.centered = inner.centered
        else:
            parameters = faiss.SearchParameters()
        if among is not None:
            parameters.sel = among.selector
        if not isinstance(self._index, faiss.IndexRefine):
            return None if plain else parameters
        # A selector of the refining index itself would be ignored without a word (1.15.1).
        refined: Any = faiss.IndexRefineSearchParameters()
        refined.k_factor = float(self.parameters.k_factor or 1)
        if not plain:
            refined.base_index_params = parameters
        return refined


def _training_part(
    candidate: Candidate, vectors: FloatArray, held_out: IntArray, seed: int
) -> FloatArray:
    # 256 points a centroid are all that FAISS's k-means takes; 39 are all that it asks for.
    wanted = max(16_384, candidate.points_to_train * 256 // 39)
    rows = np.setdiff1d(np.arange(len(vectors)), held_out, assume_unique=True)
    if wanted < len(rows):
        rows = np.sort(np.random.default_rng(seed).choice(rows, wanted, replace=False))
    return checked_vectors(vectors[rows], vectors.shape[1])
