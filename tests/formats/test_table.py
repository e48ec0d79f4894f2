"""CSV is read strictly: no field is lost, moved or swallowed in silence."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from simsearch.errors import InvalidData
from simsearch.formats import ReadOptions, read_rows

Write = Callable[[str, str | bytes], Path]


def parse(
    write: Write, content: str, options: ReadOptions | None = None, *, name: str = "a.csv"
) -> list[list[str]]:
    rows = read_rows(write(name, content), options or ReadOptions())
    return [list(row.fields.values()) for row in rows]


def test_values_are_strings_and_kept_as_they_are(write: Write) -> None:
    content = 'a,b,c\n1, x ,"q ""z"", y"\n,=HYPERLINK(1),語\n'
    assert parse(write, content) == [["1", " x ", 'q "z", y'], ["", "=HYPERLINK(1)", "語"]]


def test_newlines_inside_quotes_are_kept_as_they_are(write: Write) -> None:
    content = 'a,b\r\n1,"x\ny\r\nz\rw\u2028v"\r\n'
    assert parse(write, content) == [["1", "x\ny\r\nz\rw\u2028v"]]


def test_a_record_over_several_lines_stands_where_it_began(write: Write) -> None:
    path = write("a.csv", 'a,b\n1,"x\ny\nz"\n\n2,w\n')
    assert [row.where for row in read_rows(path)] == [f"{path}:2", f"{path}:6"]


@pytest.mark.parametrize(("row", "got"), [("1,2,3", 3), ("1,2,3,4,5", 5), ("1", 1)])
def test_too_few_or_many_fields_are_counted(write: Write, row: str, got: int) -> None:
    message = rf"a\.csv:3: expected 4 fields, got {got}"
    with pytest.raises(InvalidData, match=message) as caught:
        parse(write, f"a,b,c,d\n1,2,3,4\n{row}\n")
    assert caught.value.exit_code == 3


def test_header_names_that_stand_twice_are_named_with_their_columns(write: Write) -> None:
    with pytest.raises(InvalidData, match=r"a\.csv:1: field 'id' stands in columns 1 and 3"):
        parse(write, "id,text,id\n1,2,3\n")


@pytest.mark.parametrize("header", ["a,,b", "a, ,b", 'a,"",b'])
def test_a_column_without_a_name_is_refused(write: Write, header: str) -> None:
    with pytest.raises(InvalidData, match=r"a\.csv:1: column 2 has no name"):
        parse(write, f"{header}\n1,2,3\n")


@pytest.mark.parametrize(
    ("name", "header", "option"),
    [
        ("a.csv", "id;text", "';'"),
        ("a.csv", "id\ttext", "tab"),
        ("a.csv", "id|text", r"'\|'"),
        ("a.tsv", "id,text", "','"),
        ("a.txt", "id\ttext", "tab"),
    ],
)
def test_another_delimiter_is_suggested(write: Write, name: str, header: str, option: str) -> None:
    with pytest.raises(InvalidData, match=rf":1: one field only, .* \(use --delimiter {option}\)"):
        parse(write, f"{header}\n1\n", name=name)


def test_one_column_is_enough(write: Write) -> None:
    assert parse(write, "text\nx\ny\n") == [["x"], ["y"]]


@pytest.mark.parametrize(("option", "char"), [(";", ";"), ("tab", "\t"), ("\\t", "\t")])
def test_the_delimiter_can_be_given(write: Write, option: str, char: str) -> None:
    content = f'a{char}b\n1{char}"x{char}y"\n'
    assert parse(write, content, ReadOptions(delimiter=option)) == [["1", f"x{char}y"]]


def test_a_given_delimiter_is_not_doubted(write: Write) -> None:
    assert parse(write, "a;b\n1;2\n", ReadOptions(delimiter=",")) == [["1;2"]]


@pytest.mark.parametrize("lines_after", [1, 5000])
def test_an_unclosed_quote_is_an_error_where_it_opens(write: Write, lines_after: int) -> None:
    content = 'a,b\n1,2\n3,"x\n' + "5,6\n" * lines_after
    with pytest.raises(InvalidData, match=r"a\.csv:3: a quote is opened and not closed") as caught:
        parse(write, content)
    assert caught.value.exit_code == 3


def test_a_quote_that_closes_far_below_by_accident_is_an_error_where_it_opens(
    write: Write,
) -> None:
    content = 'a,b\n1,"x\n' + "3,4\n" * 50 + '5,"y"\n'
    with pytest.raises(InvalidData, match=r"a\.csv:2: text after a closing quote"):
        parse(write, content)


def test_a_record_may_span_a_thousand_lines(write: Write) -> None:
    text = "\n".join(["x"] * 1000)
    assert parse(write, f'a,b\n1,"{text}"\n') == [["1", text]]
    with pytest.raises(InvalidData, match=r":2: a quote is opened.*more than 1000 lines"):
        parse(write, f'a,b\n1,"{text}\n"\n')


def test_an_unclosed_quote_is_seen_before_much_is_held(write: Write) -> None:
    content = 'a,b\n1,"x\n' + ("y" * 900 + "\n") * 100
    with pytest.raises(InvalidData, match=r":2: a quote is opened.*5000 characters, --max-record"):
        parse(write, content, ReadOptions(max_record=5000))


def test_a_long_field_is_read(write: Write) -> None:
    limit = csv.field_size_limit()
    text = "x" * (max(limit, 131_072) + 1)
    options = ReadOptions(max_record=len(text) + 2)
    assert parse(write, f"a,b\n1,{text}\n", options) == [["1", text]]


def test_a_field_over_the_limit_names_the_option(write: Write) -> None:
    with pytest.raises(InvalidData, match=r"a\.csv:2: longer than 1048576 .*--max-record"):
        parse(write, "a,b\n1," + "x" * 1_050_000 + "\n")


def test_a_limit_beyond_all_sizes_is_allowed(write: Write) -> None:
    assert parse(write, "a,b\n1,2\n", ReadOptions(max_record=1 << 80)) == [["1", "2"]]


def test_a_carriage_return_outside_quotes_is_refused(write: Write) -> None:
    with pytest.raises(InvalidData, match=r"a\.csv:2: a carriage return outside quotes"):
        parse(write, "a,b\n1,x\ry\n")


def test_a_file_with_carriage_returns_only_is_refused(write: Write) -> None:
    with pytest.raises(InvalidData, match=r"a\.csv:1: a carriage return outside quotes"):
        parse(write, "a,b\r1,2\r3,4\r")


def test_bad_records_are_reported_and_the_others_come(write: Write) -> None:
    rejected: list[InvalidData] = []
    path = write("a.csv", 'a,b\n1,2\n3\n"x"y,4\n5,6\n')
    rows = list(read_rows(path, on_reject=rejected.append))
    assert [row.fields["a"] for row in rows] == ["1", "5"]
    assert [str(error).removeprefix(str(path)) for error in rejected] == [
        ":3: expected 2 fields, got 1",
        ':4: text after a closing quote (write "" for a quote in a field)',
    ]


def test_rows_that_are_all_bad_are_rows_all_the_same(write: Write) -> None:
    rejected: list[InvalidData] = []
    path = write("a.csv", "a,b\n1\n2\n")
    assert list(read_rows(path, on_reject=rejected.append)) == []
    assert len(rejected) == 2


@pytest.mark.parametrize(
    "content",
    ['a,b\n1,"x\n2,y\n3,"z"\n', 'a,b\n1,"x\n2,y\n', "a,a\n1,2\n", "a;b\n1;2\n"],
    ids=["quote over lines", "quote at the end", "header twice", "delimiter"],
)
def test_what_concerns_the_whole_file_is_raised_all_the_same(write: Write, content: str) -> None:
    rejected: list[InvalidData] = []
    path = write("a.csv", content)
    with pytest.raises(InvalidData, match=r"a\.csv:[12]: "):
        list(read_rows(path, on_reject=rejected.append))
    assert rejected == []
