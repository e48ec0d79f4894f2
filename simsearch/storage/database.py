"""SQLite as this library uses it: how a file is opened, and what its errors mean."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from simsearch.errors import CorruptIndex, InvalidInput, SystemFailure

# SQLite limits the variables of one statement; 500 stays below every build we support.
_VARIABLES = 500
_PRAGMAS: tuple[tuple[str, Any], ...] = (
    ("busy_timeout=5000", 5000),
    ("journal_mode=WAL", "wal"),
    ("synchronous=FULL", 2),
    ("foreign_keys=ON", 1),
    ("trusted_schema=OFF", 0),
    ("cell_size_check=ON", 1),
)


def database_path(directory: Path) -> Path:
    """Return the database of an index.

    Raises:
        CorruptIndex: there is none.
    """
    path = directory / "meta.db"
    if path.is_symlink() or not path.is_file():
        raise CorruptIndex(f"{path} is missing: this index has lost its documents")
    return path


def connect(path: Path) -> sqlite3.Connection:
    """Open a database, or make an empty one, with every commit safe from a power loss."""
    # The mutex of the store, not the driver, keeps threads apart.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        for pragma, expected in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
            name = pragma.partition("=")[0]
            (value,) = connection.execute(f"PRAGMA {name}").fetchone()
            if value != expected:
                raise SystemFailure(f"{path}: SQLite did not accept {pragma} (got {value!r})")
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """The one place where SQLite's exceptions become ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise CorruptIndex(f"{path} is damaged or not a store of simsearch: {error}") from error
        raise SystemFailure(f"{path}: {error}") from error
    except sqlite3.ProgrammingError as error:
        if "closed" not in str(error):
            raise
        raise InvalidInput(f"the index {path.parent} is closed") from error
    except sqlite3.DatabaseError as error:
        raise CorruptIndex(f"{path} is damaged or not a store of simsearch: {error}") from error


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
