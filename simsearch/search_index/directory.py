"""The index directory: its marker file, and whether what stands there is an index of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from simsearch.errors import AlreadyExists, CorruptIndex, IncompatibleIndex, NotFound
from simsearch.files import check_free, install_directory, occupied, translated_os_errors
from simsearch.storage import FORMAT_VERSION, is_backup, stored_format, writer_lock

_FORMAT_NAME = "simsearch-index"


def write_format(directory: Path, *, created_by: str) -> None:
    """Write the marker of a new index directory."""
    with translated_os_errors(directory):
        (directory / "FORMAT").write_text(marker_line(created_by), encoding="ascii")


def marker_line(created_by: str) -> str:
    """Return the content of the marker."""
    return f"{_FORMAT_NAME} {FORMAT_VERSION} {created_by}\n"


def is_index(directory: Path) -> bool:
    """Whether a directory is an index, of whatever format, by its marker."""
    return (directory / "FORMAT").is_file() and _read_marker(directory) is not None


def check_place(directory: Path, *, replace: bool) -> None:
    """Refuse a place for a new index that is taken.

    Raises:
        AlreadyExists: an index is there and `replace` is false, or something else is, or a backup,
            which are never replaced.
    """
    if is_backup(directory):
        raise AlreadyExists(
            f"{directory} is a backup, which is never replaced (choose another name)"
        )
    if occupied(directory) and not (directory / "FORMAT").is_file():
        raise AlreadyExists(f"{directory} exists and is no index, which is never replaced")
    check_free(directory, replace=replace)


def replacing_place(directory: Path) -> Path:
    """Return where an index is built that is to take the place of another."""
    return directory.with_name(f".{directory.name}.new")


def install_index(
    draft: Path,
    directory: Path,
    *,
    replace: bool,
    prepare: Callable[[], None] = lambda: None,
) -> None:
    """Let a finished draft become the index; a write to the one it replaces is waited for.

    `prepare` is called when nobody can write to that one any more.

    Raises:
        IndexLocked: somebody is writing to the index that is to be replaced.
    """
    with contextlib.ExitStack() as stack:
        if replace and (directory / "FORMAT").is_file():
            stack.enter_context(writer_lock(directory / "LOCK"))
        prepare()
        install_directory(draft, directory, replace=replace)


def check_format(directory: Path) -> None:
    """Make sure that `directory` is an index that this version reads, by a look at its marker.

    Raises:
        as `verify_format`.
    """
    if _read_marker(directory) != FORMAT_VERSION:
        verify_format(directory)


def verify_format(directory: Path) -> None:
    """Make sure that `directory` is an index that this version reads, marker and database.

    The database decides where the two say different things, and its owner is told the way from
    there to a sound index.

    Raises:
        NotFound: it is not an index.
        CorruptIndex: its marker is not the one that belongs to it.
        IncompatibleIndex: it was written in another format version.
    """
    version = index_format(directory)
    if version < FORMAT_VERSION:
        raise IncompatibleIndex(
            f"{directory} has format {version}, this simsearch reads format {FORMAT_VERSION} "
            f"(run `simsearch upgrade {directory}`, which keeps a backup)"
        )
    if version > FORMAT_VERSION:
        raise IncompatibleIndex(
            f"{directory} has format {version}, this simsearch reads format {FORMAT_VERSION} "
            "(use the version that wrote it, or index the corpus again)"
        )
    if _read_marker(directory) != FORMAT_VERSION:
        raise CorruptIndex(
            f"{directory / 'FORMAT'} is missing or wrong: the database has format "
            f"{FORMAT_VERSION} (run `simsearch repair {directory}`)"
        )


def index_format(directory: Path) -> int:
    """Return the format version of an index: that of its database, or else that of its marker.

    Raises:
        NotFound: it is not an index.
        CorruptIndex: neither database nor marker can be read.
    """
    version = stored_format(directory) or _read_marker(directory)
    if version is not None:
        return version
    marker = directory / "FORMAT"
    if not marker.is_file():
        raise NotFound(f"{directory}: no simsearch index here (FORMAT missing)")
    raise CorruptIndex(
        f"{marker} does not name a format of simsearch, and meta.db is not a store (restore a "
        "backup)"
    )


def _read_marker(directory: Path) -> int | None:
    """Return the version that the marker names; None where it is missing or names none."""
    marker = directory / "FORMAT"
    with translated_os_errors(marker):
        if not marker.is_file():
            return None
        words = marker.read_bytes()[:200].decode("ascii", errors="replace").split()
    if len(words) < 2 or words[0] != _FORMAT_NAME or not words[1].isdecimal():
        return None
    return int(words[1])
