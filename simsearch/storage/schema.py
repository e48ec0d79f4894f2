"""What lies in the database of an index, in format 3."""

from __future__ import annotations

import hashlib

# A row is one vector: that of a passage, or of a whole document. Row numbers are given out once
# and never again (`next_row` in meta only grows), those of a document one after the other; so a
# document is numbered by its first row, and its rows are found by their numbers, without an index.
# `text_hash` is that of what was encoded, and NULL where the vector was supplied. `crc32` covers
# every other field of its row (checksums.py).
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
"""

# Settings in meta that change; all others are constants, under one checksum.
VARIABLES = frozenset({"commit_number", "next_row", "living_rows", "finished", "constants_crc32"})

_HASH_BYTES = 16


def text_hash(text: str) -> bytes:
    """Return what a text that was encoded is found by: 16 bytes of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8")).digest()[:_HASH_BYTES]


def schema_statements() -> set[str]:
    """Return what SQLite's own list of a database's tables and indexes must say, and no more."""
    return {statement.strip() for statement in SCHEMA.split(";") if statement.strip()}
