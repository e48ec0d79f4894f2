"""VectorIndex: vectors in, nearest row numbers and similarities out. FAISS and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import faiss
import numpy as np
import numpy.typing as npt

from simsearch.ann.checks import check_depth, checked_vectors, refuse_not_finite
from simsearch.ann.exact import neighbours_in
from simsearch.ann.order import best
from simsearch.ann.products import nearest_rows
from simsearch.ann.subset import Subset
from simsearch.errors import InvalidInput

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


def set_threads(count: int) -> None:
    """Set the number of threads of FAISS's pool."""
    faiss.omp_set_num_threads(count)


class VectorIndex:
    """Exact search by inner product over unit vectors, which is cosine similarity.

    What is given to FAISS is checked first, see checks.py.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._flat = faiss.IndexFlatIP(dim)
        self._index = faiss.IndexIDMap(self._flat)
        self._ascending = True  # the row ids, in the order in which they were added

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def row_ids(self) -> IntArray:
        """The rows (n,) in the index, in the order in which they were added."""
        if not len(self):
            return np.empty(0, dtype=np.int64)
        ids: IntArray = faiss.rev_swig_ptr(self._index.id_map.data(), len(self))
        return ids.copy()

    def add(self, row_ids: IntArray, vectors: FloatArray) -> None:
        """Add vectors (n, dim) under row ids (n,) that are not in the index."""
        vectors = checked_vectors(vectors, self.dim)
        if row_ids.shape != (len(vectors),):
            raise InvalidInput(f"got {row_ids.shape} row ids for {len(vectors)} vectors")
        self.add_from(row_ids, lambda target: np.copyto(target, vectors))

    def add_from(self, row_ids: IntArray, write: Callable[[FloatArray], None]) -> None:
        """Add rows (n,) that are not in the index, whose vectors `write` writes.

        It is given (n, dim) of the index's own memory: to read a million vectors into an array
        and let FAISS copy it would take the memory twice, and a third more time. If it raises,
        nothing was added.
        """
        if not len(row_ids):
            return
        before = int(self._flat.ntotal)
        count = before + len(row_ids)
        try:
            self._flat.codes.resize(count * self._flat.code_size)
            memory = faiss.rev_swig_ptr(self._flat.get_xb(), count * self.dim)
            target = memory.reshape(count, self.dim)[before:]
            write(target)
            refuse_not_finite(target)
        except BaseException:
            self._flat.codes.resize(before * self._flat.code_size)
            raise
        self._index.id_map.resize(count)
        ids = faiss.rev_swig_ptr(self._index.id_map.data(), count)
        ids[before:] = row_ids
        added = ids[max(0, before - 1) :]
        self._ascending = self._ascending and bool((added[1:] > added[:-1]).all())
        self._flat.ntotal = self._index.ntotal = count

    def remove(self, row_ids: IntArray) -> int:
        """Remove rows and return how many there were."""
        if not len(row_ids):
            return 0
        selector = faiss.IDSelectorBatch(np.ascontiguousarray(row_ids, dtype=np.int64))
        return int(self._index.remove_ids(selector))

    def search(
        self, queries: FloatArray, k: int, *, among: IntArray | None = None
    ) -> tuple[IntArray, FloatArray]:
        """Return row ids and similarities, best first, both (n_queries, min(k, len(self))).

        Equal similarities are ordered by row id. `among`: only these rows (m,), ascending, are
        searched; then both are (n_queries, min(k, m)).

        Raises:
            InvalidInput: `among` is not ascending, or a row of it is not in the index.
        """
        queries = checked_vectors(queries, self.dim)
        check_depth(k)
        k = min(k, len(self) if among is None else len(among))
        if k == 0 or not len(queries):
            shape = (len(queries), k)
            return np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.float32)
        if among is None:
            places, similarities = nearest_rows(self._memory(), queries, k)
            row_ids = faiss.rev_swig_ptr(self._index.id_map.data(), len(self))[places]
        else:
            similarities, row_ids = self._search_among(queries, k, among)
        return best(row_ids, similarities, k)

    def _search_among(
        self, queries: FloatArray, k: int, among: IntArray
    ) -> tuple[FloatArray, IntArray]:
        if (among[1:] <= among[:-1]).any():
            raise InvalidInput("rows that are to be searched must be in the index, and ascending")
        ids, places = self._places(among)
        # Places in the order of ids are those of the vectors only where ids ascend.
        subset = Subset(places if self._ascending else np.sort(places), len(self))
        found, similarities = neighbours_in(self._memory(), subset, queries, k)
        return similarities, ids[found]

    def vectors_at(self, rows: IntArray) -> FloatArray:
        """Return the vectors of rows (m,) in any order, (m, dim).

        Raises:
            InvalidInput: a row is not in the index.
        """
        if not len(rows):
            return np.empty((0, self.dim), dtype=np.float32)
        _, places = self._places(rows)
        return self._memory()[places]

    def _places(self, rows: IntArray) -> tuple[IntArray, IntArray]:
        """Return the ids of all rows, and where among them rows (m,) stand."""
        if not len(self):
            raise InvalidInput("a row that was to be searched is not in the index")
        ids = faiss.rev_swig_ptr(self._index.id_map.data(), len(self))
        order = None if self._ascending else np.argsort(ids)
        places = np.minimum(np.searchsorted(ids, rows, sorter=order), len(ids) - 1)
        places = places if order is None else order[places]
        if (ids[places] != rows).any():
            raise InvalidInput("a row that was to be searched is not in the index")
        return ids, places

    def _memory(self) -> FloatArray:
        """Return all vectors where they lie: a view until the next write."""
        memory: FloatArray = faiss.rev_swig_ptr(self._flat.get_xb(), len(self) * self.dim)
        return memory.reshape(-1, self.dim)
