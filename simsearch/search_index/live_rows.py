"""What an open index searches: segments and the rows beside them, kept in step with commits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from simsearch.ann import SegmentedIndex, SegmentFile, SegmentIndex, VectorIndex, map_segment
from simsearch.errors import CorruptIndex, SimsearchError
from simsearch.search_index.segment_record import SegmentRecord
from simsearch.storage import DocumentStore, Segment, rows_not_in

logger = logging.getLogger("simsearch")


class LiveRows:
    """The rows of the commit that was seen last, ready to be searched.

    Rows that a segment holds are mapped, all others are read into memory. Whoever calls holds the
    index's mutex.
    """

    def __init__(self, store: DocumentStore) -> None:
        self._store = store
        self._warned: set[str] = set()
        self._forget()

    def _forget(self) -> None:
        self.index = SegmentedIndex([], VectorIndex(self._store.dim))
        self._commit_number = -1  # of what is in it
        self._next_row = 0
        self._listed: list[tuple[str, str]] = []
        self._mapped: dict[tuple[str, str], SegmentIndex] = {}
        self._identity = self._store.identity  # of the database whose row numbers those are

    @property
    def read(self) -> bool:
        """Whether a commit was seen at all."""
        return self._commit_number >= 0

    def refresh(self) -> bool:
        """Follow the commit of the current snapshot; return whether it is another.

        Raises:
            CorruptIndex: vectors are damaged, or not as many as there are passages.
        """
        if self._identity != self._store.identity:  # compacted: rows have other numbers now
            self._forget()
        latest = self._store.settings.number("commit_number")
        if latest == self._commit_number:
            return False
        try:
            listed = self._store.segments.names()
            if not self.read or listed != self._listed:
                self._read_anew(listed)
            else:
                self._follow()
            self._refuse_lost()
        except BaseException:
            self._forget()  # what is half read must not be searched by the next call
            raise
        self._commit_number = latest
        self._next_row = self._store.settings.number("next_row")
        return True

    def _follow(self) -> None:
        changes = self._store.changes_since(self._commit_number, next_row=self._next_row)
        if changes is None:
            return
        self.index.remove(changes.removed)
        self.index.rest.add_from(
            changes.rows, lambda target: self._store.read_vectors(changes.rows, target)
        )

    def _read_anew(self, listed: list[tuple[str, str]]) -> None:
        """Map the segments that are listed now, and read what is in none of them."""
        found = listed_segments(self._store)
        self._warn_of([each.segment for each in found if each.segment.fault])
        mapped: dict[tuple[str, str], SegmentIndex] = {}
        ranges = []
        for each in found:
            key = each.segment.name, each.segment.description
            if each.file is not None and each.record is not None:
                new = SegmentIndex(each.file, each.record.filters)
                mapped[key] = self._mapped.get(key, new)
                ranges.append((each.segment.first_row, each.segment.end_row))
        contents = self._store.contents(ranges)
        rest = self.index.rest
        there = rest.row_ids
        rest.remove(rows_not_in(there, contents.rows))
        missing = rows_not_in(contents.rows, there)
        rest.add_from(missing, lambda target: self._store.read_vectors(missing, target))
        self.index = SegmentedIndex(list(mapped.values()), rest)
        self.index.remove(contents.removed)
        self._mapped, self._listed = mapped, listed

    def _warn_of(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            if segment.name not in self._warned:
                self._warned.add(segment.name)
                logger.warning(
                    "%s %s; its rows are compared one by one until `simsearch tune %s` builds it "
                    "anew",
                    segment.path,
                    segment.fault,
                    segment.path.parents[1],
                )

    def _refuse_lost(self) -> None:
        living = self._store.settings.number("living_rows")
        if len(self.index) != living:
            path = self._store.directory
            raise CorruptIndex(
                f"{path}: {len(self.index)} vectors for {living} passages "
                f"(restore a backup, or run `simsearch repair {path}`)"
            )


@dataclass(frozen=True, slots=True)
class ListedSegment:
    """A segment that is listed; with its record and its file where it can be used."""

    segment: Segment
    record: SegmentRecord | None = None
    file: SegmentFile | None = None


def listed_segments(store: DocumentStore) -> list[ListedSegment]:
    """Return what is listed, by first row. Call it inside a snapshot."""
    found = []
    for segment in store.segments.read():
        if segment.fault is not None:
            found.append(ListedSegment(segment))
            continue
        try:
            record = SegmentRecord.from_text(segment.description)
            found.append(ListedSegment(segment, record, _mapped(segment, record, store.dim)))
        except SimsearchError as error:
            fault = f"cannot be used: {error}"
            found.append(ListedSegment(replace(segment, fault=fault)))
    return found


def _mapped(segment: Segment, record: SegmentRecord, dim: int) -> SegmentFile:
    file = map_segment(segment.path, rows=record.rows, dim=dim, record=record.index)
    if not segment.first_row <= file.rows[0] <= file.rows[-1] < segment.end_row:
        raise CorruptIndex("it has rows that are not its own")
    return file
