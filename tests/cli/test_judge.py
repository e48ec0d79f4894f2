"""judge, judgements, query --feedback."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from command_line import Run

from simsearch.records import Judgement
from simsearch.search_index import SearchIndex


class Terminal(io.StringIO):
    """Keys that somebody has pressed."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch):
    """Return a function that types lines on a terminal."""

    def prepare(*lines: str) -> None:
        monkeypatch.setattr(sys, "stdin", Terminal("".join(f"{line}\n" for line in lines)))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    return prepare


def judgements(index_dir: Path) -> list[Judgement]:
    with SearchIndex.open(index_dir) as index:
        return index.judgements()


def test_documents_are_judged_listed_and_what_was_said_is_taken_back(
    run: Run, index_dir: Path
) -> None:
    done = run("judge", "card gone", "card", "cat", "--right", "-i", index_dir, "--json")
    assert done.object == {"query": "card gone", "ids": ["card", "cat"], "relevant": True}
    assert run("judge", "card gone", "cat", "--wrong", "-i", index_dir).out == (
        "judged 1 document wrong\n"
    )
    assert run("judge", "card gone", "cat", "cat", "--wrong", "-i", index_dir).out == (
        "judged 1 document wrong\n"
    )
    assert run("judgements", "-i", index_dir).out == (
        "right  card  card gone\nwrong  cat  card gone\n"
    )
    removed = run("judge", "card gone", "card", "dog", "--remove", "-i", index_dir, "--json")
    assert removed.object == {"query": "card gone", "ids": ["card", "dog"], "removed": 1}
    assert judgements(index_dir) == [Judgement("card gone", "cat", False)]


def test_what_became_of_a_judged_document_is_told(run: Run, index_dir: Path) -> None:
    run("judge", "card gone", "card", "--right", "-i", index_dir)
    run("delete", "card", "-i", index_dir)
    assert run("judgements", "-i", index_dir).out == "right  card  card gone  (document deleted)\n"
    assert run("judgements", "-i", index_dir, "--json").object == {
        "query": "card gone",
        "id": "card",
        "relevant": True,
        "state": "deleted",
    }


def test_without_judgements_stdout_is_empty_and_stderr_says_how(run: Run, index_dir: Path) -> None:
    outcome = run("judgements", "-i", index_dir)
    assert (outcome.code, outcome.out) == (0, "")
    assert "nothing was judged yet" in outcome.err
    assert run("judgements", "-i", index_dir, "--json", "--quiet").err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["card"], "say whether they are --right or --wrong"),
        (["card", "--right", "--remove"], "say whether they are --right or --wrong"),
        (["dog", "--right"], "no document 'dog' in the index to be judged (take the id of a hit)"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    run: Run, index_dir: Path, arguments: list[str], message: str
) -> None:
    assert message in run("judge", "card gone", *arguments, "-i", index_dir).refusal(2)
    assert judgements(index_dir) == []


def test_feedback_is_asked_for_after_the_hits_and_kept(run: Run, index_dir: Path, type_in) -> None:
    type_in("1, -3")
    shown = run("query", "my card", "-i", index_dir, "--feedback")
    ids = [line.split()[-1] for line in shown.out.splitlines()[::2]]
    assert judgements(index_dir) == [
        Judgement("my card", ids[0], True),
        Judgement("my card", ids[2], False),
    ]
    assert shown.err == (
        "right ones? their numbers, wrong ones with a minus (1 -3), Enter for none: "
        "2 judgements kept\n"
    )


def test_an_answer_that_cannot_be_meant_is_asked_for_again(
    run: Run, index_dir: Path, type_in
) -> None:
    type_in("4", "one", "1 -1", "-2", "")
    outcome = run("query", "my card", "the cat", "-i", index_dir, "--feedback")
    assert outcome.err.count("right ones?") == 5
    assert "a number must be 1..3 or with a minus, got 4" in outcome.err
    assert "got one" in outcome.err
    assert "1 stands there twice" in outcome.err
    assert [each.query for each in judgements(index_dir)] == ["my card"]


def test_where_nobody_answers_any_more_the_hits_are_still_printed(
    run: Run, index_dir: Path, type_in
) -> None:
    type_in()
    outcome = run("query", "my card", "the cat", "-i", index_dir, "--feedback")
    assert outcome.code == 0
    assert outcome.err.count("right ones?") == 1
    assert "# the cat" in outcome.out
    assert judgements(index_dir) == []


def test_feedback_is_refused_where_nobody_can_be_asked(
    run: Run, index_dir: Path, type_in, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["query", "my card", "-i", index_dir, "--feedback"]
    assert "this is none (record what is known with `simsearch judge" in run(*arguments).refusal(2)
    type_in("1")
    assert "not with --json" in run(*arguments, "--json").refusal(2)
    queries = tmp_path / "queries.txt"
    queries.write_text("my card\n")
    refused = run("query", "--queries", queries, "-i", index_dir, "--feedback")
    assert "not with --queries" in refused.refusal(2)
    assert judgements(index_dir) == []
