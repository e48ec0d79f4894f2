"""reindex, rollback: what they print, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Run, Write, contents, stored
from conftest import write_tiny_encoder

from simsearch.encoder import Encoder
from simsearch.query import SearchMode
from simsearch.search_index import ModeChoice, RerankChoice, SearchIndex

QUERIES = (
    '{"_id": "q1", "text": "my card was swallowed"}\n'
    '{"_id": "q2", "text": "the parcel came late"}\n'
    '{"_id": "q3", "text": "nobody asked"}\n'
)
QRELS = "query-id\tcorpus-id\tscore\nq1\tcard\t1\nq2\tparcel\t1\n"


@pytest.fixture(scope="session")
def other_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return another encoder than that of the index, exported once."""
    directory = write_tiny_encoder(tmp_path_factory.mktemp("models") / "other", seed=17)
    Encoder.load(directory)
    return directory


def test_reindex_changes_the_encoder_and_rollback_goes_back(
    run: Run, index_dir: Path, other_dir: Path
) -> None:
    before = contents(index_dir)
    outcome = run("reindex", index_dir, "--encoder", other_dir)
    assert outcome.code == 0
    assert outcome.out == (
        f"{index_dir} is generation 2 now, by {other_dir}: 3 texts encoded; `simsearch "
        "rollback` goes back, `simsearch compact` deletes what was before\n"
    )
    assert f"generation 2: 3 documents to encode by {other_dir} (dim 32), about 1 s" in outcome.err
    assert contents(index_dir) != before
    facts = run("info", index_dir, "--json").object
    assert (facts["generation"], facts["previous"]["generation"]) == (2, 1)
    assert facts["building"] is None
    assert "previous        1 by " in run("info", index_dir).out
    assert run("check", index_dir).out == f"{index_dir} is sound\n"
    back = run("rollback", index_dir)
    assert (back.code, contents(index_dir)) == (0, before)
    assert f"{index_dir} is generation 1 again" in back.out
    assert "no generation before this one" in run("rollback", index_dir).refusal(2)


def test_a_mode_that_was_measured_with_the_encoder_before_is_said_to_hold_no_more(
    run: Run, index_dir: Path, other_dir: Path
) -> None:
    with SearchIndex.open(index_dir) as index:
        index.keep_mode_choice(ModeChoice(SearchMode.LEXICAL, queries=60))
    outcome = run("reindex", index_dir, "--encoder", other_dir)
    told = "warning: which mode is best is not known any more: it was measured on the index that"
    assert told in outcome.err
    assert f"(measure again: `simsearch mode {index_dir} DATA`)" in outcome.err
    assert run("info", index_dir, "--json").object["mode"] == "dense"
    assert told not in run("rollback", index_dir).err  # what was measured then holds again
    assert run("info", index_dir, "--json").object["mode"] == "lexical"
    assert run("reindex", index_dir, "--encoder", other_dir).code == 0
    with SearchIndex.open(index_dir) as index:
        index.keep_rerank_choice(RerankChoice(queries=60))
    back = run("rollback", index_dir).err
    assert "warning: whether reranking helps is not known any more" in back
    assert f"`simsearch calibrate PAIRS -i {index_dir} --rerank maxsim`" in back


def test_what_is_written_after_a_reindex_survives_the_rollback(
    run: Run, index_dir: Path, other_dir: Path, write: Write
) -> None:
    run("reindex", index_dir, "--encoder", other_dir)
    corpus = write("more.jsonl", '{"id": "dog", "text": "the dog sat on the mat"}\n')
    assert run("add", corpus, "-i", index_dir).code == 0
    assert run("delete", "cat", "-i", index_dir).code == 0
    done = run("rollback", index_dir, "--json")
    assert done.object["encoded"] == 1
    assert (done.object["generation"], done.object["documents"]) == (1, 3)
    assert stored(index_dir).keys() == {"card", "parcel", "dog"}


def test_a_second_reindex_by_the_same_encoder_changes_nothing(
    run: Run, index_dir: Path, other_dir: Path
) -> None:
    run("reindex", index_dir, "--encoder", other_dir)
    again = run("reindex", index_dir, "--encoder", other_dir)
    assert again.code == 0
    assert "is by this encoder already; nothing was changed" in again.out
    facts = run("reindex", index_dir, "--encoder", other_dir, "--json").object
    assert (facts["needed"], facts["switched"], facts["generation"]) == (False, False, 2)


def test_a_dry_run_says_how_long_it_takes_and_does_nothing(
    run: Run, index_dir: Path, other_dir: Path
) -> None:
    outcome = run("reindex", index_dir, "--encoder", other_dir, "--dry-run", "--json")
    facts = outcome.object
    assert (facts["needed"], facts["documents"], facts["supplied"]) == (True, 3, 0)
    assert facts["seconds"] >= 0
    assert [each.name for each in index_dir.parent.iterdir()] == [index_dir.name]
    assert run("info", index_dir, "--json").object["generation"] == 1


