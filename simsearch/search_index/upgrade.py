"""An index of an older format into one of today's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from simsearch.errors import AlreadyExists
from simsearch.failpoints import failpoint
from simsearch.files import (
    draft_directory,
    install_directory,
    link_or_copy,
    new_directory,
    occupied,
    translated_os_errors,
)
from simsearch.search_index.directory import index_format, verify_format, write_format
from simsearch.search_index.generations import previous_place
from simsearch.search_index.passages import LongTexts
from simsearch.search_index.reports import UpgradeReport
from simsearch.storage import FORMAT_VERSION, upgrade_store, writer_lock
from simsearch.version import __version__


def upgrade_index(path: str | os.PathLike[str]) -> UpgradeReport | None:
    """Bring an index to today's format in one step, and say what it left behind.

    None if it has today's format already; then nothing is changed. Cut short at any moment, it
    leaves an index at `path`, the old or the new one, and can be run again. The old index is kept
    whole; the new one has its documents, vectors and settings, but neither its segments, which are
    built of the vectors, nor the generation before, which is an index of the older format itself.

    Raises:
        NotFound: there is no index at `path`.
        AlreadyExists: the backup's name, NAME.format-N, is taken.
        IndexLocked: somebody is writing to the index.
        CorruptIndex, IncompatibleIndex, SystemFailure: it cannot be read.
    """
    path = Path(path).resolve()
    if index_format(path) >= FORMAT_VERSION:
        verify_format(path)
        return None
    with writer_lock(path / "LOCK"):
        version = index_format(path)
        if version >= FORMAT_VERSION:  # somebody was faster
            return None
        backup = path.with_name(f"{path.name}.format-{version}")
        _check_backup(backup, path)
        with draft_directory(path) as draft:
            failpoint("upgrade.write")
            segments = _write_upgraded(path, draft, version)
            failpoint("upgrade.keep")
            _keep(path, backup)
            failpoint("upgrade.install")
            install_directory(draft, path, replace=True)
    previous = previous_place(backup)
    return UpgradeReport(backup, segments, previous if previous.is_dir() else None)


def _check_backup(backup: Path, path: Path) -> None:
    """Refuse a name that is taken, except by what an upgrade of this index left when cut short."""
    if not occupied(backup):
        return
    if not _same_file(backup / "meta.db", path / "meta.db"):
        raise AlreadyExists(
            f"{backup} is there already, where the old index is to be kept (rename or delete it)"
        )
    shutil.rmtree(backup)


def _same_file(first: Path, second: Path) -> bool:
    return first.is_file() and second.is_file() and first.samefile(second)


def _write_upgraded(path: Path, draft: Path, version: int) -> int:
    """Fill the draft, and return how many segments it would have to have."""
    settings = {"long_texts": LongTexts.TRUNCATE}
    segments = upgrade_store(path, draft, version=version, settings=settings)
    with translated_os_errors(path):
        if (path / "encoder").is_dir():
            shutil.copytree(path / "encoder", draft / "encoder", symlinks=True)
    write_format(draft, created_by=f"simsearch/{__version__}")
    return segments


def _keep(path: Path, backup: Path) -> None:
    """Give the files of an index a second name each, which outlives the directory."""
    with new_directory(backup) as draft, translated_os_errors(path):
        # The index file of the write-ahead log is of no use to anybody but its processes.
        ignored = shutil.ignore_patterns("*-shm")
        shutil.copytree(
            path,
            draft,
            symlinks=True,
            dirs_exist_ok=True,
            copy_function=link_or_copy,
            ignore=ignored,
        )
