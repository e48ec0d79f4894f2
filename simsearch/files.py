"""Durable file operations: written beside, flushed, renamed; a reader never sees a half."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Container, Iterator
from pathlib import Path
from typing import BinaryIO

from simsearch.errors import AlreadyExists, InvalidInput, SystemFailure
from simsearch.failpoints import failpoint

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextlib.contextmanager
def translated_os_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a SystemFailure that names the path and the reason.

    Of all that went wrong while a directory was copied, the first.
    """
    try:
        yield
    except shutil.Error as error:
        failures = error.args[0]
        if not isinstance(failures, list):
            raise SystemFailure(f"{path}: {error}") from error
        _, target, reason = failures[0]  # as text: the error itself is not kept
        told = re.search(r"\[Errno (\d+)\]", str(reason))
        because = os.strerror(int(told.group(1))) if told else reason
        raise SystemFailure(f"{target}: {because}") from error
    except OSError as error:
        # Of two files, the one that the disk has no room for is the one that was written.
        written = error.filename2 if error.errno in _NO_ROOM else None
        where = written or error.filename or path
        raise SystemFailure(f"{where}: {error.strerror or error}") from error


def sync_directory(path: Path) -> None:
    """Make renames and creations inside `path` survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Flush the bytes of `path` to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Flush every file and directory below `root`, and `root` itself."""
    for folder, _, names in os.walk(root):
        for name in names:
            sync_file(Path(folder) / name)
        sync_directory(Path(folder))


def check_target(path: Path) -> None:
    """Refuse a path that cannot become a file: no folder for it, a device, a directory.

    Raises:
        InvalidInput: saying which.
    """
    if not path.absolute().parent.is_dir():
        raise InvalidInput(f"{path}: there is no directory {path.parent}")
    if path.exists() and not path.is_file():
        raise InvalidInput(f"{path} is not a regular file, and is not replaced")


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """Write to `path` so that a reader sees the old file or the new one, never a half."""
    path = path.resolve()  # of a link, the file that it leads to
    draft = draft_beside(path)
    try:
        failpoint("replace.open")
        with draft.open("wb") as file:
            yield file
            failpoint("replace.sync")
            file.flush()
            os.fsync(file.fileno())
        failpoint("replace.rename")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(path.parent)


