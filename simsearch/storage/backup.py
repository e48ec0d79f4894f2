"""A store copied whole while others write to it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Final

from simsearch.errors import CorruptIndex, SystemFailure
from simsearch.failpoints import failpoint
from simsearch.storage.database import (
    connect_read_only,
    create_file,
    database_path,
    refuse_foreign_schema,
    translated_errors,
)
from simsearch.storage.witness import read_witness, refuse_lost_commits, write_witness

# Nothing else is written to while pages are copied.
_OF_THE_TARGET: Final = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_DIR_FSYNC,
)


def copy_store(source: Path, target: Path) -> int:
    """Write the last commit of the store in `source` into `target`, and return its number.

    Writers are not held up, and what they commit meanwhile is not in the copy.

    Raises:
        CorruptIndex: `source` holds no store that can be read, or one that has lost commits.
        SystemFailure: the disk refuses, naming the file that it refused.
    """
    old, new = database_path(source), target / "meta.db"
    with translated_errors(old), contextlib.ExitStack() as stack:
        witnessed = read_witness(source)
        reader = stack.enter_context(contextlib.closing(connect_read_only(old)))
        refuse_foreign_schema(reader, old)
        create_file(new)
        failpoint("backup.database")
        with contextlib.closing(sqlite3.connect(new)) as writer:
            try:
                reader.backup(writer)  # all pages in one go: under one snapshot
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode in _OF_THE_TARGET:
                    raise SystemFailure(f"{new}: {error}") from error
                raise
        number = _commit_number(stack.enter_context(contextlib.closing(connect_read_only(new))))
        refuse_lost_commits(source, witnessed=witnessed, commit_number=number)
    for name in ("meta.db-wal", "meta.db-shm"):
        (target / name).unlink(missing_ok=True)
    if number:  # an index that was never written to has no commit
        write_witness(target, number)
    return number


def _commit_number(connection: sqlite3.Connection) -> int:
    found = connection.execute("SELECT value FROM meta WHERE key = 'commit_number'").fetchone()
    if found is None or not str(found[0]).isdecimal():
        raise CorruptIndex("the database lacks its commit number (run `simsearch check`)")
    return int(found[0])
