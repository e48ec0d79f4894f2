"""calibrate, and what a query does with the probabilities that it makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Run, Write, as_jsonl
from conftest import WORDS

from simsearch.encoder import Encoder, read_model_file
from simsearch.records import Document, Judgement
from simsearch.search_index import SearchIndex

NAMES = list(dict.fromkeys(WORDS))[:40]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_dir: Path) -> Path:
    path = tmp_path_factory.mktemp("models") / "model"
    Encoder.load(tiny_encoder_dir).save(path)
    return path


@pytest.fixture
def index_dir(tmp_path: Path, model: Path) -> Path:
    """An index of 40 documents of two words each: `calibrated` knows their answers."""
    with SearchIndex.create(tmp_path / "index", encoder=Encoder.load(model)) as index:
        index.add([Document(f"d{n}", f"{word} {NAMES[n - 1]}") for n, word in enumerate(NAMES)])
    return tmp_path / "index"


@pytest.fixture
def pairs(write: Write) -> Path:
    rows = [
        {"anchor": f"{NAMES[n - 1]} {word}", "positive": f"{word} {NAMES[n - 1]}"}
        for n, word in enumerate(NAMES)
    ]
    return write("pairs.jsonl", "\n".join(map(json.dumps, rows)))


def test_an_index_is_calibrated_and_its_hits_have_probabilities(
    run: Run, index_dir: Path, pairs: Path
) -> None:
    before = run("query", NAMES[3], "-i", index_dir, "--json").object["hits"][0]
    done = run("calibrate", pairs, "-i", index_dir, "--json")
    assert (done.code, done.err) == (0, "")
    found = done.object
    assert (found["measured_on"], found["candidates"], found["units"]) == ("hits", 40, 40)
    assert found["target"] == str(index_dir)
    assert sum(each["count"] for each in found["reliability"]) == found["scored"] == 400
    after = run("query", NAMES[3], "-i", index_dir, "--json").object["hits"][0]
    assert before["probability"] is None
    assert 0 < after["probability"] < 1
    assert {**after, "probability": None} == before


def test_a_person_sees_the_reliability_and_the_probability(
    run: Run, index_dir: Path, pairs: Path
) -> None:
    done = run("calibrate", pairs, "-i", index_dir)
    lines = done.out.splitlines()
    assert lines[0].split() == ["predicted", "number", "mean", "prediction", "matches"]
    assert lines[-1].startswith("expected calibration error 0.")
    assert "400 similarities of 40 queries, each among 40; " in done.err
    hit = run("query", NAMES[3], "-i", index_dir, "-k", 1).out.splitlines()[0]
    assert hit.split()[2].endswith("%")


def test_no_good_answer_is_an_answer(run: Run, index_dir: Path, pairs: Path) -> None:
    run("calibrate", pairs, "-i", index_dir)
    asked = ("query", NAMES[3], "-i", index_dir, "--min-probability", "1")
    none, told = run(*asked, "--json"), run(*asked)
    assert (none.code, none.object) == (0, {"query": NAMES[3], "hits": []})
    assert (told.code, told.out) == (0, "no good answer\n")


def test_a_target_precision_is_turned_into_a_threshold_which_is_shown(
    run: Run, index_dir: Path, pairs: Path
) -> None:
    run("calibrate", pairs, "-i", index_dir)
    asked = ("query", NAMES[3], "-i", index_dir, "-k", 40, "--target-precision", "0.2")
    found = run(*asked, "--json").object
    everything = run(*asked[:-2], "--json").object["hits"]
    least = found["threshold"]
    assert found["hits"] == [hit for hit in everything if hit["probability"] >= least]
    assert len(found["hits"]) < 40
    assert f"precision 0.2: hits from probability {least:.4f} on" in run(*asked).err


def test_a_precision_out_of_reach_is_refused(run: Run, index_dir: Path, pairs: Path) -> None:
    run("calibrate", pairs, "-i", index_dir)
    message = run("query", "a", "-i", index_dir, "--target-precision", "0.999").refusal(2)
    assert "no threshold is known to reach a precision of 0.999" in message


@pytest.mark.parametrize("option", ["--min-probability", "--target-precision"])
def test_without_a_calibration_no_probability_can_be_asked_for(
    run: Run, index_dir: Path, option: str
) -> None:
    message = run("query", "card", "-i", index_dir, option, "0.5").refusal(2)
    assert "has no calibration" in message
    assert "simsearch calibrate PAIRS -i INDEX_DIR" in message


def test_a_model_is_calibrated_and_an_index_takes_that_over(
    run: Run, tmp_path: Path, model: Path, pairs: Path, write: Write
) -> None:
    plain = run("similarity", "card", "bank", "--encoder", model, "--json").object
    assert plain["probability"] is None
    assert run("calibrate", pairs, "--encoder", model, "--json").object["candidates"] == 40
    assert read_model_file(model)["calibration"]["units"] == 40
    told = run("similarity", "card", "bank", "--encoder", model)
    known = run("similarity", "card", "bank", "--encoder", model, "--json").object
    assert {**known, "probability": None} == plain
    assert told.out == f"{known['score']:.4f}  probability {known['probability']:.2f}\n"
    corpus = write("corpus.jsonl", as_jsonl([Document("a", "card bank"), Document("b", "cat")]))
    run("index", corpus, "-i", tmp_path / "new", "--encoder", model)
    hit, _ = run("query", "card", "-i", tmp_path / "new", "--json").object["hits"]
    assert 0 < hit["probability"] < 1
    run("index", corpus, "-i", tmp_path / "cut", "--encoder", model, "--dim", 8)
    hit, _ = run("query", "card", "-i", tmp_path / "cut", "--json").object["hits"]
    assert hit["probability"] is None


def test_what_is_to_be_calibrated_is_one_thing_and_ours(
    run: Run, index_dir: Path, model: Path, pairs: Path, tiny_encoder_dir: Path
) -> None:
    assert "calibrate what?" in run("calibrate", pairs).refusal(2)
    both = run("calibrate", pairs, "-i", index_dir, "--encoder", model)
    assert "calibrate what?" in both.refusal(2)
    stranger = run("calibrate", pairs, "--encoder", tiny_encoder_dir).refusal(7)
    assert "is no model directory of ours" in stranger


def test_too_few_pairs_are_refused_and_change_nothing(
    run: Run, index_dir: Path, write: Write
) -> None:
    before = run("query", "card", "-i", index_dir, "--json").object
    few = write("few.jsonl", json.dumps({"anchor": "a", "positive": f"{NAMES[1]} {NAMES[0]}"}))
    assert "needs 20 matches" in run("calibrate", few, "-i", index_dir).refusal(3)
    assert run("query", "card", "-i", index_dir, "--json").object == before


def test_queries_without_an_answer_in_the_index_are_left_out_and_counted(
    run: Run, index_dir: Path, pairs: Path, write: Write
) -> None:
    more = pairs.read_text() + "\n" + json.dumps({"anchor": "x", "positive": "not in it"})
    done = run("calibrate", write("more.jsonl", more), "-i", index_dir, "--json")
    assert (done.code, done.object["units"]) == (0, 40)
    assert "1 query left out" in done.err


def test_reranking_is_measured_beside_and_stays_off_unless_it_is_better(
    run: Run, index_dir: Path, pairs: Path
) -> None:
    done = run("calibrate", pairs, "-i", index_dir, "--rerank", "maxsim", "--json").object
    found = done["rerank"]
    assert found["difference"]["value"] == pytest.approx(found["after"] - found["before"])
    better = found["difference"]["low"] > 0 and found["difference"]["p"] <= 0.05
    assert (found["choice"]["by"] == "maxsim") == better
    assert found["choice"]["top"] == 20
    info = run("info", index_dir, "--json").object
    assert (info["rerank"], info["rerank_top"]) == (found["choice"]["by"], 20)
    assert info["rerank_reason"].startswith(
        f"nDCG@10 of 40 queries, dense: {found['before']:.4f}, reranked by maxsim "
        f"{found['after']:.4f} ("
    )
    told = run("calibrate", pairs, "-i", index_dir, "--rerank", "maxsim").out.splitlines()[-1]
    assert told.startswith(f"ndcg@10 {found['before']:.4f}, reranked {found['after']:.4f} (")
    hit = run("query", NAMES[3], "-i", index_dir, "--json").object["hits"][0]
    assert ("maxsim" in hit["parts"]) == better


def test_an_index_is_calibrated_on_what_users_said(
    run: Run, index_dir: Path, pairs: Path, model: Path
) -> None:
    few = run("calibrate", "-i", index_dir, "--from-feedback").refusal(3)
    assert "0 queries have a document that was judged right, at least 20 are needed" in few
    run("calibrate", pairs, "-i", index_dir)
    by_pairs = run("info", index_dir, "--json").object["calibration"]
    with SearchIndex.open(index_dir) as index:
        asked = [f"{NAMES[n - 1]} {word}" for n, word in enumerate(NAMES)]
        index.judge_many(Judgement(query, f"d{n}", True) for n, query in enumerate(asked))
        index.judge_many(
            Judgement(query, f"d{n - 7}", False) for n, query in enumerate(asked[7:], 7)
        )
    facts = run("calibrate", "-i", index_dir, "--from-feedback", "--json").object
    assert (facts["units"], facts["scored"]) == (40, 400)
    # The same answers as the pairs name, so the same curve.
    assert run("info", index_dir, "--json").object["calibration"] == by_pairs


def test_judgements_are_those_of_an_index_and_named_alone(
    run: Run, index_dir: Path, pairs: Path, model: Path
) -> None:
    assert "measure on what?" in run("calibrate", "-i", index_dir).refusal(2)
    both = run("calibrate", pairs, "-i", index_dir, "--from-feedback")
    assert "measure on what?" in both.refusal(2)
    of_model = run("calibrate", "--encoder", model, "--from-feedback").refusal(2)
    assert "--from-feedback are the judgements of an index (-i INDEX_DIR)" in of_model


def test_info_says_what_was_measured_and_judged(
    run: Run, tmp_path: Path, tiny_encoder_dir: Path, pairs: Path
) -> None:
    index_dir = tmp_path / "index"
    with SearchIndex.create(index_dir, encoder=Encoder.load(tiny_encoder_dir)) as index:
        index.add([Document(f"d{n}", f"{word} {NAMES[n - 1]}") for n, word in enumerate(NAMES)])
    info = run("info", index_dir, "--json").object
    assert (info["calibration"], info["judgements"], info["rerank"]) == (None, 0, "none")
    assert info["rerank_reason"].startswith("not measured on this index")
    told = dict(line.split(maxsplit=1) for line in run("info", index_dir).out.splitlines())
    assert told["calibration"].startswith("none, so hits have no probability")
    report = run("calibrate", pairs, "-i", index_dir, "--json").object
    run("judge", "card", "d3", "d4", "--right", "-i", index_dir)
    run("judge", "card", "d5", "--wrong", "-i", index_dir)
    info = run("info", index_dir, "--json").object
    assert info["judgements"] == 3
    assert info["calibration"] == {
        "method": report["method"],
        "measured_on": "hits",
        "candidates": 40,
        "units": 40,
        "scored": 400,
        "matches": report["matches"],
        "expected_calibration_error": report["expected_calibration_error"],
    }
    told = dict(line.split(maxsplit=1) for line in run("info", index_dir).out.splitlines())
    assert told["judgements"] == "3"
    assert told["mode"].startswith("dense: not measured on this index")
    assert told["rerank"].startswith("none: not measured on this index")
    assert told["calibration"] == (
        f"expected error {report['expected_calibration_error']:.4f} ({report['method']}), on 400 "
        f"similarities of 40 queries, each among 40; {report['matches']} matches"
    )
