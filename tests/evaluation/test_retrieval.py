"""Rankings, checked by hand and against pytrec_eval."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from simsearch.errors import DuplicateId, InvalidData, InvalidInput
from simsearch.evaluation import (
    DEFAULT_METRICS,
    average_precision,
    hit_rate,
    ndcg,
    rank,
    recall,
    reciprocal_rank,
    score_run,
)

RANKED = ["a", "b", "c", "d"]

DOC_IDS = ["a", "B", "z", "10", "9", "é", "ß", "日本", "\uffff", "\U0001f600", "a b", "-1"]


def test_rank_puts_the_highest_score_first():
    assert rank({"a": 0.1, "b": 0.9, "c": -3.0}) == ["b", "a", "c"]


def test_equal_scores_are_ranked_by_descending_id():
    assert rank({"a": 1.0, "10": 1.0, "b": 1.0, "9": 1.0}) == ["b", "a", "9", "10"]


def test_ids_outside_the_basic_plane_are_ordered_by_code_point():
    assert rank({"\uffff": 1.0, "\U0001f600": 1.0, "é": 1.0}) == ["\U0001f600", "\uffff", "é"]


def test_scores_equal_in_single_precision_are_a_tie():
    assert rank({"a": 1.0 + 1e-9, "b": 1.0}) == ["b", "a"]


def test_scores_that_differ_in_single_precision_are_no_tie():
    assert rank({"a": 1.0 + 1e-6, "b": 1.0}) == ["a", "b"]


def test_a_score_beyond_single_precision_ranks_as_infinity():
    assert rank({"a": 1e300, "b": 1.0, "c": math.inf}) == ["c", "a", "b"]


def test_rank_of_nothing_is_empty():
    assert rank({}) == []


def test_rank_refuses_nan_and_names_the_document():
    with pytest.raises(InvalidData, match="document 'b' is NaN"):
        rank({"a": 1.0, "b": math.nan})


def test_ndcg_discounts_a_linear_gain_by_log2_of_rank_plus_one():
    gains = {"b": 2, "d": 1}
    expected = (2 / math.log2(3) + 1 / math.log2(5)) / (2 / math.log2(2) + 1 / math.log2(3))
    assert ndcg(RANKED, gains, k=4) == pytest.approx(expected)
    assert expected == pytest.approx(0.643322, abs=1e-6)


def test_ndcg_counts_relevant_documents_that_were_not_found():
    assert ndcg(["a"], {"a": 1, "missing": 1}, k=10) == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_ndcg_cuts_the_ideal_ranking_at_k():
    assert ndcg(["a"], {"a": 1, "missing": 1}, k=1) == 1.0


def test_ndcg_ignores_negative_gains():
    assert ndcg(["spam", "a"], {"spam": -2, "a": 1}, k=5) == pytest.approx(1 / math.log2(3))


def test_ndcg_without_a_positive_gain_is_zero():
    assert ndcg(RANKED, {"a": 0}, k=4) == 0.0


def test_reciprocal_rank_is_one_over_the_first_relevant_rank():
    assert reciprocal_rank(RANKED, {"c", "d"}, k=10) == pytest.approx(1 / 3)


def test_reciprocal_rank_is_zero_below_k():
    assert reciprocal_rank(RANKED, {"c"}, k=2) == 0.0


def test_recall_is_the_share_of_relevant_ids_in_the_top_k():
    assert recall(RANKED, {"a", "c", "missing"}, k=2) == pytest.approx(1 / 3)


def test_hit_rate_is_one_if_any_relevant_id_is_in_the_top_k():
    assert (hit_rate(RANKED, {"b"}, k=2), hit_rate(RANKED, {"b"}, k=1)) == (1.0, 0.0)


def test_average_precision_averages_precision_over_all_relevant_ids():
    expected = (1 / 1 + 2 / 3 + 0) / 3
    assert average_precision(RANKED, {"a", "c", "missing"}) == pytest.approx(expected)


def test_average_precision_stops_at_the_first_thousand():
    ranked = [f"d{at}" for at in range(1, 1202)]
    assert average_precision(ranked, {"d1", "d1001"}) == 0.5
    assert average_precision(ranked, {"d1", "d1000"}) == pytest.approx((1 + 2 / 1000) / 2)


@pytest.mark.parametrize("measure", [reciprocal_rank, recall, hit_rate, average_precision])
def test_a_query_without_relevant_documents_scores_zero(measure):
    assert measure(RANKED, set(), k=4) == 0.0


@pytest.mark.parametrize("measure", [reciprocal_rank, recall, hit_rate, average_precision])
def test_a_cut_below_one_is_refused(measure):
    with pytest.raises(InvalidInput, match="k must be at least 1, got 0"):
        measure(RANKED, {"a"}, k=0)


def test_a_document_that_stands_twice_is_refused():
    with pytest.raises(DuplicateId, match="'a' stands twice"):
        recall(["b", "a", "a"], {"a"}, k=3)


def test_default_metrics_of_a_run_by_hand():
    scores = score_run({"q": {"a": 1, "c": 1}}, {"q": {"a": 0.1, "b": 0.9, "c": 0.5}})
    ideal = 1 + 1 / math.log2(3)
    assert scores.means() == pytest.approx(
        {
            "ndcg@10": (1 / math.log2(3) + 1 / 2) / ideal,
            "mrr@10": 0.5,
            "recall@10": 1.0,
            "recall@100": 1.0,
            "map": (1 / 2 + 2 / 3) / 2,
        }
    )


def test_queries_without_a_relevant_document_are_left_out():
    qrels = {"none": {"a": 0}, "q2": {"a": 1}, "empty": {}, "q1": {"b": 1}}
    scores = score_run(qrels, {"q1": {"b": 1.0}, "none": {"a": 1.0}}, metrics=["mrr@10"])
    assert scores.query_ids == ("q2", "q1")
    np.testing.assert_array_equal(scores.per_query["mrr@10"], [0.0, 1.0])


def test_a_query_missing_from_the_run_scores_zero():
    scores = score_run({"q1": {"a": 1}, "q2": {"a": 1}}, {"q1": {"a": 1.0}})
    assert scores.means() == dict.fromkeys(DEFAULT_METRICS, 0.5)


def test_a_query_missing_from_the_qrels_is_ignored():
    scores = score_run({"q": {"a": 1}}, {"q": {"a": 1.0}, "stranger": {"a": 1.0}})
    assert scores.query_ids == ("q",)


def test_metric_names_take_any_cut():
    run = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}
    names = ["hit_rate@3", "recall@1", "mrr@20", "ndcg@2", "hit_rate@2"]
    means = score_run({"q": {"c": 1}}, run, metrics=names).means()
    assert list(means) == names
    assert list(means.values()) == pytest.approx([1.0, 0.0, 1 / 3, 0.0, 0.0])


@pytest.mark.parametrize("name", ["ndcg", "ndcg@0", "ndcg@-1", "map@10", "NDCG@10", "p@5", ""])
def test_an_unknown_metric_is_refused_with_the_known_ones(name):
    with pytest.raises(InvalidInput, match=rf"unknown metric '{name}'; known metrics: ndcg@K, mrr"):
        score_run({"q": {"a": 1}}, {}, metrics=[name])


def test_no_metric_at_all_is_refused():
    with pytest.raises(InvalidInput, match="no metric"):
        score_run({"q": {"a": 1}}, {}, metrics=[])


def test_qrels_without_any_relevant_document_are_refused():
    with pytest.raises(InvalidData, match="none of the 2 queries"):
        score_run({"q1": {"a": 0}, "q2": {}}, {"q1": {"a": 1.0}})


gains = st.dictionaries(st.sampled_from(DOC_IDS), st.integers(-1, 3), max_size=8)
tied_scores = st.sampled_from([0.0, -0.0, 0.5, 1.0, 1.0 + 1e-9, 1.0 + 1e-6, -2.0, 1e-3])
results = st.dictionaries(st.sampled_from(DOC_IDS), tied_scores, min_size=1)


@given(st.lists(st.tuples(gains, results), min_size=1, max_size=4))
@settings(max_examples=200, database=None, derandomize=True)
def test_small_runs_full_of_ties_agree_with_pytrec_eval(queries):
    positive = {"x": 1}  # every query gets a relevant document that is not found
    qrels = {f"q{at}": judged | positive for at, (judged, _) in enumerate(queries)}
    run = {f"q{at}": found for at, (_, found) in enumerate(queries)}
    assert_agrees_with_pytrec_eval(qrels, run)


@pytest.mark.parametrize("seed", range(5))
def test_long_random_runs_agree_with_pytrec_eval(seed):
    rng = np.random.default_rng(seed)
    pool = [f"{prefix}{number}" for prefix in ("doc", "é", "\U0001f600") for number in range(600)]
    qrels, run = {}, {}
    for query_id in ("q1", "q2", "ü3"):
        judged = rng.choice(pool, 200, replace=False).tolist()
        qrels[query_id] = dict(zip(judged, rng.integers(-1, 4, 200).tolist(), strict=True))
        found = rng.choice(pool, 1300, replace=False).tolist()
        coarse = rng.normal(size=1300).round(1).tolist()
        run[query_id] = dict(zip(found, coarse, strict=True))
    assert_agrees_with_pytrec_eval(qrels, run)


def assert_agrees_with_pytrec_eval(qrels, run):
    """pytrec_eval has no cut for recip_rank: below 1/10 it is 0 at a cut of ten."""
    ours = score_run(qrels, run, metrics=[*DEFAULT_METRICS, "hit_rate@5", "ndcg@5"])
    measures = {"ndcg_cut", "recall", "map_cut", "success"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    reciprocal = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(run)
    assert set(ours.query_ids) == set(theirs)
    for row, query_id in enumerate(ours.query_ids):
        first = reciprocal[query_id]["recip_rank"]
        expected = {
            "ndcg@10": theirs[query_id]["ndcg_cut_10"],
            "mrr@10": first * (first >= 0.1 - 1e-9),
            "recall@10": theirs[query_id]["recall_10"],
            "recall@100": theirs[query_id]["recall_100"],
            "map": theirs[query_id]["map_cut_1000"],
            "hit_rate@5": theirs[query_id]["success_5"],
            "ndcg@5": theirs[query_id]["ndcg_cut_5"],
        }
        scores = {name: values[row] for name, values in ours.per_query.items()}
        assert scores == pytest.approx(expected, abs=1e-12)
