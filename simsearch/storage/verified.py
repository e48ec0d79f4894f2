"""Documents that are read whole before a filter is asked: SQLite would filter damaged ones too.

A filter reads one column of every document; the checksum of a document covers all of them. So all
documents are verified when the first filter is asked, and later those that were added since: as
vectors are verified once, when they are read into memory. Metadata that was replaced since is that
of a commit of ours, and verified by the next handle.
"""

from __future__ import annotations

from typing import NamedTuple

from simsearch.storage.checksums import sound_document
from simsearch.storage.session import Session


class _Seen(NamedTuple):
    """What was verified: of which database, up to which commit and row number."""

    identity: tuple[int, ...] | None
    commit_number: int
    end: int


class VerifiedDocuments:
    """Remembers which documents of one open store are sound."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._seen = _Seen(None, -1, 0)

    def refuse_damage(self) -> None:
        """Make sure that every document of the present snapshot is what was written.

        Raises:
            CorruptIndex: one is damaged, or documents are lost.
        """
        connection, seen = self._session.connection, self._seen
        commit_number, end, living = self._session.numbers(
            "commit_number", "next_row", "living_rows"
        )
        if seen.identity != self._session.identity:  # compacted: rows have other numbers now
            seen = _Seen(self._session.identity, -1, 0)
        if seen.commit_number == commit_number and not self._session.writing:
            return
        for row in connection.execute("SELECT * FROM documents WHERE first_row >= ?", (seen.end,)):
            if not sound_document(row):
                raise self._session.damage(f"the document of row {row[0]} is damaged")
        (found,) = connection.execute("SELECT coalesce(sum(rows), 0) FROM documents").fetchone()
        if found != living:
            raise self._session.damage(f"the documents have {found} rows of {living}")
        if not self._session.writing:  # what is not committed may be taken back
            self._seen = _Seen(self._session.identity, commit_number, end)
