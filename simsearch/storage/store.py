"""The document store: documents, metadata and vectors in one SQLite file. The truth.

A SQLite commit is the only commit point of an index. Vectors lie in the same file, as checksummed
blocks, so that a document and its vector can never come apart.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.errors import CorruptIndex, DuplicateId, InvalidInput, SystemFailure
from simsearch.records import Document
from simsearch.storage.locks import writer_lock

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

# Row numbers are given out once and never again: `next_row` in meta only grows.
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE documents (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL,
    title TEXT,
    metadata TEXT NOT NULL,
    supplied INTEGER NOT NULL
) STRICT;
CREATE TABLE vector_blocks (
    first_row INTEGER PRIMARY KEY,
    rows INTEGER NOT NULL,
    crc32 INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE TABLE tombstones (row INTEGER PRIMARY KEY, commit_number INTEGER NOT NULL) STRICT;
CREATE INDEX tombstones_by_commit ON tombstones (commit_number);
"""

# SQLite limits the variables of one statement; 500 stays below every build we support.
_VARIABLES = 500
# Rows of one vector block: 1.5 MiB at dim 384.
_BLOCK_ROWS = 1024
_VECTOR_TYPE = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class Changes:
    """What was committed since a given commit: rows to add with their vectors, rows to remove."""

    commit_number: int
    rows: IntArray
    vectors: FloatArray
    removed: IntArray


