"""Texts with labelled spans: CoNLL columns, or JSONL with ranges of characters.

Tokens of CoNLL have no original text. They are joined by one space, without a space between two
Chinese, Japanese or Korean characters, and the spans refer to that.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any

from simsearch.errors import InvalidData
from simsearch.formats.checks import Reads, checked_text, json_type, missing_field, quoted
from simsearch.formats.jsonl import read_jsonl
from simsearch.formats.lines import Source, is_stdin, raw_lines, source_name, too_long, without_end
from simsearch.formats.options import DEFAULT_OPTIONS, ReadOptions
from simsearch.formats.row import OnReject, Row, convert
from simsearch.records import Span, TaggedText

_COLUMNS = (2, 4)  # word and tag; word, part of speech, chunk and tag (CoNLL 2003)
_TAG = re.compile(r"O|([BIESUL])-(\S+)")
_BEGINS, _ENDS = frozenset("BSU"), frozenset("ESUL")
_JSON_NAMES = (".jsonl", ".ndjson", ".json")
_CJK = re.compile(
    "[\u2e80-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef\uac00-\ud7af"
    "\U00020000-\U0003ffff]"
)


def read_tagged_texts(
    path: Source,
    options: ReadOptions = DEFAULT_OPTIONS,
    *,
    on_reject: OnReject | None = None,
    reads: Reads | None = None,
    places: list[str] | None = None,
) -> list[TaggedText]:
    """Read a file of texts with spans, in the format that its name or first character says.

    CoNLL: a token and its tag a line (two columns, or four throughout), separated by tabs or
    spaces, a blank line after each text. Tags are IOB1, IOB2, BIOES or BILOU. JSONL: `text` and
    `spans`, a list of `start`, `end` and `label`. With `on_reject` a bad text is reported to it and
    left out. One of which an encoder `reads` nothing is as bad as a blank one. FILE:LINE of each
    text is added to `places`.

    Raises:
        InvalidData: a line or a span is wrong, or there is no text.
        NotFound, InvalidInput, SystemFailure: the file cannot be read, see `read_lines`.
    """
    name = source_name(path)

    def kept(text: TaggedText, where: str) -> TaggedText:
        if reads is not None and not reads(text.text):
            raise InvalidData(f"{where}: the text holds nothing that the encoder reads")
        if places is not None:
            places.append(where)
        return text

    lines = list(raw_lines(path, options))
    if not any(line.strip() for _, line in lines):
        raise InvalidData(f"{name} is empty")
    suffix = "" if is_stdin(path) else PurePath(os.fspath(path).lower().removesuffix(".gz")).suffix
    begin = next(line for _, line in lines if line.strip()).lstrip()[0]
    if suffix in _JSON_NAMES or (not suffix and begin == "{"):
        rows = read_jsonl(lines, name, options=options, on_reject=on_reject)
        texts = list(convert(rows, lambda row: kept(_of_row(row, options), row.where), on_reject))
    else:
        blocks = list(_blocks((number, without_end(line)) for number, line in lines))
        columns = _columns_of(blocks)
        texts = list(
            convert(
                blocks,
                lambda block: kept(
                    _of_block(block, name, options, columns), f"{name}:{block[0][0]}"
                ),
                on_reject,
            )
        )
    if not texts:
        raise InvalidData(f"{name}: no text is left")
    return texts


def join_tokens(tokens: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Return the text of tokens, and the half-open range of characters of each of them."""
    parts: list[str] = []
    ranges = []
    length = 0
    for token in tokens:
        if parts and not (_CJK.match(parts[-1][-1]) and _CJK.match(token)):
            parts.append(" ")
            length += 1
        ranges.append((length, length + len(token)))
        parts.append(token)
        length += len(token)
    return "".join(parts), ranges


