"""A database read row by row, however damaged: what is wrong with it, and what can be saved."""

from __future__ import annotations

import bisect
import contextlib
import os
import sqlite3
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.cache import hash_file
from simsearch.errors import CorruptIndex
from simsearch.files import is_plain_file
from simsearch.records import Document
from simsearch.storage.checksums import (
    read_with_checksum,
    sound_block,
    sound_document,
    sound_judgement,
    sound_passage,
)
from simsearch.storage.database import (
    connect_read_only,
    database_path,
    refuse_foreign_schema,
    translated_errors,
)
from simsearch.storage.findings import Finding, Severity, row_ranges
from simsearch.storage.judgements import COUNT as JUDGEMENT_COUNT
from simsearch.storage.judgements import StoredJudgement, as_judgement
from simsearch.storage.lexical import SETTING as LEXICAL_SETTING
from simsearch.storage.rows import read_metadata
from simsearch.storage.schema import CHOICES
from simsearch.storage.seal import is_number, verified_constants
from simsearch.storage.segments import FOLDER, LOCK, segment_file
from simsearch.storage.terms import TERMS_VERSION
from simsearch.storage.twin import lexical_difference
from simsearch.storage.witness import read_witness, refuse_lost_commits

FloatArray = npt.NDArray[np.float32]

_PORTION = 1024  # rows read at once
_METADATA = 5  # its column in `documents`
_UNIT = 1e-3  # how far the norm of a vector may be from 1


@dataclass(frozen=True, slots=True)
class Salvaged:
    """A document that is whole.

    `ranges` and `hashes` are those of its passages, None where one of them is lost.
    """

    document: Document
    first_row: int
    rows: int
    supplied: bool
    ranges: list[tuple[int, int]] | None
    hashes: list[bytes] | None


