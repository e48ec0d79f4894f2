"""An index that chooses how it is searched: index --recall, info, optimize, tune, by the shell."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ann.conftest import clustered
from command_line import Run, Write

ROWS = 6_000
LIMIT = "600kB"  # 768,000 bytes of vectors are more


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered(ROWS, 32)


@pytest.fixture
def corpus(write: Write, tmp_path, vectors):
    """Return a corpus of 6,000 documents and the file of their vectors."""
    np.save(tmp_path / "vectors.npy", vectors)
    lines = (json.dumps({"id": f"d{n}", "text": f"text {n}", "n": n}) for n in range(ROWS))
    return write("corpus.jsonl", "\n".join(lines)), tmp_path / "vectors.npy"


@pytest.fixture
def arguments(corpus, tmp_path, tiny_encoder_dir):
    source, embeddings = corpus
    target = ["-i", tmp_path / "i", "--encoder", tiny_encoder_dir]
    return ["index", source, *target, "--embeddings", embeddings]


def test_an_index_tells_what_it_chose_is_searched_and_tuned(run: Run, arguments, tmp_path, vectors):
    given = ["--recall", "0.9", "--max-memory", LIMIT]
    report = run(*arguments, *given, "--json").object
    (built,) = report["built"]
    (segment,) = report["search"]["segments"]
    assert built["index"] == segment["index"] != "Flat"
    assert built["rows"] == segment["rows"] == ROWS
    chosen = segment["plan"]["chosen"]
    assert chosen["recall"]["value"] >= 0.9
    assert chosen["bytes"] <= 600_000
    assert report["search"]["compared_rows"] == 0

    shown = run("info", tmp_path / "i").out
    assert "target          recall@10 0.9, 600,000 bytes" in shown
    assert f"segment         {segment['index']} of 6,000 rows" in shown
    assert f"; recall {chosen['recall']['value']:.4f} (" in shown

    hits = run("query", "text", "-i", tmp_path / "i", "--where", "n < 20", "--json").object["hits"]
    assert len(hits) == 10

    tuned = run("tune", tmp_path / "i", "--dry-run", "--json")
    assert (tuned.code, tuned.object["kept"], tuned.object["built"]) == (0, True, [])
    assert tuned.object["memory"] <= 600_000
    assert run("optimize", tmp_path / "i").out.startswith("nothing in ")
    broken = run("tune", tmp_path / "i", "--max-memory", "1kB", "--dry-run")
    assert broken.code == 1
    assert "the index is not what it has to be: it takes" in broken.err


def test_an_index_that_cannot_be_as_was_asked_says_so_and_answers(run: Run, arguments, tmp_path):
    done = run(*arguments, "--max-memory", "1kB")
    assert done.code == 1
    assert "fs_64 is taken: no index reaches recall 0.99 within the limits (" in done.err
    assert "the index is not what it has to be: it takes" in done.err
    tuned = run("tune", tmp_path / "i")
    assert tuned.code == 1
    assert "fs_64 is taken: no index reaches recall 0.99 within the limits (" in tuned.err
    assert len(run("query", "text", "-i", tmp_path / "i", "--json").object["hits"]) == 10


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--recall", "0", "recall must be over 0 and at most 1, got 0"),
        ("--recall", "1.1", "recall must be over 0 and at most 1, got 1.1"),
        ("--max-memory", "much", "a size is a number and B, kB, MB or GB (500MB), got much"),
        ("--max-latency", "-1", "a latency is a number of milliseconds (2.5), got -1"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_read(
    run: Run, tmp_path, option, value, message
):
    done = run("index", tmp_path / "no.jsonl", "-i", tmp_path / "i", f"{option}={value}")
    assert done.code == 2
    assert message in done.err


def test_an_index_that_queries_chose_is_used_like_any_other(
    run: Run, arguments, write: Write, tmp_path
):
    words = ("my card", "the parcel", "a bird", "lost money", "where is it")
    asked = write("asked.txt", "\n".join(f"{word} {n}" for word in words for n in range(8)))
    made = ["--recall", "0.5", "--max-memory", LIMIT, "--queries", asked]
    (segment,) = run(*arguments, *made, "--json").object["search"]["segments"]
    assert (segment["index"] != "Flat", segment["plan"]["queries"]) == (True, "given")
    assert run("tune", tmp_path / "i", "--queries", asked, "--rebuild").code == 0
    assert run("check", tmp_path / "i").code == 0
    assert len(run("query", "my card", "-i", tmp_path / "i", "--json").object["hits"]) == 10


def test_too_few_queries_are_refused(run: Run, arguments, write: Write, tmp_path):
    few = write("asked.txt", "where is my card\n" * 19)
    done = run(*arguments, "--queries", few)
    assert done.code == 2
    assert "has 19 queries, 20 are the least to choose an index by and judge it" in done.err
    assert not (tmp_path / "i").exists()


def test_rebuilding_and_a_dry_run_exclude_each_other(run: Run, tmp_path):
    done = run("tune", tmp_path / "i", "--rebuild", "--dry-run")
    assert done.code == 2
    assert "give one of them" in done.err
