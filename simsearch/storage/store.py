"""The document store: documents, metadata and vectors in one SQLite file. The truth.

A SQLite commit is the only commit point of an index. Vectors lie in the same file, as checksummed
blocks, so that a document and its vector can never come apart.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
import threading
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.conditions import Condition
from simsearch.errors import CorruptIndex, DuplicateId, SystemFailure
from simsearch.records import Document
from simsearch.storage.database import (
    chunks,
    connect,
    database_path,
    file_identity,
    marks,
    translated_errors,
)
from simsearch.storage.filters import (
    field_names,
    field_types,
    has_field,
    matching_ids,
    matching_rows,
)
from simsearch.storage.locks import writer_lock
from simsearch.storage.schema import SCHEMA
from simsearch.storage.vector_blocks import VectorBlocks

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Ranges = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Changes:
    """What was committed since a given commit: rows to add, in ascending order, and to remove."""

    commit_number: int
    rows: IntArray
    removed: IntArray


@dataclass(frozen=True, slots=True)
class PassageRows:
    """The vector rows of documents, one for each passage.

    `ranges` are the half-open character ranges of each document's passages, `vectors` (n, dim)
    those of all of them in that order, `hashes` (`text_hash`) of what was encoded; None for
    vectors that were supplied.
    """

    ranges: Sequence[Ranges]
    vectors: FloatArray
    hashes: Sequence[bytes] | None


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """What a row is the vector of: a half-open character range in the text of a document."""

    document: int
    start: int
    stop: int


class DocumentStore:
    """One open store. Safe to share between threads: one of them is inside at a time."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, settings: dict[str, str]
    ) -> None:
        self._connection = connection
        self._path = path
        self._settings = settings
        self._mutex = threading.RLock()
        self._identity = file_identity(path)
        self.dim = int(settings["dim"])
        self._blocks = VectorBlocks(connection, path, self.dim)

    @staticmethod
    def create(directory: Path, *, dim: int, settings: Mapping[str, str]) -> None:
        """Write an empty store into `directory`."""
        path = directory / "meta.db"
        with translated_errors(path):
            connection = connect(path)
            try:
                connection.executescript(SCHEMA)
                given = {**settings, "dim": str(dim), "next_row": "0", "commit_number": "0"}
                connection.executemany("INSERT INTO meta VALUES (?, ?)", given.items())
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()

    @classmethod
    def open(cls, directory: Path) -> DocumentStore:
        """Open the store in `directory`.

        Raises:
            CorruptIndex: the file is missing, or is not a store of ours.
            SystemFailure: the operating system refuses.
        """
        path = database_path(directory)
        with translated_errors(path):
            connection = connect(path)
            try:
                settings = dict(connection.execute("SELECT key, value FROM meta"))
                return cls(connection, path, settings)
            except (KeyError, ValueError) as error:
                connection.close()
                raise CorruptIndex(f"{path} lacks a setting: {error}") from error
            except sqlite3.Error:
                connection.close()
                raise

    def close(self) -> None:
        """Close the store; a second call does nothing."""
        with self._mutex:
            self._connection.close()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let everything read inside the block belong to one commit."""
        with self._mutex, translated_errors(self._path):
            if self._connection.in_transaction:
                yield
                return
            self._refuse_if_replaced()
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what is written inside the block visible at its end, whole; or not at all.

        Holds the writer lock meanwhile.
        """
        # The lock first: while it is waited for, other threads may still read.
        with (
            writer_lock(self._path.with_name("LOCK")),
            self._mutex,
            translated_errors(self._path),
        ):
            self._refuse_if_replaced()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute(
                    "UPDATE meta SET value = value + 1 WHERE key = 'commit_number'"
                )
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _refuse_if_replaced(self) -> None:
        """A write to a file that has no name any more would be acknowledged and lost."""
        if file_identity(self._path) != self._identity:
            raise SystemFailure(
                f"{self._path.parent} was replaced or deleted since it was opened (open it again)"
            )

    def insert(self, documents: Sequence[Document], rows: PassageRows) -> None:
        """Add documents with their vectors; inside a transaction.

        Raises:
            DuplicateId: an id is in the store already.
        """
        first = int(self.read_setting("next_row"))
        counts = [len(ranges) for ranges in rows.ranges]
        numbers = list(itertools.accumulate(counts, initial=first))
        supplied = rows.hashes is None
        try:
            self._connection.executemany(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    (number, count, each.id, each.text, each.title, _dump(each.metadata), supplied)
                    for number, count, each in zip(numbers, counts, documents, strict=False)
                ),
            )
        except sqlite3.IntegrityError as error:
            raise DuplicateId(f"a document id is in the index already: {error}") from error
        places = (
            (number, start, stop)
            for number, ranges in zip(numbers, rows.ranges, strict=False)
            for start, stop in ranges
        )
        hashes = itertools.repeat(None) if rows.hashes is None else rows.hashes
        self._connection.executemany(
            "INSERT INTO passages VALUES (?, ?, ?, ?, ?)",
            (
                (row, *place, hashed)
                for row, place, hashed in zip(itertools.count(first), places, hashes, strict=False)
            ),
        )
        self._blocks.append(first, rows.vectors)
        self.write_setting("next_row", str(numbers[-1]))

    def remove(self, ids: Iterable[str]) -> int:
        """Delete the documents with these ids and return how many there were; in a transaction."""
        commit_number = int(self.read_setting("commit_number")) + 1
        removed = 0
        for chunk in chunks(list(dict.fromkeys(ids))):
            given = f"id IN ({marks(chunk)})"
            rows = (
                "SELECT row FROM documents JOIN passages "
                f"ON row >= first_row AND row < first_row + rows WHERE {given}"
            )
            self._connection.execute(
                f"INSERT INTO tombstones SELECT row, ? FROM ({rows})", (commit_number, *chunk)
            )
            self._connection.execute(f"DELETE FROM passages WHERE row IN ({rows})", chunk)
            cursor = self._connection.execute(f"DELETE FROM documents WHERE {given}", chunk)
            removed += cursor.rowcount
        return removed

    def changes_since(self, commit_number: int, *, next_row: int) -> Changes | None:
        """Return what was committed after `commit_number`; None if nothing was.

        `next_row` is the first row number that the caller has not seen. Call it inside a snapshot.

        Raises:
            CorruptIndex: a vector block is missing.
        """
        latest = int(self.read_setting("commit_number"))
        if latest == commit_number:
            return None
        removed = np.array(
            [
                row
                for (row,) in self._connection.execute(
                    "SELECT row FROM tombstones WHERE commit_number > ?", (commit_number,)
                )
            ],
            dtype=np.int64,
        )
        end = int(self.read_setting("next_row"))
        rows = self._blocks.rows_between(next_row, end)
        return Changes(latest, rows[~np.isin(rows, removed)], removed[removed < next_row])

    def read_vectors(self, rows: IntArray, target: FloatArray) -> None:
        """Write the vectors of rows (n,), in ascending order, into `target` (n, dim).

        Call it inside a snapshot.

        Raises:
            CorruptIndex: a vector block is missing, or fails its checksum.
        """
        self._blocks.read_into(rows, target)

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
            return {
                document.id: document
                for chunk in chunks(ids)
                for _, document in self._select(f"WHERE id IN ({marks(chunk)})", chunk)
            }

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
        self._refuse_lost(numbers, found)
        return found

    def passages_at(self, rows: Sequence[int]) -> dict[int, StoredPassage]:
        """Return the passages that these rows are the vectors of.

        Raises:
            CorruptIndex: one is not there.
        """
        with self.snapshot():
            found = {
                row: StoredPassage(document, start, stop)
                for chunk in chunks(rows)
                for row, document, start, stop in self._connection.execute(
                    "SELECT row, document, start, stop FROM passages "
                    f"WHERE row IN ({marks(chunk)})",
                    chunk,
                )
            }
        self._refuse_lost(rows, found)
        return found

    def _refuse_lost(self, rows: Sequence[int], found: Container[int]) -> None:
        for row in rows:
            if row not in found:
                raise CorruptIndex(f"{self._path}: row {row} has a vector but no document")

    def vectors_of_texts(self, hashes: Sequence[bytes]) -> dict[bytes, FloatArray]:
        """Return the vectors (dim,) of the texts with these hashes that were encoded before.

        Only of passages that are in the store now; other texts are absent.

        Raises:
            CorruptIndex: a vector block is missing, or fails its checksum.
        """
        with self.snapshot():
            rows: dict[bytes, int] = {}
            for chunk in chunks(hashes):
                rows.update(
                    self._connection.execute(
                        "SELECT text_hash, max(row) FROM passages "
                        f"WHERE text_hash IN ({marks(chunk)}) GROUP BY text_hash",
                        chunk,
                    )
                )
            vectors = self._blocks.read_rows(list(rows.values()))
        return dict(zip(rows, vectors, strict=True))

    def documents_after(self, number: int, limit: int) -> list[tuple[int, Document]]:
        """Return up to `limit` documents with a number above `number`, in order."""
        with self.snapshot():
            return list(
                self._select("WHERE first_row > ? ORDER BY first_row LIMIT ?", (number, limit))
            )

    def matching_rows(self, condition: Condition) -> IntArray:
        """Return the rows (n,) of the documents of which the condition is true, ascending.

        Raises:
            InvalidInput: it took too long.
        """
        with self.snapshot():
            return matching_rows(self._connection, condition)

    def matching_ids(self, condition: Condition) -> list[str]:
        """Return the ids of the documents of which the condition is true; errors as above."""
        with self.snapshot():
            return matching_ids(self._connection, condition)

    def has_field(self, name: str) -> bool:
        """Whether a document has a metadata field of this name."""
        with self.snapshot():
            return has_field(self._connection, name)

    def field_names(self) -> list[str]:
        """Return the names of all metadata fields; this reads every document."""
        with self.snapshot():
            return field_names(self._connection)

    def field_types(self, name: str) -> set[str]:
        """Return the JSON types that a metadata field has; this reads every document."""
        with self.snapshot():
            return field_types(self._connection, name)

    def count(self) -> int:
        """Return the number of documents."""
        return self._count("documents")

    def count_passages(self) -> int:
        """Return the number of passages, which is that of living vector rows."""
        return self._count("passages")

    def _count(self, table: str) -> int:
        with self.snapshot():
            (count,) = self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            return int(count)

    def constant(self, key: str) -> str:
        """Return a setting that never changes, as it was read when the store was opened.

        Raises:
            CorruptIndex: there is none of that name.
        """
        if key not in self._settings:
            raise CorruptIndex(f"{self._path} lacks the setting {key!r}")
        return self._settings[key]

    def read_setting(self, key: str) -> str:
        """Return a setting as it is now.

        Raises:
            CorruptIndex: there is none of that name.
        """
        with self._mutex, translated_errors(self._path):
            found = self._connection.execute(
                "SELECT value FROM meta WHERE key = ?", (key,)
            ).fetchone()
        if found is None:
            raise CorruptIndex(f"{self._path} lacks the setting {key!r}")
        return str(found[0])

    def write_setting(self, key: str, value: str) -> None:
        """Set a setting; inside a transaction."""
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _select(self, condition: str, values: Sequence[Any]) -> Iterator[tuple[int, Document]]:
        for number, id_, text, title, metadata in self._connection.execute(
            f"SELECT first_row, id, text, title, metadata FROM documents {condition}", values
        ):
            yield number, Document(id=id_, text=text, title=title, metadata=json.loads(metadata))


def _dump(metadata: Mapping[str, Any]) -> str:
    return json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False)
