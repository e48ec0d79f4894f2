"""Documents as they are read: by id, by number, in order. Each is verified when it is read."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.records import Document
from simsearch.storage.checksums import sound_document
from simsearch.storage.database import (
    chunks,
    connect_read_only,
    marks,
    refuse_foreign_schema,
    translated_errors,
)
from simsearch.storage.rows import read_metadata
from simsearch.storage.session import Session
from simsearch.storage.settings import Settings
from simsearch.storage.verified import VerifiedDocuments

IntArray = npt.NDArray[np.int64]


class StoredDocuments:
    """The documents of an open database; `DocumentStore` writes them, with all that is theirs."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.settings = Settings(session)

    def snapshot(self) -> contextlib.AbstractContextManager[None]:
        """Let everything read inside the block belong to one commit."""
        return self._session.snapshot()

    def known_ids(self, ids: Sequence[str]) -> set[str]:
        """Return those of `ids` that are in the store."""
        with self.snapshot():
            return {
                found
                for chunk in chunks(ids)
                for (found,) in self._connection.execute(
                    f"SELECT id FROM documents WHERE id IN ({marks(chunk)})", chunk
                )
            }

    def fetch_ids(self, ids: Sequence[str]) -> dict[str, Document]:
        """Return the documents with these ids; unknown ids are absent."""
        with self.snapshot():
            found = {
                document.id: document
                for chunk in chunks(ids)
                for _, document in self._select(f"WHERE id IN ({marks(chunk)})", chunk)
            }
        for strange in sorted(found.keys() - set(ids)):
            raise self._session.damage(f"the document {strange!r} is found by a wrong id")
        return found

    def fetch_numbers(self, numbers: Sequence[int]) -> dict[int, Document]:
        """Return the documents of these numbers.

        Raises:
            CorruptIndex: one is not there.
        """
        with self.snapshot():
            found = {
                number: document
                for chunk in chunks(numbers)
                for number, document in self._select(f"WHERE first_row IN ({marks(chunk)})", chunk)
            }
        for number in numbers:
            if number not in found:
                raise self._session.damage(f"row {number} has a vector but no document")
        return found

    def number_of(self, document_id: str) -> int | None:
        """Return the number of the document with this id, None if there is none."""
        with self.snapshot():
            for number, document in self._select("WHERE id = ?", (document_id,)):
                if document.id != document_id:
                    raise self._session.damage(f"{document_id!r} leads to another document")
                return number
        return None

    def outline(self) -> list[tuple[int, int, str]]:
        """Return number, number of rows and id of every document, in order; this reads them all.

        Raises:
            CorruptIndex: one is damaged, or documents are lost.
        """
        with self.snapshot():
            VerifiedDocuments(self._session).refuse_damage()
            found: list[tuple[int, int, str]] = self._connection.execute(
                "SELECT first_row, rows, id FROM documents ORDER BY first_row"
            ).fetchall()
        return found

    def rows_of(self, numbers: Sequence[int]) -> IntArray:
        """Return the rows (n,) of the documents with these numbers, ascending."""
        with self.snapshot():
            ranges = [
                pair
                for chunk in chunks(numbers)
                for pair in self._connection.execute(
                    f"SELECT first_row, rows FROM documents WHERE first_row IN ({marks(chunk)})",
                    chunk,
                )
            ]
        rows = [np.arange(first, first + count, dtype=np.int64) for first, count in ranges]
        return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *rows]))

    def stream(self) -> Iterator[Document]:
        """Yield every document of the last commit, in order, whatever is written meanwhile.

        A connection of its own reads them, by one statement: what a statement sees is one commit,
        and pages of several would miss what moves between them.
        """
        with self.snapshot():  # follows an index that was compacted
            path = self._session.path
        with translated_errors(path), contextlib.closing(connect_read_only(path)) as connection:
            refuse_foreign_schema(connection, path)
            for _, document in self._select("ORDER BY first_row", (), connection=connection):
                yield document

    def documents_between(self, first_row: int, end: int) -> list[Document]:
        """Return the documents whose first row is `first_row` or later and before `end`."""
        where = "WHERE first_row >= ? AND first_row < ? ORDER BY first_row"
        with self.snapshot():
            return [document for _, document in self._select(where, (first_row, end))]

    def checksums_between(self, first_row: int, end: int) -> dict[int, int]:
        """Return the checksums of those documents by first row: another one is another content."""
        query = "SELECT first_row, crc32 FROM documents WHERE first_row >= ? AND first_row < ?"
        with self.snapshot():
            return dict(self._connection.execute(query, (first_row, end)))

    def supplied_ids(self, first_row: int = 0, end: int | None = None) -> list[str]:
        """Return the ids of those of them whose vectors were supplied; without `end`, of all."""
        end = self.settings.number("next_row") if end is None else end
        query = "SELECT id FROM documents WHERE first_row >= ? AND first_row < ? AND supplied = 1"
        with self.snapshot():
            return [found for (found,) in self._connection.execute(query, (first_row, end))]

    def ids(self) -> set[str]:
        """Return the ids of all documents.

        Raises:
            CorruptIndex: they have not as many rows as there should be: some are lost.
        """
        with self.snapshot():
            found = {found for (found,) in self._connection.execute("SELECT id FROM documents")}
            count, rows = self._connection.execute(
                "SELECT count(*), coalesce(sum(rows), 0) FROM documents"
            ).fetchone()
            living = self.settings.number("living_rows")
        if len(found) != count or rows != living:
            raise self._session.damage(
                f"{len(found)} documents have {rows} rows, and {living} are living"
            )
        return found

    def count(self) -> int:
        """Return the number of documents."""
        with self.snapshot():
            (count,) = self._connection.execute("SELECT count(*) FROM documents").fetchone()
            return int(count)

    def _select(
        self,
        condition: str,
        values: Sequence[Any],
        *,
        connection: sqlite3.Connection | None = None,
    ) -> Iterator[tuple[int, Document]]:
        reader = self._connection if connection is None else connection
        for row in reader.execute(f"SELECT * FROM documents {condition}", values):
            number, _, id_, text, title, metadata, *_ = row
            fields = read_metadata(metadata) if sound_document(row) else None
            if fields is None:
                raise self._session.damage(f"the document of row {number} is damaged")
            yield number, Document(id=id_, text=text, title=title, metadata=fields)

    @property
    def _connection(self) -> sqlite3.Connection:
        return self._session.connection