class Inspection:
    """Reads a store as far as it can be read, and collects what is wrong with it.

    Use as a context manager; whoever calls holds the writer lock, or accepts that commits
    meanwhile are not seen.

    Raises:
        CorruptIndex: so much is damaged that nothing can be read: no table, no settings.
    """

    def __init__(self, directory: Path) -> None:
        self.path = database_path(directory)
        self.directory = directory
        self.findings: list[Finding] = []
        self._blocks: list[tuple[int, int]] = []  # sound ones: first row, end
        self._read: tuple[int, FloatArray] | None = None  # the block that was read last
        self._dead: list[int] = []
        with translated_errors(self.path):
            witnessed = read_witness(directory)
            self._connection = connect_read_only(self.path)
            try:
                self._connection.execute("BEGIN")
                refuse_foreign_schema(self._connection, self.path)
                self._read_settings(witnessed)
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> Inspection:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _read_settings(self, witnessed: int) -> None:
        settings = dict(self._connection.execute("SELECT key, value FROM meta"))
        self.constants = verified_constants(settings, self.path)
        self.dim = int(self.constants["dim"])
        self.variables: dict[str, int] = {}
        for key in ("commit_number", "next_row", "living_rows", JUDGEMENT_COUNT):
            value = settings.get(key, "")
            if not is_number(value):
                self._damage("setting", f"the setting {key!r} is lost")
            self.variables[key] = int(value) if is_number(value) else 0
        self.finished = settings.get("finished")
        self.lexical_terms = settings.get(LEXICAL_SETTING)
        # What was chosen for the index, and goes with it when it is written anew.
        self.choices: dict[str, str] = {}
        for key in sorted(CHOICES & settings.keys()):
            try:
                read_with_checksum(settings[key])
                self.choices[key] = settings[key]
            except ValueError:
                self._damage("setting", f"the setting {key!r} is damaged")
        if self.finished not in ("yes", "no"):
            self._damage("setting", "the setting 'finished' is lost")
        self._check_witness()
        self.commit_number = max(self.variables["commit_number"], witnessed)
        try:
            number = self.variables["commit_number"]
            refuse_lost_commits(self.directory, witnessed=witnessed, commit_number=number)
        except CorruptIndex as error:
            self._damage("lost-commits", str(error))

    def _check_witness(self) -> None:
        path = self.directory / "COMMITTED"
        if os.path.lexists(path) and not is_plain_file(path):
            what, remedy = "is no file, so that a lost log would go unseen", f"delete {path}"
            self.findings.append(Finding(Severity.WARNING, "witness", str(path), what, remedy))
            return
        if read_witness(self.directory) or not path.is_file():
            return
        # It is never synced: a loss of power may leave it empty, or of zeros.
        severity = Severity.WARNING if path.read_bytes()[:100].strip(b"\0") else Severity.NOTE
        what, remedy = "holds no number of a commit", "the next write writes it anew"
        self.findings.append(Finding(severity, "witness", str(path), what, remedy))

    def _damage(self, code: str, what: str) -> None:
        remedy = f"restore a backup, or run `simsearch repair {self.directory}`"
        self.findings.append(Finding(Severity.DAMAGE, code, str(self.path), what, remedy))

    @property
    def damaged(self) -> bool:
        """Whether something was found so far that is damage."""
        return any(each.severity is Severity.DAMAGE for each in self.findings)

    def refuse_damage(self, of: Path) -> None:
        """Refuse the index `of`, if something was found so far that is damage.

        Raises:
            CorruptIndex: saying what.
        """
        for each in self.findings:
            if each.severity is Severity.DAMAGE:
                raise CorruptIndex(f"{of}: {each.what} (run `simsearch check {of}`)")

    def ask_sqlite(self, *, quick: bool) -> None:
        """Let SQLite check its own structures; quickly, all but those of the vectors."""
        tables = ("meta", "documents", "passages", "tombstones", "segments", "judgements")
        wanted = [f"quick_check({name})" for name in tables] if quick else ["integrity_check"]
        try:
            for pragma in wanted:
                for (line,) in self._connection.execute(f"PRAGMA {pragma}"):
                    if line != "ok":
                        self._damage("sqlite", f"SQLite says: {line}")
        except sqlite3.DatabaseError as error:
            self._damage("sqlite", f"SQLite says: {error}")

    def read_segments(self, *, quick: bool) -> None:
        """Compare the files of segments with what is listed; quickly, their sizes alone."""
        folder, listed = self.directory / FOLDER, {LOCK}
        try:
            segments = self._connection.execute(
                "SELECT name, bytes, sha256 FROM segments"
            ).fetchall()
        except sqlite3.DatabaseError as error:
            self._damage("segments", f"the list of segments cannot be read: {error}")
            return
        for name, size, sha256 in segments:
            path = segment_file(folder, name)
            listed.add(path.name)
            if not _is_file_of(path, size, None if quick else sha256):
                what = "is missing or damaged, and is not used"
                remedy = f"run `simsearch repair {self.directory}`"
                self.findings.append(Finding(Severity.WARNING, "segment", str(path), what, remedy))
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            if entry.name not in listed:
                what, remedy = "is listed by no commit", "delete it"
                finding = Finding(Severity.NOTE, "unlisted", str(entry), what, remedy)
                self.findings.append(finding)

    def read_all(self, of: Path) -> int:
        """Read every row, and return the number of documents.

        Raises:
            CorruptIndex: something is damaged; it is said of the index `of`.
        """
        self.read_blocks()
        documents = sum(1 for _ in self.read_documents())
        self.read_judgements()
        self.refuse_damage(of)
        return documents

    def read_blocks(self) -> None:
        """Read every block of vectors, and note which are sound."""
        end = self._end()
        if self.variables["next_row"] != end:
            self._damage("setting", f"the setting 'next_row' is not the end of the rows, {end}")
        expected, lost, odd = 0, list[int](), list[int]()
        for row in self._rows("vector_blocks", "first_row", end):
            first, count, crc32, data = row
            if not sound_block(first, count, crc32, data, dim=self.dim):
                continue
            lost += range(expected, first)
            expected = first + count
            self._blocks.append((first, expected))
            vectors = np.frombuffer(data, dtype="<f4").reshape(count, self.dim)
            norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
            odd += (first + np.flatnonzero(~(np.abs(norms - 1) < _UNIT))).tolist()
        lost += range(expected, end)
        if lost:
            self._damage("vectors", f"the vectors of rows {row_ranges(lost)} are damaged or lost")
        if odd:
            self._damage("norm", f"the vectors of rows {row_ranges(odd)} have not the length 1")

    def read_documents(self) -> Iterator[Salvaged]:
        """Yield every whole document in the order of rows; afterwards, say what was lost.

        Of several documents with one id, as a damaged index of SQLite's lets in, the last.
        """
        end = self._end()
        superseded = self._superseded()
        dead = [row for row, _ in self._rows("tombstones", "row", end)]
        missing = np.ones(end, dtype=bool)  # until a document or a tombstone accounts for the row
        missing[dead] = False
        torn, owned = list[int](), 0
        for start in range(0, end, _PORTION):
            upto = min(start + _PORTION, end)
            portion = self._rows_between("documents", "first_row", start, upto)
            whole = [
                row
                for row in portion
                if sound_document(row) and read_metadata(row[_METADATA]) is not None
            ]
            for found in self._with_passages(whole):
                missing[found.first_row : found.first_row + found.rows] = False
                if found.first_row in superseded:
                    continue
                if found.ranges is None:
                    torn.append(found.first_row)
                else:
                    owned += found.rows
                yield found
        if missing.any():
            lost = np.flatnonzero(missing).tolist()
            self._damage("documents", f"the documents of rows {row_ranges(lost)} are lost")
        if torn:
            self._damage("passages", f"passages of the documents {row_ranges(torn)} are lost")
        if superseded:
            rows = row_ranges(sorted(superseded))
            self._damage("ids", f"a later document has the id of the documents {rows}")
        self._compare_counts(owned, len(dead), end)

    def _superseded(self) -> set[int]:
        """Return the first rows of documents with the id of a later one; no index is asked."""
        query = (
            "SELECT first_row FROM documents AS one NOT INDEXED JOIN "
            "(SELECT id, max(first_row) AS last FROM documents NOT INDEXED GROUP BY id "
            "HAVING count(*) > 1) AS twice ON one.id = twice.id WHERE first_row < last"
        )
        return {row for (row,) in self._until_damage(query)}

    def _with_passages(self, documents: list[Any]) -> Iterator[Salvaged]:
        if not documents:
            return
        end = documents[-1][0] + documents[-1][1]
        rows = self._rows_between("passages", "row", documents[0][0], end)
        passages = {row[0]: row for row in rows if sound_passage(row)}
        for first, count, id_, text, title, metadata, supplied, _ in documents:
            its = [passages.get(number) for number in range(first, first + count)]
            whole = [each for each in its if each is not None and each[1] == first]
            kept = len(whole) == count
            yield Salvaged(
                Document(id_, text, title, read_metadata(metadata) or {}),
                first,
                count,
                bool(supplied),
                [(each[2], each[3]) for each in whole] if kept else None,
                [each[4] for each in whole] if kept and not supplied else None,
            )

    def _compare_counts(self, owned: int, dead: int, end: int) -> None:
        passages = -1
        with contextlib.suppress(sqlite3.DatabaseError):
            (passages,) = self._connection.execute("SELECT count(*) FROM passages").fetchone()
        counts = {passages, end - dead, self.variables["living_rows"]}
        if counts != {owned}:
            self._damage(
                "rows",
                f"{owned} rows belong to whole documents, there are {passages} passages, "
                f"{end - dead} rows that are not deleted, and {self.variables['living_rows']} "
                "should be living",
            )

    def read_judgements(self) -> list[StoredJudgement]:
        """Return every judgement that is whole, in order, and note whether some are lost."""
        found = {
            row[0]: row
            for direction in ("ASC", "DESC")  # around a page that cannot be read
            for row in self._until_damage(f"SELECT * FROM judgements ORDER BY number {direction}")
            if sound_judgement(row)
        }
        count = self.variables[JUDGEMENT_COUNT]
        if len(found) != count:
            what = f"{count} judgements were made, and {len(found)} are whole"
            self._damage("judgements", what)
        return [as_judgement(found[number]) for number in sorted(found)]

    def _until_damage(self, query: str) -> Iterator[Any]:
        with contextlib.suppress(sqlite3.DatabaseError):
            yield from self._connection.execute(query)

    def compare_lexical(self) -> None:
        """Compare the lexical index with the texts; where some of those are lost, it is not done.

        Documents have been read.
        """
        if self.damaged:
            return
        if self.lexical_terms != TERMS_VERSION:
            what, remedy = "was made under other rules for terms", "the next write makes it anew"
            self.findings.append(Finding(Severity.NOTE, "lexical", str(self.path), what, remedy))
        elif difference := lexical_difference(self._connection):
            self._damage("lexical", difference)

    def vectors(self, first_row: int, rows: int) -> FloatArray | None:
        """Return the vectors (rows, dim) of a document, None where one is lost."""
        parts = []
        for first, end in self._blocks_of(first_row, first_row + rows):
            block = self._block(first, end)
            parts.append(block[max(first_row - first, 0) : first_row + rows - first])
        found = np.concatenate([np.empty((0, self.dim), dtype=np.float32), *parts])
        unit = np.abs(np.linalg.norm(found, axis=1) - 1) < _UNIT
        return found if len(found) == rows and unit.all() else None

    def _block(self, first: int, end: int) -> FloatArray:
        """Return a sound block; the last one is kept, for the next document is mostly in it."""
        if self._read is None or self._read[0] != first:
            (data,) = self._connection.execute(
                "SELECT data FROM vector_blocks WHERE first_row = ?", (first,)
            ).fetchone()
            self._read = first, np.frombuffer(data, dtype="<f4").reshape(end - first, self.dim)
        return self._read[1]

    def _blocks_of(self, first_row: int, end: int) -> list[tuple[int, int]]:
        position = bisect.bisect_right(self._blocks, first_row, key=_first) - 1
        upto = bisect.bisect_left(self._blocks, end, key=_first)
        return [each for each in self._blocks[max(position, 0) : upto] if each[1] > first_row]

    def _end(self) -> int:
        """Return the first row number not given out: what most of those who know it say."""
        ends = [self.variables["next_row"]]
        for table, column in (("vector_blocks", "first_row + rows"), ("passages", "row + 1")):
            key = column.split()[0]
            with contextlib.suppress(sqlite3.DatabaseError):
                query = f"SELECT {column} FROM {table} ORDER BY {key} DESC LIMIT 1"
                ends += [int(end) for (end,) in self._connection.execute(query)]
        return max(0, int(statistics.median_high(ends)))

    def _rows(self, table: str, key: str, end: int) -> Iterator[Any]:
        for start in range(0, end, _PORTION):
            yield from self._rows_between(table, key, start, min(start + _PORTION, end))

    def _rows_between(self, table: str, key: str, start: int, end: int) -> Iterator[Any]:
        """Yield the rows with these keys; where some cannot be read, those around them."""
        query = f"SELECT * FROM {table} WHERE {key} >= ? AND {key} < ? ORDER BY {key}"
        try:
            rows = self._connection.execute(query, (start, end)).fetchall()
        except sqlite3.DatabaseError:
            if end - start <= 1:
                return
            middle = (start + end) // 2
            yield from self._rows_between(table, key, start, middle)
            yield from self._rows_between(table, key, middle, end)
            return
        # A damaged page may hold a key where it does not belong.
        yield from (row for row in rows if start <= row[0] < end)


def _is_file_of(path: Path, size: int, sha256: str | None) -> bool:
    """Whether there is a file of this size that can be read, and, if given, of this hash."""
    try:
        sound = is_plain_file(path) and path.stat().st_size == size
        return sound and (sha256 is None or hash_file(path) == sha256)
    except OSError:  # a disk that does not read it, or no permission
        return False


def _first(block: tuple[int, int]) -> int:
    return block[0]
