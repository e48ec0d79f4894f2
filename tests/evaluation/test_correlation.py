"""Correlations, checked by hand and against scipy.stats."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from simsearch.errors import InvalidData
from simsearch.evaluation import pearson, spearman


def test_spearman_of_one_swapped_neighbour_by_hand():
    assert spearman([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(1 - 6 * 2 / (4 * 15))


def test_spearman_sees_only_the_order():
    assert spearman([1, 2, 3], [-5, 0, 1e6]) == pytest.approx(1.0, abs=1e-15)


def test_pearson_by_hand():
    assert pearson([1, 2, 3], [1, 2, 4]) == pytest.approx(3 / np.sqrt(2 * 14 / 3))


def test_opposite_series_correlate_at_minus_one():
    assert pearson([1, 2], [7, 3]) == pytest.approx(-1.0, abs=1e-15)
    assert spearman([1, 2], [7, 3]) == pytest.approx(-1.0, abs=1e-15)


@pytest.mark.parametrize("seed", range(20))
def test_correlations_agree_with_scipy_on_series_with_ties(seed):
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 6, 50).astype(float)
    b = (a + rng.normal(size=50)).round()
    assert spearman(a, b) == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-12)
    assert pearson(a, b) == pytest.approx(scipy.stats.pearsonr(a, b).statistic, abs=1e-12)


def test_no_rounding_leads_beyond_one():
    rng = np.random.default_rng(0)
    series = [rng.normal(size=7) for _ in range(200)]
    assert max(pearson(values, 3 * values + 1) for values in series) <= 1.0
    assert min(pearson(values, 1 - 3 * values) for values in series) >= -1.0


def test_large_values_do_not_overflow():
    assert pearson([1e200, 2e200, 4e200], [1, 2, 4]) == pytest.approx(1.0)


def test_tiny_values_do_not_underflow():
    assert pearson([1e-200, 2e-200, 4e-200], [1, 2, 4]) == pytest.approx(1.0)


@pytest.mark.parametrize("correlation", [spearman, pearson])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9])
def test_a_constant_series_is_refused_by_name(correlation, constant):
    varied = np.arange(10_000.0)
    with pytest.raises(InvalidData, match="b is constant: 10000 values"):
        correlation(varied, np.full(10_000, constant))
    with pytest.raises(InvalidData, match="a is constant"):
        correlation(np.full(10_000, constant), varied)


def test_pearson_refuses_a_series_that_varies_by_rounding_only():
    with pytest.raises(InvalidData, match="a is constant"):
        pearson([0.1 + 0.2, 0.3], [1, 2])


@pytest.mark.parametrize("correlation", [spearman, pearson])
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1, 2, 3], [1, 2], "got 3 a, 2 b"),
        ([1], [1], "a must have at least 2 values, got 1"),
        ([], [], "a must have at least 2 values, got 0"),
        ([1, 2], [1, float("nan")], "b must be finite, got nan at position 1"),
        ([float("inf"), 2], [1, 2], "a must be finite, got inf at position 0"),
        ([[1, 2]], [1, 2], r"a must have one dimension, got shape \(1, 2\)"),
        (["x", "y"], [1, 2], "a must be a list of numbers"),
        ([1, None], [1, 2], "a must be"),
    ],
)
def test_input_that_has_no_correlation_is_refused(correlation, a, b, message):
    with pytest.raises(InvalidData, match=message):
        correlation(a, b)
