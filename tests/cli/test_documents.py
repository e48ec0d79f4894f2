"""get, delete, query: documents by id, and the documents nearest to a text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from command_line import DOCUMENTS, FillStdin, Run, Write

from simsearch.query import SearchMode
from simsearch.search_index import ModeChoice, SearchIndex


def test_get_prints_a_document_for_a_person(run: Run, index_dir: Path) -> None:
    outcome = run("get", "card", "parcel", "-i", index_dir)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "card",
        "my card was swallowed by the machine",
        "  lang: en",
        "  stars: 4",
        "parcel",
        "lost order",
        "the parcel came late",
    ]


def test_get_of_an_unknown_id_prints_the_others_and_exits_1(run: Run, index_dir: Path) -> None:
    outcome = run("get", "dog", "cat", "-i", index_dir)
    assert (outcome.code, outcome.err) == (1, "no document 'dog'\n")
    assert outcome.out == "cat\nthe cat sat on the mat\n"


def test_deleted_documents_are_gone(run: Run, index_dir: Path) -> None:
    outcome = run("delete", "cat", "card", "-i", index_dir)
    assert (outcome.code, outcome.out) == (0, "deleted 2, unknown 0; 1 document\n")
    hits = run("query", "cat", "-i", index_dir, "--json").object["hits"]
    assert [hit["id"] for hit in hits] == ["parcel"]
    assert run("get", "cat", "-i", index_dir).code == 1


def test_unknown_ids_are_counted_and_no_error(run: Run, index_dir: Path) -> None:
    outcome = run("delete", "cat", "dog", "cat", "bird", "-i", index_dir, "--json")
    assert outcome.code == 0
    assert outcome.object == {"deleted": 1, "unknown": 2, "documents": 2}


def test_hits_are_printed_best_first(run: Run, index_dir: Path) -> None:
    outcome = run("query", DOCUMENTS[2].text, "-i", index_dir, "-k", 2)
    assert (outcome.code, outcome.err) == (0, "")
    first, text, second, *_ = outcome.out.splitlines()
    assert first.split() == ["1", "1.0000", "cat"]
    assert text.strip() == "the cat sat on the mat"
    assert second.split()[0] == "2"
    assert len(outcome.out.splitlines()) == 4


def test_a_title_is_printed_before_the_text(run: Run, index_dir: Path) -> None:
    outcome = run("query", "lost order the parcel came late", "-i", index_dir, "-k", 1)
    assert outcome.out.splitlines()[1].strip() == "lost order: the parcel came late"


def test_several_queries_are_told_apart(run: Run, index_dir: Path) -> None:
    outcome = run("query", "my card", "cat", "-i", index_dir, "-k", 1)
    assert [line for line in outcome.out.splitlines() if line.startswith("#")] == [
        "# my card",
        "# cat",
    ]


def test_a_long_text_is_shortened_for_a_person_only(
    run: Run, write: Write, index_dir: Path
) -> None:
    run("add", write("a.csv", f"id,text\nlong,{'dog ' * 500}\n"), "-i", index_dir)
    printed = run("query", "dog", "-i", index_dir, "-k", 4)
    assert max(map(len, printed.out.splitlines())) < 330
    hits = run("query", "dog", "-i", index_dir, "-k", 4, "--json").object["hits"]
    assert "dog " * 500 in [hit["text"] for hit in hits]


def test_a_file_of_queries_gives_one_object_per_query(
    run: Run, write: Write, index_dir: Path
) -> None:
    queries = write("queries.txt", "my card\r\n\n  cat\nlost\u2028parcel")
    outcome = run("query", "--queries", queries, "-i", index_dir, "-k", 1, "--json")
    assert outcome.code == 0
    assert [each["query"] for each in outcome.objects] == ["my card", "  cat", "lost\u2028parcel"]
    assert [len(each["hits"]) for each in outcome.objects] == [1, 1, 1]


def test_queries_are_read_from_stdin(run: Run, index_dir: Path, fill_stdin: FillStdin) -> None:
    fill_stdin(b"my card\ncat\n")
    outcome = run("query", "bird", "--queries", "-", "-i", index_dir, "--json")
    assert [each["query"] for each in outcome.objects] == ["bird", "my card", "cat"]


def test_who_asks_by_a_pipe_has_answers_before_it_is_closed(index_dir: Path) -> None:
    command = ["query", "--queries", "-", "-i", str(index_dir), "-k", "1", "--mode", "lexical"]
    asked = [f"my card {number}" for number in range(256)]
    with (
        subprocess.Popen(
            [sys.executable, "-m", "simsearch", *command, "--json"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
        ThreadPoolExecutor(1) as reader,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(f"{query}\n" for query in asked))
        process.stdin.flush()
        lines = reader.submit(lambda: [process.stdout.readline() for _ in asked])
        try:
            answered = [json.loads(line)["query"] for line in lines.result(timeout=120)]
        finally:
            process.stdin.close()  # which ends it in any case
    assert answered == asked


def test_a_pipe_that_does_not_wait_is_read_to_its_end(index_dir: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)  # as some parents leave it
    command = ["query", "--queries", "-", "-i", str(index_dir), "--mode", "lexical", "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "simsearch", *command], stdin=reading, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        os.write(writing, b"my card\n" * 256)
        first = [process.stdout.readline() for _ in range(256)]  # now it waits for more
        os.write(writing, b"cat\n")
        os.close(writing)
        rest = process.stdout.read().splitlines()
    os.close(reading)
    assert (len(first), [json.loads(line)["query"] for line in rest]) == (256, ["cat"])


def test_queries_of_a_pipe_are_searched_as_the_first_ones_were(
    run: Run, index_dir: Path, fill_stdin: FillStdin, monkeypatch: pytest.MonkeyPatch
) -> None:
    search, modes = SearchIndex.search_many, []

    def switched(index: SearchIndex, *given: Any, **options: Any) -> Any:
        modes.append(options["mode"])
        index.keep_mode_choice(ModeChoice(SearchMode.LEXICAL, queries=60))
        return search(index, *given, **options)

    monkeypatch.setattr(SearchIndex, "search_many", switched)
    fill_stdin(b"my card\n" * 300)
    assert run("query", "--queries", "-", "-i", index_dir).code == 0
    assert modes == ["dense", "dense"]


def test_a_query_writes_nothing_beside_an_index_that_it_cannot_write_to(
    run: Run, index_dir: Path, fill_stdin: FillStdin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)  # root may write to a read-only folder
    fill_stdin(b"my card\n")
    assert run("query", "--queries", "-", "-i", index_dir).code == 0


def test_a_query_is_required(run: Run, write: Write, index_dir: Path) -> None:
    message = "give a query, or a file of them with --queries"
    assert run("query", "-i", index_dir).refusal(2) == message
    blank = write("queries.txt", "\n \n")
    assert run("query", "--queries", blank, "-i", index_dir).refusal(2) == message
