"""Rows become documents, and everything that is none is refused with its place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simsearch.errors import DuplicateId, InvalidData, InvalidInput
from simsearch.formats import (
    DocumentCounts,
    Duplicates,
    ReadOptions,
    content_id,
    read_corpus,
    read_documents,
)
from simsearch.records import Document

Write = Callable[[str, str | bytes], Path]
LAST = ReadOptions(duplicates=Duplicates.LAST)


def jsonl(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(write: Write, *rows: dict[str, Any], options: ReadOptions | None = None) -> list[Document]:
    return list(read_documents(write("a.jsonl", jsonl(*rows)), options or ReadOptions()))


def test_fields_become_the_parts_of_a_document(write: Write) -> None:
    row = {"id": "a", "title": "T", "text": "x", "year": 1999, "tags": ["b", None], "n": None}
    assert read(write, row) == [
        Document("a", "x", "T", {"year": 1999, "tags": ["b", None], "n": None})
    ]


def test_an_id_may_be_called_as_in_beir(write: Write) -> None:
    assert read(write, {"_id": "a", "text": "x"}) == [Document("a", "x")]


def test_csv_makes_the_same_documents(write: Write) -> None:
    path = write("a.csv", "id,title,text,year\n1,T,x,1999\n2,,y,\n")
    assert list(read_documents(path)) == [
        Document("1", "x", "T", {"year": "1999"}),
        Document("2", "y", "", {"year": ""}),
    ]


def test_fields_can_be_named(write: Write) -> None:
    options = ReadOptions(id_field="key", text_field="body", title_field="head")
    row = {"key": "k", "body": "b", "head": "h", "id": 7, "text": "t", "title": 8}
    assert read(write, row, options=options) == [
        Document("k", "b", "h", {"id": 7, "text": "t", "title": 8})
    ]


def test_a_title_may_be_null_or_empty(write: Write) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "a", "text": "x", "title": None},
        {"id": "b", "text": "x", "title": ""},
    ]
    assert read(write, *rows) == [Document("a", "x", None), Document("b", "x", "")]


def test_both_names_of_the_id_are_one_too_many(write: Write) -> None:
    with pytest.raises(InvalidData, match=r"a\.jsonl:1: both 'id' and '_id' .*--id-field"):
        read(write, {"id": "a", "_id": "a", "text": "x"})


def test_naming_the_id_makes_the_other_one_metadata(write: Write) -> None:
    row = {"id": "a", "_id": "b", "text": "x"}
    documents = read(write, row, options=ReadOptions(id_field="_id"))
    assert documents == [Document("b", "x", None, {"id": "a"})]


class TestMissingFields:
    def test_text_names_the_fields_found_and_the_nearest(self, write: Write) -> None:
        message = (
            r"a\.jsonl:1: no field 'text'; found 'id', 'txet' "
            r"\(did you mean 'txet'\?, use --text-field to name the field\)$"
        )
        with pytest.raises(InvalidData, match=message) as caught:
            read(write, {"id": "a", "txet": "x"})
        assert caught.value.exit_code == 3

    def test_case_does_not_hide_a_near_name(self, write: Write) -> None:
        with pytest.raises(InvalidData, match=r"did you mean 'TEXT'\?"):
            read(write, {"id": "a", "TEXT": "x"})

    def test_a_far_name_is_not_suggested(self, write: Write) -> None:
        with pytest.raises(InvalidData, match=r"found 'id', 'body' \(use --text-field"):
            read(write, {"id": "a", "body": "x"})

    def test_of_a_table_are_missing_in_its_header(self, write: Write) -> None:
        path = write("a.csv", "\nid,body\na,x\nb,y\n")
        with pytest.raises(InvalidData, match=r"a\.csv:2: no field 'text'; found 'id', 'body'"):
            list(read_documents(path))

    def test_of_a_table_are_not_reported_row_by_row(self, write: Write) -> None:
        rejected: list[InvalidData] = []
        path = write("a.csv", "id,body\na,x\nb,y\n")
        with pytest.raises(InvalidData, match=r"a\.csv:1: no field 'text'"):
            list(read_documents(path, on_reject=rejected.append))
        assert rejected == []

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (ReadOptions(id_field="key"), "no field 'key'.*--id-field"),
            (ReadOptions(text_field="body"), "no field 'body'.*--text-field"),
            (ReadOptions(title_field="head"), "no field 'head'.*--title-field"),
        ],
    )
    def test_that_were_named_are_errors(
        self, write: Write, options: ReadOptions, message: str
    ) -> None:
        with pytest.raises(InvalidData, match=message):
            read(write, {"id": "a", "text": "x"}, options=options)

    def test_of_ten_thousand_list_only_some(self, write: Write) -> None:
        row = {f"f{n}": n for n in range(10_000)}
        with pytest.raises(InvalidData, match="'f19' and 9980 more") as caught:
            read(write, row)
        assert len(str(caught.value)) < 1000


class TestTexts:
    @pytest.mark.parametrize(
        ("value", "kind"),
        [({"a": 1}, "object"), (["x"], "list"), (1, "number"), (1.5, "number"), (True, "boolean")],
    )
    @pytest.mark.parametrize("field", ["text", "title"])
    def test_are_strings(self, write: Write, field: str, value: Any, kind: str) -> None:
        bad = {"id": "a", "text": "x", field: value}
        message = rf"a\.jsonl:2: field '{field}' must be a string, got {kind}"
        with pytest.raises(InvalidData, match=message):
            read(write, {"id": "b", "text": "y"}, bad)

    def test_are_not_null(self, write: Write) -> None:
        with pytest.raises(InvalidData, match=":1: field 'text' must be a string, got null"):
            read(write, {"id": "a", "text": None, "title": "T"})

    @pytest.mark.parametrize("text", ["😀", "\x1b[31mred", "\u202eabc", "\x85", "a" * 100_000])
    def test_are_stored_as_they_are(self, write: Write, text: str) -> None:
        assert read(write, {"id": "a", "text": text + "."}) == [Document("a", text + ".")]

    @pytest.mark.parametrize("field", ["text", "title"])
    def test_have_no_lone_surrogates(self, write: Write, field: str) -> None:
        row = {"id": "a", "text": "x", field: "é\ud83d\ude00\ud800"}
        message = rf"a\.jsonl:1: field '{field}' has the lone surrogate U\+D800 at column 3"
        with pytest.raises(InvalidData, match=message):
            read(write, row)

    @pytest.mark.parametrize("field", ["text", "title"])
    def test_have_no_nul(self, write: Write, field: str) -> None:
        row = {"id": "a", "text": "x", field: "ab\0"}
        message = (
            rf"a\.jsonl:1: field '{field}' has a NUL character at column 3 "
            r"\(--replace-invalid puts U\+FFFD in its place\)"
        )
        with pytest.raises(InvalidData, match=message):
            read(write, row)

    def test_have_nul_replaced_on_request(self, write: Write) -> None:
        row = {"id": "a", "text": "a\0b", "title": "\0"}
        documents = read(write, row, options=ReadOptions(replace_invalid=True))
        assert documents == [Document("a", "a\ufffdb", "\ufffd")]

    def test_have_no_surrogates_replaced(self, write: Write) -> None:
        with pytest.raises(InvalidData, match="lone surrogate"):
            read(write, {"text": "\udfff"}, options=ReadOptions(replace_invalid=True))

    @pytest.mark.parametrize(
        "row",
        [
            {"text": ""},
            {"text": " \t\u3000\u2028"},
            {"text": "", "title": ""},
            {"text": " ", "title": "\n"},
            {"text": "", "title": None},
        ],
    )
    def test_that_are_all_blank_are_no_document(self, write: Write, row: dict[str, Any]) -> None:
        with pytest.raises(InvalidData, match=r"a\.jsonl:1: the document is empty") as caught:
            read(write, {"id": "a", **row})
        assert caught.value.exit_code == 3

    def test_may_be_blank_beside_a_title(self, write: Write) -> None:
        assert read(write, {"id": "a", "text": "", "title": "T"}) == [Document("a", "", "T")]


class TestIds:
    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (1, r'must be a string, got number \(write it as "1"\)'),
            (1.0, r'must be a string, got number \(write it as "1\.0"\)'),
            (True, "must be a string, got boolean$"),
            (None, r"must be a string, got null \(leave the field out"),
            (["a"], "must be a string, got list$"),
            ("", "field 'id' is empty"),
            ("a\nb", r"'a\\nb' has a character that is not printable, U\+000A at column 2"),
            ("\0", r"not printable, U\+0000 at column 1"),
            ("a\u202e", r"not printable, U\+202E at column 2"),
            ("\ud800", r"not printable, U\+D800 at column 1"),
            ("x" * 513, "513 bytes long, at most 512"),
            ("語" * 171, "513 bytes long, at most 512"),
        ],
    )
    def test_that_are_none_are_refused(self, write: Write, value: Any, message: str) -> None:
        with pytest.raises(InvalidData, match=r"a\.jsonl:1: .*" + message) as caught:
            read(write, {"id": value, "text": "x"})
        assert caught.value.exit_code == 3

    def test_of_ten_thousand_bytes_are_shown_in_part(self, write: Write) -> None:
        with pytest.raises(InvalidData, match="10000 bytes long") as caught:
            read(write, {"id": "x" * 10_000, "text": "x"})
        assert len(str(caught.value)) < 500

    @pytest.mark.parametrize("value", ["a/b", "../x", "語", "a b", " ", "x" * 512, "語" * 170])
    def test_that_are_printable_are_kept(self, write: Write, value: str) -> None:
        assert read(write, {"id": value, "text": "x"})[0].id == value

    def test_that_are_equal_after_normalisation_stay_distinct(self, write: Write) -> None:
        rows = [{"id": "\u00e9", "text": "x"}, {"id": "e\u0301", "text": "x"}]
        assert [document.id for document in read(write, *rows)] == ["\u00e9", "e\u0301"]

    def test_of_a_table_are_strings(self, write: Write) -> None:
        path = write("a.csv", "id,text\n1,x\n01,y\n1.0,z\n")
        assert [document.id for document in read_documents(path)] == ["1", "01", "1.0"]

    def test_that_are_empty_in_a_table_are_refused(self, write: Write) -> None:
        with pytest.raises(InvalidData, match=r"a\.csv:2: field 'id' is empty"):
            list(read_documents(write("a.csv", "id,text\n,x\n")))


class TestGeneratedIds:
    def test_are_the_hash_of_title_and_text(self) -> None:
        expected = hashlib.sha256("Té\nx".encode()).hexdigest()[:32]
        assert content_id("Té", "x") == expected
        # printf '\nhello' | sha256sum
        assert content_id(None, "hello") == "a1ad92f331dce2e080cd8f255c25493e"

    def test_are_given_where_there_is_none_and_counted(self, write: Write) -> None:
        counts = DocumentCounts()
        rows = [{"text": "x"}, {"id": "a", "text": "x"}, {"text": "x", "title": "T"}]
        path = write("a.jsonl", jsonl(*rows))
        ids = [document.id for document in read_documents(path, counts=counts)]
        assert ids == [content_id(None, "x"), "a", content_id("T", "x")]
        assert counts == DocumentCounts(generated_ids=2, blank=0)

    def test_repeat_with_the_content(self, write: Write) -> None:
        with pytest.raises(DuplicateId, match=r":3: the same content, without an id .*\.jsonl:1"):
            read(write, {"text": "x"}, {"text": "y"}, {"text": "x"})


class TestMetadata:
    @pytest.mark.parametrize("name", ["", "a'b", "$.x", "a b", "é", "x" * 65, "a\n", "\ud800"])
    def test_has_plain_names(self, write: Write, name: str) -> None:
        message = r"a\.jsonl:1: .* cannot be the name of a metadata field"
        with pytest.raises(InvalidData, match=message):
            read(write, {"id": "a", "text": "x", name: 1})

    @pytest.mark.parametrize("name", ["__proto__", "x" * 64, "a.b-C_9", "0"])
    def test_may_have_any_plain_name(self, write: Write, name: str) -> None:
        assert read(write, {"id": "a", "text": "x", name: 1})[0].metadata == {name: 1}

    def test_of_a_table_has_its_names_in_the_header(self, write: Write) -> None:
        with pytest.raises(InvalidData, match=r"a\.csv:1: 'a b' cannot be the name"):
            list(read_documents(write("a.csv", "id,text,a b\n1,x,y\n")))

    def test_has_at_most_256_fields(self, write: Write) -> None:
        fields = {f"f{n}": n for n in range(256)}
        assert read(write, {"id": "a", "text": "x", **fields})[0].metadata == fields
        with pytest.raises(InvalidData, match=":1: 257 metadata fields, at most 256"):
            read(write, {"id": "a", "text": "x", **fields, "more": 1})

    @pytest.mark.parametrize(
        "value", ["\udc00", ["a", "\udc00"], {"k": {"k": "\udc00"}}, {"\udc00": 1}]
    )
    def test_has_no_lone_surrogates_at_any_depth(self, write: Write, value: Any) -> None:
        with pytest.raises(InvalidData, match=r":1: field 'm' has the lone surrogate U\+DC00"):
            read(write, {"id": "a", "text": "x", "m": value})


class TestDuplicates:
    ROWS = ({"id": "a", "text": "1"}, {"id": "b", "text": "2"}, {"id": "a", "text": "3"})

    def test_name_both_lines(self, write: Write) -> None:
        message = (
            r"a\.jsonl:3: id 'a' stands in .*a\.jsonl:1 already "
            r"\(--duplicates last keeps the last\)$"
        )
        with pytest.raises(DuplicateId, match=message) as caught:
            read(write, *self.ROWS)
        assert caught.value.exit_code == 3

    def test_are_looked_for_across_files(self, write: Write) -> None:
        paths = [write("a.jsonl", jsonl(*self.ROWS[:2])), write("b.csv", "id,text\na,3\n")]
        with pytest.raises(DuplicateId, match=r"b\.csv:2: id 'a' stands in .*a\.jsonl:1 already"):
            list(read_corpus(paths))

    def test_keep_the_last_on_request(self, write: Write) -> None:
        assert read(write, *self.ROWS, options=LAST) == [Document("b", "2"), Document("a", "3")]

    def test_keep_the_last_of_all_files_on_request(self, write: Write) -> None:
        paths = [write("a.jsonl", jsonl(*self.ROWS)), write("b.csv", "id,text\nc,4\nb,5\n")]
        assert list(read_corpus(paths, LAST)) == [
            Document("a", "3"),
            Document("c", "4"),
            Document("b", "5"),
        ]

    def test_are_bad_rows_like_others(self, write: Write) -> None:
        rejected: list[InvalidData] = []
        path = write("a.jsonl", jsonl(*self.ROWS))
        documents = list(read_documents(path, on_reject=rejected.append))
        assert documents == [Document("a", "1"), Document("b", "2")]
        assert [type(error) for error in rejected] == [DuplicateId]

    def test_of_a_rejected_row_are_none(self, write: Write) -> None:
        rejected: list[InvalidData] = []
        path = write("a.jsonl", jsonl({"id": "a", "text": "1"}, {"id": "a", "text": " "}))
        documents = list(read_documents(path, LAST, on_reject=rejected.append))
        assert documents == [Document("a", "1")]
        assert len(rejected) == 1

    def test_that_are_dropped_are_not_counted_as_generated(self, write: Write) -> None:
        counts = DocumentCounts()
        path = write("a.jsonl", jsonl({"text": "x"}, {"text": "x"}, {"text": " "}))
        documents = list(read_documents(path, LAST, on_reject=lambda _: None, counts=counts))
        assert documents == [Document(content_id(None, "x"), "x")]
        assert counts == DocumentCounts(generated_ids=1, blank=1)

    def test_cannot_be_looked_for_twice_in_stdin(self) -> None:
        with pytest.raises(InvalidInput, match="reads its input twice"):
            read_corpus(["-"], LAST)


def test_bad_rows_are_reported_in_order_and_the_others_come(write: Write) -> None:
    rejected: list[InvalidData] = []
    counts = DocumentCounts()
    path = write(
        "a.jsonl",
        '{"id": "a", "text": "x"}\n{broken\n{"id": 1, "text": "x"}\n[]\n{"id": "b", "text": ""}\n'
        '{"id": "c"}\n{"id": "d", "text": "y"}\n',
    )
    documents = list(read_documents(path, on_reject=rejected.append, counts=counts))
    assert [document.id for document in documents] == ["a", "d"]
    assert [str(error).removeprefix(str(path)).split(":")[1] for error in rejected] == list("23456")
    assert counts == DocumentCounts(generated_ids=0, blank=1)


def test_the_first_bad_row_stops_the_reading_otherwise(write: Write) -> None:
    documents = read_documents(write("a.jsonl", jsonl({"id": "a", "text": "x"}, {"id": "b"})))
    assert next(documents) == Document("a", "x")
    with pytest.raises(InvalidData, match=r"a\.jsonl:2: no field 'text'"):
        next(documents)
