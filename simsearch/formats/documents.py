"""Rows become documents: which field is what, the id of a text without one, ids that repeat."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simsearch.errors import DuplicateId, InvalidData, InvalidInput
from simsearch.formats.checks import (
    Reads,
    any_text,
    checked_id,
    checked_metadata,
    checked_metadata_names,
    checked_text,
    missing_field,
    quoted,
)
from simsearch.formats.jsonl import parse_object
from simsearch.formats.lines import Source, is_stdin
from simsearch.formats.options import DEFAULT_OPTIONS, Duplicates, ReadOptions
from simsearch.formats.row import OnReject, Row, check_header, convert
from simsearch.formats.rows import read_rows
from simsearch.records import Document, is_blank


@dataclass(slots=True)
class DocumentCounts:
    """What a caller may want to report about the documents it was given.

    `generated_ids`: documents yielded whose id was made from their content. `blank`: rows
    refused because title and text were blank, or unreadable.
    """

    generated_ids: int = 0
    blank: int = 0


class BlankDocument(InvalidData):
    """Title and text of a document are blank."""


class UnreadableDocument(BlankDocument):
    """Title and text of a document hold nothing for the encoder that is to read them."""


def content_id(title: str | None, text: str) -> str:
    """Return the id of a document that has none: 32 hex digits, the same for the same content."""
    content = f"{title or ''}\n{text}"
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def read_documents(
    path: Source,
    options: ReadOptions = DEFAULT_OPTIONS,
    *,
    on_reject: OnReject | None = None,
    counts: DocumentCounts | None = None,
    reads: Reads | None = None,
) -> Iterator[Document]:
    """Yield the documents of one file; see `read_corpus`."""
    return read_corpus([path], options, on_reject=on_reject, counts=counts, reads=reads)


def read_corpus(
    paths: Sequence[Source],
    options: ReadOptions = DEFAULT_OPTIONS,
    *,
    on_reject: OnReject | None = None,
    counts: DocumentCounts | None = None,
    reads: Reads | None = None,
) -> Iterator[Document]:
    """Yield the documents of all files, in their order; an id stands in all of them once.

    A row holds `id` or `_id` (or neither), `text` and perhaps `title`; its other fields are
    metadata. With `Duplicates.LAST` the files are read twice and of each id only the last
    document comes. With `on_reject` a bad row is reported to it and left out. A document of which
    an encoder `reads` nothing is as bad as a blank one.

    Raises:
        InvalidData: a row is not a document, or a file is not readable as rows.
        DuplicateId: an id stands in two rows, and `options.duplicates` is ERROR.
        NotFound, InvalidInput, SystemFailure: a file cannot be read, see `read_lines`.
    """
    counts = DocumentCounts() if counts is None else counts
    reads = reads or any_text
    if options.duplicates is Duplicates.ERROR:
        placed = _unique(paths, options, on_reject, counts, reads)
    elif any(is_stdin(path) for path in paths):
        raise InvalidInput("--duplicates last reads its input twice, and stdin cannot be")
    else:
        placed = _last(paths, options, on_reject, counts, reads)
    return _counted(placed, counts)


@dataclass(frozen=True, slots=True)
class _Placed:
    document: Document
    where: str
    generated: bool


@dataclass(frozen=True, slots=True)
class _Fields:
    """The names under which a row holds the parts of a document."""

    id: str | None
    text: str
    title: str | None
    metadata: tuple[str, ...]


def _counted(placed: Iterator[_Placed], counts: DocumentCounts) -> Iterator[Document]:
    for each in placed:
        counts.generated_ids += each.generated
        yield each.document


def _unique(
    paths: Sequence[Source],
    options: ReadOptions,
    on_reject: OnReject | None,
    counts: DocumentCounts,
    reads: Reads,
) -> Iterator[_Placed]:
    places: dict[str, str] = {}

    def first_with_its_id(placed: _Placed) -> _Placed:
        if earlier := places.get(placed.document.id):
            raise _duplicate(placed, earlier)
        places[placed.document.id] = placed.where
        return placed

    return convert(_read(paths, options, on_reject, counts, reads), first_with_its_id, on_reject)


def _duplicate(placed: _Placed, earlier: str) -> DuplicateId:
    what = f"id {quoted(placed.document.id)}"
    if placed.generated:
        what = f"the same content, without an id ({what}),"
    return DuplicateId(
        f"{placed.where}: {what} stands in {earlier} already (--duplicates last keeps the last)"
    )


def _last(
    paths: Sequence[Source],
    options: ReadOptions,
    on_reject: OnReject | None,
    counts: DocumentCounts,
    reads: Reads,
) -> Iterator[_Placed]:
    last: dict[str, int] = {}
    # The second pass reports what it leaves out; the first one would report it twice.
    silent = None if on_reject is None else _ignore
    for position, placed in enumerate(_read(paths, options, silent, DocumentCounts(), reads)):
        last[placed.document.id] = position
    for position, placed in enumerate(_read(paths, options, on_reject, counts, reads)):
        if last.get(placed.document.id) == position:
            yield placed


def _ignore(_: InvalidData) -> None:
    pass


def _read(
    paths: Sequence[Source],
    options: ReadOptions,
    on_reject: OnReject | None,
    counts: DocumentCounts,
    reads: Reads,
) -> Iterator[_Placed]:
    def place(row: Row) -> _Placed:
        return _document(row, options, counts, reads)

    for path in paths:
        rows = read_rows(path, options, on_reject=on_reject)
        rows = check_header(rows, lambda row: _fields(row, options))
        yield from convert(rows, place, on_reject)


def _document(row: Row, options: ReadOptions, counts: DocumentCounts, reads: Reads) -> _Placed:
    fields = _fields(row, options)
    text = checked_text(row, fields.text, options, may_be_blank=True)
    title = None
    if fields.title is not None and row.fields[fields.title] is not None:
        title = checked_text(row, fields.title, options, may_be_blank=True)
    if is_blank(text) and is_blank(title):
        counts.blank += 1
        raise BlankDocument(f"{row.where}: the document is empty (its title and text are blank)")
    document = Document(
        id=content_id(title, text) if fields.id is None else checked_id(row, fields.id),
        text=text,
        title=title,
        metadata=checked_metadata(row, fields.metadata),
    )
    if not reads(document.content):
        counts.blank += 1
        raise UnreadableDocument(f"{row.where}: the document holds nothing that the encoder reads")
    return _Placed(document, row.where, generated=fields.id is None)


def _fields(row: Row, options: ReadOptions) -> _Fields:
    names = row.fields
    text = options.text_field or "text"
    title = options.title_field or ("title" if "title" in names else None)
    for name, option in (
        (text, "--text-field"),
        (options.title_field, "--title-field"),
        (options.id_field, "--id-field"),
    ):
        if name is not None and name not in names:
            raise missing_field(row, name, option=option)
    id_ = options.id_field or _usual_id_field(row)
    metadata = tuple(name for name in names if name not in (id_, text, title))
    checked_metadata_names(row, metadata)
    return _Fields(id_, text, title, metadata)


def _usual_id_field(row: Row) -> str | None:
    usual = [name for name in ("id", "_id") if name in row.fields]
    if len(usual) == 2:
        raise InvalidData(
            f"{row.names_at}: both 'id' and '_id' are there (choose one with --id-field)"
        )
    return usual[0] if usual else None


def check_document(document: Document, *, where: str) -> None:
    """Refuse a document made by a caller that no file could hold; errors begin with `where`.

    Raises:
        InvalidData: the id, title, text or metadata is not what `read_corpus` would accept.
    """
    if not isinstance(document, Document):
        raise InvalidData(f"{where} is a {type(document).__name__}, expected a Document")
    fields = {"id": document.id, "text": document.text, "title": document.title}
    row = Row(fields, where)
    checked_id(row, "id")
    checked_text(row, "text", DEFAULT_OPTIONS, may_be_blank=True)
    if document.title is not None:
        checked_text(row, "title", DEFAULT_OPTIONS, may_be_blank=True)
    if is_blank(document.text) and is_blank(document.title):
        raise BlankDocument(f"{where}: the document is empty (its title and text are blank)")
    if document.metadata:
        _check_given_metadata(document.metadata, where)


def _check_given_metadata(metadata: Mapping[str, Any], where: str) -> None:
    # Through JSON and back: what is not JSON, or would come back as something else (a tuple, a
    # key that is no string), is refused by comparing, and every other check is that of a file.
    try:
        line = json.dumps(dict(metadata), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidData(f"{where}: metadata must be JSON: {error}") from error
    fields = parse_object(line, where).fields
    if fields != metadata:
        raise InvalidData(
            f"{where}: metadata must be JSON as it is: keys are strings, sequences are lists"
        )
    row = Row(fields, where)
    checked_metadata_names(row, tuple(fields))
    checked_metadata(row, fields)
