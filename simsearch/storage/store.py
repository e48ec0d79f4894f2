"""The document store: documents, metadata and vectors in one SQLite file. The truth.

A SQLite commit is the only commit point of an index. Vectors lie in the same file, as checksummed
blocks, so that a document and its vector can never come apart.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import sqlite3
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.conditions import Condition
from simsearch.errors import DuplicateId
from simsearch.failpoints import failpoint
from simsearch.records import Document, Facet
from simsearch.storage.checksums import (
    document_crc32,
    passage_crc32,
    sound_document,
    sound_passage,
)
from simsearch.storage.database import (
    chunks,
    connect,
    connect_read_only,
    create_file,
    marks,
    refuse_foreign_schema,
    translated_errors,
)
from simsearch.storage.facets import count_values
from simsearch.storage.filters import (
    field_names,
    field_types,
    has_field,
    matching_ids,
    matching_rows,
)
from simsearch.storage.lexical import SETTING as LEXICAL_SETTING
from simsearch.storage.lexical import LexicalIndex
from simsearch.storage.rows import (
    Changes,
    PassageRows,
    StoredPassage,
    read_metadata,
    rows_not_in,
)
from simsearch.storage.schema import LEXICAL, SCHEMA
from simsearch.storage.segments import Segments
from simsearch.storage.session import Checkpoint, Durability, Session
from simsearch.storage.settings import sealed, verified_constants
from simsearch.storage.terms import TERMS_VERSION
from simsearch.storage.vector_blocks import VectorBlocks
from simsearch.storage.verified import VerifiedDocuments

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


class DocumentStore:
    """One open store. Safe to share between threads: one of them is inside at a time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        _ = self.dim  # refused now if it is none
        self._blocks = VectorBlocks(session)
        self._documents = VerifiedDocuments(session)
        self.segments = Segments(session)
        self.lexical = LexicalIndex(session)
        # What stands under the checksum, and the state of the database that it was read in.
        self._sealed: dict[str, str] = {}
        self._sealed_state: tuple[tuple[int, ...] | None, str] | None = None

    @staticmethod
    def create(
        directory: Path, *, dim: int, settings: Mapping[str, str], commit_number: int = 0
    ) -> None:
        """Write an empty store into `directory`.

        `settings` never change, but for `finished`. `commit_number` is that of the store whose
        place this one is to take.
        """
        path = directory / "meta.db"
        with translated_errors(path):
            failpoint("create.file")
            create_file(path)
            connection = connect(path)
            try:
                failpoint("create.schema")
                connection.executescript(f"{SCHEMA};{LEXICAL}")
                given = {**settings, "dim": str(dim)}
                given.setdefault("index_id", secrets.token_hex(16))
                given |= {
                    "commit_number": str(commit_number),
                    "next_row": "0",
                    "living_rows": "0",
                    LEXICAL_SETTING: TERMS_VERSION,
                }
                failpoint("create.settings")
                connection.executemany("INSERT INTO meta VALUES (?, ?)", sealed(given).items())
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()

    @classmethod
    def open(
        cls, directory: Path, *, durability: Durability | str = Durability.FULL
    ) -> DocumentStore:
        """Open the store in `directory`, to be read only where it cannot be written to.

        Raises:
            CorruptIndex: the file is missing, is not a store of ours, or has lost commits.
            SystemFailure: the operating system refuses.
        """
        session = Session(directory, Durability(durability))
        try:
            return cls(session)
        except BaseException:
            session.close()
            raise

    def close(self) -> None:
        """Close the store; a second call does nothing."""
        self._session.close()

    @property
    def directory(self) -> Path:
        """The index that it is the store of."""
        return self._session.directory

    @property
    def dim(self) -> int:
        """Width of the vectors, of the generation that was read last."""
        return self._session.dim

    @property
    def identity(self) -> tuple[int, ...] | None:
        """What tells the database from one that took its place; row numbers hold within it."""
        return self._session.identity

    def snapshot(self) -> contextlib.AbstractContextManager[None]:
        """Let everything read inside the block belong to one commit."""
        return self._session.snapshot()

    def transaction(self, *, durable: bool = False) -> contextlib.AbstractContextManager[None]:
        """Make what is written inside the block visible at its end, whole; or not at all.

        Holds the writer lock meanwhile. `durable`: also in a store of durability `batch` this
        commit and all before it survive a power loss.
        """
        return self._session.transaction(durable=durable)

    def checkpoint(self) -> Checkpoint:
        """Move SQLite's log into the database, and say how far that went."""
        return self._session.checkpoint()

    def insert(self, documents: Sequence[Document], rows: PassageRows) -> None:
        """Add documents with their vectors; inside a transaction.

        Raises:
            DuplicateId: an id is in the store already.
        """
        self._renew_lexical()
        first = int(self.read_setting("next_row"))
        counts = [len(ranges) for ranges in rows.ranges]
        numbers = list(itertools.accumulate(counts, initial=first))
        supplied = int(rows.hashes is None)
        fields = (
            (number, count, each.id, each.text, each.title, _dump(each.metadata), supplied)
            for number, count, each in zip(numbers, counts, documents, strict=False)
        )
        failpoint("insert.documents")
        try:
            self._connection.executemany(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                ((*row, document_crc32(*row)) for row in fields),
            )
        except sqlite3.IntegrityError as error:
            raise DuplicateId(f"a document id is in the index already: {error}") from error
        places: Iterator[tuple[int, int, int]] = (
            (number, start, stop)
            for number, ranges in zip(numbers, rows.ranges, strict=False)
            for start, stop in ranges
        )
        hashes = itertools.repeat(None) if rows.hashes is None else rows.hashes
        passages = (
            (row, *place, hashed)
            for row, place, hashed in zip(itertools.count(first), places, hashes, strict=False)
        )
        failpoint("insert.passages")
        self._connection.executemany(
            "INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?)",
            ((*row, passage_crc32(*row)) for row in passages),
        )
        self._blocks.append(first, rows.vectors)
        self.lexical.add(zip(numbers, documents, strict=False))
        failpoint("insert.watermark")
        self.write_setting("next_row", str(numbers[-1]))
        self._count_living(numbers[-1] - first)

    def remove(self, ids: Iterable[str]) -> int:
        """Delete the documents with these ids and return how many there were; in a transaction.

        Raises:
            CorruptIndex: one of them is damaged, so that its words cannot be taken out of the
                lexical index.
        """
        self._renew_lexical()
        commit_number = int(self.read_setting("commit_number")) + 1
        removed = dead = 0
        for chunk in chunks(list(dict.fromkeys(ids))):
            failpoint("remove.tombstones")
            given = f"id IN ({marks(chunk)})"
            self.lexical.remove(self._select(f"WHERE {given}", chunk))
            rows = (
                "SELECT row FROM documents JOIN passages "
                f"ON row >= first_row AND row < first_row + rows WHERE {given}"
            )
            self._connection.execute(
                f"INSERT INTO tombstones SELECT row, ? FROM ({rows})", (commit_number, *chunk)
            )
            failpoint("remove.passages")
            cursor = self._connection.execute(f"DELETE FROM passages WHERE row IN ({rows})", chunk)
            dead += cursor.rowcount
            failpoint("remove.documents")
            cursor = self._connection.execute(f"DELETE FROM documents WHERE {given}", chunk)
            removed += cursor.rowcount
        self._count_living(-dead)
        return removed

    def update_metadata(self, documents: Sequence[Document]) -> None:
        """Give documents that are in the store the metadata of these; inside a transaction.

        Their rows keep their numbers, and vectors are not touched.

        Raises:
            CorruptIndex: one is damaged.
        """
        for document in documents:
            failpoint("update.metadata")
            (row,) = self._connection.execute(
                "SELECT * FROM documents WHERE id = ?", (document.id,)
            ).fetchall()
            if not sound_document(row):  # or its new checksum would hide the damage
                raise self._session.damage(f"the document of row {row[0]} is damaged")
            first_row, rows, id_, text, title, _, supplied, _ = row
            fields = (first_row, rows, id_, text, title, _dump(document.metadata), supplied)
            self._connection.execute(
                "UPDATE documents SET metadata = ?, crc32 = ? WHERE first_row = ?",
                (fields[5], document_crc32(*fields), first_row),
            )

    def _renew_lexical(self) -> None:
        """Before a write: let the lexical index be of the terms that texts become now."""
        if not self.lexical.is_current():
            self.lexical.rebuild(self._select("ORDER BY first_row", ()))

    def _count_living(self, more: int) -> None:
        self._connection.execute(
            "UPDATE meta SET value = value + ? WHERE key = 'living_rows'", (more,)
        )

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
        return Changes(latest, rows_not_in(rows, removed), removed[removed < next_row])

    def contents(self, covered: Sequence[tuple[int, int]]) -> Changes:
        """Return all living rows outside of the ranges `covered`, and every deleted row.

        The ranges, from a first row to an end, ascend and do not overlap. Call it inside a
        snapshot.

        Raises:
            CorruptIndex: a vector block is missing.
        """
        removed = np.array(
            [row for (row,) in self._connection.execute("SELECT row FROM tombstones")],
            dtype=np.int64,
        )
        end = int(self.read_setting("next_row"))
        starts = [0, *(stop for _, stop in covered)]
        ends = [*(start for start, _ in covered), end]
        rows = np.concatenate(
            [
                self._blocks.rows_between(start, stop)
                for start, stop in zip(starts, ends, strict=True)
            ]
        )
        latest = int(self.read_setting("commit_number"))
        return Changes(latest, rows_not_in(rows, removed), removed)

    def living_rows(self, first_row: int, end_row: int) -> IntArray:
        """Return the rows (n,) of this range that live, ascending."""
        with self.snapshot():
            found = self._connection.execute(
                "SELECT row FROM passages WHERE row >= ? AND row < ? ORDER BY row",
                (first_row, end_row),
            )
            return np.fromiter((row for (row,) in found), dtype=np.int64)

    def count_rows(self, first_row: int, end_row: int) -> int:
        """Return how many rows of this range live."""
        with self.snapshot():
            (count,) = self._connection.execute(
                "SELECT count(*) FROM passages WHERE row >= ? AND row < ?", (first_row, end_row)
            ).fetchone()
            return int(count)

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
        self._refuse_lost(numbers, found)
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

    def passages_at(self, rows: Sequence[int]) -> dict[int, StoredPassage]:
        """Return the passages that these rows are the vectors of.

        Raises:
            CorruptIndex: one is not there.
        """
        with self.snapshot():
            found = {
                row: StoredPassage(document, start, stop)
                for row, document, start, stop, _ in self._passages_of(rows)
            }
        self._refuse_lost(rows, found)
        return found

    def _passages_of(self, rows: Sequence[int]) -> Iterator[tuple[int, int, int, int, bytes]]:
        for chunk in chunks(rows):
            for row in self._connection.execute(
                f"SELECT * FROM passages WHERE row IN ({marks(chunk)})", chunk
            ):
                if not sound_passage(row):
                    raise self._session.damage(f"the passage of row {row[0]} is damaged")
                yield row[:-1]

    def _refuse_lost(self, rows: Sequence[int], found: Container[int]) -> None:
        for row in rows:
            if row not in found:
                raise self._session.damage(f"row {row} has a vector but no document")

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
            # A damaged index of SQLite's must not lead to another text's vector.
            for row, *_, hashed in self._passages_of(list(rows.values())):
                if rows.get(hashed) != row:
                    raise self._session.damage(f"the passage of row {row} is found by a wrong text")
            vectors = self._blocks.read_rows(list(rows.values()))
        return dict(zip(rows, vectors, strict=True))

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
        end = int(self.read_setting("next_row")) if end is None else end
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
            living = int(self.read_setting("living_rows"))
        if len(found) != count or rows != living:
            raise self._session.damage(
                f"{len(found)} documents have {rows} rows, and {living} are living"
            )
        return found

    def matching_rows(self, condition: Condition) -> IntArray:
        """Return the rows (n,) of the documents of which the condition is true, ascending.

        Raises:
            InvalidInput: it took too long.
            CorruptIndex: a document is damaged, whether or not it would be among them.
        """
        with self._verified():
            return matching_rows(self._connection, condition)

    def matching_ids(self, condition: Condition) -> list[str]:
        """Return the ids of the documents of which the condition is true; errors as above."""
        with self._verified():
            return matching_ids(self._connection, condition)

    def has_field(self, name: str) -> bool:
        """Whether a document has a metadata field of this name."""
        with self._verified():
            return has_field(self._connection, name)

    def field_names(self) -> list[str]:
        """Return the names of all metadata fields; this reads every document."""
        with self._verified():
            return field_names(self._connection)

    def field_types(self, name: str) -> set[str]:
        """Return the JSON types that a metadata field has; this reads every document."""
        with self._verified():
            return field_types(self._connection, name)

    def count_values(self, name: str, k: int, condition: Condition | None) -> Facet:
        """Return the `k` most frequent values of a metadata field; errors as `matching_rows`."""
        with self._verified():
            return count_values(self._connection, name, k, condition)

    @contextlib.contextmanager
    def _verified(self) -> Iterator[None]:
        """Be inside a snapshot of which every document is sound."""
        with self.snapshot():
            self._documents.refuse_damage()
            yield

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

    @property
    def constants(self) -> Mapping[str, str]:
        """The settings that never change within a generation, of the one that was read last."""
        return self._session.constants

    def read_setting(self, key: str) -> str:
        """Return a setting as it is now.

        Raises:
            CorruptIndex: there is none of that name.
        """
        found = self.find_setting(key)
        if found is None:
            raise self._session.damage(f"the setting {key!r} is lost")
        return found

    def find_setting(self, key: str) -> str | None:
        """Return a setting as it is now, None if there is none of that name."""
        with self._session.reading():
            found = self._connection.execute(
                "SELECT value FROM meta WHERE key = ?", (key,)
            ).fetchone()
        return None if found is None else str(found[0])

    def find_constant(self, key: str) -> str | None:
        """Return, as it is now, a setting that stands under the checksum; None without it.

        Raises:
            CorruptIndex: the settings are not those that were sealed.
        """
        with self.snapshot():
            state = self.identity, self.read_setting("commit_number")
            if self._session.writing or state != self._sealed_state:
                settings = dict(self._connection.execute("SELECT key, value FROM meta"))
                self._sealed = verified_constants(settings, self._session.path)
                # What this transaction has read may be rolled back.
                self._sealed_state = None if self._session.writing else state
            return self._sealed.get(key)

    def write_setting(self, key: str, value: str) -> None:
        """Set a setting; inside a transaction."""
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def write_constant(self, key: str, value: str) -> None:
        """Set a setting that stands under the checksum; inside a transaction.

        A handle that is open goes on with its `constants`; `find_constant` reads what is new.
        """
        settings = dict(self._connection.execute("SELECT key, value FROM meta"))
        for name, its in sealed({**settings, key: value}).items():
            if settings.get(name) != its:
                self.write_setting(name, its)

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


def _dump(metadata: Mapping[str, Any]) -> str:
    return json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False)
