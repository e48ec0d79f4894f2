"""A search among some rows, that gives k of them if there are k, whatever the index.

Exact where that is quicker or nothing was proven to do as well; approximate by the plan else, and
then every query that came back with fewer than it should is asked again, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.ann.built_index import BuiltIndex
from simsearch.ann.checks import check_depth, checked_vectors
from simsearch.ann.exact import best, neighbours_among
from simsearch.ann.filter_plan import FilterPlan, Way, approximate_among
from simsearch.errors import InvalidInput

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FilteredIndex:
    """An index, the vectors (n, dim) that it was built of, and how it is searched among some.

    A filter that lets every row through costs nothing: then the index is searched as it is. The
    vectors may be memory-mapped; of them those are read that are compared exactly.
    """

    index: BuiltIndex
    vectors: FloatArray
    plan: FilterPlan

    def way(self, among: int) -> Way:
        """Return how so many rows would be searched."""
        level = self.plan.level_for(among, len(self.vectors))
        return Way.EXACT if level is None else level.way

    def search(
        self, queries: FloatArray, k: int, *, among: IntArray
    ) -> tuple[IntArray, FloatArray]:
        """Return rows and similarities, best first, both (n_queries, min(k, m)); never -1.

        `among` (m,) are the rows that are searched, ascending.

        Raises:
            InvalidInput: dimensions differ, a value is not finite, `k` is below 1, or `among` is
                not ascending or names a row that is not there.
        """
        check_depth(k)
        queries = checked_vectors(queries, self.index.dim)
        if len(among) and (
            among[0] < 0 or among[-1] >= len(self.vectors) or (np.diff(among) <= 0).any()
        ):
            raise InvalidInput(
                f"expected ascending rows of 0 to {len(self.vectors) - 1}, got {among[0]} to "
                f"{among[-1]}"
            )
        k = min(k, len(among))
        if not k or not len(queries):
            return np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
        if len(among) == len(self.vectors):
            rows, similarities = self.index.search(queries, k)
        elif level := self.plan.level_for(len(among), len(self.vectors)):
            wanted = np.zeros(len(self.vectors), dtype=bool)
            wanted[among] = True
            rows, similarities = approximate_among(
                self.index.with_parameters(level.parameters), wanted, queries, k, level.way
            )
        else:
            return neighbours_among(self.vectors, among, queries, k)
        lacking = np.flatnonzero((rows >= 0).sum(axis=1) < k)
        if len(lacking):
            found = neighbours_among(self.vectors, among, queries[lacking], k)
            rows[lacking], similarities[lacking] = found
        return best(rows, similarities, k)
