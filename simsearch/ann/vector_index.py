"""VectorIndex: vectors in, nearest row numbers and similarities out. FAISS and nothing else."""

from __future__ import annotations

import faiss
import numpy as np
import numpy.typing as npt

from simsearch.errors import InvalidInput

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


def set_threads(count: int) -> None:
    """Set the number of threads of FAISS's pool."""
    faiss.omp_set_num_threads(count)


class VectorIndex:
    """Exact search by inner product over unit vectors, which is cosine similarity.

    FAISS checks its arguments with asserts, which `python -O` removes; every call below is
    therefore checked here first.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._index = faiss.IndexIDMap(faiss.IndexFlatIP(dim))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, row_ids: IntArray, vectors: FloatArray) -> None:
        """Add vectors (n, dim) under row ids (n,) that are not in the index."""
        vectors = self._checked(vectors)
        if row_ids.shape != (len(vectors),):
            raise InvalidInput(f"got {row_ids.shape} row ids for {len(vectors)} vectors")
        if len(vectors):
            self._index.add_with_ids(vectors, np.ascontiguousarray(row_ids, dtype=np.int64))

    def remove(self, row_ids: IntArray) -> int:
        """Remove rows and return how many there were."""
        if not len(row_ids):
            return 0
        selector = faiss.IDSelectorBatch(np.ascontiguousarray(row_ids, dtype=np.int64))
        return int(self._index.remove_ids(selector))

    def search(self, queries: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return row ids and similarities, best first, both (n_queries, min(k, len(self))).

        Equal similarities are ordered by row id.
        """
        queries = self._checked(queries)
        if k < 1:
            raise InvalidInput(f"k must be at least 1, got {k}")
        k = min(k, len(self))
        if k == 0 or not len(queries):
            shape = (len(queries), k)
            return np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.float32)
        similarities, row_ids = self._index.search(queries, k)
        order = np.lexsort((row_ids, -similarities), axis=1)
        return (
            np.take_along_axis(row_ids, order, axis=1),
            np.take_along_axis(similarities, order, axis=1),
        )

    def _checked(self, vectors: FloatArray) -> FloatArray:
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise InvalidInput(f"expected vectors of shape (n, {self.dim}), got {vectors.shape}")
        # The sum of a million finite unit vectors is finite, and takes no memory to find out.
        if not np.isfinite(vectors.sum()) and not np.isfinite(vectors).all():
            raise InvalidInput("vectors must be finite; FAISS would never return a row with NaN")
        return np.ascontiguousarray(vectors, dtype=np.float32)
