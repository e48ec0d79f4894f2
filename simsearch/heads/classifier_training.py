"""From labelled texts to a classifier: embeddings once, a linear map, true probabilities.

The encoder stays as it is, so an index built with it stays valid. The map is scikit-learn's
logistic regression. Folds of the same texts tell how good it is on texts it has not seen, how far
its probabilities are to be softened (temperature: Guo et al. 2017), and, with whole classes left
out in turn, how a text looks that is of no known class.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.encoder import Encoder, EncodingCounts
from simsearch.encoder.runtime import FloatArray
from simsearch.errors import InvalidData, InvalidInput
from simsearch.evaluation import (
    LabelScore,
    accuracy,
    class_scores,
    expected_calibration_error,
    label_scores,
    macro_f1,
    micro_f1,
)
from simsearch.heads.classifier import DECIDED, Classifier
from simsearch.heads.classifier_config import ClassifierConfig
from simsearch.heads.fitting import (
    TOLERANCE,
    Map,
    fit_one_label,
    fit_scope,
    fit_temperature,
    fit_yes_no,
)
from simsearch.heads.folds import equal_texts, stratified_folds
from simsearch.heads.head_file import EncoderReference
from simsearch.heads.scope import SIGNS, Scope, class_centroids, scope_signs, sigmoid, softmax
from simsearch.records import ClassifiedText

logger = logging.getLogger("simsearch")

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_LEAST_CLASSES = 4  # with fewer, what is left when one goes is no picture of the whole
_MANY_TEXTS = 3000  # from here on fewer folds are certain enough
_ROUGH = 1e-3  # enough for the three signs of scope, in a third of the time


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
        InvalidData: fewer than two classes (with several labels: none at all), or, without
            `several_labels`, a text that has not one label.
        InvalidInput: `shots` or `out_of_scope` with several labels a text, or the latter without
            `scope`.
    """
    config = config or ClassifierConfig()
    if several_labels and (config.shots is not None or out_of_scope):
        raise InvalidInput("shots and out-of-scope texts are for one label a text")
    if out_of_scope and not config.scope:
        raise InvalidInput("out-of-scope texts are for a head that learns its scope: not without")
    if not several_labels:
        _refuse_other_than_one([*texts, *calibration])
    if config.shots is not None:
        texts = draw_shots(texts, config.shots, seed=config.seed)
    labels = sorted({label for text in texts for label in text.labels})
    if len(labels) < (1 if several_labels else 2):
        raise InvalidData(
            f"{len(texts):,} texts have {len(labels)} different labels; a classifier needs "
            f"{'one' if several_labels else 'two'} at least"
        )
    embeddings = encoder.encode_documents([text.text for text in texts], counts=counts)
    fitting = _Fitting.of(embeddings, texts, labels, several_labels, config)
    outside = encoder.encode_documents(list(out_of_scope)) if out_of_scope else None
    known = [text for text in calibration if set(text.labels) <= set(labels)]
    held = None
    if known:
        vectors = encoder.encode_documents([text.text for text in known])
        held = _Fitting.of(vectors, known, labels, several_labels, config)
    weight, bias, scope, metrics = fitting.run(outside, held)
    reference = EncoderReference.of(encoder)
    head = Classifier(
        reference, tuple(labels), weight, bias, several_labels, scope, field=config.field
    )
    return ClassifierTraining(head, len(texts), metrics)


def _refuse_other_than_one(texts: Sequence[ClassifiedText]) -> None:
    other = next((text for text in texts if len(text.labels) != 1), None)
    if other is not None:
        raise InvalidData(
            f"expected one label a text, got {len(other.labels)} of {other.text[:40]!r} "
            "(several_labels=True is for such texts)"
        )


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