class DocumentStore:
    """One open store. Safe to share between threads: one of them is inside at a time."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, settings: dict[str, str]
    ) -> None:
        self._connection = connection
        self._path = path
        self._settings = settings
        self._mutex = threading.RLock()
        self._identity = _identity(path)
        self.dim = int(settings["dim"])

    @staticmethod
    def create(directory: Path, *, dim: int, settings: Mapping[str, str]) -> None:
        """Write an empty store into `directory`."""
        path = directory / "meta.db"
        with _translated_errors(path):
            connection = _connect(path)
            try:
                connection.executescript(_SCHEMA)
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
        path = directory / "meta.db"
        if path.is_symlink() or not path.is_file():
            raise CorruptIndex(f"{path} is missing: this index has lost its documents")
        with _translated_errors(path):
            connection = _connect(path)
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
        with self._mutex, _translated_errors(self._path):
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
            _translated_errors(self._path),
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
        if _identity(self._path) != self._identity:
            raise SystemFailure(
                f"{self._path.parent} was replaced or deleted since it was opened (open it again)"
            )

    def insert(self, documents: Sequence[Document], vectors: FloatArray, *, supplied: bool) -> None:
        """Add documents with their vectors (n, dim); inside a transaction.

        Raises:
            DuplicateId: an id is in the store already.
        """
        first = int(self.read_setting("next_row"))
        rows = (
            (row, document.id, document.text, document.title, _dump(document.metadata), supplied)
            for row, document in enumerate(documents, start=first)
        )
        try:
            self._connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)", rows)
        except sqlite3.IntegrityError as error:
            raise DuplicateId(f"a document id is in the index already: {error}") from error
        for start in range(0, len(documents), _BLOCK_ROWS):
            block = np.ascontiguousarray(vectors[start : start + _BLOCK_ROWS], dtype=_VECTOR_TYPE)
            data = block.tobytes()
            self._connection.execute(
                "INSERT INTO vector_blocks VALUES (?, ?, ?, ?)",
                (first + start, len(block), zlib.crc32(data), data),
            )
        self.write_setting("next_row", str(first + len(documents)))

    def remove(self, ids: Iterable[str]) -> int:
        """Delete the documents with these ids and return how many there were; in a transaction."""
        commit_number = int(self.read_setting("commit_number")) + 1
        removed = 0
        for chunk in _chunks(list(dict.fromkeys(ids))):
            marks = _marks(chunk)
            self._connection.execute(
                f"INSERT INTO tombstones SELECT row, ? FROM documents WHERE id IN ({marks})",
                (commit_number, *chunk),
            )
            cursor = self._connection.execute(f"DELETE FROM documents WHERE id IN ({marks})", chunk)
            removed += cursor.rowcount
        return removed

    def changes_since(self, commit_number: int, *, next_row: int) -> Changes | None:
        """Return what was committed after `commit_number`; None if nothing was.

        `next_row` is the first row number that the caller has not seen. Call it inside a snapshot.

        Raises:
            CorruptIndex: a vector block fails its checksum.
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
        rows, vectors = self._vectors_from(next_row)
        alive = ~np.isin(rows, removed)
        if not alive.all():
            rows, vectors = rows[alive], vectors[alive]
        return Changes(latest, rows, vectors, removed[removed < next_row])

    def _vectors_from(self, first_row: int) -> tuple[IntArray, FloatArray]:
        """Return the rows from `first_row` on that lie in a block with a living document."""
        blocks = self._living_blocks(first_row)
        count = sum(rows for _, rows in blocks)
        row_ids = np.empty(count, dtype=np.int64)
        vectors = np.empty((count, self.dim), dtype=np.float32)
        done = 0
        for first, rows in blocks:
            row_ids[done : done + rows] = np.arange(first, first + rows)
            vectors[done : done + rows] = self._read_block(first, rows)
            done += rows
        return row_ids, vectors

    def _living_blocks(self, first_row: int) -> list[tuple[int, int]]:
        expected, living = first_row, []
        for first, rows, alive in self._connection.execute(
            "SELECT first_row, rows, EXISTS (SELECT 1 FROM documents "
            "WHERE row >= first_row AND row < first_row + rows) "
            "FROM vector_blocks WHERE first_row >= ? ORDER BY first_row",
            (first_row,),
        ):
            if first != expected or rows < 1:
                break
            expected = first + rows
            if alive:
                living.append((first, rows))
        end = int(self.read_setting("next_row"))
        if expected != end:
            raise CorruptIndex(
                f"{self._path}: the vectors of rows {expected} to {end - 1} are lost"
            )
        return living

    def _read_block(self, first: int, rows: int) -> FloatArray:
        checksum, data = self._connection.execute(
            "SELECT crc32, data FROM vector_blocks WHERE first_row = ?", (first,)
        ).fetchone()
        whole = len(data) == rows * self.dim * _VECTOR_TYPE.itemsize
        if not whole or zlib.crc32(data) != checksum:
            raise CorruptIndex(
                f"{self._path}: the vectors of rows {first} to {first + rows - 1} are damaged "
                "(restore a backup, or index the corpus again)"
            )
        return np.frombuffer(data, dtype=_VECTOR_TYPE).reshape(rows, self.dim)

    def known_ids(self, ids: Sequence[str]) -> set[str]:
        """Return those of `ids` that are in the store."""
        with self.snapshot():
            return {
                found
                for chunk in _chunks(ids)
                for (found,) in self._connection.execute(
                    f"SELECT id FROM documents WHERE id IN ({_marks(chunk)})", chunk
                )
            }

    def fetch_ids(self, ids: Sequence[str]) -> dict[str, Document]:
        """Return the documents with these ids; unknown ids are absent."""
        with self.snapshot():
            return {
                document.id: document
                for chunk in _chunks(ids)
                for _, document in self._select(f"WHERE id IN ({_marks(chunk)})", chunk)
            }

    def fetch_rows(self, rows: Sequence[int]) -> dict[int, Document]:
        """Return the documents at these row numbers; deleted ones are absent."""
        with self.snapshot():
            return {
                row: document
                for chunk in _chunks(rows)
                for row, document in self._select(f"WHERE row IN ({_marks(chunk)})", chunk)
            }

    def documents_after(self, row: int, limit: int) -> list[tuple[int, Document]]:
        """Return up to `limit` documents with a row number above `row`, in order."""
        with self.snapshot():
            return list(self._select("WHERE row > ? ORDER BY row LIMIT ?", (row, limit)))

    def count(self) -> int:
        """Return the number of documents."""
        with self.snapshot():
            (count,) = self._connection.execute("SELECT count(*) FROM documents").fetchone()
            return int(count)

    def read_setting(self, key: str) -> str:
        """Return a setting as it is now.

        Raises:
            CorruptIndex: there is none of that name.
        """
        with self._mutex, _translated_errors(self._path):
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
        for row, id_, text, title, metadata in self._connection.execute(
            f"SELECT row, id, text, title, metadata FROM documents {condition}", values
        ):
            yield row, Document(id=id_, text=text, title=title, metadata=json.loads(metadata))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _connect(path: Path) -> sqlite3.Connection:
    # The mutex of the store, not the driver, keeps threads apart.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        for pragma, expected in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
            name = pragma.partition("=")[0]
            (value,) = connection.execute(f"PRAGMA {name}").fetchone()
            if value != expected:
                raise SystemFailure(f"{path}: SQLite did not accept {pragma} (got {value!r})")
    except BaseException:
        connection.close()
        raise
    return connection


_PRAGMAS: tuple[tuple[str, Any], ...] = (
    ("busy_timeout=5000", 5000),
    ("journal_mode=WAL", "wal"),
    ("synchronous=FULL", 2),
    ("foreign_keys=ON", 1),
    ("trusted_schema=OFF", 0),
    ("cell_size_check=ON", 1),
)


@contextlib.contextmanager
def _translated_errors(path: Path) -> Iterator[None]:
    """The one place where SQLite's exceptions become ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise CorruptIndex(f"{path} is damaged or not a store of simsearch: {error}") from error
        raise SystemFailure(f"{path}: {error}") from error
    except sqlite3.ProgrammingError as error:
        if "closed" not in str(error):
            raise
        raise InvalidInput(f"the index {path.parent} is closed") from error
    except sqlite3.DatabaseError as error:
        raise CorruptIndex(f"{path} is damaged or not a store of simsearch: {error}") from error


def _dump(metadata: Mapping[str, Any]) -> str:
    return json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False)


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (values[start : start + _VARIABLES] for start in range(0, len(values), _VARIABLES))


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))
