"""JSONL: one strict JSON object per line, with the doors closed that `json` leaves open."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

from simsearch.errors import InvalidData
from simsearch.formats.checks import json_type, quoted
from simsearch.formats.lines import too_long, without_end
from simsearch.formats.options import ReadOptions
from simsearch.formats.row import OnReject, Row, convert

MAX_DEPTH: Final = 64
_MAX_INTEGER_DIGITS: Final = 20  # "-9223372036854775808"


def read_jsonl(
    lines: Iterable[tuple[int, str]],
    name: str,
    *,
    options: ReadOptions,
    on_reject: OnReject | None,
) -> Iterator[Row]:
    """Yield a row for each line that is not blank."""

    def parse(numbered: tuple[int, str]) -> Row:
        number, line = numbered
        return _row(without_end(line), f"{name}:{number}", options)

    filled = (numbered for numbered in lines if numbered[1].strip())
    return convert(filled, parse, on_reject)


def _row(line: str, where: str, options: ReadOptions) -> Row:
    if len(line) > options.max_record:
        raise too_long(where, options.max_record)
    return parse_object(line, where)


def parse_object(line: str, where: str) -> Row:
    """Return the JSON object that a line holds.

    Raises:
        InvalidData: it holds none, or a value that is refused: see the module's docstring.
    """
    try:
        value = _DECODER.decode(line)
    except json.JSONDecodeError as error:
        column = error.pos + 1
        reason = error.msg[0].lower() + error.msg[1:]
        raise InvalidData(f"{where}:{column}: not valid JSON: {reason}") from error
    except _RefusedError as error:
        raise InvalidData(f"{where}: {error}") from error
    except RecursionError as error:
        raise _too_deep(where) from error
    if not isinstance(value, dict):
        raise InvalidData(f"{where}: expected a JSON object, got {json_type(value)}")
    _check_depth(value, where)
    return Row(value, where)


class _RefusedError(Exception):
    """Something that JSON's grammar allows and we do not."""


def _refuse_constant(text: str) -> float:
    raise _RefusedError(f"{text} is not JSON (write null, or leave the field out)")


def _parse_int(text: str) -> int:
    # Compared before int(), which is quadratic and refuses thousands of digits in its own words.
    if len(text) <= _MAX_INTEGER_DIGITS:
        number = int(text)
        if -(1 << 63) <= number < 1 << 63:
            return number
    raise _RefusedError(f"number out of range: {quoted(text)} (64 bits at most)")


def _parse_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _RefusedError(f"number out of range: {quoted(text)} (double precision at most)")
    return number


def _parse_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(pairs)
    if len(parsed) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _RefusedError(f"key {quoted(key)} stands twice in one object")
            seen.add(key)
    return parsed


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_parse_object,
    parse_float=_parse_float,
    parse_int=_parse_int,
    parse_constant=_refuse_constant,
)


def _check_depth(value: dict[str, Any], where: str) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise _too_deep(where)


def _children(value: Any) -> list[Any]:
    members = value.values() if isinstance(value, dict) else value
    return [member for member in members if isinstance(member, (dict, list))]


def _too_deep(where: str) -> InvalidData:
    return InvalidData(f"{where}: nested deeper than {MAX_DEPTH} levels")
