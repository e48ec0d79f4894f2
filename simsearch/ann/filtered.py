"""An approximate index with the vectors it was built of: every search gives k rows if there are k.

Exact where that is quicker or nothing was proven to do as well; approximate by the plan else, and
then every query that came back with fewer than it should is asked again, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from simsearch.ann.built_index import BuiltIndex
from simsearch.ann.checks import check_depth, checked_vectors
from simsearch.ann.exact import best, neighbours_in
from simsearch.ann.filter_plan import FilterPlan, Way, approximate_among
from simsearch.ann.subset import Subset

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_CELLS: Final = 1 << 23  # numbers of vectors that are copied together to be compared: 32 MB


@dataclass(frozen=True, slots=True)
class FilteredIndex:
    """An index, the vectors (n, dim) that it was built of, and how it is searched among some.

    A filter that lets every row through costs nothing: then the index is searched as it is. The
    vectors may be memory-mapped; of them those are read that are compared exactly, which are also
    all that are found: similarities are exact, whatever the codes of the index say.
    """

    index: BuiltIndex
    vectors: FloatArray
    plan: FilterPlan

    def way(self, among: int, *, k: int = 1) -> Way:
        """Return how so many rows would be searched."""
        level = self.plan.level_for(among, len(self.vectors), k=k)
        return Way.EXACT if level is None else level.way

    def search(
        self, queries: FloatArray, k: int, *, among: Subset | None = None
    ) -> tuple[IntArray, FloatArray]:
        """Return rows and similarities, best first, both (n_queries, min(k, m)); never -1.

        `among`: only these rows (m,) are searched; None for all.

        Raises:
            InvalidInput: dimensions differ, a value is not finite, or `k` is below 1.
        """
        check_depth(k)
        queries = checked_vectors(queries, self.index.dim)
        if among is not None and among.whole:
            among = None
        rows = len(self.vectors)
        wanted = rows if among is None else len(among)
        k = min(k, wanted)
        level = self.plan.level_for(wanted, rows, k=k)
        if not k or not len(queries):
            return np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
        if among is None and (self.index.exact or k <= self.plan.k):
            found, _ = self.index.search(queries, k)
        elif level is None:
            return neighbours_in(self.vectors, among, queries, k)
        else:
            index = self.index.with_parameters(level.parameters)
            found, _ = approximate_among(index, among, queries, k, level.way)
        similarities = self._compared(found, queries)
        lacking = np.flatnonzero((found >= 0).sum(axis=1) < k)
        if len(lacking):
            exact = neighbours_in(self.vectors, among, queries[lacking], k)
            found[lacking], similarities[lacking] = exact
        return best(found, similarities, k)

    def _compared(self, rows: IntArray, queries: FloatArray) -> FloatArray:
        """Return the exact similarities of rows (n_queries, k), of which some may be -1."""
        similarities = np.empty(rows.shape, dtype=np.float32)
        portion = max(1, _CELLS // (rows.shape[1] * self.vectors.shape[1]))
        for start in range(0, len(rows), portion):
            part = slice(start, start + portion)
            vectors = self.vectors[rows[part]]
            np.einsum("qkd,qd->qk", vectors, queries[part], out=similarities[part])
        return similarities
