"""Predicted classes against the right ones: of each class, over all, and how true confidence is.

A prediction is the number of a class; -1 stands for none (a text that was rejected), which is
never right. With several labels at once, predictions are a matrix of 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.errors import InvalidData

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LabelScore:
    """How well one class is told from the others; `support` is how often it is right."""

    precision: float
    recall: float
    f1: float
    support: int


def accuracy(gold: IntArray, predicted: IntArray) -> float:
    """Return the share of texts whose class is right. Both are (n,), n at least 1."""
    _check(gold, predicted)
    return float((gold == predicted).mean())


def class_scores(gold: IntArray, predicted: IntArray, *, classes: int) -> list[LabelScore]:
    """Return precision, recall and F1 of each class; what would be 0/0 is 0. Both are (n,)."""
    _check(gold, predicted)
    return label_scores(_indicators(gold, classes), _indicators(predicted, classes))


def label_scores(gold: BoolArray, predicted: BoolArray) -> list[LabelScore]:
    """Return precision, recall and F1 of each label where several may hold. Both (n, labels)."""
    _check(gold, predicted)
    hits = (gold & predicted).sum(axis=0)
    given, right = predicted.sum(axis=0), gold.sum(axis=0)
    return [
        LabelScore(_ratio(hit, out), _ratio(hit, true), _ratio(2 * hit, out + true), int(true))
        for hit, out, true in zip(hits.tolist(), given.tolist(), right.tolist(), strict=True)
    ]


def macro_f1(scores: list[LabelScore]) -> float:
    """Return the mean F1 of the classes; one that is in no text and is never predicted is 0.

    The mean of the classes' F1, not the F1 of their mean precision and recall (Opitz & Burst
    2019, Macro F1 and Macro F1).
    """
    return float(np.mean([score.f1 for score in scores]))


def micro_f1(gold: BoolArray, predicted: BoolArray) -> float:
    """Return the F1 over all decisions, 0.0 where nothing is right or predicted. (n, labels)."""
    _check(gold, predicted)
    return _ratio(2 * int((gold & predicted).sum()), int(gold.sum() + predicted.sum()))


def confusion_matrix(gold: IntArray, predicted: IntArray, *, classes: int) -> IntArray:
    """Return how often class `row` was taken for class `column`, (classes, classes + 1).

    The last column counts texts that were rejected.
    """
    _check(gold, predicted)
    matrix = np.zeros((classes, classes + 1), dtype=np.int64)
    np.add.at(matrix, (gold, np.where(predicted < 0, classes, predicted)), 1)
    return matrix


def expected_calibration_error(
    confidences: FloatArray,
    correct: BoolArray,
    *,
    weights: FloatArray | None = None,
    bins: int = 15,
) -> float:
    """Return how far confidence is from accuracy, on average over the predictions, in [0, 1].

    Bins of equal width, (a, b]; each weighs as many predictions as it holds (Naeini, Cooper &
    Hauskrecht 2015; Guo et al. 2017, On calibration of modern neural networks). All are (n,);
    `weights` are positive and say for how many a prediction counts, by default one.
    """
    _check(confidences, correct)
    counts = np.ones(len(confidences)) if weights is None else weights
    _check(confidences, counts)
    places = np.clip(np.ceil(confidences * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights=counts * (confidences - correct), minlength=bins)
    return float(np.abs(gaps).sum() / counts.sum())


def _indicators(numbers: IntArray, classes: int) -> BoolArray:
    return np.asarray(numbers[:, None] == np.arange(classes), dtype=np.bool_)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _check(first: npt.NDArray[np.generic], second: npt.NDArray[np.generic]) -> None:
    if first.shape != second.shape:
        raise InvalidData(f"need one value for each text, got {first.shape} and {second.shape}")
    if not len(first):
        raise InvalidData("there is no text to score")
