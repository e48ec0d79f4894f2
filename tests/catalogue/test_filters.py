"""Catalogue, rows 63-69: filters that match nothing, are wrong, huge or hostile."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from command_line import PREFIX, Run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def refused(run: Run, index_dir: Path, where: str) -> list[str]:
    """Return the lines of the error, the first without its prefix."""
    outcome = run("query", "card", "-i", index_dir, "--where", where)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(PREFIX)
    return outcome.err.removeprefix(PREFIX).splitlines()


def test_a_filter_narrows_what_query_finds(run: Run, index_dir: Path) -> None:
    outcome = run("query", "cat", "-i", index_dir, "--where", "lang = 'en'", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert [hit["id"] for hit in outcome.object["hits"]] == ["card"]


@pytest.mark.parametrize("where", ["lang = 'fr'", "stars > 4", "lang = 'en' and not lang = 'en'"])
def test_row_63_a_filter_that_matches_nothing_finds_nothing(
    run: Run, index_dir: Path, where: str
) -> None:
    outcome = run("query", "card", "-i", index_dir, "--where", where, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.object["hits"] == []


def test_row_63_with_all_documents_deleted_too(run: Run, index_dir: Path) -> None:
    assert run("delete", "card", "parcel", "cat", "-i", index_dir).code == 0
    outcome = run("query", "card", "-i", index_dir, "--where", "lang = 'en'", "--json")
    assert (outcome.code, outcome.object["hits"]) == (0, [])


def test_row_64_a_very_selective_filter_finds_its_document_however_far(
    run: Run, index_dir: Path
) -> None:
    outcome = run("query", "cat", "-i", index_dir, "--where", "stars = 4", "-k", 1, "--json")
    assert [hit["id"] for hit in outcome.object["hits"]] == ["card"]


def test_row_65_a_caret_stands_under_the_error(run: Run, index_dir: Path) -> None:
    assert refused(run, index_dir, "lang = en and stars = 4") == [
        "filter, column 8: expected a string, a number, true, false or null "
        "(a string stands in quotes), got en",
        "  lang = en and stars = 4",
        "         ^",
    ]


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("(" * 2000 + "lang = 'en'" + ")" * 2000, "column 34: nested more than 32 deep"),
        (" and ".join(["stars = 4"] * 10_000), "it is 139,995 bytes long, at most 16,384"),
        (" and ".join(["a=4"] * 2_000), "more than 256 conditions"),
    ],
    ids=["parentheses", "length", "conditions"],
)
def test_row_66_a_filter_is_refused_before_it_is_too_much_for_anybody(
    run: Run, index_dir: Path, where: str, problem: str
) -> None:
    first, shown, caret = refused(run, index_dir, where)
    assert problem in first
    assert len(shown) < 100
    assert caret.strip() == "^"


@pytest.mark.parametrize("value", ["'", "--", ";", '"', "') or 1=1 --", "%", "*", "$.lang", "?"])
def test_row_67_a_value_is_only_ever_compared(run: Run, index_dir: Path, value: str) -> None:
    quoted = value.replace("'", "''")
    outcome = run("query", "card", "-i", index_dir, "--where", f"lang = '{quoted}'", "--json")
    assert (outcome.code, outcome.object["hits"]) == (0, [])


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(st.sampled_from("abn'\";-()=,`%*?[]\\$. or1"), min_size=1, max_size=25))
def test_row_67_no_text_of_a_filter_reaches_sqlite_as_sql(
    run: Run, built_index: Path, text: str
) -> None:
    outcome = run("query", "card", "-i", built_index, "--where", text)
    assert outcome.code in (0, 2)
    with sqlite3.connect(built_index / "meta.db") as connection:
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (3,)
    connection.close()


def test_row_68_wildcards_are_counted(run: Run, index_dir: Path) -> None:
    first, *_ = refused(run, index_dir, f"lang like '{'%a' * 9}'")
    assert first == "filter, column 11: 9 wildcards, at most 8 are accepted"


def test_row_69_an_unknown_field_is_named_with_what_is_near(run: Run, index_dir: Path) -> None:
    assert refused(run, index_dir, "lang = 'en' and start = 4") == [
        "filter, column 17: no document has a field start (did you mean stars?)",
        "  lang = 'en' and start = 4",
        "                  ^",
    ]


def test_documents_are_deleted_by_a_filter(run: Run, index_dir: Path) -> None:
    outcome = run("delete", "--where", "lang = 'en'", "-i", index_dir, "--json")
    assert outcome.object == {"deleted": 1, "unknown": 0, "documents": 2}


@pytest.mark.parametrize("arguments", [(), ("card", "--where", "lang = 'en'")])
def test_delete_takes_either_ids_or_a_filter(
    run: Run, index_dir: Path, arguments: tuple[str, ...]
) -> None:
    assert run("delete", *arguments, "-i", index_dir).refusal(2) == (
        "give the ids of the documents to delete, or a filter with --where"
    )
