"""The user's cache: results of slow checks, remembered for as long as the files stay the same."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from simsearch.errors import SystemFailure
from simsearch.files import replace_text


def cache_directory() -> Path:
    """Return `$SIMSEARCH_CACHE`, or `~/.cache/simsearch`. It may not exist yet."""
    named = os.environ.get("SIMSEARCH_CACHE")
    if named:
        return Path(named)
    try:
        return Path.home() / ".cache" / "simsearch"
    except RuntimeError:  # a container's user with a number and no home
        return Path(tempfile.gettempdir()) / f"simsearch-{os.getuid()}"


def elsewhere(error: SystemFailure) -> SystemFailure:
    """Return a failure to write to the cache with what the user can do about it."""
    return SystemFailure(f"{error} (SIMSEARCH_CACHE=FOLDER names another place for the cache)")


def remembered(kind: str, files: Iterable[Path], compute: Callable[[], str]) -> str:
    """Return `compute()`, or what it returned when `files` were last in this very state.

    The state of a file is its device, inode, size, and the times when its content and its inode
    changed; the latter cannot be set back. A cache that cannot be
    read or written costs time, never correctness.
    """
    entry = cache_directory() / kind / _state(files)
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if text := entry.read_text(encoding="utf-8"):
            return text
    result = compute()
    with contextlib.suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_text(entry, result)
    return result


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hex, remembered per file state."""
    return remembered("sha256", [path], lambda: hash_file(path))


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hex, read now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _state(files: Iterable[Path]) -> str:
    state = hashlib.sha256()
    for path in files:
        status = path.stat()
        times = status.st_mtime_ns, status.st_ctime_ns
        numbers = (status.st_dev, status.st_ino, status.st_size, *times)
        state.update(repr((path.name, *numbers)).encode())
    return state.hexdigest()
