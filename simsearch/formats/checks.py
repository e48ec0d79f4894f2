"""What a text, an id, a name and a value of metadata may be."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from simsearch.errors import InvalidData
from simsearch.formats.options import ReadOptions
from simsearch.formats.row import Row
from simsearch.records import is_blank

# Whether an encoder reads anything in a text that is not blank.
Reads: TypeAlias = Callable[[str], bool]

MAX_ID_BYTES: Final = 512
MAX_METADATA_FIELDS: Final = 256

_METADATA_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")

# What a message shows of hostile input, and how much of it is compared for a near name.
_SHOWN_CHARACTERS: Final = 64
_SHOWN_NAMES: Final = 20
_COMPARED_NAMES: Final = 256


def checked_text(row: Row, name: str, options: ReadOptions, *, may_be_blank: bool = False) -> str:
    """Return the text in field `name` of `row`, free of NUL and lone surrogates.

    Raises:
        InvalidData: there is no such field, it is not a string, or not a text.
    """
    text = _string(row, name)
    _refuse_surrogates(text, f"field {quoted(name)}", row.where)
    if (column := text.find("\0") + 1) and not options.replace_invalid:
        raise InvalidData(
            f"{row.where}: field {quoted(name)} has a NUL character at column {column} "
            "(--replace-invalid puts U+FFFD in its place)"
        )
    text = text.replace("\0", "\ufffd")
    if not may_be_blank and is_blank(text):
        raise InvalidData(f"{row.where}: field {quoted(name)} is empty")
    return text


def readable_text(row: Row, name: str, options: ReadOptions, reads: Reads) -> str:
    """Return the text in field `name` of `row`, of which an encoder `reads` something.

    Raises:
        InvalidData: see `checked_text`; or it is as good as blank to that encoder.
    """
    text = checked_text(row, name, options)
    if not reads(text):
        raise InvalidData(f"{row.where}: field {quoted(name)} holds nothing that the encoder reads")
    return text


def any_text(_: str) -> bool:
    """Read something in every text, as where no encoder is asked."""
    return True


def checked_id(row: Row, name: str) -> str:
    """Return the id in field `name` of `row`: printable, 1 to 512 bytes of UTF-8.

    Raises:
        InvalidData: there is no such field, or it is not an id.
    """
    found = _string(row, name, hint=_id_hint(row.fields.get(name)))
    if not found:
        raise InvalidData(f"{row.where}: field {quoted(name)} is empty")
    if not found.isprintable():
        column = next(at for at, char in enumerate(found, start=1) if not char.isprintable())
        raise InvalidData(
            f"{row.where}: id {quoted(found)} has a character that is not printable, "
            f"U+{ord(found[column - 1]):04X} at column {column}"
        )
    if (size := len(found.encode())) > MAX_ID_BYTES:
        raise InvalidData(
            f"{row.where}: id {quoted(found)} is {size} bytes long, "
            f"at most {MAX_ID_BYTES} are allowed"
        )
    return found


def is_field_name(name: str) -> bool:
    """Whether a filter can be written with this name of a metadata field."""
    return _METADATA_NAME.fullmatch(name) is not None


def checked_metadata_names(row: Row, names: Sequence[str]) -> None:
    """Refuse names that a filter could not be written with, and too many of them.

    Raises:
        InvalidData: a name or their number is over the limit.
    """
    if len(names) > MAX_METADATA_FIELDS:
        raise InvalidData(
            f"{row.names_at}: {len(names)} metadata fields, "
            f"at most {MAX_METADATA_FIELDS} are allowed"
        )
    for name in names:
        if not is_field_name(name):
            raise InvalidData(
                f"{row.names_at}: {quoted(name)} cannot be the name of a metadata field "
                "(1 to 64 of A-Z a-z 0-9 _ . -)"
            )


def checked_metadata(row: Row, names: Iterable[str]) -> dict[str, Any]:
    """Return the fields `names` of `row`; a string in them can be written as UTF-8.

    Raises:
        InvalidData: a lone surrogate stands in a value, at any depth.
    """
    metadata = {name: row.fields[name] for name in names}
    for name, value in metadata.items():
        for text in _strings_in(value):
            _refuse_surrogates(text, f"field {quoted(name)}", row.where)
    return metadata


def missing_field(row: Row, name: str, *, option: str | None = None) -> InvalidData:
    """Return the error for a field that is not there, with the names that are."""
    found = list(row.fields)
    near = nearest(name, found)
    advice = ", ".join(
        part
        for part in (
            f"did you mean {quoted(near)}?" if near else "",
            f"use {option} to name the field" if option else "",
        )
        if part
    )
    message = f"{row.names_at}: no field {quoted(name)}; found {listed(found)}"
    return InvalidData(f"{message} ({advice})" if advice else message)


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that looks most like `name`, None if none does."""
    # Comparing is quadratic in the length, so names that are no names are left out.
    short = [each for each in candidates if len(each) <= _SHOWN_CHARACTERS][:_COMPARED_NAMES]
    folded = {each.casefold(): each for each in short}
    matches = difflib.get_close_matches(name.casefold(), folded, n=1)
    return folded[matches[0]] if matches else None


def listed(names: Sequence[str]) -> str:
    """Return `names` as a message shows them."""
    shown = ", ".join(quoted(name) for name in names[:_SHOWN_NAMES])
    hidden = len(names) - _SHOWN_NAMES
    return f"{shown} and {hidden} more" if hidden > 0 else shown or "no fields"


def quoted(text: str) -> str:
    """Return `text` in quotes, shortened and with everything escaped that is not printable."""
    if len(text) <= _SHOWN_CHARACTERS:
        return repr(text)
    return f"{text[:_SHOWN_CHARACTERS]!r}..."


def json_type(value: object) -> str:
    """Return what JSON calls the type of `value`."""
    if isinstance(value, bool):
        return "boolean"
    names = {type(None): "null", str: "string", int: "number", float: "number", list: "list"}
    return names.get(type(value), "object")


def _string(row: Row, name: str, *, hint: str = "") -> str:
    if name not in row.fields:
        raise missing_field(row, name)
    value = row.fields[name]
    if not isinstance(value, str):
        raise InvalidData(
            f"{row.where}: field {quoted(name)} must be a string, got {json_type(value)}{hint}"
        )
    return value


def _id_hint(value: object) -> str:
    if value is None:
        return " (leave the field out and the id is made from the text)"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f' (write it as "{value}")'
    return ""


def _refuse_surrogates(text: str, what: str, where: str) -> None:
    if text.isascii():
        return
    if found := _LONE_SURROGATE.search(text):
        raise InvalidData(
            f"{where}: {what} has the lone surrogate U+{ord(found[0]):04X} "
            f"at column {found.start() + 1}"
        )


def _strings_in(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, member in value.items():
            yield key
            yield from _strings_in(member)
    elif isinstance(value, list):
        for member in value:
            yield from _strings_in(member)
