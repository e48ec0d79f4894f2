"""Files derived from ranges of vectors, such as built indexes: listed, verified, disposable.

A segment is written once under a name that is never used again, and exists from the commit that
lists it with its SHA-256. One that is missing, damaged or built from other vectors is not used; a
file that no commit lists is what a killed process left.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simsearch.cache import file_sha256
from simsearch.failpoints import failpoint
from simsearch.files import sync_directory
from simsearch.storage.session import Session

logger = logging.getLogger("simsearch")

FOLDER = "segments"


@dataclass(frozen=True, slots=True)
class Segment:
    """A file made from the vectors of the rows from `first_row` to `end_row`.

    `description` is text of whoever made it: what it takes to read the file.
    """

    name: str
    first_row: int
    end_row: int
    description: str
    path: Path


class Segments:
    """The segments of one open store."""

    def __init__(self, session: Session) -> None:
        self._session = session

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

    def add(
        self,
        content: bytes,
        *,
        rows: tuple[int, int],
        source: str,
        description: str,
        retires: Sequence[Segment] = (),
    ) -> Segment:
        """Write a segment and list it in the place of `retires`, in one commit.

        `rows` are first and end, `source` what `source` said when their vectors were read.
        """
        folder = self._session.directory / FOLDER
        name = secrets.token_hex(16)
        path = folder / f"{name}.faiss"
        listed = False
        try:
            self._write(folder, path, content)
            with self._session.transaction(durable=True):
                failpoint("segment.list")
                self._session.connection.execute(
                    "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        name,
                        *rows,
                        len(content),
                        hashlib.sha256(content).hexdigest(),
                        source,
                        description,
                    ),
                )
                self._session.connection.executemany(
                    "DELETE FROM segments WHERE name = ?", ((each.name,) for each in retires)
                )
            listed = True
        finally:
            if not listed:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
        failpoint("segment.retire")
        for each in retires:
            with contextlib.suppress(OSError):  # a reader has it open, or it is gone
                each.path.unlink()
        return Segment(name, *rows, description, path)

    def _write(self, folder: Path, path: Path, content: bytes) -> None:
        failpoint("segment.write")
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            sync_directory(folder.parent)
        draft = path.with_suffix(".tmp")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(draft, flags, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                failpoint("segment.sync")
                os.fsync(file.fileno())
            failpoint("segment.rename")
            os.rename(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        sync_directory(folder)

    def read(self) -> list[Segment]:
        """Return the segments that are what was written, by first row; warn of the others."""
        with self._session.snapshot():
            rows = self._session.connection.execute(
                "SELECT * FROM segments ORDER BY first_row, name"
            ).fetchall()
            found = []
            for name, first_row, end_row, size, sha256, source, description in rows:
                path = self._session.directory / FOLDER / f"{name}.faiss"
                reason = _fault(path, size, sha256)
                if reason is None and source != self.source(first_row, end_row):
                    reason = "was built from other vectors"
                if reason is None:
                    found.append(Segment(name, first_row, end_row, description, path))
                else:
                    logger.warning("%s %s; it is not used until it is built anew", path, reason)
        return found


def _fault(path: Path, size: int, sha256: str) -> str | None:
    """Return why a file is not the one that was written, None if it is."""
    if path.is_symlink() or not path.is_file():
        return "is missing"
    if path.stat().st_size != size or file_sha256(path) != sha256:
        return "is damaged"
    return None
