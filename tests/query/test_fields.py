"""Fields that no document has, and types that a field never has."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from simsearch.conditions import leaves
from simsearch.query import mismatch, parse_filter, unknown_field


@pytest.mark.parametrize(
    ("name", "known", "message"),
    [
        ("lnag", ["lang", "year"], "no document has a field lnag (did you mean lang?)"),
        ("Year", ["lang", "year"], "no document has a field Year (did you mean year?)"),
        ("zz", ["lang", "year"], "no document has a field zz (fields: lang, year)"),
        ("zz", [], "no document has a field zz (the documents have no metadata)"),
        (
            "title",
            ["lang"],
            "no document has a field title (a filter reads metadata, which title is not; "
            "fields: lang)",
        ),
        (
            "zz",
            [f"field{n:02}" for n in range(14)],
            "no document has a field zz (fields: "
            + ", ".join(f"field{n:02}" for n in range(12))
            + " and 2 more)",
        ),
    ],
)
def test_an_unknown_field_is_named_with_those_near_it(
    name: str, known: Sequence[str], message: str
) -> None:
    error = unknown_field(parse_filter(f"{name} = 1"), name, known)
    assert error.problem == f"filter, column 1: {message}"


@pytest.mark.parametrize(
    ("text", "found", "note"),
    [
        ("a = '1'", {"number"}, "a string, but number (write a number without quotes)"),
        ("a > 1", {"string"}, "a number, but string (write a string in quotes; values from CSV"),
        ("a = 'x'", {"list"}, "a string, but list (elements of a list are found by contains)"),
        ("a contains 'x'", {"string"}, "a list, but string (use =, or like '%x%')"),
        ("a like 'x'", {"list", "number"}, "a string, but list or number (like is for strings)"),
        ("a in (1, 'x')", {"boolean"}, "a number or string, but boolean (a value equals only"),
    ],
)
def test_a_comparison_with_a_type_that_never_occurs_is_told(
    text: str, found: set[str], note: str
) -> None:
    (leaf,) = leaves(parse_filter(text).condition)
    told = mismatch(leaf, found)
    assert told is not None
    assert told.startswith(f"field a never holds {note}")


@pytest.mark.parametrize(
    ("text", "found"),
    [("a = 1", {"number", "string"}), ("a = null", {"number"}), ("a in ('x', 2)", {"number"})],
)
def test_a_type_that_occurs_is_not_told(text: str, found: set[str]) -> None:
    (leaf,) = leaves(parse_filter(text).condition)
    assert mismatch(leaf, found) is None
