"""When rows are worth a segment, and which segments are merged into it. Numbers only.

New rows are compared one by one. Once there are enough of them they get a segment of their own, in
which they are still compared one by one but need not be read into memory; once that is slow they
get an index. Indexes of about the same size become one (as in a log-structured merge), so that
every row is built anew a number of times that grows with the logarithm of how many there are, and
a hundredth that is added never rebuilds the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# Up to this many times the rows that are to be built, a segment before them is built with them.
_MERGED: Final = 2
# A segment of which a larger part has died is built anew.
_DEAD: Final = 0.2
# The part of the rows that may be compared one by one, which is worth a segment.
_WORTH: Final = 5


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows from `first_row` to `end_row`, of which `living` live: those of a segment, or of none.

    `indexed`: not all of its rows are compared. `dead` of the segment's rows died since it was
    built. `loose`: no segment that can be used has them.
    """

    first_row: int
    end_row: int
    living: int
    indexed: bool = False
    dead: int = 0
    loose: bool = False

    @property
    def built(self) -> bool:
        """Whether it may stay as it is."""
        return not self.loose and self.dead <= _DEAD * (self.living + self.dead)


@dataclass(frozen=True, slots=True)
class Build:
    """A segment that is worth building, of the living rows from `first_row` to `end_row`."""

    first_row: int
    end_row: int
    rows: int
    indexed: bool


def next_build(stretches: Sequence[Stretch], *, exact_below: int) -> Build | None:
    """Return the next segment that is worth building, None if all is well.

    The stretches are in order, from the first row to the last. Up to `exact_below` rows in a
    row may be compared one by one; a fifth of that is worth a segment.
    """
    for start, stop in _runs(stretches):
        run = stretches[start:stop]
        living = sum(each.living for each in run)
        new = sum(each.living for each in run if not each.built)
        if living > exact_below:
            while start and stretches[start - 1].living <= _MERGED * living:
                start -= 1
                living += stretches[start].living
            return _build(stretches[start:stop], indexed=True)
        if new > exact_below // _WORTH:
            return _build(run, indexed=False)
    return None


def _runs(stretches: Sequence[Stretch]) -> list[tuple[int, int]]:
    """Return where stretches that have no good index follow each other: first and end."""
    runs: list[tuple[int, int]] = []
    for position, each in enumerate(stretches):
        if each.indexed and each.built:
            continue
        if runs and runs[-1][1] == position:
            runs[-1] = runs[-1][0], position + 1
        else:
            runs.append((position, position + 1))
    return runs


def _build(stretches: Sequence[Stretch], *, indexed: bool) -> Build:
    living = sum(each.living for each in stretches)
    return Build(stretches[0].first_row, stretches[-1].end_row, living, indexed)
