"""Scores become probabilities, and how true these are is measured on what did not fit them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression

from simsearch.errors import InvalidData
from simsearch.evaluation import (
    CalibrationCurve,
    CalibrationMethod,
    calibration_error,
    fit_curve,
    log_loss,
    reliability,
    sigmoid,
)
from simsearch.evaluation.calibration import _fit, _folds


def drawn(count: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores, matches of which the log-odds are 12 s - 6, and these probabilities."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0, 1, count)
    chances = 1 / (1 + np.exp(-(12 * scores - 6)))
    return scores, rng.uniform(size=count) < chances, chances


def test_platt_agrees_with_scikit_learns_own():
    scores, matches, _ = drawn(400)
    theirs = _SigmoidCalibration().fit(scores, matches).predict(scores)
    ours = sigmoid(_fit(CalibrationMethod.PLATT, scores, matches).log_odds(scores))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_isotonic_agrees_with_scikit_learns_within_what_can_be_proved():
    scores, matches, _ = drawn(400)
    theirs = IsotonicRegression().fit(scores, matches).predict(scores)
    ours = sigmoid(_fit(CalibrationMethod.ISOTONIC, scores, matches).log_odds(scores))
    np.testing.assert_allclose(ours, np.clip(theirs, 1 / 402, 401 / 402), atol=1e-9)


def test_a_logistic_truth_is_found_again_and_platt_is_chosen():
    scores, matches, chances = drawn(4000)
    found = fit_curve(scores[:, None], matches, np.arange(4000))
    assert found.curve.method is CalibrationMethod.PLATT
    assert found.curve.slope == pytest.approx(12, abs=0.8)
    assert found.curve.intercept == pytest.approx(-6, abs=0.4)
    assert np.abs(found.held_out - chances).max() < 0.05
    assert found.error < 0.02


def test_two_features_are_weighed_as_they_speak_for_a_match():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(4000, 2))
    matches = rng.uniform(size=4000) < 1 / (1 + np.exp(-(3 * features[:, 0] + features[:, 1] - 1)))
    found = fit_curve(features, matches, np.arange(4000))
    assert found.weights == (pytest.approx(3, abs=0.25), pytest.approx(1, abs=0.15))
    assert found.curve.slope == pytest.approx(1, abs=0.01)
    assert found.error < 0.03


def test_a_feature_that_speaks_against_a_match_has_no_weight():
    rng = np.random.default_rng(4)
    features = rng.normal(size=(1000, 2))
    matches = rng.uniform(size=1000) < 1 / (1 + np.exp(-(2 * features[:, 0] - features[:, 1])))
    found = fit_curve(features, matches, np.arange(1000))
    assert found.weights[1] == 0.0
    alone = fit_curve(features[:, :1], matches, np.arange(1000))
    evidence = features @ np.array(found.weights)
    np.testing.assert_allclose(
        found.curve.log_odds(evidence), alone.curve.log_odds(features[:, 0]), atol=1e-3
    )


def test_a_step_is_no_logistic_curve_and_isotonic_is_chosen():
    rng = np.random.default_rng(1)
    scores = rng.uniform(0, 1, 4000)
    matches = rng.uniform(size=4000) < np.where(scores < 0.3, 0.1, 0.6)
    found = fit_curve(scores[:, None], matches, np.arange(4000))
    assert found.curve.method is CalibrationMethod.ISOTONIC
    low, high = sigmoid(found.curve.log_odds(np.array([0.2, 0.5])))
    assert (low, high) == (pytest.approx(0.1, abs=0.03), pytest.approx(0.6, abs=0.06))


def test_no_fold_divides_a_query_and_every_score_is_in_one():
    units = np.repeat(np.arange(33), 10)
    folds = _folds(units, np.random.default_rng(2))
    np.testing.assert_array_equal(np.sum(folds, axis=0), np.ones(330))
    assert sorted(len(np.unique(units[fold])) for fold in folds) == [6, 6, 7, 7, 7]
    assert [len(fold.nonzero()[0]) for fold in folds] == [
        10 * len(np.unique(units[fold])) for fold in folds
    ]


def test_equal_scores_have_their_share():
    curve = _fit(CalibrationMethod.PLATT, np.full(50, 0.4), np.arange(50) < 10)
    (found,) = sigmoid(curve.log_odds(np.array([0.4])))
    assert found == pytest.approx(0.2, abs=0.02)


def test_a_score_that_says_the_contrary_gives_every_score_the_same_probability():
    scores, matches, _ = drawn(400)
    curve = _fit(CalibrationMethod.PLATT, -scores, matches)
    low, high = sigmoid(curve.log_odds(np.array([-1.0, 0.0])))
    assert low == high == pytest.approx(matches.mean(), abs=0.01)


def test_matches_and_others_apart_without_an_error_prove_no_certainty():
    scores = np.concatenate([np.linspace(0, 0.4, 30), np.linspace(0.6, 1, 30)])
    matches = np.repeat([False, True], 30)
    for method in CalibrationMethod:
        ends = sigmoid(_fit(method, scores, matches).log_odds(np.array([-9.0, 0.0, 1.0, 9.0])))
        assert (ends > 0).all()
        assert (ends < 1).all() or method is CalibrationMethod.PLATT
        assert ends[2] < 0.999
        assert np.isfinite(_fit(method, scores, matches).log_odds(np.array([-9.0, 9.0]))).all()


def test_the_error_is_the_mean_distance_weighted_by_how_many_there_are():
    probabilities = np.array([0.05, 0.05, 0.05, 0.05, 0.85, 0.85])
    matches = np.array([False, False, False, True, True, True])
    # Bins: 4 of 0.05, of which a quarter is true; 2 of 0.85, all true.
    assert calibration_error(probabilities, matches) == pytest.approx((4 * 0.2 + 2 * 0.15) / 6)
    first, last = reliability(probabilities, matches)
    assert (first.low, first.high, first.count) == (0.0, 0.1, 4)
    assert (first.predicted, first.observed) == (pytest.approx(0.05), 0.25)
    assert (last.low, last.high, last.count, last.observed) == (0.8, 0.9, 2, 1.0)


def test_certainty_falls_into_the_last_bin():
    (only,) = reliability(np.array([1.0]), np.array([True]))
    assert (only.low, only.high, only.count) == (0.9, 1.0, 1)


def test_log_loss_by_hand():
    value = log_loss(np.array([0.8, 0.3]), np.array([True, False]))
    assert value == pytest.approx(-(np.log(0.8) + np.log(0.7)) / 2)


def test_isotonic_goes_in_straight_lines_between_its_points():
    curve = CalibrationCurve(
        CalibrationMethod.ISOTONIC, scores=(0.2, 0.6), probabilities=(0.1, 0.5)
    )
    found = sigmoid(curve.log_odds(np.array([0.0, 0.2, 0.4, 0.6, 1.0])))
    np.testing.assert_allclose(found, [0.1, 0.1, 0.3, 0.5, 0.5])


@pytest.mark.parametrize(
    ("matching", "others", "queries"), [(19, 100, 119), (100, 19, 119), (60, 60, 19)]
)
def test_too_little_is_refused_with_what_is_needed(matching, others, queries):
    scores = np.linspace(0, 1, matching + others)
    matches = np.arange(matching + others) < matching
    units = np.arange(matching + others) % queries
    with pytest.raises(InvalidData, match=f"got {matching}, {others} and {queries}"):
        fit_curve(scores[:, None], matches, units)
