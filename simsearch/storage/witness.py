"""COMMITTED: the number of the last commit that was acknowledged, kept outside the database.

SQLite takes a log that was deleted, cut or damaged for one that was never written: the database
goes back to an older commit and looks whole. This number, which is only written once a commit
is safe, shows the loss. It is not needed for anything else, and is never synced: it may be too
old, and then shows less, but never too new.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from pathlib import Path

from simsearch.errors import CorruptIndex
from simsearch.failpoints import failpoint
from simsearch.files import is_plain_file

NAME = "COMMITTED"


def write_witness(directory: Path, commit_number: int) -> None:
    """Note an acknowledged commit; a disk that is full is no reason to take it back."""
    with contextlib.suppress(OSError):
        failpoint("witness.write")
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(directory / NAME, flags, 0o600)
        try:
            # One short write of the same length each time: the old number or the new one.
            os.pwrite(descriptor, _line(commit_number), 0)
        finally:
            os.close(descriptor)


def read_witness(directory: Path) -> int:
    """Return the number that was noted, 0 where there is none or it cannot be read."""
    path = directory / NAME
    if not is_plain_file(path):
        return 0
    with contextlib.suppress(OSError):
        number = path.read_bytes()[:100].split(b" ")[0]
        if number.isdigit() and path.read_bytes() == _line(int(number)):
            return int(number)
    return 0


def _line(commit_number: int) -> bytes:
    number = f"{commit_number:020d}"
    return f"{number} {zlib.crc32(number.encode()):08x}\n".encode()


def refuse_lost_commits(directory: Path, *, witnessed: int, commit_number: int) -> None:
    """Refuse a database that lacks commits which were acknowledged.

    `witnessed` was read before `commit_number`.

    Raises:
        CorruptIndex: naming them.
    """
    if commit_number < witnessed:
        first = commit_number + 1
        lost = f"commit {first} is" if first == witnessed else f"commits {first} to {witnessed} are"
        raise CorruptIndex(
            f"{directory}: {lost} lost: the log "
            "meta.db-wal was deleted or damaged, or meta.db was copied without it (restore a "
            f"backup, or go on without them: `simsearch repair {directory}`)"
        )
