"""Filters as SQL, against what they mean in plain Python."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from differential_filters import differences
from filter_strategies import CONDITIONS, METADATA
from filters import holds, like
from hypothesis import given, settings
from hypothesis import strategies as st

from simsearch.conditions import Comparator, Comparison, Condition, Likeness, Negation
from simsearch.errors import InvalidInput
from simsearch.storage.filters import (
    field_names,
    field_types,
    glob_of,
    has_field,
    matching_rows,
)


def table(*metadata: dict[str, Any], rows: int = 1) -> sqlite3.Connection:
    """Return a store's table of documents, with so many vector rows each."""
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE TABLE documents (first_row INTEGER PRIMARY KEY, rows INTEGER, metadata TEXT)"
    )
    connection.executemany(
        "INSERT INTO documents VALUES (?, ?, ?)",
        [
            (rows * number, rows, json.dumps(each, ensure_ascii=False))
            for number, each in enumerate(metadata)
        ],
    )
    return connection


@pytest.mark.parametrize("asked", ["\ufffd", "\ufffe", "\uffff"])
def test_what_could_not_be_decoded_is_no_other_character(asked):
    texts = ["\ufffd", "\ufffe", "\uffff", "a\ufffdb", "a\ufffeb", "a\uffffb"]
    connection = table(*({"s": text} for text in texts))
    for pattern in (asked, f"a{asked}_", f"%{asked}%"):
        found = matching_rows(connection, Likeness("s", pattern)).tolist()
        assert found == [n for n, text in enumerate(texts) if like(pattern, text)]
    connection.close()


@pytest.fixture
def documents() -> Iterator[sqlite3.Connection]:
    connection = table({"n": 1}, {"n": 2, "lang": "en"}, {"n": "2"}, {"lang": None}, rows=3)
    yield connection
    connection.close()


@settings(max_examples=300, deadline=None)
@given(condition=CONDITIONS, metadata=st.lists(METADATA, min_size=1, max_size=8))
def test_sql_and_python_agree_on_every_document(
    condition: Condition, metadata: list[dict[str, Any]]
) -> None:
    connection = table(*metadata)
    found = matching_rows(connection, condition)
    connection.close()
    assert found.tolist() == [n for n, each in enumerate(metadata) if holds(condition, each)]


def test_two_thousand_random_filters_find_what_python_finds() -> None:
    assert differences(2_000, seed=1) == 0


@settings(max_examples=100, deadline=None)
@given(condition=CONDITIONS, metadata=st.lists(METADATA, min_size=1, max_size=8))
def test_a_condition_or_its_negation_is_true_of_every_document(
    condition: Condition, metadata: list[dict[str, Any]]
) -> None:
    connection = table(*metadata)
    found = [*matching_rows(connection, condition), *matching_rows(connection, Negation(condition))]
    connection.close()
    assert sorted(found) == list(range(len(metadata)))


def test_a_document_of_several_rows_is_found_with_all_of_them(
    documents: sqlite3.Connection,
) -> None:
    found = matching_rows(documents, Comparison("n", Comparator.LESS_OR_EQUAL, 2))
    assert found.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.dtype == "int64"


def test_no_match_is_no_row(documents: sqlite3.Connection) -> None:
    found = matching_rows(documents, Comparison("n", Comparator.EQUAL, 7))
    assert (found.shape, found.dtype) == ((0,), "int64")


def test_fields_and_their_types_are_named(documents: sqlite3.Connection) -> None:
    assert field_names(documents) == ["lang", "n"]
    assert field_types(documents, "n") == {"number", "string"}
    assert field_types(documents, "lang") == {"string", "null"}
    assert (has_field(documents, "lang"), has_field(documents, "la")) == (True, False)


@pytest.mark.parametrize(
    ("pattern", "glob"),
    [("a%", "a*"), ("_b", "?b"), (r"50\%", "50%"), ("a*[?", "a[*][[][?]"), (r"\\%", "\\*")],
)
def test_a_pattern_becomes_a_glob(pattern: str, glob: str) -> None:
    assert glob_of(pattern) == glob


def test_a_pattern_that_could_match_in_many_ways_comes_to_an_end() -> None:
    connection = table({"a": "a" * 50_000})
    assert matching_rows(connection, Likeness("a", "%a%a%a%a%a%a%a%b")).tolist() == []
    connection.close()


def test_a_filter_that_takes_too_long_is_given_up() -> None:
    connection = table(*[{"n": n} for n in range(5_000)])
    ticks = iter(range(0, 10_000_000, 10))
    condition = Comparison("n", Comparator.LESS, 0)
    with pytest.raises(InvalidInput, match=r"took more than 2 s"):
        matching_rows(connection, condition, seconds=2, clock=lambda: next(ticks))
    assert matching_rows(connection, condition).tolist() == []  # the clock stops with the filter
    connection.close()
