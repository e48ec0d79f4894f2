"""The format of a file is what its name says, and its content may object."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from simsearch.errors import InvalidData
from simsearch.formats import ReadOptions, Row, read_rows

Write = Callable[[str, str | bytes], Path]
JSONL = '{"id": "a", "text": "x"}\n'
CSV = "id,text\na,x\n"
FIELDS = {"id": "a", "text": "x"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", JSONL),
        ("a.ndjson", JSONL),
        ("a.json", JSONL),
        ("a.JSONL", JSONL),
        ("a.csv", CSV),
        ("a.tsv", "id\ttext\na\tx\n"),
        ("A.TSV", "id\ttext\na\tx\n"),
        ("a.txt", JSONL),
        ("a.txt", CSV),
        ("a", "\n  \n" + JSONL),
        ("a", "\n\n" + CSV),
        ("a.jsonl", "\ufeff" + JSONL),
        ("a.csv", "\ufeff" + CSV),
        ("a.csv", CSV.replace("\n", "\r\n")),
    ],
)
def test_name_and_content_choose_the_format(write: Write, name: str, content: str) -> None:
    assert [row.fields for row in read_rows(write(name, content))] == [FIELDS]


@pytest.mark.parametrize(("name", "content"), [("a.jsonl.gz", JSONL), ("a.csv.GZ", CSV)])
def test_the_name_of_a_gzipped_file_is_the_one_inside(
    write: Write, name: str, content: str
) -> None:
    path = write(name, gzip.compress(content.encode()))
    assert [row.fields for row in read_rows(path)] == [FIELDS]


@pytest.mark.parametrize("content", [JSONL, CSV])
def test_stdin_is_recognised_by_its_first_character(
    fill_stdin: Callable[[bytes], None], content: str
) -> None:
    fill_stdin(content.encode())
    assert [row.fields for row in read_rows("-")] == [FIELDS]


def test_a_row_says_where_it_stands(write: Write) -> None:
    path = write("a.jsonl", "\n" + JSONL + "\n" + JSONL)
    assert [row.where for row in read_rows(path)] == [f"{path}:2", f"{path}:4"]


def test_a_row_of_a_table_says_where_its_names_stand(write: Write) -> None:
    path = write("a.csv", "\n" + CSV)
    assert list(read_rows(path)) == [Row(FIELDS, f"{path}:3", header=f"{path}:2")]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt"])
def test_a_file_of_no_bytes_is_empty(write: Write, name: str) -> None:
    with pytest.raises(InvalidData, match=rf"{name} is empty$") as caught:
        list(read_rows(write(name, b"")))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", "\n"),
        ("a.csv", "\n \n\r\n"),
        ("a.csv", "id,text\n"),
        ("a.csv", "id,text\n\n\n"),
        ("a.tsv", "id\ttext"),
    ],
)
def test_a_file_without_data_rows_says_so(write: Write, name: str, content: str) -> None:
    with pytest.raises(InvalidData, match=rf"{name} holds 0 data rows"):
        list(read_rows(write(name, content)))


@pytest.mark.parametrize("content", [CSV, '"id","text"\n', "text\nx\n", "id;text\n"])
def test_csv_called_jsonl_is_recognised(write: Write, content: str) -> None:
    message = r"a\.jsonl:1: not a JSON object; looks like CSV \(rename it to \.csv\)"
    with pytest.raises(InvalidData, match=message):
        list(read_rows(write("a.jsonl", content)))


@pytest.mark.parametrize(("line", "kind"), [('"x"', "string"), ("-1", "number"), ("null", "null")])
def test_json_that_is_no_object_is_not_taken_for_csv(write: Write, line: str, kind: str) -> None:
    with pytest.raises(InvalidData, match=rf"a\.jsonl:1: expected a JSON object, got {kind}"):
        list(read_rows(write("a.jsonl", line)))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_jsonl_called_csv_is_recognised(write: Write, name: str) -> None:
    message = rf"{name}:1: not .SV; looks like JSONL \(rename it to \.jsonl\)"
    with pytest.raises(InvalidData, match=message):
        list(read_rows(write(name, JSONL)))


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.txt"])
def test_a_json_array_is_recognised(write: Write, name: str) -> None:
    message = rf"{name}:2: is a JSON array; one object per line is expected"
    with pytest.raises(InvalidData, match=message):
        list(read_rows(write(name, '\n[\n{"id": "a"}\n]')))


def test_a_delimiter_is_used_whatever_the_name(write: Write) -> None:
    path = write("a.csv", "id|text\na|x\n")
    assert [row.fields for row in read_rows(path, ReadOptions(delimiter="|"))] == [FIELDS]


def test_a_bad_row_is_reported_and_the_others_come(write: Write) -> None:
    rejected: list[InvalidData] = []
    path = write("a.jsonl", JSONL + "{broken\n" + JSONL)
    rows = list(read_rows(path, on_reject=rejected.append))
    assert [row.where for row in rows] == [f"{path}:1", f"{path}:3"]
    assert [str(error).split(": ")[0] for error in rejected] == [f"{path}:2:2"]


def test_an_error_of_the_file_is_raised_all_the_same(write: Write) -> None:
    rejected: list[InvalidData] = []
    path = write("a.jsonl", JSONL.encode() + b"\xff\n")
    with pytest.raises(InvalidData, match=":2: byte 0xff"):
        list(read_rows(path, on_reject=rejected.append))
    assert rejected == []


def test_a_line_that_is_too_long_is_one_bad_row_of_jsonl(write: Write) -> None:
    rejected: list[InvalidData] = []
    path = write("a.jsonl", JSONL + '{"text": "' + "x" * 300_000 + '"}\n' + JSONL)
    options = ReadOptions(max_record=1000)
    rows = list(read_rows(path, options, on_reject=rejected.append))
    assert [row.where for row in rows] == [f"{path}:1", f"{path}:3"]
    assert [str(error) for error in rejected] == [
        f"{path}:2: longer than 1000 characters (--max-record sets the limit)"
    ]


def test_the_file_is_closed_when_reading_stops_early(write: Write) -> None:
    rows = read_rows(write("a.jsonl", JSONL * 3))
    assert next(rows).fields == FIELDS
    rows.close()  # type: ignore[attr-defined]  # pytest fails on a ResourceWarning
    assert list(rows) == []
