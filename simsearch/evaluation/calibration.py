"""From a score to the probability that it is of a match, and how true such probabilities are.

Two curves that never fall: a logistic one (Platt 1999, Probabilistic outputs for support vector
machines) and isotonic regression (Zadrozny & Elkan 2002, Transforming classifier scores into
accurate multiclass probability estimates). Which of them is taken is decided by log-loss on units
that did not fit them. scikit-learn is imported when an isotonic one is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from simsearch.errors import InvalidData

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

FOLDS = 5
# Fewer matches, or fewer others, leave so little in a fold that the error measured is chance.
LEAST_EXAMPLES = 20
BINS = 10
_NEWTON_STEPS = 50
_NEWTON_DONE = 1e-9  # in standard deviations of the scores
_RIDGE = 1e-9


class CalibrationMethod(StrEnum):
    """How a curve is fitted."""

    PLATT = "platt"
    ISOTONIC = "isotonic"


@dataclass(frozen=True, slots=True)
class CalibrationCurve:
    """A map of scores to probabilities, which never falls.

    PLATT is a logistic curve of `slope` and `intercept`. ISOTONIC goes in straight lines through
    the points of `scores` and `probabilities`, both rising, and is level beyond them.
    """

    method: CalibrationMethod
    slope: float = 0.0
    intercept: float = 0.0
    scores: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()

    def log_odds(self, scores: FloatArray) -> FloatArray:
        """Return the logarithm of p / (1 - p) for each score, finite, in the same shape."""
        if self.method is CalibrationMethod.PLATT:
            return np.asarray(self.slope * scores + self.intercept, dtype=np.float64)
        found = np.interp(scores, self.scores, self.probabilities)
        return np.asarray(np.log(found / (1 - found)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class FittedCurve:
    """A curve over the evidence, which is `weights` times features, and how true it is.

    `held_out` (n,) are the probabilities of what was given: each by weights and a curve that were
    fitted, and chosen, without anything of its unit. `log_losses` by method, and the expected
    calibration `error` of `held_out`, are measured in the same way.
    """

    weights: tuple[float, ...]
    curve: CalibrationCurve
    held_out: FloatArray
    log_losses: dict[CalibrationMethod, float]
    error: float


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predictions in one part of [0, 1]: their number, mean probability, and share of matches."""

    low: float
    high: float
    count: int
    predicted: float
    observed: float


def fit_curve(
    features: FloatArray, matches: BoolArray, units: IntArray, *, seed: int = 0
) -> FittedCurve:
    """Fit both curves to what is known of matches and of others; choose by cross-validated loss.

    `features` (n, f) speak for a match the higher they are; several are weighed by logistic
    regression. `matches` and `units` are (n,); `units` numbers what belongs together, such as the
    hits of one query: no fold divides it. The folds that measure the error choose for themselves,
    on folds of their own.

    Raises:
        InvalidData: there are fewer than `LEAST_EXAMPLES` matches, others or units.
    """
    if not len(features) == len(matches) == len(units):
        raise InvalidData(
            f"need one match and unit for each row, got {len(features)}, {len(matches)} and "
            f"{len(units)}"
        )
    found, distinct = int(matches.sum()), len(np.unique(units))
    if min(found, len(matches) - found, distinct) < LEAST_EXAMPLES:
        raise InvalidData(
            f"a calibration needs {LEAST_EXAMPLES} matches, {LEAST_EXAMPLES} others and "
            f"{LEAST_EXAMPLES} queries (or pairs), got {found}, {len(matches) - found} and "
            f"{distinct} (bring more pairs)"
        )
    rng = np.random.default_rng(seed)
    folds = _folds(units, rng)
    held_out = np.empty(len(features), dtype=np.float64)
    for fold in folds:
        seen = ~fold
        chosen = _choose(features[seen], matches[seen], _folds(units[seen], rng))[0]
        weights, curve = _weighed(chosen, features[seen], matches[seen])
        held_out[fold] = sigmoid(curve.log_odds(features[fold] @ weights))
    method, losses = _choose(features, matches, folds)
    weights, curve = _weighed(method, features, matches)
    return FittedCurve(
        tuple(weights.tolist()),
        curve,
        held_out,
        losses,
        calibration_error(held_out, matches),
    )


def log_loss(probabilities: FloatArray, matches: BoolArray) -> float:
    """Return the mean of -ln of the probability that was given to what is true. Both are (n,)."""
    given = np.where(matches, probabilities, 1 - probabilities)
    return float(-np.log(np.maximum(given, np.finfo(np.float64).tiny)).mean())


def reliability(
    probabilities: FloatArray, matches: BoolArray, *, bins: int = BINS
) -> list[ReliabilityBin]:
    """Return what was predicted and what was true in bins of equal width; empty ones are left out.

    Both are (n,). Bins are [a, b), the last one [a, 1].
    """
    places = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    found = []
    for number in np.unique(places).tolist():
        own = places == number
        found.append(
            ReliabilityBin(
                low=number / bins,
                high=(number + 1) / bins,
                count=int(own.sum()),
                predicted=float(probabilities[own].mean()),
                observed=float(matches[own].mean()),
            )
        )
    return found


def calibration_error(probabilities: FloatArray, matches: BoolArray, *, bins: int = BINS) -> float:
    """Return the expected calibration error of probabilities of a match, in [0, 1].

    The mean distance of predicted and observed over `reliability`'s bins, weighted by how many
    predictions each holds (Naeini, Cooper & Hauskrecht 2015).
    """
    parts = reliability(probabilities, matches, bins=bins)
    gaps = [part.count * abs(part.predicted - part.observed) for part in parts]
    return float(sum(gaps) / len(probabilities))


