"""A tuned encoder is calibrated on the held-out data, and says why where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import HashEncoder

from simsearch.encoder import Encoder
from simsearch.errors import InvalidData, InvalidInput
from simsearch.records import (
    ClassPair,
    Document,
    LabelledPair,
    Pair,
    ScoredPair,
    UnlabelledText,
)
from simsearch.search_index import RetrievalTask, SearchIndex
from simsearch.training import (
    TrainingConfig,
    answerable,
    calibrate_index,
    calibrate_model,
    calibration_facts,
    reliability_rows,
)
from simsearch.training.calibration import (
    CalibrationOutcome,
    calibrate_held_out,
    calibration_lines,
    draw_reliability,
    telling_matches,
)
from simsearch.training.held_out import HeldOutClasses, make_held_out

CONFIG = TrainingConfig()


def pairs(count: int) -> list[Pair]:
    return [Pair(f"unique{n} shared words", f"unique{n} shared text") for n in range(count)]


def scored(count: int) -> list[ScoredPair]:
    """Pairs of which the even ones have three of four words in common, and a score of 4 or more."""
    return [
        ScoredPair(
            f"a b c x{n}", f"a b c y{n}" if n % 2 == 0 else f"d e f y{n}", 4 + (-3) * (n % 2)
        )
        for n in range(count)
    ]


def outcome(examples: list, *, config: TrainingConfig = CONFIG) -> CalibrationOutcome:
    held_out = make_held_out(examples, distractor_limit=0, seed=0)
    return calibrate_held_out(held_out, HashEncoder(), fingerprint="hash-1", config=config)


def test_pairs_are_calibrated_on_the_hits_of_their_anchors():
    found = outcome(pairs(40)).report.calibration
    assert (found.fingerprint, found.dim, found.candidates) == ("hash-1", 256, 40)
    assert (found.units, found.scored, found.matches) == (40, 400, 40)
    low, high = found.probabilities([1 / 3, 2 / 3])
    assert (low < 0.1, high > 0.9) == (True, True)


def test_scored_pairs_match_from_the_score_that_was_given():
    found = outcome(scored(60), config=TrainingConfig(match_score=4)).report.calibration
    assert (found.candidates, found.units, found.matches) == (None, 60, 30)
    low, high = found.probabilities([0.0, 0.75])
    assert (low < 0.1, high > 0.9) == (True, True)
    assert outcome(scored(60), config=TrainingConfig(match_score=4.5)).report is None


def test_a_score_from_which_pairs_match_is_refused_where_no_pair_has_one(tmp_path: Path):
    with (
        fill(tmp_path / "i", 50) as index,
        pytest.raises(InvalidInput, match=r"^match_score .* no held-out pair has a score"),
    ):
        calibrate_index(index, pairs(40), match_score=4)
    labelled = [LabelledPair(f"a {n}", f"b {n}", n % 2) for n in range(40)]
    for data in (pairs(40), labelled):
        with pytest.raises(InvalidInput, match="match_score"):
            calibrate_model(HashEncoder(), data, match_score=4)


def test_scored_pairs_alone_do_not_say_what_matches():
    found = outcome(scored(60))
    assert found.report is None
    assert "--match-score" in found.reason
    assert "`probability` is null" in calibration_lines(found)[0]


def test_labelled_pairs_say_what_matches():
    labelled = [LabelledPair(p.sentence1, p.sentence2, int(p.score == 4)) for p in scored(60)]
    assert outcome(labelled).report.calibration.matches == 30


def test_named_classes_calibrate_nothing():
    classes = [ClassPair("a", "b", "yes"), ClassPair("c", "d", "no")]
    held_out = HeldOutClasses(classes, training=classes, seed=0)
    found = calibrate_held_out(held_out, HashEncoder(), fingerprint="hash-1", config=CONFIG)
    assert (found.report, found.reason) == (None, "named classes do not say what matches")


def test_in_a_joint_run_the_first_data_that_says_what_matches_calibrates():
    classes = [ClassPair("a", "b", "yes"), ClassPair("c", "d", "no")]
    of_classes = HeldOutClasses(classes, training=classes, seed=0)
    of_pairs = make_held_out(pairs(40), distractor_limit=0, seed=0)
    of_scores = make_held_out(scored(60), distractor_limit=0, seed=0)
    assert telling_matches([of_classes, of_pairs, of_scores]) is of_pairs
    assert telling_matches([of_classes]) is None


def test_too_few_pairs_are_told_and_no_error():
    found = outcome(pairs(12))
    assert found.report is None
    assert "needs 20 matches" in found.reason


def test_the_report_has_the_figures_of_the_calibration(tmp_path: Path):
    found = outcome(pairs(40))
    lines = calibration_lines(found)
    assert "400 similarities of 40 queries, each among 40, 40 of them of a match" in lines[0]
    assert f"expected calibration error {found.report.calibration.error:.4f}" in lines[2]
    rows = reliability_rows(found.report.bins)
    assert sum(int(row[1]) for row in rows) == 400
    assert calibration_facts(found.report)["measured_on"] == "hits"
    draw_reliability(tmp_path / "reliability.png", found.report.bins)
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")


def fill(path: Path, count: int) -> SearchIndex:
    index = SearchIndex.create(path, encoder=HashEncoder())
    index.add([Document(f"d{n}", f"Unique{n}  shared TEXT!", title=None) for n in range(count)])
    return index


def test_an_index_is_calibrated_on_its_own_hits_by_the_text_of_the_answers(tmp_path: Path):
    with fill(tmp_path / "i", 50) as index:
        report, left_out = calibrate_index(index, [*pairs(40), Pair("of nowhere", "not in it")])
        assert left_out == 1
        assert index.calibration() == report.calibration
        found = report.calibration
        assert (found.candidates, found.units, found.matches) == (50, 40, 40)
        first, second = index.search("unique7 shared words", k=2)
        assert (first.id, second.probability < 0.2 < first.probability) == ("d7", True)


def test_an_index_is_calibrated_by_the_ids_of_a_beir_folder(tmp_path: Path):
    queries = {f"q{n}": f"unique{n} shared words" for n in range(30)}
    qrels = {f"q{n}": {f"d{n}": 1, f"d{n + 1}": 0} for n in range(30)}
    task = RetrievalTask({**queries, "q99": "another"}, [], {**qrels, "q99": {"d99": 1}})
    with fill(tmp_path / "i", 50) as index:
        report, left_out = calibrate_index(index, task)
    assert left_out == 1
    assert (report.calibration.units, report.calibration.matches) == (30, 30)


def test_an_index_without_the_answers_keeps_what_it_had(tmp_path: Path):
    with fill(tmp_path / "i", 50) as index:
        with pytest.raises(InvalidData, match="holds no answer"):
            calibrate_index(index, [Pair("a question", "an answer from elsewhere")])
        assert index.calibration() is None


def test_an_index_takes_scored_pairs_as_pairs(tmp_path: Path):
    with fill(tmp_path / "i", 50) as index:
        report, left_out = calibrate_index(index, scored(60), match_score=4)
        with pytest.raises(InvalidData, match="--match-score"):
            calibrate_index(index, scored(60))
        assert (report.calibration.candidates, left_out) == (None, 0)
        assert index.calibration() == report.calibration


def test_an_encoder_that_exists_is_calibrated_as_a_tuned_one_is(tiny_encoder_dir: Path):
    encoder = Encoder.load(tiny_encoder_dir)
    words = ["card", "bank", "money", "cat", "dog", "parcel", "phone", "email", "bird", "bill"]
    examples = [
        Pair(f"my {first} {second}", f"the {second} and the {first}")
        for first in words
        for second in words
        if first < second
    ]
    found = calibrate_model(encoder, examples, seed=3).calibration
    assert found.fits(encoder.fingerprint, encoder.dim)
    assert found.candidates == len(examples)
    assert 0 <= found.error <= 1


@pytest.mark.parametrize("example", [ClassPair("a", "b", "yes"), UnlabelledText("a")])
def test_data_that_does_not_say_what_answers_what_is_refused(example, tmp_path, tiny_encoder_dir):
    with pytest.raises(InvalidData, match="do not say which text answers which"):
        calibrate_model(Encoder.load(tiny_encoder_dir), [example])
    with fill(tmp_path / "i", 2) as index, pytest.raises(InvalidData, match="do not say which"):
        calibrate_index(index, [example])


def test_queries_of_pairs_are_in_the_order_of_the_pairs(tmp_path: Path) -> None:
    with SearchIndex.create(tmp_path / "i", encoder=HashEncoder()) as index:
        index.add([Document("d", "one answer"), Document("e", "another")])
        anchors = [f"question {n * 7 % 40}" for n in range(40)]
        pairs = [
            Pair(anchor, "one answer" if n % 3 else "another") for n, anchor in enumerate(anchors)
        ]
        queries, qrels, left_out = answerable(index, pairs)
    # Not that of a set, which is another one in every process: by it queries come into folds.
    first = [each for n, each in enumerate(anchors) if not n % 3]
    assert list(queries) == first + [each for n, each in enumerate(anchors) if n % 3]
    assert (qrels[first[0]], qrels[anchors[1]], left_out) == ({"e": 1}, {"d": 1}, 0)
