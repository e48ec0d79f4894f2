"""Stores of older formats, copied into a store of today's."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import zlib
from collections.abc import Mapping
from pathlib import Path

from simsearch.records import Document
from simsearch.storage.checksums import block_crc32, document_crc32, passage_crc32
from simsearch.storage.database import connect, create_file, database_path, translated_errors
from simsearch.storage.judgements import COUNT as JUDGEMENT_COUNT
from simsearch.storage.lexical import SETTING as LEXICAL_SETTING
from simsearch.storage.schema import LEXICAL, SCHEMA, text_hash
from simsearch.storage.seal import sealed, verified_constants
from simsearch.storage.terms import TERMS_VERSION, document_terms

# In format 1 a document was one row; before format 3 nothing had a checksum but blocks; before
# format 4 there was no lexical index, which is made of the texts in any case; before format 5 there
# were no judgements. Lengths, hashes and checksums are made by Python functions,
# whose characters are those of the ranges. A block that had not its checksum does not get one.
_DOCUMENTS = {
    1: "SELECT row, 1, id, text, title, metadata, supplied FROM old.documents ORDER BY row",
    2: "SELECT * FROM old.documents ORDER BY first_row",
}
_PASSAGES = {
    1: """
    SELECT row, row, 0, characters(text), iif(supplied, NULL, content_hash(text, title))
    FROM old.documents ORDER BY row
    """,
    2: "SELECT * FROM old.passages ORDER BY row",
}
_COPY = """
INSERT INTO documents SELECT *, document_crc32(first_row, rows, id, text, title, metadata, supplied)
FROM (SELECT 0 first_row, 0 rows, 0 id, 0 text, 0 title, 0 metadata, 0 supplied WHERE 0
      UNION ALL SELECT * FROM ({documents}));
INSERT INTO passages SELECT *, passage_crc32(row, document, start, stop, text_hash)
FROM (SELECT 0 row, 0 document, 0 start, 0 stop, 0 text_hash WHERE 0
      UNION ALL SELECT * FROM ({passages}));
INSERT INTO vector_blocks
SELECT first_row, rows, renewed_crc32(first_row, rows, crc32, data), data FROM old.vector_blocks;
INSERT INTO tombstones SELECT row, commit_number FROM old.tombstones;
INSERT INTO meta SELECT key, value FROM old.meta;
INSERT INTO meta SELECT 'living_rows', count(*) FROM passages;
"""
_COPY_CHECKED = """
INSERT INTO documents SELECT * FROM old.documents ORDER BY first_row;
INSERT INTO passages SELECT * FROM old.passages ORDER BY row;
INSERT INTO vector_blocks SELECT * FROM old.vector_blocks;
INSERT INTO tombstones SELECT * FROM old.tombstones;
INSERT INTO meta SELECT * FROM old.meta;
"""
_LEXICAL = """
INSERT INTO lexical (rowid, terms)
SELECT first_row, joined_terms(text, title) FROM documents ORDER BY first_row
"""
_CHECKED = 3  # the first format with checksums
_NO_CHECKSUM = -1


def upgrade_store(source: Path, target: Path, *, version: int, settings: Mapping[str, str]) -> int:
    """Write what the store of format `version` in the directory `source` holds into `target`.

    Row numbers and commit number stay; `settings` are those that the format may not have. The
    caller holds the writer lock of `source`. Returns how many segments it has, which are not
    brought over.

    Raises:
        CorruptIndex: `source` holds no store that can be read.
    """
    old, new = database_path(source), target / "meta.db"
    create_file(new)
    with translated_errors(old), contextlib.closing(connect(new)) as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 1)
        connection.executescript(f"{SCHEMA};{LEXICAL}")
        for function in _FUNCTIONS:
            name, arguments, call = function
            connection.create_function(name, arguments, call, deterministic=True)
        connection.execute("ATTACH ? AS old", (str(old),))
        connection.execute("BEGIN")
        for statement in _copying(version).split(";"):
            connection.execute(statement)
        _write_settings(connection, settings, version=version, path=old)
        connection.execute(_LEXICAL)
        segments = _count_segments(connection, version)
        connection.execute("COMMIT")
        connection.execute("DETACH old")
        connection.execute("PRAGMA main.wal_checkpoint(TRUNCATE)")
    return segments


def _copying(version: int) -> str:
    """Return the statements that copy a store of an older format."""
    if version >= _CHECKED:
        return _COPY_CHECKED
    return _COPY.format(documents=_DOCUMENTS[version], passages=_PASSAGES[version])


def _count_segments(connection: sqlite3.Connection, version: int) -> int:
    if version < _CHECKED:  # which was also the first with segments
        return 0
    count: int = connection.execute("SELECT count(*) FROM old.segments").fetchone()[0]
    return count


def _write_settings(
    connection: sqlite3.Connection, settings: Mapping[str, str], *, version: int, path: Path
) -> None:
    stored = dict(connection.execute("SELECT key, value FROM meta"))
    if version >= _CHECKED:
        verified_constants(stored, path)  # a new seal would hide their damage
    given = {"index_id": secrets.token_hex(16), JUDGEMENT_COUNT: "0", **settings}
    given |= {**stored, LEXICAL_SETTING: TERMS_VERSION}
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", sealed(given).items())


def _joined_terms(text: str, title: str | None) -> str:
    return " ".join(document_terms(Document(id="", text=text, title=title).content))


def _content_hash(text: str, title: str | None) -> bytes:
    return text_hash(Document(id="", text=text, title=title).content)


def _renewed_crc32(first_row: int, rows: int, crc32: int, data: bytes) -> int:
    sound = zlib.crc32(data) == crc32
    return block_crc32(first_row, rows, data) if sound else _NO_CHECKSUM


_FUNCTIONS = (
    ("characters", 1, len),
    ("content_hash", 2, _content_hash),
    ("joined_terms", 2, _joined_terms),
    ("document_crc32", 7, document_crc32),
    ("passage_crc32", 5, passage_crc32),
    ("renewed_crc32", 4, _renewed_crc32),
)