def replace_text(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, as `replace_file`."""
    with replace_file(path) as file:
        file.write(text.encode("utf-8"))


def draft_beside(path: Path) -> Path:
    """Return a name next to `path` (the same device, so that renaming is atomic)."""
    return path.with_name(f".{path.name}.draft-{os.getpid()}-{secrets.token_hex(4)}")


@contextlib.contextmanager
def new_directory(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Fill a draft directory; when the block ends well it becomes `path`, whole or not at all.

    With `replace` an existing `path` is swapped for the draft in one step and then deleted.
    On an exception the draft is removed and `path` is what it was.

    Raises:
        AlreadyExists: `path` is there (and not an empty directory) and `replace` is false.
    """
    check_free(path, replace=replace)
    with draft_directory(path) as draft:
        yield draft
        install_directory(draft, path, replace=replace)


@contextlib.contextmanager
def draft_directory(path: Path) -> Iterator[Path]:
    """Give an empty directory beside `path`, which is removed at the end if it is still there.

    What killed processes left of theirs for the same `path` is removed first.
    """
    with translated_os_errors(path):
        _make_parents(path.parent)
        _remove_orphans(path)
        failpoint("draft.make")
        draft, lock = _locked_draft(path)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        os.close(lock)


def _locked_draft(path: Path) -> tuple[Path, int]:
    """Make a draft that is locked as long as its maker lives; return it and the lock."""
    while True:
        draft = draft_beside(path)
        draft.mkdir(mode=0o700)
        lock = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
        # Another process may have taken it for an orphan in between: then it is gone, or locked.
        if _try_lock(lock) and draft.exists():
            return draft, lock
        os.close(lock)


def _remove_orphans(path: Path) -> None:
    """Remove the drafts for a path that no living process holds."""
    pattern = re.compile(re.escape(f".{path.name}.draft-") + r"\d+-[0-9a-f]{8}")
    try:
        orphans = [name for name in os.listdir(path.parent) if pattern.fullmatch(name)]
    except OSError:  # a folder may be one to write in, and not to list
        return
    for name in orphans:
        with contextlib.suppress(OSError):  # it is no directory, is gone, or not ours to read
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            lock = os.open(path.parent / name, flags)
            try:
                if _try_lock(lock):
                    shutil.rmtree(path.parent / name, ignore_errors=True)
            finally:
                os.close(lock)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _make_parents(path: Path) -> None:
    """Make a directory and what is above it, so that each has its name after a power loss."""
    if path.is_dir():
        return
    _make_parents(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def install_directory(draft: Path, path: Path, *, replace: bool) -> None:
    """Let a finished directory, a neighbour of `path`, take its place; what was there is deleted.

    Raises:
        AlreadyExists: something is there and `replace` is false.
    """
    with translated_os_errors(path):
        failpoint("install.sync")
        sync_tree(draft)
        failpoint("install.rename")
        _install(draft, path, replace=replace)
        failpoint("install.remove")
        shutil.rmtree(draft, ignore_errors=True)  # after an exchange: what `path` was


def remove_directory(path: Path) -> None:
    """Take a directory away in one step: a kill leaves nothing half deleted in its place."""
    with translated_os_errors(path):
        draft = draft_beside(path)
        path.rename(draft)
        shutil.rmtree(draft, ignore_errors=True)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file a second name, or where the file system has no hard links, copy it."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EIO):
            raise
        shutil.copy2(source, target, follow_symlinks=False)


def copy_tree(source: Path, target: Path, *, link: bool) -> None:
    """Copy a directory, or with `link` give its files second names; links in it stay links."""
    shutil.copytree(
        source,
        target,
        symlinks=True,
        copy_function=link_or_copy if link else shutil.copy2,
    )


def directory_bytes(path: Path) -> int:
    """Return the size of all files below a directory; of one that goes meanwhile, 0."""
    total = 0
    for file in path.rglob("*"):
        with contextlib.suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def clear_directory(path: Path, *, keep: Container[str]) -> None:
    """Delete what is in a directory, but for the entries of these names; links are not followed."""
    for entry in path.iterdir():
        if entry.name not in keep:
            remove_entry(entry)


def remove_entry(entry: Path) -> None:
    """Delete a file, or a directory with all in it, if it is there; a link is not followed."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)


def check_free(path: Path, *, replace: bool) -> None:
    """Refuse a path that is taken, unless it may be replaced.

    Raises:
        AlreadyExists: something is there and `replace` is false.
    """
    if not replace and occupied(path):
        raise AlreadyExists(
            f"{path} exists already (choose another name, or replace it: --replace)"
        )


def check_parents(path: Path) -> None:
    """Refuse a path where no directory can be made, before it takes long to fill one.

    Raises:
        SystemFailure: what is above it is no directory, or may not be written to.
    """
    above = path.absolute().parent
    while not os.path.lexists(above):
        above = above.parent
    if not above.is_dir():
        raise SystemFailure(f"{path}: {above} is no directory (choose another place)")
    if not os.access(above, os.W_OK | os.X_OK):
        raise SystemFailure(f"{path}: {above} may not be written to (choose another place)")


def is_plain_file(path: Path) -> bool:
    """Whether a regular file is at `path` itself, not behind a link."""
    return path.is_file() and not path.is_symlink()


def occupied(path: Path) -> bool:
    """Whether something other than an empty directory stands at `path`."""
    if path.is_dir() and not path.is_symlink():
        return any(path.iterdir())
    return os.path.lexists(path)


def _install(draft: Path, path: Path, *, replace: bool) -> None:
    try:
        os.rename(draft, path)  # also takes the place of an empty directory
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise
        if not replace:
            raise AlreadyExists(f"{path} was created meanwhile by somebody else") from error
        exchange(draft, path)  # the old content is now the draft, which the caller removes
    failpoint("install.sync-parent")
    sync_directory(path.parent)


def exchange(first: Path, second: Path) -> None:
    """Swap two directory entries in one step (renameat2, Linux 3.15)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "renameat2"):
        names = (os.fsencode(first), os.fsencode(second))
        if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(code, os.strerror(code), str(second))
    # Elsewhere there is a moment between two renames. The old directory is never deleted
    # before the new one stands, so a crash leaves both, one of them under a draft name.
    aside = second.with_name(f".{second.name}.old-{os.getpid()}")
    os.rename(second, aside)
    os.rename(first, second)
    os.rename(aside, first)
