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
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.errors import DuplicateId
from simsearch.failpoints import failpoint
from simsearch.records import Document
from simsearch.storage.checksums import document_crc32, sound_document
from simsearch.storage.database import chunks, connect, create_file, marks, translated_errors
from simsearch.storage.documents import StoredDocuments
from simsearch.storage.judgements import COUNT as JUDGEMENT_COUNT
from simsearch.storage.judgements import Judgements
from simsearch.storage.lexical import SETTING as LEXICAL_SETTING
from simsearch.storage.lexical import LexicalIndex
from simsearch.storage.metadata import Metadata
from simsearch.storage.passages import Passages
from simsearch.storage.rows import Changes, PassageRows, rows_not_in
from simsearch.storage.schema import LEXICAL, SCHEMA
from simsearch.storage.seal import sealed
from simsearch.storage.segments import Segments
from simsearch.storage.session import Checkpoint, Durability, Session
from simsearch.storage.terms import TERMS_VERSION
from simsearch.storage.vector_blocks import VectorBlocks

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


class DocumentStore(StoredDocuments):
    """One open store. Safe to share between threads: one of them is inside at a time."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        _ = self.dim  # refused now if it is none
        self._blocks = VectorBlocks(session)
        self.passages = Passages(session)
        self.metadata = Metadata(session)
        self.segments = Segments(session)
        self.lexical = LexicalIndex(session)
        self.judgements = Judgements(session)

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
                    JUDGEMENT_COUNT: "0",
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

    def close(self, *, given_up: bool = False) -> None:
        """Close the store; a second call does nothing. `given_up`: nobody will read it again."""
        self._session.close(given_up=given_up)

    def refuse_read_only(self) -> None:
        """Refuse, before any work, to write to a store that cannot be written to.

        Raises:
            InvalidInput: it is that of a backup.
            SystemFailure: this process may not.
        """
        self._session.refuse_read_only()

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
        first = self.settings.number("next_row")
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
        self.passages.add(first, numbers, rows)
        self._blocks.append(first, rows.vectors)
        self.lexical.add(zip(numbers, documents, strict=False))
        failpoint("insert.watermark")
        self.settings.write("next_row", str(numbers[-1]))
        self._count_living(numbers[-1] - first)

    def remove(self, ids: Iterable[str]) -> int:
        """Delete the documents with these ids and return how many there were; in a transaction.

        Raises:
            CorruptIndex: one of them is damaged, so that its words cannot be taken out of the
                lexical index.
        """
        self._renew_lexical()
        commit_number = self.settings.number("commit_number") + 1
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

    def update_metadata(self, documents: Sequence[Document]) -> int:
        """Give documents that are in the store the metadata of these; inside a transaction.

        Their rows keep their numbers, and vectors are not touched. Returns how many those are.

        Raises:
            CorruptIndex: one is damaged.
        """
        kept = 0
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
            kept += rows
        return kept

    def _renew_lexical(self) -> None:
        """Before a write: let the lexical index be of the terms that texts become now."""
        if not self.lexical.is_current():
            self.lexical.rebuild(self._select("ORDER BY first_row", ()))

    def _count_living(self, more: int) -> None:
        self.settings.write("living_rows", str(self.settings.number("living_rows") + more))

    def changes_since(self, commit_number: int, *, next_row: int) -> Changes | None:
        """Return what was committed after `commit_number`; None if nothing was.

        `next_row` is the first row number that the caller has not seen. Call it inside a snapshot.

        Raises:
            CorruptIndex: a vector block is missing, or a row is both deleted and living.
        """
        latest = self.settings.number("commit_number")
        if latest == commit_number:
            return None
        removed = self._removed_after(commit_number)
        end = self.settings.number("next_row")
        rows = self._blocks.rows_between(next_row, end)
        return Changes(latest, rows_not_in(rows, removed), removed[removed < next_row])

    def contents(self, covered: Sequence[tuple[int, int]]) -> Changes:
        """Return all living rows outside of the ranges `covered`, and every deleted row.

        The ranges, from a first row to an end, ascend and do not overlap. Call it inside a
        snapshot.

        Raises:
            CorruptIndex: as `changes_since`.
        """
        removed = self._removed_after(-1)
        end = self.settings.number("next_row")
        starts = [0, *(stop for _, stop in covered)]
        ends = [*(start for start, _ in covered), end]
        rows = np.concatenate(
            [
                self._blocks.rows_between(start, stop)
                for start, stop in zip(starts, ends, strict=True)
            ]
        )
        latest = self.settings.number("commit_number")
        return Changes(latest, rows_not_in(rows, removed), removed)

    def _removed_after(self, commit_number: int) -> IntArray:
        """Return the rows that were deleted after a commit, none of which may have a passage.

        Tombstones have no checksum: one bit more or less, and a living row would be left out.
        """
        rows, living = list[int](), list[int]()
        for row, passage in self._connection.execute(
            "SELECT tombstones.row, passages.row FROM tombstones "
            "LEFT JOIN passages ON passages.row = tombstones.row WHERE commit_number > ?",
            (commit_number,),
        ):
            rows.append(row)
            if passage is not None:
                living.append(row)
        if living:
            raise self._session.damage(f"row {living[0]} is deleted and living")
        return np.array(rows, dtype=np.int64)

    def read_vectors(self, rows: IntArray, target: FloatArray) -> None:
        """Write the vectors of rows (n,), in ascending order, into `target` (n, dim).

        Call it inside a snapshot.

        Raises:
            CorruptIndex: a vector block is missing, or fails its checksum.
        """
        self._blocks.read_into(rows, target)

    def supplied_vectors(self, ids: Sequence[str]) -> dict[str, FloatArray]:
        """Return the vectors (dim,) of those of these documents whose vectors were supplied.

        Raises:
            CorruptIndex: a vector block is missing, or fails its checksum.
        """
        with self.snapshot():
            rows: dict[str, int] = {
                found: row
                for chunk in chunks(ids)
                for found, row in self._connection.execute(
                    "SELECT id, first_row FROM documents "
                    f"WHERE id IN ({marks(chunk)}) AND supplied = 1",
                    chunk,
                )
            }
            vectors = self._blocks.read_rows(list(rows.values()))
        return dict(zip(rows, vectors, strict=True))

    def vectors_of_texts(self, hashes: Sequence[bytes]) -> dict[bytes, FloatArray]:
        """Return the vectors (dim,) of the texts with these hashes that were encoded before.

        Only of passages that are in the store now; other texts are absent.

        Raises:
            CorruptIndex: a vector block is missing, or fails its checksum.
        """
        with self.snapshot():
            rows = self.passages.rows_of_texts(hashes)
            vectors = self._blocks.read_rows(list(rows.values()))
        return dict(zip(rows, vectors, strict=True))


def _dump(metadata: Mapping[str, Any]) -> str:
    return json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False)
