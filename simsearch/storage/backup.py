"""A store copied whole while others write to it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from simsearch.errors import CorruptIndex
from simsearch.failpoints import failpoint
from simsearch.storage.database import (
    connect_read_only,
    create_file,
    database_path,
    refuse_foreign_schema,
    translated_errors,
)
from simsearch.storage.witness import read_witness, refuse_lost_commits, write_witness


def copy_store(source: Path, target: Path) -> int:
    """Write the last commit of the store in `source` into `target`, and return its number.

    Writers are not held up, and what they commit meanwhile is not in the copy.

    Raises:
        CorruptIndex: `source` holds no store that can be read, or one that has lost commits.
    """
    old, new = database_path(source), target / "meta.db"
    with translated_errors(old), contextlib.ExitStack() as stack:
        witnessed = read_witness(source)
        reader = stack.enter_context(contextlib.closing(connect_read_only(old)))
        refuse_foreign_schema(reader, old)
        create_file(new)
        failpoint("backup.database")
        with contextlib.closing(sqlite3.connect(new)) as writer:
            reader.backup(writer)  # all pages in one go: under one snapshot
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
