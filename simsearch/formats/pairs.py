"""Rows become training examples: their columns say which kind a file holds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from simsearch.errors import InvalidData
from simsearch.formats.checks import (
    Reads,
    any_text,
    checked_text,
    json_type,
    listed,
    nearest,
    quoted,
    readable_text,
)
from simsearch.formats.labelled_texts import labels_of
from simsearch.formats.lines import Source
from simsearch.formats.options import DEFAULT_OPTIONS, ReadOptions
from simsearch.formats.row import OnReject, Row, check_header, convert
from simsearch.formats.rows import read_rows
from simsearch.records import (
    ClassifiedText,
    ClassPair,
    LabelledPair,
    LabelledText,
    Pair,
    ScoredPair,
    TaggedText,
    Triplet,
    UnlabelledText,
)

Example: TypeAlias = (
    Pair
    | Triplet
    | LabelledPair
    | ClassPair
    | ScoredPair
    | LabelledText
    | ClassifiedText
    | UnlabelledText
    | TaggedText
)

_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

# By its columns a row of labelled pairs may hold a class as well as 0 or 1.
_COLUMNS: Final[dict[type[Example], tuple[str, ...]]] = {
    Triplet: ("anchor", "positive", "negative"),
    Pair: ("anchor", "positive"),
    LabelledPair: ("sentence1", "sentence2", "label"),
    ScoredPair: ("sentence1", "sentence2", "score"),
    LabelledText: ("text", "label"),
    ClassifiedText: ("text", "labels"),
    UnlabelledText: ("text",),
}
# Nothing else is meant by these columns; `text` beside those of pairs is one column more.
_TEXTS: Final = (LabelledText, ClassifiedText, UnlabelledText)


def read_examples(
    path: Source,
    options: ReadOptions = DEFAULT_OPTIONS,
    *,
    on_reject: OnReject | None = None,
    reads: Reads | None = None,
    places: list[str] | None = None,
) -> Iterator[Example]:
    """Yield the training examples of one file, all of the kind that its first row has.

    A pair with the label 0 or 1 is a LabelledPair, with another one a ClassPair: of several
    classes in a file some may be called 0 and 1. Other columns are ignored. With `on_reject` a
    bad row is reported to it and left out. A text of which an encoder `reads` nothing is as bad as
    a blank one. FILE:LINE of each example is added to `places`.

    Raises:
        InvalidData: the columns are those of no kind, a row is of another kind, or a value
            is not a text, a label (a class by name or whole number) or a score (a finite number).
        NotFound, InvalidInput, SystemFailure: the file cannot be read, see `read_lines`.
    """
    first: tuple[type[Example], str] | None = None

    def build(row: Row) -> Example:
        nonlocal first
        kind = _kind(row)
        if first is None:
            first = (kind, row.where)
        if kind is not first[0]:
            raise InvalidData(
                f"{row.where}: has the columns {_columns(kind)}, but the file began with "
                f"{_columns(first[0])} at {first[1]} (put rows of one kind in a file of their own)"
            )
        example = _example(kind, row, options, reads or any_text)
        if places is not None:
            places.append(row.where)
        return example

    rows = check_header(read_rows(path, options, on_reject=on_reject), _kind)
    return convert(rows, build, on_reject)


def _kind(row: Row) -> type[Example]:
    fitting = [kind for kind, names in _COLUMNS.items() if row.fields.keys() >= set(names)]
    if Triplet in fitting:  # which has the columns of a pair as well
        fitting.remove(Pair)
    fitting = [kind for kind in fitting if kind not in _TEXTS] or fitting[:1]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        both = " and ".join(_columns(kind) for kind in fitting)
        raise InvalidData(f"{row.names_at}: the columns fit {both} (leave one set out)")
    raise InvalidData(_fits_nothing(row))


def _fits_nothing(row: Row) -> str:
    found = list(row.fields)
    known = dict.fromkeys(name for names in _COLUMNS.values() for name in names)
    unknown = [name for name in found if name not in known]
    guesses = {name: nearest(name, unknown) for name in known if name not in row.fields}
    advice = ", ".join(f"{quoted(near)} for {name!r}" for name, near in guesses.items() if near)
    return (
        f"{row.names_at}: the columns are those of no training example; found {listed(found)}"
        + (f" (did you mean {advice}?)" if advice else "")
        + "; expected one of: "
        + "; ".join(_columns(kind) for kind in _COLUMNS)
    )


def _columns(kind: type[Example]) -> str:
    return ", ".join(_COLUMNS[kind])


def _example(kind: type[Example], row: Row, options: ReadOptions, reads: Reads) -> Example:
    def text(name: str) -> str:
        return readable_text(row, name, options, reads)

    if kind is Triplet:
        return Triplet(text("anchor"), text("positive"), text("negative"))
    if kind is Pair:
        return Pair(text("anchor"), text("positive"))
    if kind is LabelledText:
        return LabelledText(text("text"), _label(row, options))
    if kind is ClassifiedText:
        return ClassifiedText(text("text"), labels_of(row))
    if kind is UnlabelledText:
        return UnlabelledText(text("text"))
    if kind is LabelledPair:
        label = _label(row, options)
        if label in ("0", "1"):
            return LabelledPair(text("sentence1"), text("sentence2"), int(label))
        return ClassPair(text("sentence1"), text("sentence2"), label)
    return ScoredPair(text("sentence1"), text("sentence2"), _score(row))


def _label(row: Row, options: ReadOptions) -> str:
    value = row.fields["label"]
    if isinstance(value, int):  # true and false are 1 and 0
        return str(int(value))
    if isinstance(value, str):
        return checked_text(row, "label", options).strip()
    raise InvalidData(
        f"{row.where}: field 'label': got {_shown(value)}, expected a class: a text or a whole "
        "number (correct it, or leave the row out)"
    )


def _score(row: Row) -> float:
    value = row.fields["score"]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # In a table every value is a string; in JSON a number in quotes is a mistake.
    if row.header is not None and _NUMBER.fullmatch(value):
        value, is_number = float(value), True
    if is_number and math.isfinite(value):
        return float(value)
    raise InvalidData(
        f"{row.where}: field 'score': got {_shown(value)}, expected a finite number "
        "(correct it, or leave the row out)"
    )


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    return str(value) if isinstance(value, (int, float)) else json_type(value)
