"""Results on stdout, talk on stderr; with --json stdout is JSON only; an error is one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import DOCUMENTS, Outcome, Run, Write, as_jsonl

from simsearch.cli.output import Output
from simsearch.search_index import SearchIndex

HIT = {"id", "score", "probability", "text", "metadata", "dense", "lexical", "parts"}


@pytest.fixture
def beir_dir(write: Write) -> Path:
    write("beir/corpus.jsonl", as_jsonl(DOCUMENTS))
    write("beir/queries.jsonl", '{"_id":"q1","text":"my card"}\n{"_id":"q2","text":"cat"}\n')
    write("beir/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\tcard\t1\nq2\tcat\t1\n")
    return write("beir/qrels/train.tsv", "query-id\tcorpus-id\tscore\nq1\tcard\t1\n").parents[1]


@pytest.fixture
def scored_pairs(write: Write) -> Path:
    rows = ["my card,card,0.9", "the cat,dog,0.4", "lost parcel,bird sings,0.1"]
    return write("sts.csv", "\n".join(["sentence1,sentence2,score", *rows]))


def test_what_a_write_did_is_one_object(
    run: Run, write: Write, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    corpus = write("corpus.jsonl", as_jsonl(DOCUMENTS))
    target = tmp_path / "new"
    keys = {"added", "replaced", "unchanged", "passages", "encoded", "reused"}
    keys |= {"rejected", "truncated", "documents", "index", "built", "search"}
    built = run("index", corpus, "-i", target, "--encoder", tiny_encoder_dir, "--json")
    more = write("more.jsonl", '{"id":"dog","text":"dog"}\n')
    added = run("add", more, "-i", target, "--json")
    replaced = run("upsert", more, "-i", target, "--json")
    assert built.object.keys() == keys | {"mode"}
    assert added.object.keys() == replaced.object.keys() == keys
    assert (built.object["added"], built.object["documents"]) == (3, 3)
    assert (added.object["added"], added.object["documents"]) == (1, 4)
    assert (replaced.object["unchanged"], replaced.object["documents"]) == (1, 4)


def test_a_query_is_one_object_with_its_hits(run: Run, index_dir: Path) -> None:
    outcome = run("query", "my card", "-i", index_dir, "-k", 2, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.object.keys() == {"query", "hits"}
    hits = {hit["id"]: hit for hit in run("query", "cat", "-i", index_dir, "--json").object["hits"]}
    assert hits["card"].keys() == HIT
    assert hits["parcel"].keys() == HIT | {"title"}
    assert hits["card"]["metadata"] == {"lang": "en", "stars": 4}
    assert hits["card"]["probability"] is None
    assert hits["card"]["text"] == DOCUMENTS[0].text


def test_documents_are_one_object_each(run: Run, index_dir: Path) -> None:
    outcome = run("get", "parcel", "card", "-i", index_dir, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.objects == [
        {"id": "parcel", "text": "the parcel came late", "title": "lost order", "metadata": {}},
        {
            "id": "card",
            "text": "my card was swallowed by the machine",
            "title": None,
            "metadata": {"lang": "en", "stars": 4},
        },
    ]


def test_info_is_one_object(run: Run, index_dir: Path, tiny_encoder_dir: Path) -> None:
    outcome = run("info", index_dir, "--json")
    assert outcome.code == 0
    facts = outcome.object
    with SearchIndex.open(index_dir) as index:
        assert facts["fingerprint"] == index.encoder.fingerprint
    assert (facts["documents"], facts["dead_rows"], facts["dim"]) == (3, 0, 32)
    assert (facts["finished"], facts["encoder"]) == (True, str(tiny_encoder_dir))


def test_similarity_is_one_object(run: Run, tiny_encoder_dir: Path) -> None:
    outcome = run("similarity", "my card", "my card", "--encoder", tiny_encoder_dir, "--json")
    assert outcome.code == 0
    assert outcome.object == {
        "text_a": "my card",
        "text_b": "my card",
        "score": pytest.approx(1.0, abs=1e-6),
        "probability": None,
    }


def test_embeddings_are_one_object_each(run: Run, tiny_encoder_dir: Path) -> None:
    outcome = run("encode", "my card", "cat", "--encoder", tiny_encoder_dir, "--json")
    assert outcome.code == 0
    assert [each["text"] for each in outcome.objects] == ["my card", "cat"]
    embeddings = np.array([each["embedding"] for each in outcome.objects])
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), [1, 1], atol=1e-6)
    assert embeddings.shape == (2, 32)


@pytest.mark.parametrize("source", ["encoder", "index"])
def test_retrieval_scores_are_one_object(
    run: Run, beir_dir: Path, index_dir: Path, tiny_encoder_dir: Path, source: str
) -> None:
    arguments = {"encoder": ["--encoder", tiny_encoder_dir], "index": ["-i", index_dir]}
    outcome = run("evaluate", "retrieval", beir_dir, *arguments[source], "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.object.keys() == {"task", "metrics", "n"}
    assert (outcome.object["task"], outcome.object["n"]) == ("retrieval", 2)
    metrics = outcome.object["metrics"]
    assert metrics.keys() == {"ndcg@10", "mrr@10", "recall@10", "recall@100", "map"}
    assert metrics["recall@10"] == 1.0


def test_the_split_decides_which_queries_are_scored(
    run: Run, beir_dir: Path, index_dir: Path
) -> None:
    outcome = run("evaluate", "retrieval", beir_dir, "-i", index_dir, "--split", "train", "--json")
    assert outcome.object["n"] == 1


def test_sts_scores_are_one_object(run: Run, scored_pairs: Path, tiny_encoder_dir: Path) -> None:
    outcome = run("evaluate", "sts", scored_pairs, "--encoder", tiny_encoder_dir, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert (outcome.object["task"], outcome.object["n"]) == ("sts", 3)
    assert outcome.object["metrics"].keys() == {"spearman", "pearson"}


def test_pairs_of_one_score_cannot_be_correlated(
    run: Run, write: Write, tiny_encoder_dir: Path
) -> None:
    path = write("sts.csv", "sentence1,sentence2,score\nmy card,card,1\ncat,dog,1\n")
    outcome = run("evaluate", "sts", path, "--encoder", tiny_encoder_dir)
    message = f"{path}: a correlation needs scores that differ, got one value only"
    assert outcome.refusal(3) == message


def test_pairs_without_scores_cannot_be_correlated(
    run: Run, write: Write, tiny_encoder_dir: Path
) -> None:
    path = write("pairs.csv", "anchor,positive\nmy card,card\n")
    outcome = run("evaluate", "sts", path, "--encoder", tiny_encoder_dir)
    message = f"{path}: expected scored pairs (sentence1, sentence2, score)"
    assert outcome.refusal(3) == message


def test_an_encoder_and_an_index_cannot_both_be_evaluated(
    run: Run, beir_dir: Path, index_dir: Path
) -> None:
    outcome = run("evaluate", "retrieval", beir_dir, "--encoder", "x", "-i", index_dir)
    assert outcome.refusal(2) == (
        "give --encoder or --index, not both (an index has its own encoder)"
    )


@pytest.mark.parametrize(
    "character", ["\x85", "\u2028", "\u2029", "\x9b", "\x1b", "\u202e", "\x7f"]
)
def test_no_character_of_a_document_breaks_a_line_of_json_or_drives_a_terminal(
    run: Run, write: Write, index_dir: Path, character: str
) -> None:
    text = f"my{character}card"
    run("add", write("a.jsonl", json.dumps({"id": "new", "text": text})), "-i", index_dir)
    outcome = run("get", "new", "-i", index_dir, "--json")
    assert character not in outcome.out
    assert outcome.object["text"] == text


def test_letters_of_all_scripts_are_printed_as_they_are(
    run: Run, write: Write, index_dir: Path
) -> None:
    run("add", write("a.csv", "id,text\nnew,naïve 猫 😀\n"), "-i", index_dir)
    assert '"text": "naïve 猫 😀"' in run("get", "new", "-i", index_dir, "--json").out
    assert "naïve 猫 😀\n" in run("get", "new", "-i", index_dir).out


def test_talk_goes_to_stderr_and_quiet_silences_it(run: Run, write: Write, index_dir: Path) -> None:
    corpus = write("a.csv", "text\nmy dog\n")
    talk = "1 document without an id: a hash of the text is used\n"
    loud = run("upsert", corpus, "-i", index_dir)
    assert (loud.code, loud.err) == (0, talk)
    assert loud.out == (
        f"upserted into {index_dir}: 1 added, 0 replaced, 0 unchanged; 4 documents\n"
        "1 text encoded, 0 vectors reused\n"
    )
    quiet = run("upsert", corpus, "-i", index_dir, "--quiet")
    assert (quiet.code, quiet.err) == (0, "")
    assert quiet.out == (
        f"upserted into {index_dir}: 0 added, 0 replaced, 1 unchanged; 4 documents\n"
        "0 texts encoded, 0 vectors reused\n"
    )


def test_what_is_told_drives_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(json_only=False, quiet=False)
    output.say("models/a\x1b[2Jb\nc is read")
    output.warn("models/\u202eb has no scope")
    assert capsys.readouterr().err == (
        "models/a[2Jb c is read\nsimsearch: warning: models/b has no scope\n"
    )


def test_quiet_silences_neither_warnings_nor_errors(
    run: Run, write: Write, index_dir: Path
) -> None:
    odd = run("add", write("a.csv", "id,text\nnew,qwertz\n"), "-i", index_dir, "--quiet")
    assert odd.code == 0
    assert odd.err.splitlines()[0] == (
        "simsearch: warning: 1 of 1 texts hold no token the encoder knows"
    )
    assert run("query", "", "-i", index_dir, "--quiet").refusal(2) == "query is empty"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "x.jsonl"], "Missing option '-i' / '--index'."),
        (["query", "card", "-i", "x", "--nosuch"], "No such option: --nosuch"),
        (["finnetune"], "No such command 'finnetune'. Did you mean 'finetune', 'tune'?"),
        (["info", "nowhere"], "nowhere: no simsearch index here (FORMAT missing)"),
        (["query", "card", "-i", "nowhere"], "nowhere: no simsearch index here (FORMAT missing)"),
        (["encode"], "give a text, or a file of them with --texts"),
        (["evaluate", "retrieval", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_what_cannot_be_asked_is_exit_code_2(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run(*arguments)
    assert outcome.refusal(2).removeprefix(f"{tmp_path}/") == message


@pytest.mark.parametrize("command", ["similarity", "encode"])
def test_an_encoder_that_is_nowhere_is_exit_code_7(run: Run, command: str) -> None:
    outcome = run(command, "my card", "cat", "--encoder", "./nowhere")
    assert outcome.refusal(7) == "there is no encoder directory at ./nowhere"


@pytest.mark.parametrize("arguments", [[], ["evaluate"]])
def test_without_a_command_the_help_is_printed_and_nothing_else(
    run: Run, arguments: list[str]
) -> None:
    outcome = run(*arguments)
    assert (outcome.code, outcome.err) == (2, "")
    assert "Usage: simsearch" in outcome.out


def test_debug_shows_the_traceback(run: Run, index_dir: Path) -> None:
    outcome = run("query", "", "-i", index_dir, "--debug")
    assert outcome.code == 2
    assert outcome.err.startswith("Traceback (most recent call last):\n")
    assert outcome.err.endswith("simsearch: error: query is empty\n")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            OSError(28, "No space left on device", "/x/meta.db"),
            6,
            "/x/meta.db: No space left on device",
        ),
        (MemoryError(), 7, "out of memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_the_system_does_is_one_line_too(
    run: Run,
    index_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    message: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(SearchIndex, "search_many", fail)
    outcome: Outcome = run("query", "card", "-i", index_dir)
    assert outcome.refusal(code) == message
