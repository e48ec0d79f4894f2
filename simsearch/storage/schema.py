"""What lies in the database of an index, and by what its format is known."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Final

# A format has a schema that no other one has: by it the format of an index is known that has lost
# its marker, or has a wrong one.
FORMAT_VERSION: Final = 5

# A row is one vector: that of a passage, or of a whole document. Row numbers are given out once
# and never again (`next_row` in meta only grows), those of a document one after the other; so a
# document is numbered by its first row, and its rows are found by their numbers, without an index.
# `text_hash` is that of what was encoded, and NULL where the vector was supplied; that of a
# judgement is of the document's whole content when it was judged. `crc32` covers every other field
# of its row (checksums.py).
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE documents (
    first_row INTEGER PRIMARY KEY,
    rows INTEGER NOT NULL,
    id TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL,
    title TEXT,
    metadata TEXT NOT NULL,
    supplied INTEGER NOT NULL,
    crc32 INTEGER NOT NULL
) STRICT;
CREATE TABLE passages (
    row INTEGER PRIMARY KEY,
    document INTEGER NOT NULL,
    start INTEGER NOT NULL,
    stop INTEGER NOT NULL,
    text_hash BLOB,
    crc32 INTEGER NOT NULL
) STRICT;
CREATE INDEX passages_by_text ON passages (text_hash) WHERE text_hash IS NOT NULL;
CREATE TABLE vector_blocks (
    first_row INTEGER PRIMARY KEY,
    rows INTEGER NOT NULL,
    crc32 INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE TABLE tombstones (row INTEGER PRIMARY KEY, commit_number INTEGER NOT NULL) STRICT;
CREATE INDEX tombstones_by_commit ON tombstones (commit_number);
CREATE TABLE segments (
    name TEXT PRIMARY KEY,
    first_row INTEGER NOT NULL,
    end_row INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    source TEXT NOT NULL,
    description TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE judgements (
    number INTEGER PRIMARY KEY,
    query TEXT NOT NULL,
    document TEXT NOT NULL,
    relevant INTEGER NOT NULL,
    text_hash BLOB NOT NULL,
    crc32 INTEGER NOT NULL,
    UNIQUE (query, document)
) STRICT;
"""
# By the numbers of documents. Its text is terms with spaces between (terms.py), which it splits
# and stems and does not keep.
LEXICAL = "CREATE VIRTUAL TABLE lexical USING fts5(terms, content='', tokenize='porter ascii')"
# The tables that SQLite makes for it.
_SHADOWS = """
CREATE TABLE 'lexical_data'(id INTEGER PRIMARY KEY, block BLOB);
CREATE TABLE 'lexical_idx'(segid, term, pgno, PRIMARY KEY(segid, term)) WITHOUT ROWID;
CREATE TABLE 'lexical_docsize'(id INTEGER PRIMARY KEY, sz BLOB);
CREATE TABLE 'lexical_config'(k PRIMARY KEY, v) WITHOUT ROWID
"""

# Settings in meta that an index may have, and may change: what its segments have to be, by what
# they were chosen, and how it is searched. Each stands behind a checksum of its own.
CHOICES = frozenset({"target", "index_chosen_by", "fusion"})
# Settings in meta that change; all others are constants, under one checksum.
VARIABLES = frozenset(
    {
        "commit_number",
        "next_row",
        "living_rows",
        "judgements",
        "finished",
        "lexical_terms",
        "constants_crc32",
        *CHOICES,
    }
)

_OLDER_DOCUMENTS: Final = {
    ("row", "id", "text", "title", "metadata", "supplied"): 1,
    ("first_row", "rows", "id", "text", "title", "metadata", "supplied"): 2,
    ("first_row", "rows", "id", "text", "title", "metadata", "supplied", "crc32"): 3,
}
_BEFORE_LEXICAL: Final = 3  # whose documents are those of today
_BEFORE_JUDGEMENTS: Final = 4
_HASH_BYTES = 16


def text_hash(text: str) -> bytes:
    """Return what a text that was encoded is found by: 16 bytes of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8")).digest()[:_HASH_BYTES]


def format_of(connection: sqlite3.Connection) -> int | None:
    """Return the format that the tables of a database are of; None if they are of none we know."""
    if not strange_statements(connection):
        return FORMAT_VERSION
    columns = connection.execute("SELECT name FROM pragma_table_info('documents') ORDER BY cid")
    found = _OLDER_DOCUMENTS.get(tuple(name for (name,) in columns))
    if found == _BEFORE_LEXICAL and "lexical" in _table_names(connection):
        return None if "judgements" in _table_names(connection) else _BEFORE_JUDGEMENTS
    return found


def _table_names(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}


def strange_statements(connection: sqlite3.Connection) -> list[str]:
    """Return what a database has beside our tables and indexes, or lacks of them."""
    # SQLite's own list must say what it was told, and no more.
    told = f"{SCHEMA};{LEXICAL};{_SHADOWS}".split(";")
    ours = {statement.strip() for statement in told if statement.strip()}
    listed = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return sorted({str(sql) for (sql,) in listed} ^ ours)
