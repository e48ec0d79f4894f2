from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from simsearch.errors import InvalidData
from simsearch.evaluation import (
    accuracy,
    class_scores,
    confusion_matrix,
    expected_calibration_error,
    label_scores,
    macro_f1,
    micro_f1,
)

RNG = np.random.default_rng(3)
GOLD = RNG.integers(4, size=200)
PREDICTED = np.where(RNG.random(200) < 0.6, GOLD, RNG.integers(4, size=200))
HOLDS = RNG.random((50, 5)) < 0.3
DECIDED = np.where(RNG.random((50, 5)) < 0.7, HOLDS, RNG.random((50, 5)) < 0.3)


def test_scores_of_classes_are_those_of_scikit_learn():
    expected = metrics.precision_recall_fscore_support(GOLD, PREDICTED)
    scores = class_scores(GOLD, PREDICTED, classes=4)
    found = [(each.precision, each.recall, each.f1, each.support) for each in scores]
    np.testing.assert_allclose(np.array(found).T, expected)
    assert macro_f1(scores) == pytest.approx(metrics.f1_score(GOLD, PREDICTED, average="macro"))
    assert accuracy(GOLD, PREDICTED) == pytest.approx(metrics.accuracy_score(GOLD, PREDICTED))


def test_scores_of_several_labels_are_those_of_scikit_learn():
    assert micro_f1(HOLDS, DECIDED) == pytest.approx(
        metrics.f1_score(HOLDS, DECIDED, average="micro")
    )
    assert macro_f1(label_scores(HOLDS, DECIDED)) == pytest.approx(
        metrics.f1_score(HOLDS, DECIDED, average="macro")
    )


def test_the_confusion_matrix_is_that_of_scikit_learn_with_a_column_for_rejected_texts():
    matrix = confusion_matrix(GOLD, PREDICTED, classes=4)
    np.testing.assert_array_equal(matrix[:, :4], metrics.confusion_matrix(GOLD, PREDICTED))
    assert matrix[:, 4].tolist() == [0, 0, 0, 0]
    rejected = confusion_matrix(np.array([0, 1, 1]), np.array([0, -1, 0]), classes=2)
    assert rejected.tolist() == [[1, 0, 0], [1, 0, 1]]


def test_a_class_that_is_neither_there_nor_predicted_scores_0():
    (_, absent) = class_scores(np.array([0, 0]), np.array([0, 0]), classes=2)
    assert (absent.precision, absent.recall, absent.f1, absent.support) == (0, 0, 0, 0)


def test_a_rejected_text_is_never_right():
    assert accuracy(np.array([0, 1]), np.array([-1, 1])) == 0.5
    first, _ = class_scores(np.array([0, 0]), np.array([-1, 0]), classes=2)
    assert (first.precision, first.recall) == (1.0, 0.5)


def test_the_calibration_error_by_hand():
    # Bins (0.4, 0.6] and (0.8, 1]: 0.5 with accuracy 1/2, 0.9 with accuracy 1/3.
    confidences = np.array([0.5, 0.5, 0.9, 0.9, 0.9])
    correct = np.array([True, False, True, False, False])
    expected = 3 / 5 * (0.9 - 1 / 3)
    assert expected_calibration_error(confidences, correct, bins=5) == pytest.approx(expected)


def test_a_weight_counts_for_so_many_predictions():
    confidences = np.array([0.5, 0.9])
    correct = np.array([True, False])
    repeated = expected_calibration_error(
        np.repeat(confidences, [3, 1]), np.repeat(correct, [3, 1])
    )
    weighted = expected_calibration_error(confidences, correct, weights=np.array([0.75, 0.25]))
    assert weighted == pytest.approx(repeated) == pytest.approx(0.75 * 0.5 + 0.25 * 0.9)


def test_confidence_at_both_ends_has_a_bin():
    assert expected_calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0.0


def test_lengths_that_differ_and_no_text_at_all_are_refused():
    with pytest.raises(InvalidData, match="one value for each text"):
        accuracy(np.array([0]), np.array([0, 1]))
    with pytest.raises(InvalidData, match="no text"):
        accuracy(np.array([], dtype=np.int64), np.array([], dtype=np.int64))
