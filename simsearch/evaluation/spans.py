"""Predicted spans against the right ones, strictly: both ends and the label have to agree.

These are seqeval's figures in strict mode with IOB2 (and conlleval's, for legal tags).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.errors import InvalidData
from simsearch.evaluation.labels import LabelScore
from simsearch.evaluation.significance import (
    Difference,
    generators,
    interval,
    p_value,
)
from simsearch.records import Span

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_ROWS = 256  # resamples computed at once


@dataclass(frozen=True, slots=True, eq=False)
class SpanScores:
    """Over all spans, and of each label; `counts` (texts, 3): right and found, found, right."""

    precision: float
    recall: float
    f1: float
    labels: dict[str, LabelScore]
    counts: IntArray


def score_spans(gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]) -> SpanScores:
    """Score the spans of texts, in the same order. What would be 0/0 is 0.

    Raises:
        InvalidData: there is no text, or they are not equally many.
    """
    if not gold or len(gold) != len(predicted):
        raise InvalidData(f"need the spans of each text, got {len(gold)} and {len(predicted)}")
    names = sorted({span.label for spans in (*gold, *predicted) for span in spans})
    by_label = {name: np.zeros(3, dtype=np.int64) for name in names}
    counts = np.zeros((len(gold), 3), dtype=np.int64)
    for row, (right, found) in enumerate(zip(gold, predicted, strict=True)):
        both = set(right) & set(found)
        for column, spans in enumerate((both, found, right)):
            counts[row, column] = len(spans)
            for span in spans:
                by_label[span.label][column] += 1
    hits, given, true = counts.sum(axis=0).tolist()
    return SpanScores(
        precision=hits / given if given else 0.0,
        recall=hits / true if true else 0.0,
        f1=2 * hits / (given + true) if given + true else 0.0,
        labels={name: _label_score(*by_label[name].tolist()) for name in names},
        counts=counts,
    )


def _label_score(hits: int, given: int, true: int) -> LabelScore:
    return LabelScore(
        hits / given if given else 0.0,
        hits / true if true else 0.0,
        2 * hits / (given + true) if given + true else 0.0,
        true,
    )


def compare_spans(
    before: SpanScores,
    after: SpanScores,
    *,
    samples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Return the difference in span F1 of two taggers on the same texts, and how sure it is.

    The interval is from texts resampled, p from a permutation test that swaps the two taggers'
    spans of a text, as in `paired_bootstrap`; F1 is computed from the summed counts of each draw.

    Raises:
        InvalidData: the scores are not of the same texts.
    """
    old, new = before.counts.astype(np.float64), after.counts.astype(np.float64)
    if old.shape != new.shape or not np.array_equal(old[:, 2], new[:, 2]):
        raise InvalidData("the two taggers were not scored on the same texts")
    n = len(old)
    resampling, swapping = generators(seed)
    drawn, swapped = [], []
    for begin in range(0, samples, _ROWS):
        rows = min(_ROWS, samples - begin)
        weights = resampling.multinomial(n, np.full(n, 1 / n), size=rows).astype(np.float64)
        drawn.append(_f1(weights @ new) - _f1(weights @ old))
        kept = swapping.integers(2, size=(rows, n)).astype(np.float64)
        swapped.append(_f1(kept @ new + (1 - kept) @ old) - _f1(kept @ old + (1 - kept) @ new))
    value = after.f1 - before.f1
    low, high = interval(np.concatenate(drawn), confidence)
    return Difference(value, low, high, p_value(np.concatenate(swapped), value, slack=1e-12))


def _f1(counts: FloatArray) -> FloatArray:
    whole = counts[:, 1] + counts[:, 2]
    result: FloatArray = 2 * counts[:, 0] / np.maximum(whole, 1)
    return result
