"""How good a classifier is on texts whose classes are known, and whether another is worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from simsearch.errors import InvalidData, InvalidInput
from simsearch.evaluation import (
    Difference,
    LabelScore,
    accuracy,
    bootstrap_statistic,
    class_scores,
    confusion_matrix,
    expected_calibration_error,
    label_scores,
    macro_f1,
    micro_f1,
    paired_bootstrap,
    roc_auc_score,
)
from simsearch.heads.classifier import DECIDED, Classification, Classifier
from simsearch.records import ClassifiedText

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ClassifierScores:
    """`metrics` by name, the scores of each class, and `confusion` (classes, classes + 1).

    The last column of it counts rejected texts. It is None where a text may have several labels.
    """

    metrics: dict[str, float]
    classes: dict[str, LabelScore]
    confusion: IntArray | None
    texts: int


@dataclass(frozen=True, slots=True)
class ScopeScores:
    """How well `in_scope` tells texts of known classes from texts of none.

    `auroc` is the chance that a known one has the higher probability, `ece` the expected
    calibration error at even odds: both kinds weigh the same. `kept` is the share of the known
    ones at `threshold` or above it, `rejected` the share of the others, `texts`, below it.
    """

    auroc: float
    ece: float
    threshold: float
    kept: float
    rejected: float
    texts: int


def score_scope(
    known: Sequence[Classification], unknown: Sequence[Classification], *, threshold: float = 0.5
) -> ScopeScores:
    """Score what a classifier said of texts of known classes, and of texts of none.

    Raises:
        InvalidInput: the classifier has no scope.
        InvalidData: there are no texts of one kind.
    """
    sides = [
        [each.in_scope for each in side if each.in_scope is not None] for side in (known, unknown)
    ]
    inside, outside = map(np.array, sides)
    if len(inside) < len(known) or len(outside) < len(unknown):
        raise InvalidInput("this classifier has no scope: it cannot reject texts")
    if not len(inside) or not len(outside):
        raise InvalidData("expected texts of known classes and texts of none")
    labels = np.repeat([True, False], [len(inside), len(outside)])
    probabilities = np.concatenate([inside, outside])
    weights = np.repeat([1 / len(inside), 1 / len(outside)], [len(inside), len(outside)])
    return ScopeScores(
        auroc=roc_auc_score(labels, probabilities),
        ece=expected_calibration_error(probabilities, labels, weights=weights),
        threshold=threshold,
        kept=float((inside >= threshold).mean()),
        rejected=float((outside < threshold).mean()),
        texts=len(outside),
    )


def score_classifier(
    head: Classifier, gold: Sequence[ClassifiedText], predicted: Sequence[Classification]
) -> ClassifierScores:
    """Score what a classifier said of texts, in their order.

    Metrics: accuracy, macro_f1, ece (expected calibration error). With several labels a text,
    accuracy is the share of texts of which all are right, micro_f1 is added, and ece is over all
    decisions. The mean of the classes' F1 is over the classes that the texts or predictions have.

    Raises:
        InvalidData: a text has a label that the head does not know.
    """
    labels = {label: number for number, label in enumerate(head.labels)}
    unknown = sorted({label for text in gold for label in text.labels} - labels.keys())
    if unknown:
        raise InvalidData(
            f"label {unknown[0]!r}{f' and {len(unknown) - 1} more' if len(unknown) > 1 else ''} of "
            "the data is none of the head's"
        )
    if head.several_labels:
        return _score_several(head, gold, predicted)
    right = np.array([labels[text.labels[0]] for text in gold])
    chosen = np.array([labels[each.label] if each.label else -1 for each in predicted])
    scores = class_scores(right, chosen, classes=len(labels))
    confidence = np.array([each.probability for each in predicted])
    likeliest = np.array(
        [labels[max(each.probabilities, key=each.probabilities.__getitem__)] for each in predicted]
    )
    seen = np.union1d(right, chosen[chosen >= 0]).tolist()
    metrics = {
        "accuracy": accuracy(right, chosen),
        "macro_f1": macro_f1([scores[number] for number in seen]),
        "ece": expected_calibration_error(confidence, likeliest == right),
    }
    return ClassifierScores(
        metrics,
        dict(zip(head.labels, scores, strict=True)),
        confusion_matrix(right, chosen, classes=len(labels)),
        len(gold),
    )


def _score_several(
    head: Classifier, gold: Sequence[ClassifiedText], predicted: Sequence[Classification]
) -> ClassifierScores:
    right = np.array([[label in text.labels for label in head.labels] for text in gold])
    chosen = np.array([[label in each.labels for label in head.labels] for each in predicted])
    values = np.array([list(each.probabilities.values()) for each in predicted])
    scores = label_scores(right, chosen)
    seen = np.flatnonzero((right | chosen).any(axis=0)).tolist()
    metrics = {
        "accuracy": float((right == chosen).all(axis=1).mean()),
        "micro_f1": micro_f1(right, chosen),
        "macro_f1": macro_f1([scores[number] for number in seen]) if seen else 0.0,
        "ece": expected_calibration_error(
            np.maximum(values, 1 - values).ravel(), ((values >= DECIDED) == right).ravel()
        ),
    }
    return ClassifierScores(metrics, dict(zip(head.labels, scores, strict=True)), None, len(gold))


def compare_classifiers(
    gold: Sequence[ClassifiedText],
    before: Sequence[Classification],
    after: Sequence[Classification],
    *,
    several_labels: bool = False,
    seed: int = 0,
) -> dict[str, Difference]:
    """Return by how much `after` is better than `before` on the same texts, and how surely.

    Accuracy, for all that is right of a text; and, unless both heads may give `several_labels`,
    macro F1.

    Raises:
        InvalidInput: a text has several labels, or a head gives them, where one is expected.
    """
    counts = (len(each.labels) for side in (gold, before, after) for each in side)
    if not several_labels and max(counts, default=0) > 1:
        raise InvalidInput(
            "expected one label a text, got several labels (compare heads that were trained on "
            "`labels` with several_labels=True)"
        )
    sides = [[set(each.labels) for each in side] for side in (before, after)]
    wanted = [set(text.labels) for text in gold]
    old, new = (
        [float(given == right) for given, right in zip(side, wanted, strict=True)] for side in sides
    )
    differences = {"accuracy": paired_bootstrap(old, new, seed=seed)}
    if not several_labels:
        names = sorted({label for side in (wanted, *sides) for labels in side for label in labels})
        numbers = {label: number for number, label in enumerate(names)}
        right, first, second = (
            np.array([numbers[next(iter(labels))] if labels else -1 for labels in side])
            for side in (wanted, *sides)
        )
        differences["macro_f1"] = bootstrap_statistic(
            _macro_f1, first, second, right, swap="raw", seed=seed
        )
    return differences


def _macro_f1(gold: npt.NDArray[np.float64], predicted: npt.NDArray[np.float64]) -> float:
    right, chosen = gold.astype(np.int64), predicted.astype(np.int64)
    seen = np.union1d(right, chosen[chosen >= 0])
    size = int(seen.max()) + 1
    given = np.bincount(chosen[chosen >= 0], minlength=size)[seen]
    hits = np.bincount(right[right == chosen], minlength=size)[seen]
    return float((2 * hits / (given + np.bincount(right, minlength=size)[seen])).mean())


def scores_as_json(
    scores: ClassifierScores,
    difference: Mapping[str, Difference],
    scope: ScopeScores | None = None,
) -> dict[str, object]:
    """Return all that there is to say of an evaluation, as JSON."""
    return {
        "task": "classifier",
        "metrics": scores.metrics,
        "n": scores.texts,
        "classes": {
            name: {
                "precision": each.precision,
                "recall": each.recall,
                "f1": each.f1,
                "support": each.support,
            }
            for name, each in scores.classes.items()
        },
        "confusion": None if scores.confusion is None else scores.confusion.tolist(),
        **({"difference": difference_as_json(difference)} if difference else {}),
        **({} if scope is None else {"scope": asdict(scope)}),
    }


def difference_as_json(difference: Mapping[str, Difference]) -> dict[str, dict[str, float]]:
    """Return differences by metric, as `finetune --json` has them."""
    return {
        name: {"value": each.value, "low": each.low, "high": each.high, "p": each.p}
        for name, each in difference.items()
    }
