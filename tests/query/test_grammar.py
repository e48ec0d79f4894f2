"""The text of a filter: what it means, and what is said of one that means nothing."""

from __future__ import annotations

import contextlib

import pytest
from filter_strategies import CONDITIONS, written
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simsearch.conditions import (
    Comparator,
    Comparison,
    Condition,
    Conjunction,
    Containment,
    Disjunction,
    Likeness,
    Membership,
    Negation,
)
from simsearch.errors import InvalidFilter, InvalidInput
from simsearch.query import Filter, parse_filter

A, B, C = (Comparison(name, Comparator.EQUAL, 1) for name in "abc")


def meaning(text: str) -> Condition:
    return parse_filter(text).condition


def test_the_filter_of_the_readme_is_understood() -> None:
    text = "lang = 'en' and year >= 2020 and tags contains 'urgent' and not (label in ('a','b'))"
    assert meaning(text) == Conjunction(
        (
            Comparison("lang", Comparator.EQUAL, "en"),
            Comparison("year", Comparator.GREATER_OR_EQUAL, 2020),
            Containment("tags", "urgent"),
            Negation(Membership("label", ("a", "b"))),
        )
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1 or b=1 and c=1", Disjunction((A, Conjunction((B, C))))),
        ("(a=1 or b=1) and c=1", Conjunction((Disjunction((A, B)), C))),
        ("not a=1 and b=1", Conjunction((Negation(A), B))),
        ("not not a=1", Negation(Negation(A))),
        ("a=1 AND b=1 Or c=1", Disjunction((Conjunction((A, B)), C))),
        ("a != 1", Negation(A)),
        ("a not in (1)", Negation(Membership("a", (1,)))),
        ("a not contains 'x'", Negation(Containment("a", "x"))),
        ("a not like 'x%'", Negation(Likeness("a", "x%"))),
        ("((a = 1))", A),
        ("`and` = 1", Comparison("and", Comparator.EQUAL, 1)),
        ("`2024` = 1", Comparison("2024", Comparator.EQUAL, 1)),
        ("x.y-z_1 = 1", Comparison("x.y-z_1", Comparator.EQUAL, 1)),
    ],
)
def test_words_bind_as_in_sql(text: str, expected: Condition) -> None:
    assert meaning(text) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'it''s'", "it's"),
        ('"it\'s"', "it's"),
        ('"say ""a"""', 'say "a"'),
        ("''", ""),
        ("'\\'", "\\"),
        ("'a\nb'", "a\nb"),
        ("12", 12),
        ("-9223372036854775808", -(2**63)),
        ("1.0", 1.0),
        ("-1.5e-3", -0.0015),
        ("TRUE", True),
        ("false", False),
        ("null", None),
    ],
)
def test_a_value_is_read_with_its_type(text: str, value: object) -> None:
    assert repr(meaning(f"a = {text}")) == repr(Comparison("a", Comparator.EQUAL, value))


@settings(max_examples=300, deadline=None)
@given(condition=CONDITIONS)
def test_every_condition_can_be_written_and_comes_back(condition: Condition) -> None:
    # By repr: to Python 1, 1.0 and True are equal.
    assert repr(meaning(written(condition))) == repr(condition)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
