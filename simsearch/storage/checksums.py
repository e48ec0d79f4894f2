"""Checksums of rows: SQLite has none for its pages, and a flipped bit must not become an answer.

Each is a CRC-32 over the fields and their lengths, so that no field can change, move into its
neighbour or stand under another row number unnoticed.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

_DOCUMENT = struct.Struct("<qqqqqqq")
_PASSAGE = struct.Struct("<qqqq")
_BLOCK = struct.Struct("<qq")
_JUDGEMENT = struct.Struct("<qqqqq")


def document_crc32(
    first_row: int, rows: int, id_: str, text: str, title: str | None, metadata: str, supplied: int
) -> int:
    """Return the checksum of a row of `documents`, its fields in the order of the table."""
    parts = [part.encode() for part in (id_, text, title or "", metadata)]
    lengths = [len(part) for part in parts]
    if title is None:
        lengths[2] = -1
    numbers = _DOCUMENT.pack(first_row, rows, int(supplied), *lengths)
    return zlib.crc32(b"".join([numbers, *parts]))


def passage_crc32(row: int, document: int, start: int, stop: int, text_hash: bytes | None) -> int:
    """Return the checksum of a row of `passages`, its fields in the order of the table."""
    return zlib.crc32(text_hash or b"", zlib.crc32(_PASSAGE.pack(row, document, start, stop)))


def judgement_crc32(number: int, query: str, document: str, relevant: int, text: bytes) -> int:
    """Return the checksum of a row of `judgements`, its fields in the order of the table."""
    parts = [query.encode(), document.encode(), text]
    numbers = _JUDGEMENT.pack(number, int(relevant), *(len(part) for part in parts))
    return zlib.crc32(b"".join([numbers, *parts]))


def block_crc32(first_row: int, rows: int, data: bytes) -> int:
    """Return the checksum of a row of `vector_blocks`."""
    return zlib.crc32(data, zlib.crc32(_BLOCK.pack(first_row, rows)))


def settings_crc32(settings: Mapping[str, str]) -> int:
    """Return the checksum of settings, in whatever order they come."""
    crc = 0
    for key, value in sorted(settings.items()):
        crc = zlib.crc32(f"{len(key)} {key} {len(value)} {value}".encode(), crc)
    return crc


def sound_document(row: Sequence[Any]) -> bool:
    """Whether a whole row of `documents` has its checksum."""
    # Damage can also change the type of a value.
    try:
        return bool(document_crc32(*row[:-1]) == row[-1])
    except (struct.error, TypeError, AttributeError):
        return False


def sound_passage(row: Sequence[Any]) -> bool:
    """Whether a whole row of `passages` has its checksum."""
    try:
        return bool(passage_crc32(*row[:-1]) == row[-1])
    except (struct.error, TypeError):
        return False


def sound_judgement(row: Sequence[Any]) -> bool:
    """Whether a whole row of `judgements` has its checksum."""
    try:
        return bool(judgement_crc32(*row[:-1]) == row[-1])
    except (struct.error, TypeError, AttributeError):
        return False


def sound_block(first_row: int, rows: int, crc32: int, data: bytes, *, dim: int) -> bool:
    """Whether a row of `vector_blocks` has its checksum and the vectors of all its rows."""
    try:
        return len(data) == rows * dim * 4 and block_crc32(first_row, rows, data) == crc32
    except (struct.error, TypeError):
        return False


def with_checksum(content: Mapping[str, Any]) -> str:
    """Return data as JSON behind its checksum."""
    text = json.dumps(content, allow_nan=False)
    return f"{zlib.crc32(text.encode()):08x} {text}"


def read_with_checksum(text: str) -> dict[str, Any]:
    """Return the data in a text that `with_checksum` made.

    Raises:
        ValueError: it is another.
    """
    checksum, _, content = text.partition(" ")
    if checksum != f"{zlib.crc32(content.encode()):08x}":
        raise ValueError("its checksum is wrong")
    return dict(json.loads(content))