def spans_of_tags(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return first token, token behind the last, and label of every span, in order.

    All schemes are read by one rule, that of conlleval: a span begins at B, S or U, and at any
    other tag that does not go on with the label before it; it ends at E, S or L.

    Raises:
        InvalidData: a tag is none of a scheme.
    """
    spans: list[tuple[int, int, str]] = []
    open_label, start = "", 0
    for position, tag in enumerate([*tags, "O"]):
        found = _TAG.fullmatch(tag)
        if found is None:
            raise InvalidData(f"{quoted(tag)} is no tag (O, or B- I- E- S- and a label)")
        prefix, label = found[1] or "", found[2] or ""
        if open_label and (label != open_label or prefix in _BEGINS):
            spans.append((start, position, open_label))
            open_label = ""
        if label and not open_label:
            open_label, start = label, position
        if open_label and prefix in _ENDS:
            spans.append((start, position + 1, open_label))
            open_label = ""
    return spans


_Block = list[tuple[int, str]]


def _blocks(lines: Iterable[tuple[int, str]]) -> Iterator[_Block]:
    """Yield the lines of each text."""
    block: _Block = []
    for number, line in lines:
        if line.strip() and not line.startswith("-DOCSTART-"):
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in (line.split("\t") if "\t" in line else line.split())]


def _columns_of(blocks: Sequence[_Block]) -> tuple[int, ...]:
    """Return how many columns the lines of a file have: as many as the first that may be one."""
    counts = (len(_cells(line)) for block in blocks for _, line in block)
    found = next((count for count in counts if count in _COLUMNS), None)
    return _COLUMNS if found is None else (found,)


def _of_block(
    block: _Block, name: str, options: ReadOptions, columns: tuple[int, ...]
) -> TaggedText:
    tokens, tags = [], []
    for number, line in block:
        if len(line) > options.max_record:
            raise too_long(f"{name}:{number}", options.max_record)
        cells = _cells(line)
        if len(cells) not in _COLUMNS or not all(cells):
            raise InvalidData(
                f"{name}:{number}: expected 2 columns (token, tag) or 4, got {len(cells)}: "
                f"{quoted(line)}"
            )
        if len(cells) not in columns:
            raise InvalidData(
                f"{name}:{number}: expected {columns[0]} columns, as the file began, got "
                f"{len(cells)}: {quoted(line)}"
            )
        if _TAG.fullmatch(cells[-1]) is None:
            raise InvalidData(
                f"{name}:{number}: {quoted(cells[-1])} is no tag (O, or B- I- E- S- and a label)"
            )
        if "\0" in cells[0] or re.search("[\ud800-\udfff]", cells[0]):
            raise InvalidData(f"{name}:{number}: {quoted(cells[0])} is no text")
        tokens.append(cells[0])
        tags.append(cells[-1])
    text, ranges = join_tokens(tokens)
    spans = [
        Span(ranges[first][0], ranges[behind - 1][1], label)
        for first, behind, label in spans_of_tags(tags)
    ]
    return TaggedText(text, tuple(spans))


def _of_row(row: Row, options: ReadOptions) -> TaggedText:
    text = checked_text(row, "text", options)
    if "spans" not in row.fields:
        raise missing_field(row, "spans")
    value = row.fields["spans"]
    if not isinstance(value, list):
        raise InvalidData(f"{row.where}: field 'spans' must be a list, got {json_type(value)}")
    spans = sorted(_span(row, each, text) for each in value)
    for before, after in itertools.pairwise(spans):
        if after.start < before.end:
            raise InvalidData(
                f"{row.where}: spans {_shown(before)} and {_shown(after)} overlap "
                "(a character can be in one span only)"
            )
    return TaggedText(text, tuple(spans))


def _span(row: Row, value: Any, text: str) -> Span:
    fields = value if isinstance(value, dict) else {}
    start, end, label = (fields.get(key) for key in ("start", "end", "label"))
    if type(start) is not int or type(end) is not int or not isinstance(label, str):
        raise InvalidData(
            f"{row.where}: a span must have start and end, whole numbers, and label, a string"
        )
    if not 0 <= start < end <= len(text):
        raise InvalidData(
            f"{row.where}: span {start}..{end} ({quoted(label)}) is not within the text, which has "
            f"{len(text)} characters (half-open, counted from 0)"
        )
    if not text[start:end].strip():
        raise InvalidData(f"{row.where}: span {start}..{end} ({quoted(label)}) is blank")
    if not label or not label.isprintable() or any(character.isspace() for character in label):
        raise InvalidData(f"{row.where}: {quoted(label)} is no label of a span")
    return Span(start, end, label)


def _shown(span: Span) -> str:
    return f"{span.start}..{span.end} ({quoted(span.label)})"
