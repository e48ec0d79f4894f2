"""The columns of a file choose the kind of its training examples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simsearch.errors import InvalidData
from simsearch.formats import Example, ReadOptions, read_examples
from simsearch.records import (
    ClassifiedText,
    ClassPair,
    LabelledPair,
    LabelledText,
    Pair,
    ScoredPair,
    Triplet,
    UnlabelledText,
)

Write = Callable[[str, str | bytes], Path]


def read(write: Write, *rows: dict[str, Any]) -> list[Example]:
    content = "".join(json.dumps(row) + "\n" for row in rows)
    return list(read_examples(write("a.jsonl", content)))


@pytest.mark.parametrize(
    ("row", "example"),
    [
        ({"anchor": "a", "positive": "p", "negative": "n"}, Triplet("a", "p", "n")),
        ({"anchor": "a", "positive": "p"}, Pair("a", "p")),
        ({"sentence1": "a", "sentence2": "b", "label": 1}, LabelledPair("a", "b", 1)),
        ({"sentence1": "a", "sentence2": "b", "score": 2.5}, ScoredPair("a", "b", 2.5)),
        ({"genre": "g", "positive": "p", "anchor": "a", "label": "x"}, Pair("a", "p")),
        ({"sentence1": "a", "score": 5, "sentence2": "b", "id": 1}, ScoredPair("a", "b", 5.0)),
        ({"sentence1": "a", "sentence2": "b", "label": "neutral"}, ClassPair("a", "b", "neutral")),
        ({"text": "t", "label": "refund"}, LabelledText("t", "refund")),
        ({"text": "t", "labels": ["a", 2]}, ClassifiedText("t", ("a", "2"))),
        ({"text": "t", "labels": []}, ClassifiedText("t", ())),
        ({"text": "t", "id": "7"}, UnlabelledText("t")),
        ({"anchor": "a", "positive": "p", "text": "t"}, Pair("a", "p")),
        ({"sentence1": "a", "sentence2": "b", "label": 0, "text": "t"}, LabelledPair("a", "b", 0)),
    ],
)
def test_columns_choose_the_kind_and_others_are_ignored(
    write: Write, row: dict[str, Any], example: Example
) -> None:
    assert read(write, row) == [example]


@pytest.mark.parametrize(
    ("content", "example"),
    [
        ("anchor,positive,negative\na,p,n\n", Triplet("a", "p", "n")),
        ("positive,anchor\np,a\n", Pair("a", "p")),
        ("sentence1,sentence2,label\na,b,0\n", LabelledPair("a", "b", 0)),
        ("sentence1,sentence2,score\na,b,-1.5e1\n", ScoredPair("a", "b", -15.0)),
        ("sentence1,sentence2,label\na,b,2\n", ClassPair("a", "b", "2")),
        ("text,label\nt,3\n", LabelledText("t", "3")),
        ("text,labels\nt,a;b\n", ClassifiedText("t", ("a", "b"))),
        ("text\nt\n", UnlabelledText("t")),
    ],
)
def test_tables_hold_examples_too(write: Write, content: str, example: Example) -> None:
    assert list(read_examples(write("a.csv", content))) == [example]


@pytest.mark.parametrize(
    ("value", "label"), [(0, 0), (1, 1), (True, 1), (False, 0), ("0", 0), ("1", 1), (" 1", 1)]
)
def test_a_label_of_zero_or_one_says_whether_a_pair_is_similar(
    write: Write, value: Any, label: int
) -> None:
    (example,) = read(write, {"sentence1": "a", "sentence2": "b", "label": value})
    assert example == LabelledPair("a", "b", label)
    assert type(example.label) is int


@pytest.mark.parametrize(
    ("value", "label"),
    [("entailment", "entailment"), (2, "2"), (-1, "-1"), (" same ", "same"), ("01", "01")],
)
def test_another_label_is_the_name_of_a_class(write: Write, value: Any, label: str) -> None:
    row = {"sentence1": "a", "sentence2": "b", "label": value}
    assert read(write, row) == [ClassPair("a", "b", label)]


def test_classes_may_be_called_zero_and_one_among_others(write: Write) -> None:
    rows = [{"sentence1": "a", "sentence2": "b", "label": label} for label in (0, 2, 1)]
    assert read(write, *rows) == [
        LabelledPair("a", "b", 0),
        ClassPair("a", "b", "2"),
        LabelledPair("a", "b", 1),
    ]


@pytest.mark.parametrize(
    ("value", "got"),
    [(1.0, r"1\.0"), (None, "null"), ([1], "list"), ({"a": 1}, "object")],
)
@pytest.mark.parametrize("columns", [("sentence1", "sentence2"), ("text",)])
def test_what_is_no_class_is_refused(
    write: Write, columns: tuple[str, ...], value: Any, got: str
) -> None:
    message = (
        rf"a\.jsonl:1: field 'label': got {got}, expected a class: a text or a whole number \(c"
    )
    with pytest.raises(InvalidData, match=message) as caught:
        read(write, {**dict.fromkeys(columns, "a"), "label": value})
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(("value", "reason"), [("", "is empty"), (" ", "is empty"), ("a\0", "NUL")])
def test_a_class_has_a_name(write: Write, value: str, reason: str) -> None:
    message = rf"a\.jsonl:1: field 'label' .*{reason}"
    with pytest.raises(InvalidData, match=message) as caught:
        read(write, {"sentence1": "a", "sentence2": "b", "label": value})
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("value", "got"), [("4.5", "'4.5'"), (True, "True"), (None, "null"), ([1], "list")]
)
def test_a_score_of_json_is_a_number(write: Write, value: Any, got: str) -> None:
    message = rf":1: field 'score': got {got}, expected a finite number \(correct it"
    with pytest.raises(InvalidData, match=message):
        read(write, {"sentence1": "a", "sentence2": "b", "score": value})


@pytest.mark.parametrize("value", ["nan", "inf", "1e999", "4_5", "x", "", " 1", '"4,5"', "\u0661"])
def test_a_score_of_a_table_is_a_finite_number(write: Write, value: str) -> None:
    path = write("a.csv", f"sentence1,sentence2,score\na,b,{value}\n")
    with pytest.raises(InvalidData, match=r"a\.csv:2: field 'score': .*expected a finite number"):
        list(read_examples(path))


def test_all_rows_are_of_the_kind_of_the_first(write: Write) -> None:
    message = (
        r"a\.jsonl:2: has the columns anchor, positive, but the file began with "
        r"anchor, positive, negative at .*a\.jsonl:1 \(put rows of one kind in a file"
    )
    with pytest.raises(InvalidData, match=message):
        read(
            write,
            {"anchor": "a", "positive": "p", "negative": "n"},
            {"anchor": "a", "positive": "p"},
        )


@pytest.mark.parametrize(
    ("row", "both"),
    [
        (
            {"sentence1": "a", "sentence2": "b", "label": 1, "score": 1.0},
            "sentence1, sentence2, label and sentence1, sentence2, score",
        ),
        (
            {"anchor": "a", "positive": "p", "sentence1": "a", "sentence2": "b", "label": 1},
            "anchor, positive and sentence1, sentence2, label",
        ),
    ],
)
def test_columns_of_two_kinds_are_refused(write: Write, row: dict[str, Any], both: str) -> None:
    with pytest.raises(InvalidData, match=rf"a\.jsonl:1: the columns fit {both}"):
        read(write, row)


def test_columns_of_no_kind_are_listed_with_what_was_expected(write: Write) -> None:
    message = (
        r"a\.jsonl:1: the columns are those of no training example; "
        r"found 'anchr', 'positive' \(did you mean 'anchr' for 'anchor'\?\); expected one of: "
        r"anchor, positive, negative; anchor, positive; sentence1, sentence2, label; "
        r"sentence1, sentence2, score; text, label; text, labels; text$"
    )
    with pytest.raises(InvalidData, match=message):
        read(write, {"anchr": "a", "positive": "p"})


def test_columns_far_from_all_get_no_suggestion(write: Write) -> None:
    with pytest.raises(InvalidData, match="found 'x'; expected one of"):
        read(write, {"x": 1})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1, "must be a string, got number"),
        (" ", "field 'positive' is empty"),
        ("\ud800", r"lone surrogate U\+D800"),
        ("a\0", "NUL character"),
    ],
)
def test_sentences_are_texts(write: Write, value: Any, message: str) -> None:
    with pytest.raises(InvalidData, match=rf"a\.jsonl:1: .*{message}"):
        read(write, {"anchor": "a", "positive": value})


def test_nul_is_replaced_on_request(write: Write) -> None:
    path = write("a.jsonl", '{"anchor": "a\\u0000", "positive": "p"}')
    assert list(read_examples(path, ReadOptions(replace_invalid=True))) == [Pair("a\ufffd", "p")]


def test_bad_rows_are_reported_and_the_first_good_one_sets_the_kind(write: Write) -> None:
    rejected: list[InvalidData] = []
    rows: list[dict[str, Any]] = [
        {"x": 1},
        {"anchor": "a", "positive": "p"},
        {"anchor": "a", "positive": "p", "negative": "n"},
        {"anchor": "b", "positive": "q"},
    ]
    path = write("a.jsonl", "\n".join(map(json.dumps, rows)))
    examples = list(read_examples(path, on_reject=rejected.append))
    assert examples == [Pair("a", "p"), Pair("b", "q")]
    assert [str(error).removeprefix(str(path))[:3] for error in rejected] == [":1:", ":3:"]


def test_a_wrong_header_is_raised_all_the_same(write: Write) -> None:
    rejected: list[InvalidData] = []
    path = write("a.csv", "a,b\n1,2\n3,4\n")
    with pytest.raises(InvalidData, match=r"a\.csv:1: the columns are those of no training"):
        list(read_examples(path, on_reject=rejected.append))
    assert rejected == []
