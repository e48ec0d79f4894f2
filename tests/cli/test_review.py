"""review: proposals printed, and asked about."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from command_line import Run, Write

from simsearch.query import SearchMode
from simsearch.records import Judgement
from simsearch.search_index import ModeChoice, SearchIndex, propose_judgements


class Terminal(io.StringIO):
    """Keys that somebody has pressed."""

    def isatty(self) -> bool:
        return True


def test_proposals_are_those_of_the_api(run: Run, index_dir: Path, write: Write) -> None:
    queries = write("queries.txt", "my card\n\nlost order\n")
    outcome = run("review", "-i", index_dir, "--queries", queries, "-n", "4", "--json")
    with SearchIndex.open(index_dir) as index:
        expected = propose_judgements(index, ["my card", "lost order"], n=4)
    assert len(expected) == 4
    assert [(each["query"], each["id"], each["margin"]) for each in outcome.objects] == [
        (each.query, each.hit.id, pytest.approx(each.margin)) for each in expected
    ]
    assert {"score", "probability", "text", "metadata"} <= outcome.objects[0].keys()
    shown = run("review", "-i", index_dir, "--queries", queries, "-n", "4").out.splitlines()
    assert len(shown) == 8
    assert f"margin {expected[0].margin:.4f}  {expected[0].query}" in shown[0]
    assert shown[1].split()[0] == expected[0].hit.id


def test_proposals_are_asked_about_until_somebody_quits(
    run: Run, index_dir: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = write("queries.txt", "my card\nlost order\n")
    proposals = run("review", "-i", index_dir, "--queries", queries, "--json").objects
    monkeypatch.setattr(sys, "stdin", Terminal("w\n\nyes\nr\nq\n"))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    outcome = run("review", "-i", index_dir, "--queries", queries, "--feedback")
    assert "2 judgements kept" in outcome.err
    assert "an answer is r, w, q or Enter, got yes" in outcome.err
    with SearchIndex.open(index_dir) as index:
        assert index.judgements() == [
            Judgement(proposals[0]["query"], proposals[0]["id"], False),
            Judgement(proposals[2]["query"], proposals[2]["id"], True),
        ]
    again = run("review", "-i", index_dir, "--queries", queries, "--json").objects
    assert len(again) == len(proposals) - 2


def test_where_everything_is_judged_one_line_says_so(run: Run, index_dir: Path) -> None:
    run("judge", "my card", "card", "cat", "parcel", "--wrong", "-i", index_dir)
    outcome = run("review", "-i", index_dir)
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == "all hits of these queries are judged\n"


def test_an_index_without_documents_has_nothing_to_judge(
    run: Run, index_dir: Path, write: Write
) -> None:
    with SearchIndex.open(index_dir) as index:
        index.delete(["card", "cat", "parcel"])
    queries = write("queries.txt", "my card\n")
    outcome = run("review", "-i", index_dir, "--queries", queries)
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == "the index has no documents, so there are no hits to judge\n"


def test_queries_without_hits_are_told_from_those_whose_hits_are_judged(
    run: Run, index_dir: Path, write: Write
) -> None:
    with SearchIndex.open(index_dir) as index:
        index.keep_mode_choice(ModeChoice(SearchMode.LEXICAL))
        (hit,) = index.search("swallowed")
        index.judge("swallowed", hit.id, relevant=True)
    none = write("none.txt", "zebra\ngiraffe\n")
    assert run("review", "-i", index_dir, "--queries", none).err == "these queries have no hits\n"
    queries = write("queries.txt", "swallowed\nzebra\n")
    outcome = run("review", "-i", index_dir, "--queries", queries)
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == "1 query without hits; all hits of the others are judged\n"


def test_without_queries_one_line_says_where_they_come_from(run: Run, index_dir: Path) -> None:
    assert "no queries to review: give some (--queries FILE)" in run(
        "review", "-i", index_dir
    ).refusal(2)


def test_asking_is_refused_where_there_is_no_terminal(run: Run, index_dir: Path) -> None:
    assert "asks on a terminal" in run("review", "-i", index_dir, "--feedback").refusal(2)
    assert "not with --json" in run("review", "-i", index_dir, "--feedback", "--json").refusal(2)
