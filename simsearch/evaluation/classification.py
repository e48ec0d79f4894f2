"""Scores of what is labelled 0 or 1: how well they tell, say, similar pairs from the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.errors import InvalidData
from simsearch.evaluation._arrays import FloatArray, mid_ranks, same_length, series


@dataclass(frozen=True, slots=True)
class ThresholdScore:
    """The F1 of calling every pair with `score >= threshold` similar."""

    f1: float
    threshold: float
    precision: float
    recall: float


def average_precision_score(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Return the area under the precision-recall steps, in (0, 1]; equal scores are one step.

    `labels` (n,) of 0 and 1, `scores` (n,), higher is more similar. The sum over thresholds of
    (recall gained) * precision, without interpolation (scikit-learn's average_precision_score;
    Davis & Goadrich 2006, ICML, on why not to interpolate).
    Raises InvalidData for labels other than 0 and 1, for one class only, n < 2, or a NaN.
    """
    steps = _steps(labels, scores)
    gained = np.diff(steps.true_positives, prepend=0.0)
    return float(gained @ (steps.true_positives / steps.accepted) / steps.positives)


def roc_auc_score(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Return the chance that one labelled 1 scores higher than one labelled 0, a tie counting half.

    The area under the ROC curve, as the rank sum of Mann & Whitney 1947 (Hanley & McNeil 1982).
    `labels` (n,) of 0 and 1, `scores` (n,). Errors as `average_precision_score`.
    """
    truth, values = _labelled(labels, scores)
    ones = float(truth.sum())
    above = float(mid_ranks(values) @ truth) - ones * (ones + 1) / 2
    return above / (ones * (len(truth) - ones))


def best_f1(labels: npt.ArrayLike, scores: npt.ArrayLike) -> ThresholdScore:
    """Return the highest F1 that a threshold on `scores` (n,) reaches, and the threshold.

    The threshold is one of the scores; of several with the same F1 the highest is taken.
    It is chosen on the data it is measured on, so F1 is an upper bound for new data.
    F1: van Rijsbergen 1979, Information Retrieval, chapter 7.
    Raises InvalidData for labels other than 0 and 1, for one class only, n < 2, or a NaN.
    """
    steps = _steps(labels, scores)
    f1 = 2 * steps.true_positives / (steps.accepted + steps.positives)
    best = int(f1.argmax())  # the first of equals, and the thresholds descend
    return ThresholdScore(
        f1=float(f1[best]),
        threshold=float(steps.thresholds[best]),
        precision=float(steps.true_positives[best] / steps.accepted[best]),
        recall=float(steps.true_positives[best] / steps.positives),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    """What is accepted at every distinct score, highest first; arrays are (n_thresholds,)."""

    thresholds: FloatArray
    accepted: FloatArray
    true_positives: FloatArray
    positives: float


def _steps(labels: npt.ArrayLike, scores: npt.ArrayLike) -> _Steps:
    truth, values = _labelled(labels, scores)
    order = np.argsort(-values, kind="stable")
    truth, values = truth[order], values[order]
    ends = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)  # last of equal scores
    return _Steps(
        thresholds=values[ends],
        accepted=ends + 1.0,
        true_positives=truth.cumsum()[ends],
        positives=float(truth.sum()),
    )


def _labelled(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    truth, values = series(labels, "labels"), series(scores, "scores")
    same_length(labels=truth, scores=values)
    bad = np.flatnonzero((truth != 0) & (truth != 1))
    if len(bad):
        raise InvalidData(f"labels must be 0 or 1, got {truth[bad[0]]:g} at position {bad[0]}")
    if truth.min() == truth.max():
        raise InvalidData(f"all {len(truth)} labels are {truth[0]:g}; both 0 and 1 are needed")
    return truth, values
