"""Catalogue, rows 54-57 and 59-62: queries that are empty, huge, odd or hostile, and every k."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Run, Write


@pytest.mark.parametrize("text", ["", "  \t\n", "\u3000"])
def test_row_54_an_empty_query_is_refused(run: Run, index_dir: Path, text: str) -> None:
    assert run("query", text, "-i", index_dir).refusal(2) == "query is empty"


def test_row_55_a_query_over_the_limit_is_refused(run: Run, index_dir: Path) -> None:
    outcome = run("query", "card " * 200_000, "-i", index_dir)
    assert outcome.refusal(2) == "query has 1000000 characters, at most 65536 are accepted"


def test_row_55_a_query_of_the_limit_is_answered(run: Run, index_dir: Path) -> None:
    outcome = run("query", "card " * 13_107, "-i", index_dir, "--json")
    assert (outcome.code, len(outcome.object["hits"])) == (0, 3)


@pytest.mark.parametrize(
    "text",
    [
        "😀🐈",
        "האם הכרטיס אבד",
        "👩\u200d👩\u200d👧\u200d👦",
        "\u202elost card",
        "a" + "\u0301" * 10_000,
    ],
    ids=["emoji", "right-to-left", "zero-width-joiner", "bidi-control", "combining-storm"],
)
def test_row_56_odd_text_is_answered(run: Run, index_dir: Path, text: str) -> None:
    outcome = run("query", text, "-i", index_dir, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.object["query"] == text
    assert len(outcome.object["hits"]) == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("my\0card", "U+0000 at position 2"),
        ("card\x1b[2J", "U+001B at position 4"),
        ("\x9b2J", "U+009B at position 0"),
        ("caf\udce9", "U+DCE9 at position 3"),  # what a Latin-1 byte in argv becomes
    ],
)
def test_row_57_a_character_that_is_no_text_is_named(
    run: Run, index_dir: Path, text: str, problem: str
) -> None:
    outcome = run("query", text, "-i", index_dir)
    message = f"query has the control or invalid character {problem}"
    assert outcome.refusal(2) == message


def test_row_57_in_a_file_of_queries_the_line_is_named(
    run: Run, write: Write, index_dir: Path
) -> None:
    path = write("queries.txt", "my card\ncard\x1b[2J\n")
    outcome = run("query", "--queries", path, "-i", index_dir)
    assert outcome.refusal(2) == (
        f"{path}:2: query has the control or invalid character U+001B at position 4"
    )


@pytest.mark.parametrize(("command", "name"), [("similarity", "TEXT_B"), ("encode", "text 2 of 2")])
def test_row_57_holds_for_texts_that_are_encoded(
    run: Run, tiny_encoder_dir: Path, command: str, name: str
) -> None:
    outcome = run(command, "my card", "caf\udce9", "--encoder", tiny_encoder_dir)
    message = f"{name} has the control or invalid character U+DCE9 at position 3"
    assert outcome.refusal(2) == message


@pytest.mark.parametrize("id_", ["caf\udce9", "a\0b", "\x1b[2J"])
def test_row_57_no_document_has_such_an_id(run: Run, index_dir: Path, id_: str) -> None:
    found = run("get", id_, "card", "-i", index_dir, "--json")
    assert (found.code, found.err) == (1, f"no document {id_!r}\n")
    assert found.object["id"] == "card"
    deleted = run("delete", id_, "-i", index_dir, "--json")
    assert deleted.code == 0
    assert deleted.object == {"deleted": 0, "unknown": 1, "documents": 3}


def test_row_57_a_stray_byte_of_a_file_name_is_shown_escaped(run: Run, index_dir: Path) -> None:
    outcome = run("add", "caf\udce9.jsonl", "-i", index_dir)
    assert outcome.refusal(2) == "caf\\udce9.jsonl: no such file"


@pytest.mark.parametrize("k", ["0", "-1", "1.5", "ten", "", "10001"])
def test_row_59_k_must_be_a_number_of_hits(run: Run, index_dir: Path, k: str) -> None:
    outcome = run("query", "card", "-i", index_dir, "-k", k)
    assert outcome.refusal(2) == f"Invalid value for '-k': k must be 1..10000, got {k}"


def test_row_60_k_over_the_number_of_documents_returns_them_all(run: Run, index_dir: Path) -> None:
    outcome = run("query", "card", "-i", index_dir, "-k", 10_000, "--json")
    assert outcome.code == 0
    assert {hit["id"] for hit in outcome.object["hits"]} == {"card", "parcel", "cat"}
    assert len(outcome.object["hits"]) == 3


@pytest.mark.parametrize("k", [10**8, 2**31, 10**400])
def test_row_61_a_huge_k_is_refused_before_anything_is_allocated(
    run: Run, index_dir: Path, k: int
) -> None:
    outcome = run("query", "card", "-i", index_dir, "-k", k)
    assert outcome.refusal(2) == f"Invalid value for '-k': k must be 1..10000, got {k}"


def test_row_62_an_empty_index_answers_with_nothing_and_says_so(run: Run, index_dir: Path) -> None:
    run("delete", "card", "parcel", "cat", "-i", index_dir)
    told = run("query", "card", "-i", index_dir)
    assert (told.code, told.out, told.err) == (0, "", "the index is empty\n")
    data = run("query", "card", "-i", index_dir, "--json")
    assert data.code == 0
    assert data.object == {"query": "card", "hits": []}
