"""Rows become texts with their classes: what a classifier learns from and is scored on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simsearch.errors import InvalidData
from simsearch.formats.checks import Reads, json_type, missing_field, quoted, readable_text
from simsearch.formats.lines import Source, source_name
from simsearch.formats.options import DEFAULT_OPTIONS, ReadOptions
from simsearch.formats.row import OnReject, Row, check_header, convert
from simsearch.formats.rows import read_rows
from simsearch.records import ClassifiedText

LABEL_SEPARATOR = ";"  # between the labels of a row of CSV


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """The rows of one file. With `several_labels` a text may have any number of them, even none."""

    texts: list[ClassifiedText]
    several_labels: bool


def read_labelled_texts(
    path: Source,
    options: ReadOptions = DEFAULT_OPTIONS,
    *,
    on_reject: OnReject | None = None,
    reads: Reads | None = None,
) -> LabelledTexts:
    """Read a file of `text` and `label`, or of `text` and `labels`.

    `labels` is a list of names; in CSV and TSV they are separated by semicolons, and an empty
    field has none. A label may be a whole number. With `on_reject` a bad row is reported to it
    and left out. A text of which an encoder `reads` nothing is as bad as a blank one.

    Raises:
        InvalidData: the columns are others, a row has another one of the two than the first, a
            value is no text or no label, or no row is left.
        NotFound, InvalidInput, SystemFailure: the file cannot be read, see `read_lines`.
    """
    first: tuple[str, str] | None = None

    def build(row: Row) -> ClassifiedText:
        nonlocal first
        column = _column(row)
        if first is None:
            first = (column, row.where)
        if column != first[0]:
            raise InvalidData(
                f"{row.where}: has {column!r}, but the file began with {first[0]!r} at {first[1]}"
            )
        text = readable_text(row, "text", options, reads or _everything)
        value = row.fields[column]
        if column == "label":
            return ClassifiedText(text, (_label(row, column, value),))
        return ClassifiedText(text, labels_of(row))

    rows = check_header(read_rows(path, options, on_reject=on_reject), _column)
    texts = list(convert(rows, build, on_reject))
    if first is None or not texts:
        raise InvalidData(f"{source_name(path)}: no row is left")
    return LabelledTexts(texts, several_labels=first[0] == "labels")


def _everything(_: str) -> bool:
    return True


def _column(row: Row) -> str:
    """Return which of the two columns of labels a row has."""
    if "text" not in row.fields:
        raise missing_field(row, "text")
    found = [name for name in ("label", "labels") if name in row.fields]
    if not found:
        raise missing_field(row, "label")
    if len(found) > 1:
        raise InvalidData(f"{row.names_at}: has both 'label' and 'labels' (leave one out)")
    return found[0]


def labels_of(row: Row) -> tuple[str, ...]:
    """Return the names in the column `labels`.

    Raises:
        InvalidData: they are no list of names, each once.
    """
    value = row.fields["labels"]
    if row.header is not None:  # in a table every value is a string
        value = [part for part in value.split(LABEL_SEPARATOR) if part.strip()]
    if not isinstance(value, list):
        raise InvalidData(
            f"{row.where}: field 'labels' must be a list of names, got {json_type(value)}"
        )
    names = [_label(row, "labels", each) for each in value]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidData(f"{row.where}: field 'labels' has {quoted(twice)} twice")
    return tuple(names)


def _label(row: Row, column: str, value: Any) -> str:
    if isinstance(value, int):  # true and false are 1 and 0
        return str(int(value))
    name = value.strip() if isinstance(value, str) else ""
    if not name or not name.isprintable():
        got = quoted(value) if isinstance(value, str) else json_type(value)
        raise InvalidData(
            f"{row.where}: field {column!r}: got {got}, expected the name of a class (printable, "
            "not empty)"
        )
    return name
