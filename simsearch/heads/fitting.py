"""What a classifier is fitted by: linear maps, and a temperature.

The maps are scikit-learn's logistic regression.
"""

from __future__ import annotations

import logging
import warnings

import numpy as np
import numpy.typing as npt

from simsearch.encoder.runtime import FloatArray
from simsearch.errors import InvalidData
from simsearch.heads.classifier_config import ClassifierConfig, ClassWeight

logger = logging.getLogger("simsearch")

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Map = tuple[FloatArray, FloatArray]  # weight (classes, dim), bias (classes,)

_MAX_ITERATIONS = 1000
_LOG_TEMPERATURE = (-4.0, 4.0)
TOLERANCE = 1e-4  # scikit-learn's; at 1e-3 banking77 loses 0.9 points (docs/log.md, 2026-11-26)


def fit_one_label(
    embeddings: FloatArray,
    numbers: IntArray,
    classes: int,
    config: ClassifierConfig,
    *,
    tolerance: float = TOLERANCE,
) -> Map:
    """Fit a softmax over classes (n, dim), (n,) -> weight (classes, dim), bias (classes,).

    A class that no row has gets a bias so low that it is never chosen.
    """
    present = np.unique(numbers)
    weight = np.zeros((classes, embeddings.shape[1]), dtype=np.float32)
    bias = np.full(classes, -100.0, dtype=np.float32)
    if len(present) == 1:
        bias[present] = 0.0
        return weight, bias
    slope, offset = _logistic(embeddings, numbers, config, tolerance)
    if len(present) == 2:  # one map, whose sigmoid is the probability of the second
        half = np.array([[-0.5], [0.5]], dtype=np.float32)
        slope, offset = half * slope, half[:, 0] * offset
    weight[present] = slope
    bias[present] = offset
    return weight, bias


def fit_yes_no(
    embeddings: FloatArray, holds: BoolArray, config: ClassifierConfig
) -> tuple[FloatArray, float]:
    """Fit one label of several (n, dim), (n,) -> weight (dim,), bias.

    One that all texts have, or none, has the odds of that, with a text added on each side.
    """
    count = int(holds.sum())
    if count in (0, len(holds)):
        odds = np.log((count + 1) / (len(holds) - count + 1))
        return np.zeros(embeddings.shape[1], dtype=np.float32), float(odds)
    slope, offset = _logistic(embeddings, holds.astype(np.int64), config)
    return slope[0], float(offset[0])


def _logistic(
    embeddings: FloatArray,
    numbers: IntArray,
    config: ClassifierConfig,
    tolerance: float = TOLERANCE,
) -> Map:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression  # a second, which prediction must not pay

    balanced = config.class_weight is ClassWeight.BALANCED
    model = LogisticRegression(
        C=config.strength,
        class_weight="balanced" if balanced else None,
        max_iter=_MAX_ITERATIONS,
        tol=tolerance,
    )
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        model.fit(embeddings, numbers)
    if any(issubclass(each.category, ConvergenceWarning) for each in raised):
        logger.warning("the classifier has not converged; a smaller strength would help")
    slope, offset = model.coef_.astype(np.float32), model.intercept_.astype(np.float32)
    if not (np.isfinite(slope).all() and np.isfinite(offset).all()):
        raise InvalidData("the classifier's weights are not finite (use a smaller strength)")
    return slope, offset


def fit_temperature(logits: FloatArray, members: BoolArray, several_labels: bool) -> float:
    """Return the temperature by which the logits (n, classes) are divided for true probabilities.

    It is the one of the least cross-entropy, between exp(-4) and exp(4). What is right counts as
    (n + 1) / (n + 2), and what is wrong shares the rest (Platt 1999): that n texts are all right
    does not make the next one certain.
    """
    from scipy.optimize import minimize_scalar

    wide = logits.astype(np.float64)
    doubt = 1 / (len(wide) + 2)
    others = 1 if several_labels else max(1, wide.shape[1] - 1)
    wanted = np.where(members, 1 - doubt, doubt / others)

    def loss(log_temperature: float) -> float:
        scaled = wide / np.exp(log_temperature)
        if several_labels:
            return float((np.logaddexp(0, scaled) - wanted * scaled).mean())
        highest = scaled.max(axis=1)
        total = highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
        return float((total - (wanted * scaled).sum(axis=1)).mean())

    found = minimize_scalar(loss, bounds=_LOG_TEMPERATURE, method="bounded")
    return float(np.exp(found.x))


def fit_scope(inner: FloatArray, outer: FloatArray) -> tuple[FloatArray, float]:
    """Fit the logistic map of the signs (n, 3) of texts in and out of scope, at even odds.

    Returns its weight (3,) and bias.
    """
    signs = np.concatenate([inner, outer])
    inside = np.concatenate([np.ones(len(inner)), np.zeros(len(outer))]).astype(np.int64)
    centre, spread = signs.mean(axis=0), signs.std(axis=0) + np.float32(1e-6)
    config = ClassifierConfig(strength=1.0, class_weight=ClassWeight.BALANCED)
    slope, offset = _logistic((signs - centre) / spread, inside, config)
    weight = slope[0] / spread
    return weight, float(offset[0] - weight @ centre)
