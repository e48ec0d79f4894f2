"""`simsearch backup` and `restore`: a copy that says of every file what it must be."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simsearch.cache import hash_file
from simsearch.errors import AlreadyExists, CorruptIndex, InvalidInput, NotFound, SystemFailure
from simsearch.failpoints import failpoint
from simsearch.files import (
    copy_tree,
    draft_directory,
    install_directory,
    is_plain_file,
    occupied,
    translated_os_errors,
)
from simsearch.search_index.binding import check_own_encoder
from simsearch.search_index.directory import (
    check_format,
    check_place,
    install_index,
    write_format,
)
from simsearch.storage import (
    MANIFEST,
    DocumentStore,
    Finding,
    Inspection,
    Severity,
    copy_store,
    file_identity,
    is_backup,
)

_FORMAT = 1
_PASSING = ("meta.db-shm", "meta.db-wal", "LOCK", "segments/LOCK")

Files = dict[str, dict[str, int | str]]  # by name: bytes and sha256


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What was copied."""

    path: str
    files: int
    bytes: int
    documents: int
    commit_number: int


def backup_index(path: str | os.PathLike[str], destination: str | os.PathLike[str]) -> BackupReport:
    """Copy the last commit of an index into a new directory; writers may go on meanwhile.

    Every row is read before the copy counts as one, so that no damage is carried into it.

    Raises:
        NotFound, IncompatibleIndex: there is no index at `path`, or one of another format.
        AlreadyExists: something is at `destination`.
        CorruptIndex: the index is damaged.
    """
    path, destination = Path(path).resolve(), Path(destination).resolve()
    check_format(path)
    _refuse_inside(destination, path)
    if occupied(destination):
        raise AlreadyExists(f"{destination} exists already (choose another name)")
    while True:
        before = file_identity(path / "meta.db")
        try:
            return _backed_up(path, destination)
        except (CorruptIndex, SystemFailure):
            # What was copied may be of two generations, where one took the other's place meanwhile.
            if file_identity(path / "meta.db") == before:
                raise


def _refuse_inside(place: Path, directory: Path) -> None:
    """Refuse a place in a directory, of which nobody else's files are kept when it is replaced."""
    if place.is_relative_to(directory):
        raise InvalidInput(f"{place} lies in {directory} (choose a place outside of it)")


def _backed_up(path: Path, destination: Path) -> BackupReport:
    with draft_directory(destination) as draft:
        number = copy_store(path, draft)
        documents = _check_rows(draft, of=path)
        failpoint("backup.files")
        with translated_os_errors(path):
            if (path / "encoder").is_dir() and not (path / "encoder").is_symlink():
                copy_tree(path / "encoder", draft / "encoder", link=False)
            _copy_segments(path, draft)
            constants = _constants(draft)
            check_own_encoder(draft, constants, of=path)
            write_format(draft, created_by=constants["created_by"])
            failpoint("backup.manifest")
            files = _describe(draft)
            content = {"format": _FORMAT, "commit_number": number, "documents": documents}
            text = json.dumps({**content, "files": files}, indent=1, ensure_ascii=False)
            (draft / MANIFEST).write_text(text + "\n", encoding="utf-8")
        failpoint("backup.install")
        install_directory(draft, destination, replace=False)
    return _report(destination, files, documents, number)


def _copy_segments(path: Path, draft: Path) -> None:
    """Copy the files that the copied commit lists; one that is gone is built anew by `tune`."""
    store = DocumentStore.open(draft)
    try:
        listed = [segment.path for segment in store.segments.read()]
    finally:
        store.close()
    present = [path / "segments" / each.name for each in listed]
    present = [each for each in present if is_plain_file(each)]
    if present:
        (draft / "segments").mkdir(mode=0o700)
    for each in present:
        with contextlib.suppress(FileNotFoundError):  # retired since it was looked for
            shutil.copy2(each, draft / "segments" / each.name, follow_symlinks=False)


