"""From labelled texts to a classifier: embeddings once, a linear map, true probabilities.

The encoder stays as it is, so an index built with it stays valid. The map is scikit-learn's
logistic regression. Folds of the same texts tell how good it is on texts it has not seen, how far
its probabilities are to be softened (temperature: Guo et al. 2017), and, with whole classes left
out in turn, how a text looks that is of no known class.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from simsearch.encoder import Encoder, EncodingCounts
from simsearch.encoder.runtime import FloatArray
from simsearch.errors import InvalidData, InvalidInput
from simsearch.evaluation import (
    accuracy,
    class_scores,
    expected_calibration_error,
    label_scores,
    macro_f1,
    micro_f1,
)
from simsearch.heads.classifier import DECIDED, Classifier
from simsearch.heads.head_file import EncoderReference, check_field
from simsearch.heads.scope import Scope, class_centroids, scope_signs, sigmoid, softmax
from simsearch.records import ClassifiedText

logger = logging.getLogger("simsearch")

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_MAX_ITERATIONS = 1000
_LEAST_CLASSES = 4  # with fewer, what is left when one goes is no picture of the whole
_MANY_TEXTS = 3000  # from here on fewer folds are certain enough
_LOG_TEMPERATURE = (-4.0, 4.0)
_TOLERANCE = 1e-4  # scikit-learn's; at 1e-3 banking77 loses 0.9 points (docs/log.md, 2026-11-26)
_ROUGH = 1e-3  # enough for the three signs of scope, in a third of the time


class ClassWeight(StrEnum):
    """How much a text of each class counts."""

    EQUAL = "equal"  # every text the same
    BALANCED = "balanced"  # every class the same


@dataclass(frozen=True, slots=True)
class ClassifierConfig:
    """Settings of a training.

    `strength` is the inverse of the regularisation, scikit-learn's C. `shots`, if given, is how
    many texts of each class are used, drawn by `seed`. `scope`: learn to tell texts of no class.

    Raises:
        InvalidInput: a setting is out of its range.
    """

    strength: float = 10.0
    class_weight: ClassWeight = ClassWeight.EQUAL
    shots: int | None = None
    scope: bool = True
    seed: int = 0
    field: str = "label"

    def __post_init__(self) -> None:
        if not 0 < self.strength < float("inf"):
            raise InvalidInput(f"strength must be above 0, got {self.strength}")
        if not isinstance(self.class_weight, ClassWeight):
            raise InvalidInput(f"class_weight must be a ClassWeight, got {self.class_weight!r}")
        if self.shots is not None and self.shots < 1:
            raise InvalidInput(f"shots must be at least 1, got {self.shots}")
        if self.seed < 0:
            raise InvalidInput(f"seed must not be negative, got {self.seed}")
        check_field(self.field)


@dataclass(frozen=True, slots=True, eq=False)
class ClassifierTraining:
    """A trained classifier, the number of texts, and its scores in cross-validation.

    `metrics` is empty where no text could be left out.
    """

    head: Classifier
    texts: int
    metrics: dict[str, float]


def train_classifier(
    texts: Sequence[ClassifiedText],
    encoder: Encoder,
    *,
    several_labels: bool = False,
    config: ClassifierConfig | None = None,
    out_of_scope: Sequence[str] = (),
    calibration: Sequence[ClassifiedText] = (),
    counts: EncodingCounts | None = None,
) -> ClassifierTraining:
    """Train a classifier on a frozen encoder; the labels are in order of their names.

    `out_of_scope` are texts of no known class, for the probability of being in scope; without
    them, and with four classes or more, classes are left out in turn. `calibration` are texts that
    the encoder was not tuned on, where it was tuned on the others: the temperature is fitted on
    them, and the scores are theirs, in the place of folds, which would all look known.

    Raises:
        InvalidData: fewer than two classes (with several labels: none at all).
        InvalidInput: `shots` or `out_of_scope` with several labels a text.
    """
    config = config or ClassifierConfig()
    if several_labels and (config.shots is not None or out_of_scope):
        raise InvalidInput("shots and out-of-scope texts are for one label a text")
    if not several_labels and config.shots is not None:
        texts = draw_shots(texts, config.shots, seed=config.seed)
    labels = sorted({label for text in texts for label in text.labels})
    if len(labels) < (1 if several_labels else 2):
        raise InvalidData(
            f"{len(texts):,} texts have {len(labels)} different labels; a classifier needs "
            f"{'one' if several_labels else 'two'} at least"
        )
    embeddings = encoder.encode_documents([text.text for text in texts], counts=counts)
    fitting = _Fitting(embeddings, _members(texts, labels), several_labels, config)
    outside = encoder.encode_documents(list(out_of_scope)) if out_of_scope else None
    known = [text for text in calibration if set(text.labels) <= set(labels)]
    held = None
    if known:
        vectors = encoder.encode_documents([text.text for text in known])
        held = _Fitting(vectors, _members(known, labels), several_labels, config)
    weight, bias, scope, metrics = fitting.run(outside, held)
    reference = EncoderReference.of(encoder)
    head = Classifier(
        reference, tuple(labels), weight, bias, several_labels, scope, field=config.field
    )
    return ClassifierTraining(head, len(texts), metrics)


def _members(texts: Sequence[ClassifiedText], labels: Sequence[str]) -> BoolArray:
    number = {label: position for position, label in enumerate(labels)}
    members = np.zeros((len(texts), len(labels)), dtype=np.bool_)
    for row, text in enumerate(texts):
        members[row, [number[label] for label in text.labels]] = True
    return members


def draw_shots(
    texts: Sequence[ClassifiedText], shots: int, *, seed: int
) -> Sequence[ClassifiedText]:
    """Return `shots` texts of each class, or all of a class that has fewer, in their order."""
    order = np.random.default_rng(seed).permutation(len(texts)).tolist()
    taken: dict[str, int] = {}
    kept = []
    for position in order:
        label = texts[position].labels[0]
        taken[label] = taken.get(label, 0) + 1
        if taken[label] <= shots:
            kept.append(position)
    return [texts[position] for position in sorted(kept)]


_Map = tuple[FloatArray, FloatArray]  # weight (classes, dim), bias (classes,)


@dataclass(frozen=True, slots=True, eq=False)
class _Fitting:
    """Texts as numbers: `embeddings` (n, dim), `members` (n, classes)."""

    embeddings: FloatArray
    members: BoolArray
    several_labels: bool
    config: ClassifierConfig

    def run(
        self, outside: FloatArray | None, held_out: _Fitting | None
    ) -> tuple[FloatArray, FloatArray, Scope | None, dict[str, float]]:
        """Return weight and bias, divided by the temperature, the scope, and the scores."""
        every = np.ones(len(self.members), dtype=np.bool_)
        weight, bias = self._fit(every)
        if held_out is not None:
            return self._calibrated(weight, bias, outside, held_out)
        folds = stratified_folds(
            self.members, folds=3 if len(self.members) > _MANY_TEXTS else 5, seed=self.config.seed
        )
        logits = np.full(self.members.shape, np.nan, dtype=np.float32)
        for fold in range(folds.max() + 1):
            held = folds == fold
            if held.any():
                part, offset = self._fit(~held)
                logits[held] = self.embeddings[held] @ part.T + offset
        seen = folds >= 0
        temperature = 1.0
        metrics: dict[str, float] = {}
        if seen.any():
            temperature = fit_temperature(logits[seen], self.members[seen], self.several_labels)
            metrics = self._scores(logits[seen] / temperature, self.members[seen])
        weight, bias = weight / np.float32(temperature), bias / np.float32(temperature)
        scope = self._scope(weight, bias, folds, logits / np.float32(temperature), outside)
        return weight, bias, scope, metrics

    def _calibrated(
        self, weight: FloatArray, bias: FloatArray, outside: FloatArray | None, held_out: _Fitting
    ) -> tuple[FloatArray, FloatArray, Scope | None, dict[str, float]]:
        """Return what `run` does, measured on texts of their own."""
        logits = held_out.embeddings @ weight.T + bias
        temperature = fit_temperature(logits, held_out.members, self.several_labels)
        weight, bias = weight / np.float32(temperature), bias / np.float32(temperature)
        logits = logits / np.float32(temperature)
        scope = None
        if outside is not None and self.config.scope:
            centroids = class_centroids(self.embeddings, self.members.astype(np.float32))
            inner = scope_signs(logits, held_out.embeddings, centroids)
            outer = scope_signs(outside @ weight.T + bias, outside, centroids)
            scope = Scope(centroids, *fit_scope(inner, outer))
        return weight, bias, scope, self._scores(logits, held_out.members)

    def _fit(
        self, rows: BoolArray, classes: BoolArray | None = None, *, tolerance: float = _TOLERANCE
    ) -> _Map:
        """Fit the map to some of the rows, and to some of the classes."""
        members = self.members[rows] if classes is None else self.members[np.ix_(rows, classes)]
        embeddings = self.embeddings[rows]
        if not self.several_labels:
            return fit_one_label(
                embeddings,
                members.argmax(axis=1),
                members.shape[1],
                self.config,
                tolerance=tolerance,
            )
        maps = [fit_yes_no(embeddings, column, self.config) for column in members.T]
        weight = np.stack([each[0] for each in maps])
        return weight, np.array([each[1] for each in maps], dtype=np.float32)

    def _scores(self, logits: FloatArray, members: BoolArray) -> dict[str, float]:
        if self.several_labels:
            held = sigmoid(logits)
            decided = held >= DECIDED
            confidence = np.maximum(held, 1 - held).ravel().astype(np.float64)
            return {
                "accuracy": float((decided == members).all(axis=1).mean()),
                "micro_f1": micro_f1(members, decided),
                "macro_f1": macro_f1(label_scores(members, decided)),
                "ece": expected_calibration_error(confidence, (decided == members).ravel()),
            }
        gold, predicted = members.argmax(axis=1), logits.argmax(axis=1)
        confidence = softmax(logits).max(axis=1).astype(np.float64)
        return {
            "accuracy": accuracy(gold, predicted),
            "macro_f1": macro_f1(class_scores(gold, predicted, classes=members.shape[1])),
            "ece": expected_calibration_error(confidence, gold == predicted),
        }

    def _scope(
        self,
        weight: FloatArray,
        bias: FloatArray,
        folds: IntArray,
        logits: FloatArray,
        outside: FloatArray | None,
    ) -> Scope | None:
        """Return how to tell what is in scope; None where that is not wanted, or not to be had.

        `logits` are those of folds, at the temperature.
        """
        classes = self.members.shape[1]
        if self.several_labels or not self.config.scope:
            return None
        centroids = class_centroids(self.embeddings, self.members.astype(np.float32))
        seen = folds >= 0
        if not seen.any() or (outside is None and classes < _LEAST_CLASSES):
            return None
        if outside is not None:
            # Centroids of all texts, those that were held included: one text moves them little.
            inner = scope_signs(logits[seen], self.embeddings[seen], centroids)
            outer = scope_signs(outside @ weight.T + bias, outside, centroids)
        else:
            scale = float(np.linalg.norm(weight))  # the temperature is that of the whole map
            inner, outer = self._left_out_signs(folds, scale)
        return Scope(centroids, *fit_scope(inner, outer))

    def _left_out_signs(self, folds: IntArray, scale: float) -> tuple[FloatArray, FloatArray]:
        """Return the signs of held-out texts whose class was there, and of those of left-out ones.

        Of a map without some of the classes, its size brought to that of the whole one: `scale`.
        """
        gold = self.members.argmax(axis=1)
        rng = np.random.default_rng(self.config.seed)
        class_fold = rng.permutation(self.members.shape[1]) % (folds.max() + 1)
        inner: list[FloatArray] = []
        outer: list[FloatArray] = []
        for fold in range(folds.max() + 1):
            held = folds == fold
            kept_classes = class_fold != fold
            known = kept_classes[gold]
            if kept_classes.all() or kept_classes.sum() < 2 or not (known & ~held).any():
                continue
            weight, bias = self._fit(known & ~held, kept_classes, tolerance=_ROUGH)
            share = np.sqrt(kept_classes.sum() / len(kept_classes))
            size = scale * share / max(float(np.linalg.norm(weight)), 1e-12)
            weight, bias = weight * np.float32(size), bias * np.float32(size)
            members = self.members[np.ix_(known & ~held, kept_classes)].astype(np.float32)
            centroids = class_centroids(self.embeddings[known & ~held], members)
            for part, rows in ((inner, known & held), (outer, ~known)):
                vectors = self.embeddings[rows]
                part.append(scope_signs(vectors @ weight.T + bias, vectors, centroids))
        return np.concatenate(inner), np.concatenate(outer)


def stratified_folds(members: BoolArray, *, folds: int, seed: int) -> IntArray:
    """Return the fold in which each row is left out, (n,); -1: never, it is the only of its class.

    Rows of the same classes are spread over the folds evenly, in an order drawn by `seed`.
    """
    order = np.random.default_rng(seed).permutation(len(members))
    groups: dict[bytes, list[int]] = {}
    for row in order.tolist():
        groups.setdefault(members[row].tobytes(), []).append(row)
    result = np.full(len(members), -1, dtype=np.int64)
    counts = members.sum(axis=0)
    turn = 0
    for rows in groups.values():
        for row in rows:
            if (counts[members[row]] >= 2).all():
                result[row] = turn % folds
                turn += 1
    return result


def fit_one_label(
    embeddings: FloatArray,
    numbers: IntArray,
    classes: int,
    config: ClassifierConfig,
    *,
    tolerance: float = _TOLERANCE,
) -> _Map:
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
    tolerance: float = _TOLERANCE,
) -> _Map:
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

    It is the one of the least negative log likelihood, between exp(-4) and exp(4).
    """
    from scipy.optimize import minimize_scalar

    wide = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        scaled = wide / np.exp(log_temperature)
        if several_labels:
            return float(np.logaddexp(0, np.where(members, -scaled, scaled)).mean())
        highest = scaled.max(axis=1)
        total = highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
        return float((total - scaled[members]).mean())

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
