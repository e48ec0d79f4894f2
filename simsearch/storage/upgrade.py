"""Stores of older formats, copied into a store of today's."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from simsearch.records import Document
from simsearch.storage.database import connect, database_path, translated_errors
from simsearch.storage.schema import SCHEMA, text_hash

# In format 1 a document was one row. The lengths and hashes are Python's, whose characters are
# those of the ranges. Blocks go over as they are, with the checksums that they were written with.
_COPY = (
    """
    INSERT INTO documents
    SELECT row, 1, id, text, title, metadata, supplied FROM old.documents ORDER BY row
    """,
    """
    INSERT INTO passages
    SELECT row, row, 0, characters(text), iif(supplied, NULL, content_hash(text, title))
    FROM old.documents ORDER BY row
    """,
    "INSERT INTO vector_blocks SELECT first_row, rows, crc32, data FROM old.vector_blocks",
    "INSERT INTO tombstones SELECT row, commit_number FROM old.tombstones",
    "INSERT INTO meta SELECT key, value FROM old.meta",
)


def upgrade_store(source: Path, target: Path, *, settings: Mapping[str, str]) -> None:
    """Write what the store of format 1 in the directory `source` holds into `target`.

    Row numbers and commit number stay; `settings` are those that format 1 did not have. The
    caller holds the writer lock of `source`.

    Raises:
        CorruptIndex: `source` holds no store that can be read.
    """
    old, new = database_path(source), target / "meta.db"
    with translated_errors(old), contextlib.closing(connect(new)) as connection:
        connection.executescript(SCHEMA)
        connection.create_function("characters", 1, len, deterministic=True)
        connection.create_function("content_hash", 2, _content_hash, deterministic=True)
        connection.execute("ATTACH ? AS old", (str(old),))
        connection.execute("BEGIN")
        for statement in _COPY:
            connection.execute(statement)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", settings.items())
        connection.execute("COMMIT")
        connection.execute("DETACH old")
        connection.execute("PRAGMA main.wal_checkpoint(TRUNCATE)")


def _content_hash(text: str, title: str | None) -> bytes:
    return text_hash(Document(id="", text=text, title=title).content)
