"""SQLite as this library uses it: how a file is opened, and what its errors mean."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from simsearch.errors import CorruptIndex, IndexLocked, InvalidInput, SystemFailure
from simsearch.files import is_plain_file
from simsearch.storage.schema import format_of, strange_statements

# What a backup has, and an index has not.
MANIFEST: Final = "MANIFEST.json"
# SQLite limits the variables of one statement; 500 stays below every build we support.
_VARIABLES = 500
_SAFETY: tuple[tuple[str, Any], ...] = (
    ("busy_timeout=5000", 5000),
    ("foreign_keys=ON", 1),
    ("trusted_schema=OFF", 0),
    ("cell_size_check=ON", 1),
)
# What SQLite says where it cannot make the index of the log.
NO_ROOM: Final = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)
_WRITING: tuple[tuple[str, Any], ...] = (
    ("journal_mode=WAL", "wal"),
    ("synchronous=FULL", 2),
    # A checkpoint inside a COMMIT may swallow an I/O error; session.py runs them by itself.
    ("wal_autocheckpoint=0", 0),
)
# An index may come from a stranger: what we never use is cut to the least that SQLite takes.
_LIMITS = (
    (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
    (sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH, 1),
    (sqlite3.SQLITE_LIMIT_SQL_LENGTH, 1 << 20),
    (sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0),
)


def database_path(directory: Path) -> Path:
    """Return the database of an index.

    Raises:
        CorruptIndex: there is none, or a link stands in its place, or in that of what is written
            and deleted beside it.
    """
    path = directory / "meta.db"
    if not is_plain_file(path):
        raise CorruptIndex(
            f"{path} is missing: this index has lost its documents (restore a backup, or index the "
            "corpus again)"
        )
    for name in ("meta.db-wal", "meta.db-shm", "segments"):
        if (directory / name).is_symlink():
            raise CorruptIndex(
                f"{directory / name} is a link, which simsearch never makes (put what it leads to "
                "in its place, or delete it)"
            )
    return path


def is_backup(directory: Path) -> bool:
    """Whether a directory is a backup, which says of every file what it must be."""
    return os.path.lexists(directory / MANIFEST)


def writable(directory: Path) -> bool:
    """Whether an index can be written to by this process; a backup never is."""
    return (
        os.access(directory, os.W_OK)
        and os.access(directory / "meta.db", os.W_OK)
        and not is_backup(directory)
    )


def refuse_read_only(directory: Path) -> None:
    """Refuse to write to an index that cannot be written to.

    Raises:
        InvalidInput: it is a backup.
        SystemFailure: this process may not.
    """
    if is_backup(directory):
        raise InvalidInput(
            f"{directory} is a backup, which can be searched, not written to (make an index of it: "
            f"`simsearch restore {directory} INDEX_DIR`)"
        )
    if not writable(directory) and (directory / "meta.db").is_file():
        raise SystemFailure(f"{directory} is read-only: it can be searched, not written to")


def create_file(path: Path) -> None:
    """Make an empty file that only its owner may read; SQLite gives its logs the same rights."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def connect(path: Path) -> sqlite3.Connection:
    """Open a database, or make an empty one, with every commit safe from a power loss."""
    # The mutex of the session, not the driver, keeps threads apart.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    return _prepared(connection, path, _SAFETY + _WRITING)


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open a database to read it, and leave its log as it is.

    Where nothing can be written, or the disk has no room, and there is no log, it is taken for
    immutable, for which SQLite needs no file beside it.
    """
    if has_log(path):
        return _read_only(path, "mode=ro")
    if writable(path.parent):
        try:
            return _read_only(path, "mode=ro")
        except sqlite3.OperationalError as error:
            if primary_code(error) not in NO_ROOM:
                raise
    return _read_only(path, "mode=ro&immutable=1")


def _read_only(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?{mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    return _prepared(connection, path, _SAFETY)


def has_log(path: Path) -> bool:
    """Whether commits of a database are, or may be, in the log beside it."""
    with contextlib.suppress(FileNotFoundError):
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    return False


def _prepared(
    connection: sqlite3.Connection, path: Path, pragmas: Sequence[tuple[str, Any]]
) -> sqlite3.Connection:
    try:
        for limit, value in _LIMITS:
            connection.setlimit(limit, value)
        for pragma, expected in pragmas:
            connection.execute(f"PRAGMA {pragma}")
            name = pragma.partition("=")[0]
            (value,) = connection.execute(f"PRAGMA {name}").fetchone()
            if value != expected:
                raise SystemFailure(f"{path}: SQLite did not accept {pragma} (got {value!r})")
        # Until now nobody may have looked at the file: what stands in the way is found here.
        connection.execute("PRAGMA schema_version").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def refuse_foreign_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a database with anything but our tables and indexes: a trigger, a view, a column.

    Raises:
        CorruptIndex: naming what is too much or missing.
    """
    strange = strange_statements(connection)
    if strange:
        first = " ".join(strange[0].split())[:80]
        raise CorruptIndex(
            f"{path} is not a store of simsearch, or is damaged: at {first!r} (restore a backup, "
            f"or see what `simsearch check {path.parent}` says)"
        )


def stored_format(directory: Path) -> int | None:
    """Return the format of the store in a directory; None if there is none that can be told."""
    try:
        path = database_path(directory)
        with translated_errors(path), contextlib.closing(connect_read_only(path)) as connection:
            return format_of(connection)
    except CorruptIndex:
        return None


@contextlib.contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """The one place where SQLite's exceptions become ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        code = primary_code(error)
        damaged = code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        if damaged or _no_text(error):
            raise _damage(path, error) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise IndexLocked(f"{path.parent} is busy: {error} (try again)") from error
        if code == sqlite3.SQLITE_CANTOPEN and has_log(path) and not writable(path.parent):
            raise SystemFailure(
                f"{path}: its last commits are in the log beside it, which SQLite does not read "
                "where it may not write (open the index once where it may be written to, or copy "
                "it there)"
            ) from error
        raise SystemFailure(f"{path}: {error}") from error
    except sqlite3.ProgrammingError as error:
        if "closed" not in str(error):
            raise
        raise InvalidInput(f"the index {path.parent} is closed") from error
    except sqlite3.DatabaseError as error:
        raise _damage(path, error) from error
    except OSError as error:
        raise SystemFailure(f"{path}: {error.strerror or error}") from error


def _damage(path: Path, error: Exception) -> CorruptIndex:
    # The driver's message holds the text itself, whatever that is.
    what = "a text is not UTF-8" if _no_text(error) else error
    return CorruptIndex(
        f"{path} is damaged or not a store of simsearch: {what} (restore a backup, or see what "
        f"`simsearch check {path.parent}` says)"
    )


def _no_text(error: Exception) -> bool:
    return "decode to UTF-8" in str(error)  # the driver's own, without a code


def primary_code(error: BaseException) -> int:
    """Return SQLite's primary result code of an exception, 0 where it has none."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def file_identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one that took its name; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Divide values into what one statement takes as variables."""
    return (values[start : start + _VARIABLES] for start in range(0, len(values), _VARIABLES))


def marks(values: Sequence[Any]) -> str:
    """Return a question mark for each value."""
    return ",".join("?" * len(values))
