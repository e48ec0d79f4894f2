"""Scores of labelled pairs, checked by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics

from simsearch.errors import InvalidData
from simsearch.evaluation import (
    ThresholdScore,
    average_precision_score,
    best_f1,
    roc_auc_score,
)

BOTH = [average_precision_score, best_f1, roc_auc_score]


def test_average_precision_by_hand():
    assert average_precision_score([1, 0, 1, 0], [4, 3, 2, 1]) == pytest.approx((1 + 2 / 3) / 2)


def test_average_precision_of_a_perfect_order_is_one():
    assert average_precision_score([0, 1, 0, 1], [0.1, 0.8, 0.2, 0.9]) == 1.0


def test_average_precision_takes_equal_scores_as_one_step():
    assert average_precision_score([1, 0, 0, 1], [1, 1, 1, 1]) == 0.5
    assert average_precision_score([0, 0, 1, 1], [1, 1, 1, 1]) == 0.5


def test_best_f1_by_hand():
    assert best_f1([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]) == ThresholdScore(
        f1=0.8, threshold=0.7, precision=pytest.approx(2 / 3), recall=1.0
    )


def test_best_f1_takes_the_highest_of_equally_good_thresholds():
    # Accepting 1 pair: 2*1 / (1 + 2); accepting 4: 2*2 / (4 + 2). Both 2/3.
    best = best_f1([1, 0, 0, 1], [0.4, 0.3, 0.2, 0.1])
    assert (best.f1, best.threshold, best.precision, best.recall) == (
        pytest.approx(2 / 3),
        0.4,
        1.0,
        0.5,
    )


def test_best_threshold_accepts_all_pairs_with_an_equal_score():
    best = best_f1([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.1])
    assert (best.f1, best.threshold, best.precision) == (0.8, 0.5, pytest.approx(2 / 3))


@pytest.mark.parametrize("seed", range(30))
def test_all_agree_with_scikit_learn_on_scores_with_ties(seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation([0, 1, *rng.integers(0, 2, 60).tolist()])
    scores = (labels + rng.normal(size=62)).round(1)
    expected = sklearn.metrics.average_precision_score(labels, scores)
    assert average_precision_score(labels, scores) == pytest.approx(expected, abs=1e-12)
    area = sklearn.metrics.roc_auc_score(labels, scores)
    assert roc_auc_score(labels, scores) == pytest.approx(area, abs=1e-12)
    best = best_f1(labels, scores)
    f1s = [sklearn.metrics.f1_score(labels, scores >= score) for score in np.unique(scores)]
    accepted = scores >= best.threshold
    assert best.f1 == pytest.approx(max(f1s), abs=1e-12)
    assert best.f1 == pytest.approx(sklearn.metrics.f1_score(labels, accepted), abs=1e-12)
    assert best.precision == pytest.approx(sklearn.metrics.precision_score(labels, accepted))
    assert best.recall == pytest.approx(sklearn.metrics.recall_score(labels, accepted))


@pytest.mark.parametrize("score", BOTH)
def test_the_order_of_the_pairs_does_not_matter(score):
    labels, scores = np.array([1, 0, 1, 0, 0, 1]), np.array([3, 3, 2, 2, 1, 0])
    order = np.array([5, 3, 1, 0, 2, 4])
    assert score(labels[order], scores[order]) == score(labels, scores)


@pytest.mark.parametrize("score", BOTH)
def test_booleans_are_labels(score):
    assert score([True, False], [0.2, 0.1]) == score([1, 0], [0.2, 0.1])


@pytest.mark.parametrize("score", BOTH)
@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 1, 1], [1, 2, 3], "all 3 labels are 1; both 0 and 1 are needed"),
        ([0, 0], [1, 2], "all 2 labels are 0"),
        ([0, 2], [1, 2], "labels must be 0 or 1, got 2 at position 1"),
        ([-1, 1], [1, 2], "labels must be 0 or 1, got -1 at position 0"),
        ([0, 0.5], [1, 2], "labels must be 0 or 1, got 0.5"),
        ([0, 1, 1], [1, 2], "got 3 labels, 2 scores"),
        ([0, 1], [1, float("nan")], "scores must be finite"),
        ([1], [1], "at least 2"),
    ],
)
def test_pairs_that_have_no_score_are_refused(score, labels, scores, message):
    with pytest.raises(InvalidData, match=message):
        score(labels, scores)
