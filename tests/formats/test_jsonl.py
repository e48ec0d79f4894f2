"""JSON is read strictly, each line in linear time, and errors say where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from growth import TIMES, assert_in_proportion

from simsearch.errors import InvalidData
from simsearch.formats import ReadOptions, read_rows

Write = Callable[[str, str | bytes], Path]


def parse(write: Write, line: str) -> dict[str, Any]:
    """Read `line` as the second of a file."""
    _, row = read_rows(write("a.jsonl", '{"first": 1}\n' + line + "\n"))
    return dict(row.fields)


def test_every_type_of_json_is_read(write: Write) -> None:
    line = '{"a": "x", "b": [1, -2.5, true, null], "c": {"d": "\\ud83d\\ude00"}, "e": 1e3}'
    assert parse(write, line) == {
        "a": "x",
        "b": [1, -2.5, True, None],
        "c": {"d": "😀"},
        "e": 1000.0,
    }


@pytest.mark.parametrize(
    ("line", "column", "reason"),
    [
        ('{"a": 1,, "b": 2}', 9, "expecting property name"),
        ('{"a" 1}', 6, "expecting ':' delimiter"),
        ('{"a": "x', 7, "unterminated string"),
        ('{"a": "x\ty"}', 9, "invalid control character"),
        ('{"a": "\\x"}', 8, "invalid \\\\escape"),
        ('{"a": 1} {"b": 2}', 10, "extra data"),
        ("{'a': 1}", 2, "expecting property name"),
        ('  {"a": tru}', 9, "expecting value"),
    ],
)
def test_broken_json_is_named_with_line_and_column(
    write: Write, line: str, column: int, reason: str
) -> None:
    with pytest.raises(
        InvalidData, match=rf"a\.jsonl:2:{column}: not valid JSON: {reason}"
    ) as caught:
        parse(write, line)
    assert caught.value.exit_code == 3


def test_broken_line_4711_is_named(write: Write) -> None:
    path = write("a.jsonl", '{"a": 1}\n' * 4710 + '{"a": 1\n')
    with pytest.raises(InvalidData, match=r"a\.jsonl:4711:8: not valid JSON"):
        list(read_rows(path))


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("[1]", "list"),
        ('"x"', "string"),
        ("1", "number"),
        ("1.5", "number"),
        ("true", "boolean"),
        ("null", "null"),
    ],
)
def test_what_is_no_object_is_named_by_its_type(write: Write, line: str, kind: str) -> None:
    with pytest.raises(InvalidData, match=rf"a\.jsonl:2: expected a JSON object, got {kind}"):
        parse(write, line)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_constants_outside_json_are_refused(write: Write, value: str) -> None:
    with pytest.raises(InvalidData, match=rf"a\.jsonl:2: {value} is not JSON"):
        parse(write, f'{{"a": [{value}]}}')


@pytest.mark.parametrize(
    "number",
    ["1e999", "-1e999", str(2**63), str(-(2**63) - 1), "9" * 5000, "1" + "0" * 400 + ".5"],
)
def test_numbers_out_of_range_are_refused(write: Write, number: str) -> None:
    with pytest.raises(InvalidData, match=r"a\.jsonl:2: number out of range: '-?[0-9e]+'"):
        parse(write, f'{{"a": {number}}}')


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 0])
def test_the_largest_integers_are_read(write: Write, number: int) -> None:
    assert parse(write, f'{{"a": {number}}}') == {"a": number}


@pytest.mark.parametrize("line", ['{"k": 1, "b": 2, "k": 1}', '{"a": [{"k": 1, "k": 2}]}'])
def test_a_key_that_stands_twice_is_named(write: Write, line: str) -> None:
    with pytest.raises(InvalidData, match=r"a\.jsonl:2: key 'k' stands twice in one object"):
        parse(write, line)


def nested(levels: int) -> str:
    """An object that is `levels` deep, itself counted."""
    return '{"a": ' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


def test_sixty_four_levels_are_read(write: Write) -> None:
    assert list(parse(write, nested(64))) == ["a"]


@pytest.mark.parametrize("levels", [65, 900, 100_000])
def test_more_than_sixty_four_levels_are_refused(write: Write, levels: int) -> None:
    with pytest.raises(InvalidData, match=r"a\.jsonl:2: nested deeper than 64 levels"):
        parse(write, nested(levels))


def test_nested_objects_count_as_levels(write: Write) -> None:
    with pytest.raises(InvalidData, match="nested deeper than 64 levels"):
        parse(write, '{"a": ' * 65 + "1" + "}" * 65)


def test_blank_lines_are_skipped(write: Write) -> None:
    path = write("a.jsonl", '{"a": 1}\n\n  \n\r\n{"a": 2}\n\n')
    assert [row.fields["a"] for row in read_rows(path)] == [1, 2]


@pytest.mark.parametrize("char", ["\u2028", "\x85", "\u2029"])
def test_separators_of_lines_inside_a_string_are_kept(write: Write, char: str) -> None:
    assert parse(write, f'{{"a": "x{char}y"}}') == {"a": f"x{char}y"}


@pytest.mark.parametrize(
    "hostile",
    [
        lambda size: '{"a": "' + "\\u0041" * (size // 6) + '"}',
        lambda size: '{"a": "' + "\\" * size,
        lambda size: '{"a": ' + "9" * size + "}",
        lambda size: '{"a": 0.' + "9" * size + "}",
        lambda size: '{"a": 1e' + "9" * size + "}",
        lambda size: '{"a": ' + "[" * size,
        lambda size: '{"a": [' + "[]," * (size // 3) + "[]]}",
        lambda size: "{" + ",".join(f'"{n}": 1' for n in range(size // 12)) + "}",
        lambda size: '{"a": "' + "x" * (10 * size) + '"}',
    ],
    ids=["escapes", "slashes", "digits", "fraction", "exponent", "open", "lists", "keys", "long"],
)
def test_a_hostile_line_is_read_in_linear_time(write: Write, hostile: Callable[[int], str]) -> None:
    def read(path: Path) -> None:
        rejected: list[InvalidData] = []
        rows = list(read_rows(path, on_reject=rejected.append))
        assert len(rows) + len(rejected) == 2

    sizes = (5_000, TIMES * 5_000)
    small, large = (write(f"{n}.jsonl", '{"first": 1}\n' + hostile(n)) for n in sizes)
    assert_in_proportion(read, small, large)


def test_the_limit_of_a_record_can_be_raised(write: Write) -> None:
    path = write("a.jsonl", '{"a": "' + "x" * 2_000_000 + '"}')
    (row,) = read_rows(path, ReadOptions(max_record=3_000_000))
    assert len(row.fields["a"]) == 2_000_000