def test_both_are_compared_by_queries_and_their_answers(
    run: Run, index_dir: Path, other_dir: Path, write: Write
) -> None:
    queries, qrels = write("queries.jsonl", QUERIES), write("test.tsv", QRELS)
    common = ("reindex", index_dir, "--encoder", other_dir, "--no-switch")
    outcome = run(*common, "--queries", queries, "--qrels", qrels)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["metric", "before", "after", "difference", "95%", "interval", "p"]
    assert [line.split()[0] for line in lines[1:6]] == [
        "ndcg@10",
        "mrr@10",
        "recall@10",
        "recall@100",
        "map",
    ]
    assert lines[6].startswith("overlap@10 1.0000, the same first hit for ")
    assert lines[6].endswith("of 2 queries")
    assert lines[7].startswith(f"generation 2 of {index_dir} is built and does not answer yet")
    asked = write("asked.txt", "my card\n\nthe cat\n")
    found = run(*common, "--queries", asked, "-k", 1, "--json").object
    assert (found["encoded"], found["switched"], found["generation"]) == (0, False, 2)
    comparison = found["comparison"]
    assert (comparison["queries"], comparison["k"], comparison["difference"]) == (2, 1, {})
    assert run("info", index_dir, "--json").object["building"]["documents"] == 3


def test_questions_that_are_not_in_order_are_refused_before_anything_is_built(
    run: Run, index_dir: Path, other_dir: Path, write: Write
) -> None:
    common = ("reindex", index_dir, "--encoder", other_dir)
    queries, qrels = write("queries.jsonl", QUERIES), write("test.tsv", QRELS)
    assert "give --queries, too" in run(*common, "--qrels", qrels).refusal(2)
    lines = write("asked.txt", "my card\n")
    assert "asked.txt" in run(*common, "--queries", lines, "--qrels", qrels).refusal(3)
    others = write("others.tsv", "query-id\tcorpus-id\tscore\nq9\tcard\t1\n")
    refused = run(*common, "--queries", queries, "--qrels", others).refusal(3)
    assert "0 of 3 queries have an answer" in refused
    assert "there is no query" in run(*common, "--queries", write("no.txt", "\n")).refusal(3)
    assert run(*common, "--queries", index_dir.parent / "none.txt").code == 2
    assert [each.name for each in index_dir.parent.iterdir()] == [index_dir.name]


def test_supplied_vectors_are_said_to_stop_it_and_may_be_encoded(
    run: Run, index_dir: Path, other_dir: Path, tiny_encoder_dir: Path
) -> None:
    from simsearch.records import Document

    with SearchIndex.open(index_dir) as index:
        vectors = index.encoder.encode_documents(["a bird sings"])
        index.add([Document("bird", "a bird sings")], vectors)
    common = ("reindex", index_dir, "--encoder", other_dir)
    told = run(*common, "--dry-run")
    assert "; 1 vector was supplied" in told.out
    assert "without --encode-supplied this reindex is refused" in told.err
    assert run(*common, "--dry-run", "--encode-supplied").err == ""
    refused = run(*common, "--quiet").refusal(3)
    assert "the vector of document 'bird' was supplied" in refused
    assert "--encode-supplied" in refused
    assert run(*common, "--encode-supplied").code == 0
    assert run("check", index_dir).code == 0


def test_wrong_usage_is_refused(run: Run, index_dir: Path, tmp_path: Path, other_dir: Path) -> None:
    assert "--encoder" in run("reindex", index_dir).refusal(2)
    (tmp_path / "photos").mkdir()
    for command in (("reindex", "--encoder", other_dir), ("rollback",)):
        refused = run(command[0], tmp_path / "photos", *command[1:]).refusal(2)
        assert "no simsearch index here" in refused
    assert "dim must be 2..32" in run(
        "reindex", index_dir, "--encoder", other_dir, "--dim", 64
    ).refusal(2)
    assert "no encoder directory" in run("reindex", index_dir, "--encoder", tmp_path / "x").refusal(
        7
    )


@pytest.mark.slow
def test_an_index_of_the_default_encoder_changes_to_another_and_back(
    run: Run, write: Write, tmp_path: Path, other_dir: Path
) -> None:
    corpus = write(
        "c.jsonl",
        "".join(
            f"{json.dumps({'id': f'd{n}', 'text': text})}\n"
            for n, text in enumerate(
                [
                    "my card was swallowed by the machine",
                    "the parcel came late",
                    "the cat sat on the mat",
                ]
            )
        ),
    )
    index_dir = tmp_path / "index"
    assert run("index", corpus, "-i", index_dir, "--encoder", other_dir).code == 0
    assert (
        run("reindex", index_dir, "--encoder", "sentence-transformers/all-MiniLM-L6-v2").code == 0
    )
    best = run("query", "an ATM kept my bank card", "-i", index_dir, "--json").object["hits"][0]
    assert best["id"] == "d0"
    facts = run("info", index_dir, "--json").object
    assert (facts["dim"], facts["previous"]["dim"]) == (384, 32)
    assert run("rollback", index_dir).code == 0
    assert run("info", index_dir, "--json").object["dim"] == 32
    assert run("check", index_dir).code == 0
