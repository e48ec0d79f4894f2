"""All rows of a store as one index: segments that are mapped, and the rows that none of them holds.

Every search is over rows that live: those that were deleted since a segment was built are left out
of it, and never make a list shorter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from simsearch.ann.checks import check_depth, checked_vectors
from simsearch.ann.exact import neighbours_in
from simsearch.ann.filter_plan import FilterPlan
from simsearch.ann.filtered import FilteredIndex
from simsearch.ann.order import best
from simsearch.ann.segment_file import SegmentFile
from simsearch.ann.subset import Subset
from simsearch.ann.vector_index import VectorIndex
from simsearch.errors import InvalidInput
from simsearch.recent import Recent

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


class SegmentIndex:
    """One segment: its rows, of which some may have died, and how they are searched."""

    def __init__(self, file: SegmentFile, plan: FilterPlan | None) -> None:
        self.rows = file.rows
        self.vectors = file.vectors
        self._approximate: FilteredIndex | None = None
        if file.index is not None and plan is not None:
            self._approximate = FilteredIndex(file.index, plan)
        self._alive: npt.NDArray[np.bool_] | None = None  # until one dies, all are
        self._living: Subset | None = None
        # By the identity of the array, which is kept so that no other gets the same.
        self._subsets = Recent[int, tuple[IntArray, Subset]](
            lambda known: known[0].nbytes + known[1].nbytes
        )

    def __len__(self) -> int:
        """Return the number of rows that live."""
        return len(self.rows) if self._living is None else len(self._living)

    @property
    def exact(self) -> bool:
        """Whether all of its rows are compared."""
        return self._approximate is None

    def memory(self) -> int:
        """Return the bytes of what a search goes through: the index, or the vectors."""
        if self._approximate is None:
            return int(self.vectors.nbytes)
        return self._approximate.index.size_in_bytes()

    def places(self, rows: IntArray) -> IntArray:
        """Return where rows (m,) stand in the segment; -1 for those that do not."""
        first = int(self.rows[0])
        if int(self.rows[-1]) - first + 1 == len(self.rows):  # no gap
            return np.where((rows >= first) & (rows <= self.rows[-1]), rows - first, -1)
        places = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        return np.where(self.rows[places] == rows, places, -1)

    def bury(self, rows: IntArray) -> None:
        """Leave out rows from now on; those that are not in the segment are passed over."""
        places = self.places(rows)
        places = places[places >= 0]
        if not len(places):
            return
        if self._alive is None:
            self._alive = np.ones(len(self.rows), dtype=bool)
        self._alive[places] = False
        self._living = Subset.where(self._alive)

    def forget(self) -> None:
        """Forget where rows stand that were searched among: they are others now."""
        self._subsets.clear()

    def search(
        self, queries: FloatArray, k: int, *, among: IntArray | None, exact: bool
    ) -> tuple[IntArray, FloatArray]:
        """Return rows and similarities, best first, both (n_queries, min(k, m)).

        `among` are living rows, ascending, of the whole store. Queries were checked.
        """
        subset = self._living if among is None else self._subset(among)
        if self._approximate is None or exact:
            places, similarities = neighbours_in(self.vectors, subset, queries, k)
        else:
            places, similarities = self._approximate.search(queries, k, among=subset)
        return self.rows[places], similarities

    def _subset(self, among: IntArray) -> Subset:
        return self._subsets.get(id(among), lambda: (among, self._places_of(among)))[1]

    def _places_of(self, among: IntArray) -> Subset:
        low, high = np.searchsorted(among, (self.rows[0], self.rows[-1] + 1))
        places = self.places(among[low:high])
        if (places < 0).any() or (self._alive is not None and not self._alive[places].all()):
            raise InvalidInput("a row that was to be searched is not in the index")
        return Subset(places, len(self.rows))


class SegmentedIndex:
    """Segments whose ranges of rows do not overlap, in order, and an exact index of the rest."""

    def __init__(self, segments: Sequence[SegmentIndex], rest: VectorIndex) -> None:
        self.segments = list(segments)
        self.rest = rest

    def __len__(self) -> int:
        """Return the number of rows that live."""
        return sum(map(len, self.segments)) + len(self.rest)

    @property
    def exact(self) -> bool:
        """Whether every search finds the exact neighbours."""
        return all(segment.exact for segment in self.segments)

    def remove(self, rows: IntArray) -> None:
        """Leave out rows from now on, wherever they are."""
        for segment in self.segments:
            segment.forget()
            segment.bury(rows)
        self.rest.remove(rows)

    def search(
        self, queries: FloatArray, k: int, *, among: IntArray | None = None, exact: bool = False
    ) -> tuple[IntArray, FloatArray]:
        """Return row ids and similarities, best first, both (n_queries, min(k, len(self))).

        Similarities are exact; equal ones are ordered by row id. `among`: only these rows (m,),
        ascending and alive, are searched; then both are (n_queries, min(k, m)). What an array says
        is remembered: it must not change. `exact` compares every row.

        Raises:
            InvalidInput: dimensions differ, a value is not finite, `k` is below 1, or `among` is
                not ascending or has a row that is not in the index.
        """
        queries = checked_vectors(queries, self.rest.dim)
        check_depth(k)
        found = [segment.search(queries, k, among=among, exact=exact) for segment in self.segments]
        found.append(self.rest.search(queries, k, among=self._in_rest(among)))
        found = [each for each in found if each[0].shape[1]] or found[:1]
        rows = np.hstack([each for each, _ in found])
        if among is not None and rows.shape[1] < min(k, len(among)):
            raise InvalidInput("a row that was to be searched is not in the index")
        if len(found) == 1:
            return found[0]
        return best(rows, np.hstack([each for _, each in found]), k)

    def vectors_at(self, rows: IntArray) -> FloatArray:
        """Return the vectors of rows (m,) that live, in any order, (m, dim).

        Raises:
            InvalidInput: a row is not in the index.
        """
        vectors = np.empty((len(rows), self.rest.dim), dtype=np.float32)
        missing = np.ones(len(rows), dtype=bool)
        for segment in self.segments:
            places = segment.places(rows)
            its = places >= 0
            vectors[its] = segment.vectors[places[its]]
            missing &= ~its
        vectors[missing] = self.rest.vectors_at(rows[missing])
        return vectors

    def _in_rest(self, among: IntArray | None) -> IntArray | None:
        """Return the rows of `among` that no segment has in its range."""
        if among is None or not self.segments:
            return among
        pieces, start = list[IntArray](), 0
        for segment in self.segments:
            low, high = np.searchsorted(among, (segment.rows[0], segment.rows[-1] + 1))
            pieces.append(among[start:low])
            start = high
        pieces = [piece for piece in (*pieces, among[start:]) if len(piece)]
        return pieces[0] if len(pieces) == 1 else np.concatenate([among[:0], *pieces])
