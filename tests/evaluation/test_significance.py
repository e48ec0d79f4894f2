"""Differences: checked by enumeration, against scipy.stats, and on simulated nulls."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
import scipy.stats

from simsearch.errors import InvalidData, InvalidInput
from simsearch.evaluation import (
    Difference,
    SwapScale,
    average_precision_score,
    best_f1,
    bootstrap_statistic,
    paired_bootstrap,
    pearson,
    spearman,
)

SCALES = {spearman: SwapScale.RANKS, pearson: SwapScale.STANDARD}

NO_DIFFERENCE = Difference(value=0.0, low=0.0, high=0.0, p=1.0)

# Of 200 tests at the 5% level at most 18 reject by chance, but for one seed in 300.
MOST_REJECTIONS = 18


def exact_p(statistic, before, after):
    """Two-sided p over all 2^n ways to swap the systems per unit."""
    observed = abs(statistic(after) - statistic(before))
    swaps = itertools.product([False, True], repeat=len(before))
    values = [
        abs(statistic(np.where(swap, before, after)) - statistic(np.where(swap, after, before)))
        for swap in swaps
    ]
    return np.mean([value >= observed - 1e-12 for value in values])


def noisy_pair(rng, n=40, noise=0.7):
    """A target and two equally good systems."""
    target = rng.normal(size=n)
    return target, target + noise * rng.normal(size=n), target + noise * rng.normal(size=n)


# Means


def test_the_difference_is_the_mean_of_after_minus_before():
    assert paired_bootstrap([0.1, 0.3, 0.5], [0.2, 0.7, 0.5]).value == pytest.approx(0.5 / 3)


def test_identical_systems_do_not_differ():
    scores = np.random.default_rng(0).random(50)
    assert paired_bootstrap(scores, scores) == NO_DIFFERENCE


@pytest.mark.parametrize("seed", range(10))
def test_rounding_does_not_decide_whether_a_flip_is_as_extreme(seed):
    # Many flips of small whole numbers have exactly the observed total; in tenths they nearly do.
    changes = np.random.default_rng(seed).integers(-5, 6, 12)
    whole = paired_bootstrap(np.zeros(12), changes, samples=500)
    tenths = paired_bootstrap(np.zeros(12), changes * 0.1, samples=500)
    assert tenths.p == whole.p


def test_p_is_never_zero():
    before = np.zeros(100)
    assert paired_bootstrap(before, before + 1, samples=999).p == 1 / 1000


def test_a_constant_change_has_an_interval_without_width():
    difference = paired_bootstrap([0.25, 0.5, 0.75], [0.5, 0.75, 1.0])
    assert (difference.value, difference.low, difference.high) == (0.25, 0.25, 0.25)
    assert difference.p == pytest.approx(2 / 8, abs=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_p_agrees_with_all_sign_flips_of_ten_units(seed):
    rng = np.random.default_rng(seed)
    before = rng.random(10)
    after = before + rng.normal(0.2, 0.4, 10)
    expected = exact_p(np.mean, before, after)
    # Three standard errors of 10,000 random flips are at most 0.015.
    assert paired_bootstrap(before, after).p == pytest.approx(expected, abs=0.015)


def test_p_agrees_with_the_permutation_test_of_scipy():
    rng = np.random.default_rng(7)
    before = rng.random(60)
    after = before + rng.normal(0.05, 0.2, 60)
    oracle = scipy.stats.permutation_test(
        (after, before),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=10_000,
        rng=1,
    )
    assert 0.02 < oracle.pvalue < 0.5
    assert paired_bootstrap(before, after).p == pytest.approx(oracle.pvalue, abs=0.02)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_agrees_with_the_percentile_bootstrap_of_scipy(confidence):
    rng = np.random.default_rng(3)
    before, after = rng.random(80), rng.random(80) ** 2
    oracle = scipy.stats.bootstrap(
        (after - before,),
        np.mean,
        method="percentile",
        confidence_level=confidence,
        n_resamples=10_000,
        rng=1,
    ).confidence_interval
    ours = paired_bootstrap(before, after, confidence=confidence)
    assert (ours.low, ours.high) == pytest.approx((oracle.low, oracle.high), abs=0.004)
    assert oracle.high - oracle.low > 0.1


def test_the_test_of_means_keeps_its_level_under_the_null():
    rng = np.random.default_rng(11)
    rejected = 0
    for _ in range(200):
        before = rng.random(20)
        after = before + 0.2 * rng.laplace(size=20)
        rejected += paired_bootstrap(before, after, samples=199).p <= 0.05
    assert 1 <= rejected <= MOST_REJECTIONS


def test_the_interval_covers_the_true_difference():
    rng = np.random.default_rng(12)
    covered = 0
    for _ in range(200):
        before = rng.random(50)
        after = before + 0.1 + 0.2 * rng.normal(size=50)
        difference = paired_bootstrap(before, after, samples=400)
        covered += difference.low <= 0.1 <= difference.high
    assert 178 <= covered <= 199


def test_swapping_the_systems_turns_the_difference_around():
    before, after = [0.1, 0.5, 0.2, 0.9], [0.3, 0.4, 0.6, 1.0]
    there, back = paired_bootstrap(before, after), paired_bootstrap(after, before)
    assert (back.value, back.low, back.high) == pytest.approx(
        (-there.value, -there.high, -there.low)
    )
    assert back.p == there.p


def test_the_seed_decides_the_draws():
    before, after = np.random.default_rng(0).random((2, 30))
    first = paired_bootstrap(before, after, seed=5)
    assert first == paired_bootstrap(before, after, seed=5)
    assert first != paired_bootstrap(before, after, seed=6)


def test_memory_does_not_grow_with_samples_times_units():
    before, after = np.random.default_rng(0).random((2, 20_000))
    tracemalloc.start()
    paired_bootstrap(before, after, samples=500)  # in one piece: 80 MB of unit numbers alone
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40_000_000


# Statistics that are not means


@pytest.mark.parametrize("statistic", [spearman, pearson])
def test_the_difference_of_a_statistic_is_after_minus_before(statistic):
    target, before, after = noisy_pair(np.random.default_rng(0))
    scale = SCALES[statistic]
    difference = bootstrap_statistic(statistic, before, after, target, samples=20, swap=scale)
    assert difference.value == pytest.approx(statistic(target, after) - statistic(target, before))
    assert difference.low < difference.value < difference.high


@pytest.mark.parametrize(
    ("statistic", "swap"), [(spearman, "ranks"), (pearson, "standard"), (pearson, "raw")]
)
def test_identical_systems_have_the_same_statistic(statistic, swap):
    target, scores, _ = noisy_pair(np.random.default_rng(0))
    difference = bootstrap_statistic(statistic, scores, scores, target, samples=50, swap=swap)
    assert difference == NO_DIFFERENCE


def test_systems_that_rank_alike_have_p_one_on_any_scale():
    target, scores, _ = noisy_pair(np.random.default_rng(0))
    difference = bootstrap_statistic(spearman, scores, np.exp(scores) + 9, target, samples=50)
    assert difference == NO_DIFFERENCE


@pytest.mark.parametrize("seed", range(3))
def test_p_of_spearman_agrees_with_all_swaps_of_ranks(seed):
    rng = np.random.default_rng(seed)
    target, before, after = noisy_pair(rng, n=9)
    ranks = [scipy.stats.rankdata(scores) for scores in (before, after)]
    expected = exact_p(lambda scores: scipy.stats.spearmanr(target, scores).statistic, *ranks)
    p = bootstrap_statistic(spearman, before, 100 * after, target, samples=2000).p
    assert p == pytest.approx(expected, abs=0.035)


def test_p_of_pearson_agrees_with_all_swaps_of_standard_scores():
    target, before, after = noisy_pair(np.random.default_rng(4), n=9)
    standard = [scipy.stats.zscore(scores) for scores in (before, after)]
    expected = exact_p(lambda scores: scipy.stats.pearsonr(target, scores).statistic, *standard)
    p = bootstrap_statistic(
        pearson, before, 5 + 100 * after, target, samples=2000, swap="standard"
    ).p
    assert p == pytest.approx(expected, abs=0.035)


def test_p_of_class_numbers_agrees_with_all_swaps():
    target = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    before = np.array([0, 1, 1, 1, 0, 2, 2, 0])
    after = np.array([0, 1, 2, 0, 1, 1, 0, 0])
    expected = exact_p(lambda scores: np.mean(scores == target), before, after)
    p = bootstrap_statistic(accuracy, before, after, target, samples=3000, swap="raw").p
    assert p == pytest.approx(expected, abs=0.03)


def accuracy(target, predicted):
    return float((target == predicted).mean())


def test_the_interval_of_spearman_agrees_with_the_percentile_bootstrap_of_scipy():
    target, before, after = noisy_pair(np.random.default_rng(5), n=100)
    oracle = scipy.stats.bootstrap(
        (target, before, after),
        lambda t, b, a: scipy.stats.spearmanr(t, a)[0] - scipy.stats.spearmanr(t, b)[0],
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=1000,
        rng=1,
    ).confidence_interval
    ours = bootstrap_statistic(spearman, before, after, target)
    assert (ours.low, ours.high) == pytest.approx((oracle.low, oracle.high), abs=0.02)
    assert oracle.high - oracle.low > 0.1


def test_a_better_system_on_another_scale_is_found():
    rng = np.random.default_rng(6)
    target = rng.normal(size=80)
    before = target + 1.5 * rng.normal(size=80)
    after = 0.8 + 0.01 * (target + 0.3 * rng.normal(size=80))
    difference = bootstrap_statistic(spearman, before, after, target, samples=300)
    assert difference.low > 0.1
    assert difference.p == pytest.approx(1 / 301)


def test_the_test_of_spearman_keeps_its_level_on_scores_of_different_scale():
    rng = np.random.default_rng(21)
    rejected = 0
    for _ in range(200):
        target, before, after = noisy_pair(rng, n=25)
        warped = 0.9 + 0.01 * np.exp(after)
        rejected += bootstrap_statistic(spearman, before, warped, target, samples=39).p <= 0.05
    assert 1 <= rejected <= MOST_REJECTIONS


def test_the_test_of_average_precision_keeps_its_level_on_scores_of_different_scale():
    rng = np.random.default_rng(22)
    rejected = 0
    for _ in range(200):
        labels = rng.permutation([0] * 20 + [1] * 10)
        before, after = labels + rng.normal(size=(2, 30))
        p = bootstrap_statistic(
            average_precision_score, before, 100 * after - 7, labels, samples=39
        ).p
        rejected += p <= 0.05
    assert 1 <= rejected <= MOST_REJECTIONS


def test_one_class_resamples_are_drawn_again():
    labels, before, after = [1, 0, 0, 0], [0.1, 0.2, 0.3, 0.4], [0.9, 0.2, 0.3, 0.4]
    difference = bootstrap_statistic(average_precision_score, before, after, labels, samples=200)
    assert difference.value == pytest.approx(0.75)
    assert 0.0 < difference.low < difference.high < 1.0


def test_best_f1_is_a_statistic():
    labels, before, after = [1, 0, 1, 0], [4, 3, 2, 1], [4, 2, 3, 1]
    difference = bootstrap_statistic(
        lambda target, scores: best_f1(target, scores).f1, before, after, labels, samples=50
    )
    assert difference.value == pytest.approx(1.0 - 0.8)


def test_a_statistic_that_no_draw_defines_is_refused():
    calls = itertools.count()

    def defined_on_all_units_only(target, scores):
        return 0.5 if next(calls) < 2 else float("nan")

    with pytest.raises(InvalidData, match="undefined on each of 1000 random draws"):
        bootstrap_statistic(defined_on_all_units_only, [1, 2], [2, 1], [0, 1])


def test_a_statistic_undefined_on_the_data_itself_is_refused():
    with pytest.raises(InvalidData, match="all 3 labels are 1"):
        bootstrap_statistic(average_precision_score, [1, 2, 3], [2, 1, 3], [1, 1, 1])


def test_a_scale_that_changes_the_statistic_is_refused():
    target, before, after = noisy_pair(np.random.default_rng(0))
    with pytest.raises(InvalidInput, match=r"on the scale 'ranks'; .* choose another scale"):
        bootstrap_statistic(pearson, before, after, target, samples=5)


def test_an_unknown_scale_is_refused():
    with pytest.raises(InvalidInput, match="one of ranks, standard, raw, got 'log'"):
        bootstrap_statistic(spearman, [1, 2], [2, 1], [1, 2], swap="log")


# The door


def of_means(before, after, **options):
    return paired_bootstrap(before, after, **options)


def of_spearman(before, after, **options):
    return bootstrap_statistic(spearman, before, after, np.arange(len(before)), **options)


@pytest.mark.parametrize("compare", [of_means, of_spearman])
@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ([0.5], [0.5], "before must have at least 2 values, got 1"),
        ([0.5, 0.6], [0.5], "after must have at least 2 values, got 1"),
        ([0.5, 0.6, 0.7], [0.5, 0.6], "got 3 before, 2 after"),
        ([0.5, 0.6], [0.5, float("nan")], "after must be finite, got nan at position 1"),
        ([[0.5, 0.6]] * 2, [0.5, 0.6], "before must have one dimension"),
    ],
)
def test_scores_that_cannot_be_paired_are_refused(compare, before, after, message):
    with pytest.raises(InvalidData, match=message):
        compare(before, after)


def test_a_target_of_another_length_is_refused():
    with pytest.raises(InvalidData, match="got 3 before, 3 after, 2 target"):
        bootstrap_statistic(spearman, [1, 2, 3], [1, 3, 2], [1, 2])


@pytest.mark.parametrize("compare", [of_means, of_spearman])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples must be at least 1, got 0"),
        ({"confidence": 1.0}, "confidence must lie between 0 and 1, got 1.0"),
        ({"confidence": 0.0}, "confidence must lie between 0 and 1, got 0.0"),
        ({"confidence": float("nan")}, "confidence must lie between 0 and 1, got nan"),
        ({"seed": -1}, "seed must not be negative, got -1"),
    ],
)
def test_options_that_make_no_sense_are_refused(compare, options, message):
    with pytest.raises(InvalidInput, match=message):
        compare([0.1, 0.2], [0.2, 0.1], **options)