@example("'" * 61)
@example("a=1 and (b")
def test_any_text_is_a_filter_or_refused_as_one(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        assert isinstance(parse_filter(text), Filter)


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("lang = en", 8, "expected a string, a number, true, false or null (a string stands in"),
        ("lang == 'en'", 6, "no operator is == (write =)"),
        ("lang <> 'en'", 6, "no operator is <> (write !=)"),
        ("lang =! 'en'", 6, "no operator is =! (use != < <= = > >=)"),
        ("lang 'en'", 6, "expected = != < <= > >= in, contains or like, got 'en'"),
        ("lang not = 'en'", 10, "expected in, contains or like, got ="),
        (
            "'lang' = 'en'",
            1,
            "expected the name of a field (without quotes, or in backquotes: `lang`",
        ),
        ("and = 1", 1, "expected the name of a field (a name that is a keyword stands in backq"),
        ("lang = 'en", 8, "this string does not end (close it with ')"),
        ("lang = 'en' year = 1", 13, "expected and, or, or the end, got year"),
        ("lang = 'en' and", 16, "expected the name of a field"),
        ("(lang = 'en'", 13, "expected ), got the end"),
        ("lang = 'en')", 12, "expected and, or, or the end, got )"),
        ("lang in 'en'", 9, "expected (, got 'en'"),
        ("lang in ()", 10, "expected a string, a number, true, false or null, got )"),
        ("year > 2020-01-31", 8, "neither a number nor a name"),
        ("year > 1.", 8, "neither a number nor a name"),
        ("done > true", 6, "true, false and null have no order (use = or !=)"),
        ("year = 9223372036854775808", 8, "number out of range (whole numbers have 64 bits)"),
        ("year = 1e999", 8, "number out of range"),
        ("name like 5", 11, "expected a pattern in quotes, such as 'abc%', got 5"),
        ("name like 'a\\'", 11, "the pattern ends with a lone backslash (write two)"),
        ("a = 1; drop table documents", 6, "unexpected ';'"),
        ("a = 1 -- b", 7, "neither a number nor a name"),
        ("`a b` = 1", 1, "a name in backquotes is 1 to 64 of A-Z a-z 0-9 _ . - and ends"),
        ("größe = 1", 3, "unexpected 'ö'"),
        ("a = 'x\0'", 7, "character U+0000 cannot stand in it"),
        ("a = '\ud800'", 6, "character U+D800 cannot stand in it"),
        ("a" * 65 + " = 1", 1, "a field's name has at most 64 characters"),
    ],
)
def test_what_is_wrong_is_said_with_its_column(text: str, column: int, problem: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse_filter(text)
    assert caught.value.problem.startswith(f"filter, column {column}: {problem}")


def picture_of(text: str) -> list[str]:
    with pytest.raises(InvalidFilter) as caught:
        parse_filter(text)
    return caught.value.picture.splitlines()


def test_the_caret_stands_under_the_place() -> None:
    assert picture_of("lang = en and year = 1") == [
        "  lang = en and year = 1",
        "         ^",
    ]


def test_the_caret_counts_the_columns_of_a_terminal() -> None:
    # Two columns for each Chinese character, none for the accent, one for what is not shown.
    assert picture_of("a = '中文e\u0301\n' b") == [
        "  a = '中文e\u0301 ' b",
        "               ^",
    ]


def test_of_a_long_filter_what_surrounds_the_place_is_shown() -> None:
    shown, caret = picture_of(f"a = '{'x' * 100}' ? and b = '{'y' * 100}'")
    assert shown == f"  ...{'x' * 38}' ? and b = '{'y' * 29}..."
    assert shown[caret.index("^")] == "?"


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_filter_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="the filter is empty"):
        parse_filter(text)


@pytest.mark.parametrize(
    ("within", "beyond", "problem"),
    [
        ("(" * 32 + "a=1" + ")" * 32, "(" * 33 + "a=1" + ")" * 33, "nested more than 32 deep"),
        ("not " * 32 + "a=1", "not " * 33 + "a=1", "nested more than 32 deep"),
        (
            " or ".join(["a=1"] * 255),  # 255 conditions, and the one that joins them
            " or ".join(["a=1"] * 256),
            "more than 256 conditions",
        ),
        (f"a in ({','.join('1' * 1000)})", f"a in ({','.join('1' * 1001)})", "1,001 values"),
        ("a like '%_%_%_%_'", "a like '%_%_%_%_%'", "9 wildcards, at most 8"),
        (f"a = '{'x' * 16378}'", f"a = '{'x' * 16379}'", "16,385 bytes long, at most 16,384"),
    ],
    ids=["parentheses", "not", "conditions", "values", "wildcards", "bytes"],
)
def test_a_limit_is_reached_and_not_passed(within: str, beyond: str, problem: str) -> None:
    parse_filter(within)
    with pytest.raises(InvalidFilter, match=problem):
        parse_filter(beyond)


def test_escaped_wildcards_are_not_counted() -> None:
    assert meaning("a like '" + r"\%" * 9 + "'") == Likeness("a", r"\%" * 9)


def test_the_place_of_a_field_is_its_first() -> None:
    assert parse_filter("a = 1 or bb = 2 or a = 3").places == {"a": 0, "bb": 9}
