"""A hit has the probability that the index's calibration gives it, or none."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import HashEncoder

from simsearch.encoder import Calibration, ChanceCount
from simsearch.errors import CorruptIndex, EncoderMismatch, InvalidData, InvalidInput
from simsearch.evaluation import CalibrationCurve, CalibrationMethod
from simsearch.records import Document
from simsearch.search_index import (
    RetrievalTask,
    SearchIndex,
    backup_index,
    calibrate,
    check_index,
    compact_index,
    judge_hits,
    judge_index_hits,
    judge_pairs,
    probability,
    repair_index,
    restore_index,
)
from simsearch.search_index.probability import leads_of

DOCUMENTS = [
    Document("card", "my card was swallowed"),
    Document("late", "the parcel is late"),
    Document("cat", "the cat sat on the mat"),
    Document("dog", "a dog sat on a mat"),
]


def make(*, dim: int = 256, candidates: int | None = 4, fingerprint: str = "hash-1") -> Calibration:
    """Return a calibration that says 1 / (1 + exp(4 - 8 (s + lead / 2)))."""
    return Calibration(
        curve=CalibrationCurve(CalibrationMethod.PLATT, slope=8.0, intercept=-4.0),
        weights=(1.0, 0.5),
        alone=CalibrationCurve(CalibrationMethod.PLATT, slope=8.0, intercept=-4.0),
        fingerprint=fingerprint,
        dim=dim,
        candidates=candidates,
        units=30,
        scored=300,
        matches=30,
        log_losses={"platt": 0.1, "isotonic": 0.2},
        error=0.01,
        counts=(ChanceCount(0.9, 19, 0), ChanceCount(0.5, 25, 5)),
    )


class Calibrated(HashEncoder):
    def __init__(self, calibration: Calibration) -> None:
        super().__init__()
        self.calibration = calibration


@pytest.fixture
def index(tmp_path):
    with SearchIndex.create(tmp_path / "index", encoder=Calibrated(make())) as index:
        index.add(DOCUMENTS)
        yield index


def chance(similarity, lead):
    return 1 / (1 + np.exp(4 - 8 * (similarity + lead / 2)))


def test_an_index_takes_the_calibration_of_its_encoder_and_hits_have_it(index):
    hits = index.search("the cat sat", k=4)
    assert index.calibration() == make()
    first, second, third, _ = (hit.score for hit in hits)
    assert hits[0].probability == pytest.approx(chance(first, first - second), abs=1e-9)
    assert hits[2].probability == pytest.approx(chance(third, third - first), abs=1e-9)


def test_how_many_hits_are_asked_for_does_not_change_their_probability(index):
    everything = index.search("the cat sat", k=4)
    assert index.search("the cat sat", k=1) == everything[:1]
    assert index.search("the cat sat", k=2) == everything[:2]


def test_a_hit_that_is_alone_has_the_probability_of_its_similarity(tmp_path):
    with SearchIndex.create(tmp_path / "one", encoder=Calibrated(make(candidates=1))) as index:
        index.add(DOCUMENTS[:1])
        (hit,) = index.search("my card was late")
        assert hit.probability == pytest.approx(chance(hit.score, 0.0), abs=1e-9)


def chances(hits):
    return {hit.id: hit.probability for hit in hits}


@pytest.mark.parametrize(
    "ways",
    [{"mode": "hybrid"}, {"diversity": 0.9}, {"group_by": "kind"}, {"mode": "hybrid", "k": 1}],
)
def test_however_hits_are_chosen_their_probability_is_that_of_a_dense_search(tmp_path, ways):
    documents = [replace(each, metadata={"kind": each.id}) for each in DOCUMENTS]
    with SearchIndex.create(tmp_path / "ways", encoder=Calibrated(make())) as index:
        index.add(documents)
        expected = chances(index.search("a cat that sat on a card", k=4, mode="dense"))
        found = chances(index.search("a cat that sat on a card", **{"k": 2, **ways}))
    assert None not in found.values()
    assert found == {name: pytest.approx(expected[name], abs=1e-6) for name in found}


def test_hits_by_words_alone_have_no_probability_and_none_can_be_asked_for(index):
    assert {*chances(index.search("cat mat", mode="lexical")).values()} == {None}
    with pytest.raises(InvalidInput, match="measures no similarity"):
        index.search("cat mat", mode="lexical", min_probability=0.5)


def test_hits_by_words_alone_are_not_reranked(index):
    found = index.search_many(["cat mat"], mode="lexical")
    with pytest.raises(InvalidInput, match="no similarity"):
        index.rerank(["cat mat"], found, by="maxsim")


def test_hits_of_another_number_of_queries_are_not_reranked(index):
    hits = index.search("cat mat")
    for queries, found in ((["cat"], [hits, hits]), (["cat", "mat"], [hits])):
        with pytest.raises(InvalidInput, match=f"got {len(queries)} queries .* of {len(found)} "):
            index.rerank(queries, found, by="maxsim")


def test_a_lead_is_over_the_best_of_the_others():
    assert leads_of([0.9, 0.7, 0.4]) == [pytest.approx(x) for x in (0.2, -0.2, -0.5)]
    assert leads_of([0.4, 0.9, 0.9]) == [pytest.approx(x) for x in (-0.5, 0.0, 0.0)]
    assert (leads_of([0.5]), leads_of([])) == ([0.0], [])


def test_vectors_that_search_have_probabilities_too(index):
    query = "my card was swallowed"
    (hits,) = index.search_vectors(HashEncoder().encode_queries([query]), k=1)
    assert hits == index.search(query, k=1)
    assert hits[0].probability > 0.9


def test_among_a_hundred_times_the_documents_the_odds_are_a_tenth(index):
    index.add([Document(f"n{n}", f"other words {n}") for n in range(396)])
    first, second = index.search("my card was swallowed", k=2)
    before = chance(first.score, first.score - second.score)
    odds = first.probability / (1 - first.probability)
    assert odds == pytest.approx(before / (1 - before) / 10)


@pytest.mark.parametrize("mode", ["dense", "hybrid"])
def test_a_filter_that_leaves_better_hits_out_makes_none_more_probable(index, mode):
    index.upsert([replace(each, metadata={"n": n}) for n, each in enumerate(DOCUMENTS)])
    query = "the cat sat on the mat"
    whole = {hit.id: hit for hit in index.search(query, mode=mode)}
    assert list(whole)[:2] == ["cat", "dog"]
    (only,) = index.search(query, k=1, mode=mode, where="n = 3")
    assert (only.id, only.dense) == ("dog", pytest.approx(whole["dog"].dense, abs=1e-6))
    assert only.probability == pytest.approx(whole["dog"].probability, abs=1e-6)
    others = index.search(query, mode=mode, where="n in (0, 1, 3)")
    assert {hit.id: hit.probability for hit in others} == {
        name: pytest.approx(whole[name].probability, abs=1e-6) for name in ("card", "late", "dog")
    }


def test_a_filter_leaves_the_number_of_documents_what_it_is(index):
    index.upsert(
        [Document(d.id, d.text, metadata={"lang": "en"}) for d in DOCUMENTS if d.id != "late"]
    )
    (hit,) = index.search("my card was swallowed", k=1)
    assert index.search("my card was swallowed", k=1, where="lang = 'en'") == [hit]


def test_without_a_calibration_there_is_no_probability_and_none_can_be_asked_for(
    tmp_path, hash_encoder
):
    with SearchIndex.create(tmp_path / "plain", encoder=hash_encoder) as index:
        index.add(DOCUMENTS)
        assert index.calibration() is None
        assert index.search("card", k=1)[0].probability is None
        with pytest.raises(InvalidInput, match=r"has no calibration.*simsearch calibrate"):
            index.search("card", min_probability=0.5)
        with pytest.raises(InvalidInput, match="has no calibration"):
            index.threshold(0.9)


@pytest.mark.parametrize(
    ("calibration", "dim"),
    [(make(fingerprint="another"), None), (make(dim=256), 250), (make(dim=64), None)],
)
def test_a_calibration_of_other_vectors_is_left_behind(tmp_path, calibration, dim):
    with SearchIndex.create(tmp_path / "i", encoder=Calibrated(calibration), dim=dim) as index:
        index.add(DOCUMENTS)
        assert index.calibration() is None
        assert index.search("card", k=1)[0].probability is None


def test_hits_below_the_least_probability_are_left_out(index):
    everything = index.search("the cat sat", k=4)
    wanted = [hit for hit in everything if hit.probability >= 0.6]
    assert 0 < len(wanted) < 4
    assert index.search("the cat sat", k=4, min_probability=0.6) == wanted
    assert index.search("nothing of that kind", min_probability=0.6) == []


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "x"])
def test_what_is_no_probability_is_refused(index, value):
    with pytest.raises(InvalidInput, match="min_probability must be from 0 to 1"):
        index.search("card", min_probability=value)


def test_the_threshold_of_a_precision_follows_the_size_of_the_index(index):
    assert index.threshold(0.8) == pytest.approx(0.5)  # 25 / (25 + 6)
    assert index.threshold(0.9) == pytest.approx(0.9)  # 19 / (19 + 1)
    index.add([Document(f"n{n}", f"other words {n}") for n in range(12)])
    # Four times the documents, twice the others: 25 / (25 + 12); 19 / (19 + 2), odds of 9 / 2.
    assert index.threshold(0.8) == pytest.approx(9 / 11)


def test_a_calibration_that_is_kept_is_seen_by_every_handle_at_once(index):
    other = SearchIndex.open(index.path, encoder=HashEncoder())
    newer = make(candidates=None)
    index.calibrate(newer)
    assert other.calibration() == index.calibration() == newer
    other.close()
    with SearchIndex.open(index.path, encoder=HashEncoder()) as again:
        assert again.calibration() == newer
    (only,) = check_index(index.path).findings  # a hashing encoder leaves no copy
    assert "encoder is missing" in only.what


def test_a_calibration_is_taken_apart_once_however_many_searches_ask_for_it(index, monkeypatch):
    index.calibrate(replace(make(), units=12_345))  # one that no other test has
    taken_apart = []
    whole = probability.calibration_of
    monkeypatch.setattr(
        probability,
        "calibration_of",
        lambda content, where: taken_apart.append(where) or whole(content, where=where),
    )
    for _ in range(3):
        assert index.search("card", k=1)[0].probability is not None
    assert taken_apart == ["the index"]


def test_a_calibration_of_another_encoder_is_refused_and_the_old_one_stays(index):
    for wrong in (make(fingerprint="another"), make(dim=64)):
        with pytest.raises(EncoderMismatch, match="the index has vectors of hash-1"):
            index.calibrate(wrong)
    assert index.calibration() == make()


def test_it_stays_through_compaction_repair_and_backup(index, tmp_path):
    newer = make(candidates=None)
    index.calibrate(newer)
    index.close()
    compact_index(index.path)
    repair_index(index.path, encoder=Calibrated(make()))
    backup_index(index.path, tmp_path / "copy")
    restore_index(tmp_path / "copy", tmp_path / "restored")
    for path in (index.path, tmp_path / "restored"):
        with SearchIndex.open(path, encoder=HashEncoder()) as again:
            assert again.calibration() == newer


def test_a_malformed_calibration_is_damage_not_an_answer(index):
    with index._store.transaction():
        index._store.settings.write_constant("calibration", json.dumps({"format": 1}))
    with pytest.raises(CorruptIndex, match="calibration"):
        index.search("card")


def queries_and_qrels(count):
    queries = {f"q{n}": f"unique{n} shared words" for n in range(count)}
    return queries, {f"q{n}": {f"d{n}": 1} for n in range(count)}


def corpus(count):
    return [Document(f"d{n}", f"unique{n} shared text") for n in range(count)]


def test_the_hits_of_an_index_are_judged_as_an_exact_search_finds_them(tmp_path, hash_encoder):
    queries, qrels = queries_and_qrels(30)
    with SearchIndex.create(tmp_path / "i", encoder=hash_encoder) as index:
        index.add(corpus(40))
        found = judge_index_hits(index, queries, qrels)
    exact = judge_hits(hash_encoder, RetrievalTask(queries, corpus(40), qrels))
    for judged in (found, exact):
        assert judged.candidates == 40
        assert judged.matches.sum() == 30
        assert np.bincount(judged.units).tolist() == [10] * 30
    np.testing.assert_allclose(np.sort(found.scores), np.sort(exact.scores), atol=1e-6)
    np.testing.assert_allclose(np.sort(found.leads), np.sort(exact.leads), atol=1e-6)
    # d0 shares two of three words with q0, the others one.
    first = exact.scores[exact.units == 0]
    np.testing.assert_allclose(np.sort(first)[::-1][:2], [2 / 3, 1 / 3], atol=1e-6)


def test_what_is_judged_becomes_a_calibration(hash_encoder):
    queries, qrels = queries_and_qrels(30)
    judged = judge_hits(hash_encoder, RetrievalTask(queries, corpus(40), qrels))
    report = calibrate(judged, fingerprint="hash-1", dim=256)
    found = report.calibration
    assert (found.candidates, found.units, found.scored, found.matches) == (40, 30, 300, 30)
    assert found.error < 0.05
    low, high = found.probabilities([1 / 3, 2 / 3], [-1 / 3, 1 / 3])
    assert low < 0.05
    assert high > 0.9
    # 30 matches have a probability that no other comes near to.
    assert 0.5 < found.threshold(0.9) <= high + 0.05
    assert sum(part.count for part in report.bins) == 300
    assert found.counts[-1].matches + found.counts[-1].others == 300


def test_pairs_are_judged_each_by_itself(hash_encoder):
    judged = judge_pairs(hash_encoder, ["a b", "a b"], ["a b", "c d"], [True, False])
    np.testing.assert_allclose(judged.scores, [1, 0], atol=1e-6)
    assert (judged.candidates, judged.leads) == (None, None)
    assert judged.units.tolist() == [0, 1]


def test_too_few_answers_make_no_calibration(hash_encoder):
    queries, qrels = queries_and_qrels(10)
    judged = judge_hits(hash_encoder, RetrievalTask(queries, corpus(40), qrels))
    with pytest.raises(InvalidData, match="got 10, 90 and 10"):
        calibrate(judged, fingerprint="hash-1", dim=256)
