"""The writer lock: one process writes to an index, and says who it is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from simsearch.errors import IndexLocked, SystemFailure
from simsearch.failpoints import failpoint
from simsearch.files import is_plain_file, translated_os_errors
from simsearch.storage.database import file_identity
from simsearch.storage.mounts import refuse_network

LOCK_BUDGET = 5.0  # seconds a second writer waits
_POLL = 0.005


@contextlib.contextmanager
def writer_lock(path: Path, *, budget: float | None = None) -> Iterator[None]:
    """Hold the lock file of an index while the block runs.

    The lock is the kernel's (flock), so a killed holder frees it; the text in the file only says
    who holds it. It is the lock of the index that has the name when the block begins, not of one
    that was replaced while it was waited for.

    Raises:
        IndexLocked: another process, or another handle in this one, kept it for `budget` (5 s); or
            it lies on a network file system, and nobody said that it may.
        SystemFailure: the directory was deleted, or what stands at `path` is no file.
    """
    refuse_network(path.parent)
    descriptor = _locked(path, time.monotonic() + (LOCK_BUDGET if budget is None else budget))
    try:
        with translated_os_errors(path):
            failpoint("lock.note")
            holder = f"pid {os.getpid()} on {socket.gethostname()} since {_now()}"
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, holder.encode(), 0)
        yield
    finally:
        os.close(descriptor)  # frees the lock


def lock_holder(path: Path) -> str | None:
    """Return who holds the lock of a file or directory now, None where nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with contextlib.suppress(IsADirectoryError):
            return os.pread(descriptor, 200, 0).decode(errors="replace") or "somebody"
        return "somebody"
    finally:
        os.close(descriptor)
    return None


def _locked(path: Path, deadline: float) -> int:
    """Return the descriptor of the lock file that has this name, locked."""
    while True:
        with translated_os_errors(path):
            failpoint("lock.open")
            _refuse_foreign(path)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(path, flags, 0o600)
        try:
            _acquire(descriptor, path, deadline)
            status = os.fstat(descriptor)
            if file_identity(path) == (status.st_dev, status.st_ino):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # of an index whose place another one took meanwhile


def _refuse_foreign(path: Path) -> None:
    """Refuse a directory that is gone, and what stands in the place of a lock file and is none."""
    if not path.parent.is_dir():
        raise SystemFailure(f"{path.parent} was deleted (open it again if it was made anew)")
    if os.path.lexists(path) and not is_plain_file(path):
        raise SystemFailure(
            f"{path} is no regular file, which simsearch never makes (move it out of the index)"
        )


def _acquire(descriptor: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "somebody"
                raise IndexLocked(
                    f"{path.parent} is locked by {holder} (wait for it to finish, then try again)"
                ) from None
        time.sleep(_POLL)


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
