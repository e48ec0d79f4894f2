"""Files derived from ranges of vectors, such as built indexes: listed, verified, disposable.

A segment is written once under a name that is never used again, and exists from the commit that
lists it with its SHA-256. One that is missing, damaged or built from other vectors is not used; a
file that no commit lists is what a killed process left.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from simsearch.cache import file_sha256, remembered
from simsearch.failpoints import failpoint
from simsearch.files import is_plain_file, sync_directory, translated_os_errors
from simsearch.storage.locks import writer_lock
from simsearch.storage.session import Session

FOLDER = "segments"
LOCK = "LOCK"  # in the folder: who builds; unlike the writer lock it is held for minutes


_NAME = re.compile("[0-9a-z]{1,64}")


def segment_file(folder: Path, name: str) -> Path:
    """Return where the file of a listed segment is.

    A name that is none of ours, as in an index of a stranger, is that of no file: no other file is
    ever read or deleted for its sake.
    """
    ours = isinstance(name, str) and _NAME.fullmatch(name)  # damage can change its type
    return folder / (f"{name}.faiss" if ours else ".faiss")


class SegmentOvertaken(Exception):
    """What a segment was built from, or those it was to replace, are not what they were."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A file made from the vectors of the rows from `first_row` to `end_row`.

    `description` is text of whoever made it: what it takes to read the file. `fault` says why it
    cannot be used, None if it can.
    """

    name: str
    first_row: int
    end_row: int
    description: str
    path: Path
    size: int
    fault: str | None = None


class SegmentDraft:
    """A file that is being written, and becomes a segment or goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = open(os.open(path, flags, 0o600), "wb")  # noqa: SIM115 - closed by `drop`
        self._state = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Append bytes and return how many."""
        self._file.write(data)
        self._state.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Let everything written be seen by who maps the file."""
        self._file.flush()

    def finish(self) -> str:
        """Flush the file to the disk and return its SHA-256."""
        self._file.flush()
        failpoint("segment.sync")
        os.fsync(self._file.fileno())
        return self._state.hexdigest()

    def drop(self) -> None:
        """Close the file, and remove it under its first name."""
        with contextlib.suppress(OSError):  # a full disk was reported when it was written
            self._file.close()
        self.path.unlink(missing_ok=True)


class Segments:
    """The segments of one open store."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def folder(self) -> Path:
        """Where the files are; it may not be there yet."""
        return self._session.directory / FOLDER

    def source(self, first_row: int, end_row: int) -> str:
        """Return a hash of the vectors in the blocks of these rows; ask where they are read."""
        state = hashlib.sha256()
        with self._session.snapshot():
            for block in self._session.connection.execute(
                "SELECT first_row, rows, crc32 FROM vector_blocks "
                "WHERE first_row < ? AND first_row + rows > ? ORDER BY first_row",
                (end_row, first_row),
            ):
                state.update(struct.pack("<qqq", *block))
        return state.hexdigest()

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """Let nobody else build inside the block; what a killed process left is removed before.

        Raises:
            IndexLocked: somebody is building.
            InvalidInput, SystemFailure: the index cannot be written to.
        """
        self._session.refuse_read_only()
        with translated_os_errors(self.folder):
            self._make_folder()
        with writer_lock(self.folder / LOCK, budget=0):
            listed = {segment_file(self.folder, name).name for name, _ in self.names()} | {LOCK}
            for entry in self.folder.iterdir():
                if entry.name not in listed:
                    with contextlib.suppress(OSError):
                        entry.unlink()
            yield

    def _make_folder(self) -> None:
        if not self.folder.is_dir():
            self.folder.mkdir(mode=0o700)
            sync_directory(self.folder.parent)

    @contextlib.contextmanager
    def draft(self) -> Iterator[SegmentDraft]:
        """Give a file to be written and then listed by `install`; else it is removed."""
        failpoint("segment.write")
        self._make_folder()
        draft = SegmentDraft(self.folder / f"{secrets.token_hex(16)}.tmp")
        try:
            yield draft
        finally:
            draft.drop()

    def install(
        self,
        draft: SegmentDraft,
        *,
        rows: tuple[int, int],
        source: str,
        description: str,
        retires: Sequence[Segment] = (),
    ) -> Segment:
        """List a segment in the place of `retires`, in one commit.

        `rows` are first and end, `source` what `source` said when their vectors were read.

        Raises:
            SegmentOvertaken: the vectors are others now, or other segments than `retires` are
                listed for some of the rows.
        """
        name, sha256 = draft.path.stem, draft.finish()
        path = draft.path.with_suffix(".faiss")
        listed = False
        try:
            failpoint("segment.rename")
            try:
                os.rename(draft.path, path)
            except FileNotFoundError as error:  # the directory was replaced, as by a compaction
                raise SegmentOvertaken from error
            sync_directory(path.parent)
            with self._session.transaction(durable=True):
                failpoint("segment.list")
                self._refuse_overtaken(rows, source, retires)
                self._session.connection.execute(
                    "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (name, *rows, draft.size, sha256, source, description),
                )
                self._session.connection.executemany(
                    "DELETE FROM segments WHERE name = ?", ((each.name,) for each in retires)
                )
            listed = True
        finally:
            if not listed:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
        remembered("sha256", [path], lambda: sha256)
        failpoint("segment.retire")
        for each in retires:
            with contextlib.suppress(OSError):  # a reader has it open, or it is gone
                each.path.unlink()
        return Segment(name, *rows, description, path, draft.size)

    def _refuse_overtaken(
        self, rows: tuple[int, int], source: str, retires: Sequence[Segment]
    ) -> None:
        overlapping = {
            name
            for (name,) in self._session.connection.execute(
                "SELECT name FROM segments WHERE first_row < ? AND end_row > ?",
                (rows[1], rows[0]),
            )
        }
        if overlapping != {each.name for each in retires} or self.source(*rows) != source:
            raise SegmentOvertaken

    def forget(self, segments: Sequence[Segment]) -> None:
        """Take segments off the list; their files are removed by who builds next."""
        with self._session.transaction(durable=True):
            self._session.connection.executemany(
                "DELETE FROM segments WHERE name = ?", ((each.name,) for each in segments)
            )

    def names(self) -> list[tuple[str, str]]:
        """Return names and descriptions of the segments that are listed, by first row."""
        with self._session.snapshot():
            return self._session.connection.execute(
                "SELECT name, description FROM segments ORDER BY first_row, name"
            ).fetchall()

    def read(self) -> list[Segment]:
        """Return what is listed, by first row, with what is wrong with it.

        Of the files those are read whose SHA-256 is not known in the state that they are in.
        """
        with self._session.snapshot():
            rows = self._session.connection.execute(
                "SELECT * FROM segments ORDER BY first_row, name"
            ).fetchall()
            found, taken = [], 0
            for name, first_row, end_row, size, sha256, source, description in rows:
                path = segment_file(self.folder, name)
                fault = _fault(path, size, sha256)
                if fault is None and source != self.source(first_row, end_row):
                    fault = "was built from other vectors"
                if fault is None and not taken <= first_row < end_row:
                    fault = "has rows that another one has"
                if fault is None:
                    taken = end_row
                found.append(Segment(name, first_row, end_row, description, path, size, fault))
        return found


def _fault(path: Path, size: int, sha256: str) -> str | None:
    """Return why a file is not the one that was written, None if it is."""
    try:
        if not is_plain_file(path):
            return "is missing"
        if path.stat().st_size != size or file_sha256(path) != sha256:
            return "is damaged"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None
