"""An approximate index with the vectors it was built of: every search gives k rows if there are k.

Exact where that is quicker or nothing was proven to do as well; approximate by the plan else, and
then every query that came back with fewer than it should is asked again, exactly: also one that the
filter has to do with, so that fewer of its neighbours pass than of all rows. The plan was measured
on rows that pass by chance, and for so many neighbours: for fewer of them as many are looked for,
because the first few of many codes are found better than the first of few.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from simsearch.ann.built_index import BuiltIndex
from simsearch.ann.candidates import Parameters
from simsearch.ann.checks import check_depth, checked_vectors
from simsearch.ann.exact import neighbours_in
from simsearch.ann.filter_plan import FilterPlan
from simsearch.ann.subset import Subset

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FilteredIndex:
    """An index, and how it is searched among some of its rows.

    A filter that lets every row through costs nothing: then the index is searched as it is.
    """

    index: BuiltIndex
    plan: FilterPlan
    # With other parameters, made once: to hand them to FAISS takes longer than to find a few rows.
    _others: dict[Parameters, BuiltIndex] = field(default_factory=dict, init=False, repr=False)

    @property
    def vectors(self) -> FloatArray:
        """The vectors (n, dim) that the index was built of."""
        return self.index.vectors

    def compares(self, among: int, *, k: int = 1) -> bool:
        """Whether so many rows would be compared one by one."""
        return self.plan.level_for(among, len(self.vectors), k=k) is None

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
        if among is None and self.index.exact:
            found, similarities = self.index.search(queries, k)
        elif among is None and k <= self.plan.k:
            found, similarities = self.index.search(queries, min(self.plan.k, wanted))
        elif level is None:
            return neighbours_in(self.vectors, among, queries, k)
        else:
            index, measured = self._with(level.parameters), min(level.k, wanted)
            found, similarities = (
                index.search(queries, measured)
                if among is None
                else index.search_among(queries, measured, among)
            )
        found, similarities = found[:, :k], similarities[:, :k]
        lacking = np.flatnonzero((found >= 0).sum(axis=1) < k)
        if len(lacking):
            found[lacking], similarities[lacking] = neighbours_in(
                self.vectors, among, queries[lacking], k, by_chance=False
            )
        return found, similarities

    def _with(self, parameters: Parameters) -> BuiltIndex:
        index = self._others.get(parameters)
        if index is None:
            index = self._others[parameters] = self.index.with_parameters(parameters)
        return index
