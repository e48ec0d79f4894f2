"""A file of records becomes rows, whichever format its name or its content says it has."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import PurePath
from typing import Final

from simsearch.errors import InvalidData
from simsearch.formats.jsonl import read_jsonl
from simsearch.formats.lines import Source, is_stdin, raw_lines, source_name
from simsearch.formats.options import DEFAULT_OPTIONS, ReadOptions
from simsearch.formats.row import OnReject, Row
from simsearch.formats.table import read_table


class _Layout(StrEnum):
    JSONL = "JSONL"
    CSV = "CSV"
    TSV = "TSV"


_LAYOUTS: Final = {
    ".jsonl": _Layout.JSONL,
    ".ndjson": _Layout.JSONL,
    ".json": _Layout.JSONL,
    ".csv": _Layout.CSV,
    ".tsv": _Layout.TSV,
}


def read_rows(
    path: Source,
    options: ReadOptions = DEFAULT_OPTIONS,
    *,
    on_reject: OnReject | None = None,
) -> Iterator[Row]:
    """Yield the records of a JSONL, CSV or TSV file, gzipped or not; `-` is stdin.

    The name decides the format; without a known name the first character does. With
    `on_reject` a bad row is reported to it and left out.

    Raises:
        InvalidData: the file is not what its name says, holds no rows, or a bad one.
        NotFound, InvalidInput, SystemFailure: it cannot be read, see `read_lines`.
    """
    name = source_name(path)
    lines = raw_lines(path, options)
    number, line = _first_line(lines, name)
    layout = _layout(path, line, f"{name}:{number}")
    lines = itertools.chain([(number, line)], lines)
    if layout is _Layout.JSONL:
        yield from read_jsonl(lines, name, options=options, on_reject=on_reject)
    else:
        delimiter = "\t" if layout is _Layout.TSV else ","
        yield from read_table(
            lines, name, delimiter=delimiter, options=options, on_reject=on_reject
        )


def _first_line(lines: Iterator[tuple[int, str]], name: str) -> tuple[int, str]:
    empty = True
    for number, line in lines:
        empty = False
        if line.strip():
            return number, line
    raise InvalidData(f"{name} is empty" if empty else f"{name} holds 0 data rows")


def _layout(path: Source, line: str, where: str) -> _Layout:
    """Return the format that the name of `path` says, refused where `line` denies it."""
    begin = line.lstrip()[0]
    named = None if is_stdin(path) else _named_layout(path)
    if begin == "[" and named in (None, _Layout.JSONL):
        raise InvalidData(
            f"{where}: is a JSON array; one object per line is expected (jq -c '.[]' converts it)"
        )
    if named is None:
        return _Layout.JSONL if begin == "{" else _Layout.CSV
    if named is _Layout.JSONL and begin != "{" and not _is_json(line):
        raise InvalidData(f"{where}: not a JSON object; looks like CSV (rename it to .csv)")
    if named is not _Layout.JSONL and begin == "{":
        raise InvalidData(f"{where}: not {named}; looks like JSONL (rename it to .jsonl)")
    return named


def _named_layout(path: Source) -> _Layout | None:
    name = PurePath(os.fspath(path).lower().removesuffix(".gz"))
    return _LAYOUTS.get(name.suffix)


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