@dataclass(frozen=True, slots=True, eq=False)
class _Fitting:
    """Texts as numbers: `embeddings` (n, dim), `members` (n, classes), `equal` (n,) texts."""

    embeddings: FloatArray
    members: BoolArray
    equal: IntArray
    several_labels: bool
    config: ClassifierConfig

    @classmethod
    def of(
        cls,
        embeddings: FloatArray,
        texts: Sequence[ClassifiedText],
        labels: Sequence[str],
        several_labels: bool,
        config: ClassifierConfig,
    ) -> _Fitting:
        equal = equal_texts([text.text for text in texts])
        return cls(embeddings, _members(texts, labels), equal, several_labels, config)

    def run(
        self, outside: FloatArray | None, held_out: _Fitting | None
    ) -> tuple[FloatArray, FloatArray, Scope | None, dict[str, float]]:
        """Return weight and bias, divided by the temperature, the scope, and the scores."""
        every = np.ones(len(self.members), dtype=np.bool_)
        weight, bias = self._fit(every)
        if held_out is not None:
            return self._calibrated(weight, bias, outside, held_out)
        folds = stratified_folds(
            self.members,
            equal=self.equal,  # what is both learned and asked tells nothing of new texts
            folds=3 if len(self.members) > _MANY_TEXTS else 5,
            seed=self.config.seed,
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
        self, rows: BoolArray, classes: BoolArray | None = None, *, tolerance: float = TOLERANCE
    ) -> Map:
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
        """Return the scores of `score_classifier`, each as it is there."""
        if self.several_labels:
            held = sigmoid(logits)
            decided = held >= DECIDED
            found = members | decided
            confidence = np.maximum(held, 1 - held).ravel().astype(np.float64)
            return {
                "accuracy": float((decided == members).all(axis=1).mean()),
                "micro_f1": micro_f1(members, decided),
                "macro_f1": _macro_f1(label_scores(members, decided), found),
                "ece": expected_calibration_error(confidence, (decided == members).ravel()),
            }
        gold, predicted = members.argmax(axis=1), logits.argmax(axis=1)
        confidence = softmax(logits).max(axis=1).astype(np.float64)
        found = members | np.eye(members.shape[1], dtype=np.bool_)[predicted]
        return {
            "accuracy": accuracy(gold, predicted),
            "macro_f1": _macro_f1(class_scores(gold, predicted, classes=members.shape[1]), found),
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
        if outside is not None and not seen.any():
            logger.warning(
                "the texts out of scope are left unused: no class has two different texts, so none "
                "could be left out to be told from them"
            )
        if not seen.any() or (outside is None and classes < _LEAST_CLASSES):
            return None
        if outside is not None:
            inner = self._held_signs(folds, logits)
            outer = scope_signs(outside @ weight.T + bias, outside, centroids)
        else:
            scale = float(np.linalg.norm(weight))  # the temperature is that of the whole map
            inner, outer = self._left_out_signs(folds, scale)
        if not len(inner) or not len(outer):  # of the classes left, none has a text to ask about
            return None
        return Scope(centroids, *fit_scope(inner, outer))

    def _held_signs(self, folds: IntArray, logits: FloatArray) -> FloatArray:
        """Return the signs of held-out texts, each fold beside the means of the others' classes.

        A text is near to a mean that it is a part of: of two texts, half of it.
        """
        signs: list[FloatArray] = []
        for fold in range(folds.max() + 1):
            held = folds == fold
            others = self.members[~held].astype(np.float32)
            centroids = class_centroids(self.embeddings[~held], others)
            signs.append(scope_signs(logits[held], self.embeddings[held], centroids))
        return np.concatenate(signs)

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
        if not inner:
            return np.empty((0, SIGNS), np.float32), np.empty((0, SIGNS), np.float32)
        return np.concatenate(inner), np.concatenate(outer)


def _macro_f1(scores: Sequence[LabelScore], found: BoolArray) -> float:
    """Return the mean F1 of the classes in any row of `found` (n, classes); 0 if there is none."""
    kept = [scores[number] for number in np.flatnonzero(found.any(axis=0)).tolist()]
    return macro_f1(kept) if kept else 0.0