def sigmoid(log_odds: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-x)), without overflow."""
    raised = np.exp(-np.abs(log_odds))
    return np.asarray(np.where(log_odds >= 0, 1, raised) / (1 + raised), dtype=np.float64)


def _folds(units: IntArray, rng: np.random.Generator) -> list[BoolArray]:
    """Return which rows are in each fold; a unit is in one only."""
    distinct, number = np.unique(units, return_inverse=True)
    fold = rng.permutation(len(distinct)) % FOLDS
    return [np.asarray(fold[number] == each, dtype=np.bool_) for each in range(FOLDS)]


def _choose(
    features: FloatArray, matches: BoolArray, folds: list[BoolArray]
) -> tuple[CalibrationMethod, dict[CalibrationMethod, float]]:
    losses = {}
    for method in CalibrationMethod:
        held_out = np.empty(len(features), dtype=np.float64)
        for fold in folds:
            weights, curve = _weighed(method, features[~fold], matches[~fold])
            held_out[fold] = sigmoid(curve.log_odds(features[fold] @ weights))
        losses[method] = log_loss(held_out, matches)
    return min(losses, key=losses.__getitem__), losses


def _weighed(
    method: CalibrationMethod, features: FloatArray, matches: BoolArray
) -> tuple[FloatArray, CalibrationCurve]:
    """Return the weights of features (n, f), none below 0, and a curve over what they make."""
    weights = np.ones(features.shape[1], dtype=np.float64)
    if len(weights) > 1:
        used = np.ones(len(weights), dtype=np.bool_)
        for _ in weights:
            found = _logistic(features[:, used], _soft_targets(matches))[0]
            weights = np.zeros(len(weights), dtype=np.float64)
            weights[used] = np.maximum(found, 0)
            if (found >= 0).all():
                break
            used &= weights > 0  # one that speaks against a match says nothing
    return weights, _fit(method, features @ weights, matches)


def _fit(method: CalibrationMethod, scores: FloatArray, matches: BoolArray) -> CalibrationCurve:
    if method is CalibrationMethod.PLATT:
        return _fit_platt(scores, matches)
    return _fit_isotonic(scores, matches)


def _fit_platt(scores: FloatArray, matches: BoolArray) -> CalibrationCurve:
    """Fit a logistic curve to the soft targets of Platt's section 2.2."""
    target = _soft_targets(matches)
    weights, intercept = _logistic(scores[:, None], target)
    slope = float(weights[0])
    if slope <= 0:  # the higher the less likely: then the score says nothing
        share = float(target.mean())
        slope, intercept = 0.0, float(np.log(share / (1 - share)))
    return CalibrationCurve(CalibrationMethod.PLATT, slope=slope, intercept=intercept)


def _soft_targets(matches: BoolArray) -> FloatArray:
    """Return what is aimed at in the place of 0 and 1.

    It keeps a slope finite where the scores tell matches and others apart without an error.
    """
    found = int(matches.sum())
    high, low = (found + 1) / (found + 2), 1 / (len(matches) - found + 2)
    return np.where(matches, high, low)


def _logistic(features: FloatArray, target: FloatArray) -> tuple[FloatArray, float]:
    """Return weights (f,) and intercept of a logistic regression, by Newton's method."""
    share = float(target.mean())
    centre, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    scaled = np.column_stack([(features - centre) / spread, np.ones(len(features))])
    weights = np.zeros(scaled.shape[1], dtype=np.float64)
    weights[-1] = np.log(share / (1 - share))  # what the share alone says
    for _ in range(_NEWTON_STEPS):
        step = _newton_step(scaled, target, weights)
        # A full step may overshoot; half of it, or a quarter, ... does not.
        while _cross_entropy(scaled, target, weights - step) > _cross_entropy(
            scaled, target, weights
        ):
            step = step / 2
        weights = weights - step
        if np.abs(step).max() < _NEWTON_DONE:
            break
    found = np.asarray(weights[:-1] / spread, dtype=np.float64)
    return found, float(weights[-1] - found @ centre)


def _newton_step(features: FloatArray, target: FloatArray, weights: FloatArray) -> FloatArray:
    """Return how far to go back from `weights` (f,); `features` are (n, f), `target` (n,)."""
    predicted = sigmoid(features @ weights)
    curvature = (features * (predicted * (1 - predicted))[:, None]).T @ features
    curvature += _RIDGE * np.eye(len(weights))  # of scores that are all equal it has no inverse
    step = np.linalg.solve(curvature, features.T @ (predicted - target))
    return np.asarray(step, dtype=np.float64)


def _cross_entropy(features: FloatArray, target: FloatArray, weights: FloatArray) -> float:
    log_odds = features @ weights
    return float((np.logaddexp(0, log_odds) - target * log_odds).sum())


def _fit_isotonic(scores: FloatArray, matches: BoolArray) -> CalibrationCurve:
    """Fit a rising curve, kept off 0 and 1, which no number of examples can prove."""
    from sklearn.isotonic import IsotonicRegression

    least = 1 / (len(scores) + 2)
    model = IsotonicRegression(y_min=least, y_max=1 - least)
    model.fit(scores, matches.astype(np.float64))
    return CalibrationCurve(
        CalibrationMethod.ISOTONIC,
        scores=tuple(model.X_thresholds_.tolist()),
        probabilities=tuple(model.y_thresholds_.tolist()),
    )
