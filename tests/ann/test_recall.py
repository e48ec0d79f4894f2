from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from simsearch.ann.recall import recall_of_each, recall_with_interval


def test_recall_counts_what_is_as_near_as_the_kth_exact_neighbour():
    vectors = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0.8, 0.6], [0, 1]], dtype=np.float32)
    query = np.array([[1, 0]], dtype=np.float32)
    exact = np.array([[1.0, 0.8]], dtype=np.float32)  # rows 0 and 1; row 3 equals row 1
    cases = {(0, 1): 1.0, (0, 3): 1.0, (3, 1): 1.0, (0, 2): 0.5, (2, 4): 0.0, (0, -1): 0.5}
    found = {
        rows: recall_of_each(vectors, query, np.array([rows]), exact).tolist() for rows in cases
    }
    assert found == {rows: [value] for rows, value in cases.items()}


def test_rows_beyond_k_do_not_count():
    vectors = np.eye(3, dtype=np.float32)
    exact = np.array([[1.0]], dtype=np.float32)
    found = np.array([[1, 0, 2]])
    assert recall_of_each(vectors, vectors[:1], found, exact).tolist() == [0.0]


@pytest.mark.parametrize(("misses", "n"), [(0, 250), (250, 250)])
def test_with_misses_spread_evenly_every_neighbour_is_a_trial_of_wilsons_interval(misses, n):
    of_each = np.full(n, (10 - misses / n) / 10)
    expected = binomtest(10 * n - misses, 10 * n).proportion_ci(method="wilson")
    recall = recall_with_interval(of_each, 10)
    assert recall.value == pytest.approx(of_each[0])
    assert (recall.low, recall.high) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_where_a_query_misses_all_or_nothing_every_query_is_a_trial():
    of_each = np.array([1.0] * 190 + [0.0] * 10)
    expected = binomtest(190, 200).proportion_ci(method="wilson")
    recall = recall_with_interval(of_each, 10)
    assert (recall.low, recall.high) == pytest.approx((expected.low, expected.high), abs=1e-3)


def test_the_interval_covers_the_true_recall_as_often_as_it_says():
    rng = np.random.default_rng(0)
    # Of each query's 10 neighbours a part is missed that differs from query to query.
    covered = 0
    for _ in range(1_000):
        chances = rng.beta(19, 1, size=200)
        recall = recall_with_interval(rng.binomial(10, chances) / 10, 10)
        covered += recall.low <= 0.95 <= recall.high
    assert 0.93 <= covered / 1_000 <= 0.97
