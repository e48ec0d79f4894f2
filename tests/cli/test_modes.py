"""query --mode, --diversity, --group-by, --queries; mode; evaluate retrieval --mode."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import FillStdin, Run, Write

from simsearch.cli import query
from simsearch.encoder import Encoder
from simsearch.records import Document, Judgement
from simsearch.search_index import SearchIndex


def found(outcome):
    return [[hit["id"] for hit in each["hits"]] for each in outcome.objects]


def test_a_mode_is_asked_for_and_a_hit_says_its_parts(run: Run, index_dir: Path) -> None:
    words = run("query", "swallowing", "-i", index_dir, "--mode", "lexical", "--json")
    (hit,) = words.object["hits"]
    assert (hit["id"], hit["dense"], hit["parts"]) == ("card", None, {"lexical": hit["lexical"]})
    both = run("query", "swallowing", "-i", index_dir, "--mode", "hybrid", "--json").object["hits"]
    assert {hit["id"] for hit in both} == {"card", "parcel", "cat"}
    for hit in both:
        assert hit["score"] == pytest.approx(hit["parts"]["dense"] + hit["parts"]["lexical"])


def test_a_mode_that_is_none_is_refused(run: Run, index_dir: Path) -> None:
    message = run("query", "cat", "-i", index_dir, "--mode", "both").refusal(2)
    assert "'both' is not one of 'dense', 'lexical', 'hybrid'" in message


@pytest.mark.parametrize(
    "text", ["multi-agent", "don't", "a AND", "NEAR(", "*", '"', "col:x", "cat OR", "^cat", "cat*"]
)
@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
def test_row_58_a_natural_question_is_answered(
    run: Run, index_dir: Path, text: str, mode: str
) -> None:
    outcome = run("query", text, "-i", index_dir, "--mode", mode, "--json")
    assert (outcome.code, outcome.err) == (0, "")


def test_a_query_without_a_hit_says_why(run: Run, index_dir: Path) -> None:
    outcome = run("query", "?", "-i", index_dir, "--mode", "lexical")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == "no document shares a word with the query\n"


def test_diversity_and_groups(run: Run, tmp_path: Path, tiny_encoder_dir: Path) -> None:
    path = tmp_path / "i"
    with SearchIndex.create(path, encoder=Encoder.load(tiny_encoder_dir)) as index:
        twins = [Document(f"t{n}", "my card", metadata={"kind": "card"}) for n in range(3)]
        index.add([*twins, Document("bird", "a bird sings", metadata={"kind": "bird"})])
    arguments = ["query", "my card", "-i", path, "-k", "2", "--json"]
    assert found(run(*arguments)) == [["t0", "t1"]]
    assert found(run(*arguments, "--diversity", "0.9")) == [["t0", "bird"]]
    assert found(run(*arguments, "--group-by", "kind")) == [["t0", "bird"]]
    assert "no document has the field 'sort' (fields: kind)" in run(
        *arguments, "--group-by", "sort"
    ).refusal(2)
    assert "diversity must be 0..1, got 2" in run(*arguments, "--diversity", "2").refusal(2)


def test_hits_that_are_to_be_unlike_are_not_put_in_another_order(run: Run, index_dir: Path) -> None:
    refused = run("query", "cat", "-i", index_dir, "--diversity", 0.9, "--rerank", "maxsim")
    assert "--rerank would put them in another order (give one of the two)" in refused.refusal(2)
    assert run("query", "cat", "-i", index_dir, "--diversity", 0.9, "--rerank", "none").code == 0


def test_a_file_of_queries_is_answered_in_parts_as_it_is_read(
    run: Run, write: Write, index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"my cat {n}" for n in range(7)]
    whole = run("query", *texts, "-i", index_dir, "--json")
    monkeypatch.setattr(query, "_PART", 3)
    path = write("queries.txt", "\n".join(texts[2:]) + "\n\n")
    parts = run("query", *texts[:2], "--queries", path, "-i", index_dir, "--json")
    assert [each["query"] for each in parts.objects] == texts
    assert parts.objects == whole.objects


def test_a_bad_query_after_the_first_part_stops_there_and_is_named(
    run: Run, fill_stdin: FillStdin, index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "_PART", 2)
    fill_stdin(b"one\ntwo\nthree\nfo\x1bur\n")
    outcome = run("query", "--queries", "-", "-i", index_dir, "--json")
    assert [each["query"] for each in outcome.objects] == ["one", "two"]
    assert outcome.code == 2
    assert ":4: query has the control or invalid character U+001B" in outcome.err


@pytest.fixture
def by_words(tmp_path: Path, tiny_encoder_dir: Path) -> Path:
    """An index whose words the encoder does not know, so that only words find answers."""
    path = tmp_path / "by-words"
    with SearchIndex.create(path, encoder=Encoder.load(tiny_encoder_dir)) as index:
        index.add([Document(f"d{n}", f"zebra{n} number") for n in range(20)])
    return path


def test_an_index_learns_its_mode_from_pairs(run: Run, write: Write, by_words: Path) -> None:
    rows = [{"anchor": f"zebra{n}", "positive": f"zebra{n} number"} for n in range(20)]
    rows.append({"anchor": "a bird", "positive": "of another corpus"})
    pairs = write("pairs.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert run("info", by_words, "--json").object["mode"] == "dense"
    told = run("mode", by_words, pairs)
    assert (told.code, told.err) == (0, "1 query without an answer in the index\n")
    assert "default of this index from now on: lexical" in told.out
    facts = run("mode", by_words, pairs, "--json").object
    assert (facts["mode"], facts["queries"], facts["scores"]["lexical"]) == ("lexical", 20, 1.0)
    info = run("info", by_words, "--json").object
    assert info["mode"] == "lexical"
    assert info["mode_reason"].startswith("nDCG@10 of 20 queries: dense ")
    assert found(run("query", "zebra7", "-i", by_words, "--json")) == [["d7"]]


def test_an_index_learns_its_mode_from_a_beir_folder(
    run: Run, write: Write, by_words: Path
) -> None:
    queries = "".join(json.dumps({"_id": f"q{n}", "text": f"zebra{n}"}) + "\n" for n in range(12))
    qrels = "query-id\tcorpus-id\tscore\n" + "".join(f"q{n}\td{n}\t1\n" for n in range(12))
    write("beir/corpus.jsonl", '{"_id": "d0", "text": "zebra0 number"}\n')
    write("beir/queries.jsonl", queries)
    folder = write("beir/qrels/train.tsv", qrels).parents[1]
    assert run("mode", by_words, folder, "--split", "train", "--json").object["queries"] == 12


def test_too_few_or_other_data_is_refused(run: Run, write: Write, by_words: Path) -> None:
    pairs = write("pairs.jsonl", '{"anchor": "zebra1", "positive": "zebra1 number"}\n')
    assert "1 queries with an answer in the index" in run("mode", by_words, pairs).refusal(3)
    texts = write("texts.jsonl", '{"text": "zebra1"}\n')
    assert "expected pairs (anchor, positive)" in run("mode", by_words, texts).refusal(3)


def test_an_index_learns_its_mode_from_what_users_said(run: Run, by_words: Path) -> None:
    few = run("mode", by_words, "--from-feedback").refusal(3)
    assert "0 queries have a document that was judged right, at least 10 are needed" in few
    with SearchIndex.open(by_words) as index:
        index.judge_many(Judgement(f"zebra{n}", f"d{n}", True) for n in range(12))
        index.judge_many(Judgement(f"zebra{n}", f"d{n + 1}", False) for n in range(15))
        index.upsert([Document("d0", "another text")])
        index.delete(["d1"])
    facts = run("mode", by_words, "--from-feedback", "--json").object
    assert (facts["mode"], facts["queries"], facts["scores"]["lexical"]) == ("lexical", 10, 1.0)
    assert run("info", by_words, "--json").object["mode"] == "lexical"
    with SearchIndex.open(by_words) as index:
        index.delete(["d2"])
    few = run("mode", by_words, "--from-feedback").refusal(3)
    assert "9 queries have a document that was judged right" in few
    assert run("info", by_words, "--json").object["mode"] == "lexical"


def test_known_answers_are_named_once(run: Run, by_words: Path, write: Write) -> None:
    pairs = write("pairs.jsonl", '{"anchor": "zebra1", "positive": "zebra1 number"}\n')
    assert "measure on what?" in run("mode", by_words).refusal(2)
    assert "measure on what?" in run("mode", by_words, pairs, "--from-feedback").refusal(2)


@pytest.mark.parametrize("with_index", [True, False])
def test_retrieval_is_scored_in_any_mode(
    run: Run, write: Write, tmp_path: Path, by_words: Path, tiny_encoder_dir: Path, with_index: bool
) -> None:
    rows = [{"_id": f"d{n}", "text": f"zebra{n} number"} for n in range(20)]
    write("beir/corpus.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    queries = "".join(json.dumps({"_id": f"q{n}", "text": f"zebra{n}"}) + "\n" for n in range(20))
    write("beir/queries.jsonl", queries)
    qrels = "query-id\tcorpus-id\tscore\n" + "".join(f"q{n}\td{n}\t1\n" for n in range(20))
    folder = write("beir/qrels/test.tsv", qrels).parents[1]
    place = {True: ["-i", by_words], False: ["--encoder", tiny_encoder_dir]}[with_index]
    scored = run("evaluate", "retrieval", folder, *place, "--mode", "lexical", "--json")
    assert scored.object["metrics"]["ndcg@10"] == 1.0
    dense = run("evaluate", "retrieval", folder, *place, "--mode", "dense", "--json")
    assert dense.object["metrics"]["ndcg@10"] < 1.0