def restore_index(
    source: str | os.PathLike[str], path: str | os.PathLike[str], *, replace: bool = False
) -> BackupReport:
    """Copy a backup into the place of an index, after every byte of it was verified.

    Raises:
        NotFound: there is no backup at `source`.
        CorruptIndex: it is not what was written.
        AlreadyExists: an index is at `path` and `replace` is false, or something else is.
        IndexLocked: somebody is writing to the index that is to be replaced.
    """
    source, path = Path(source).resolve(), Path(path).resolve()
    manifest = _read_manifest(source)
    check_format(source)
    _refuse_inside(path, source)
    check_place(path, replace=replace)
    with draft_directory(path) as draft:
        failpoint("restore.copy")
        with translated_os_errors(source):
            copy_tree(source, draft / "copy", link=False)
        # The copy is verified, not the original: what was read is what will be used.
        failpoint("restore.verify")
        _verify(draft / "copy", manifest["files"], of=source)
        documents = _check_rows(draft / "copy", of=source)
        check_own_encoder(draft / "copy", _constants(draft / "copy"), of=source)
        for passing in _passing(draft / "copy"):
            passing.unlink(missing_ok=True)
        failpoint("restore.install")
        install_index(draft / "copy", path, replace=replace)
    return _report(path, manifest["files"], documents, manifest["commit_number"])


def _report(path: Path, files: Files, documents: int, number: int) -> BackupReport:
    size = sum(int(each["bytes"]) for each in files.values())
    return BackupReport(str(path), len(files), size, documents, number)


def _constants(directory: Path) -> Mapping[str, str]:
    store = DocumentStore.open(directory)
    try:
        return store.settings.constants
    finally:
        store.close()


def _check_rows(directory: Path, *, of: Path) -> int:
    """Read every row of a copy and return the number of documents."""
    with Inspection(directory) as inspection:
        documents = inspection.read_all(of)
        inspection.compare_lexical()
        inspection.refuse_damage(of)
        return documents


def _describe(directory: Path) -> Files:
    return {
        file.relative_to(directory).as_posix(): {
            "bytes": file.stat().st_size,
            "sha256": hash_file(file),
        }
        for file in sorted(directory.rglob("*"))
        if _is_content(file, directory)
    }


def _is_content(file: Path, directory: Path) -> bool:
    return is_plain_file(file) and file not in _passing(directory)


def _passing(directory: Path) -> set[Path]:
    """Return what comes and goes with who reads or locks; the log of a backup is empty."""
    return {directory / name for name in (MANIFEST, *_PASSING)}


def manifest_findings(path: Path) -> list[Finding]:
    """Return in what a backup is not what was written; nothing of what is none."""
    if not is_backup(path):
        return []
    try:
        _verify(path, _read_manifest(path)["files"], of=path)
    except CorruptIndex as error:
        where = str(path / MANIFEST)
        return [Finding(Severity.WARNING, "backup", where, str(error))]
    return []


def _read_manifest(source: Path) -> dict[str, Any]:
    path = source / MANIFEST
    if not is_backup(source):
        raise NotFound(f"{source}: no backup here ({MANIFEST} is missing)")
    try:
        if path.is_symlink():
            raise ValueError("it is a link")
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"it has format {content['format']!r}, expected {_FORMAT}")
        if not isinstance(content["files"], dict) or not isinstance(content["commit_number"], int):
            raise ValueError("it lists no files")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _changed(source, f"{MANIFEST!r} is damaged ({error})") from error
    return dict(content)


def _verify(copy: Path, files: Files, *, of: Path) -> None:
    found = _describe(copy)
    for name in sorted(files.keys() | found.keys()):
        if files.get(name) != found.get(name):
            state = (
                "is missing"
                if name not in found
                else "does not belong to it"
                if name not in files
                else "is damaged, or was changed since"
            )
            raise _changed(of, f"{name!r} {state}")
    links = [file for file in copy.rglob("*") if file.is_symlink()]
    if links:
        raise _changed(of, f"{links[0].name!r} is a link")


def _changed(backup: Path, what: str) -> CorruptIndex:
    return CorruptIndex(
        f"{backup} is not the backup that was written: {what} (restore another one; or "
        f"`simsearch repair {backup}` makes it an index of all that can be read)"
    )
