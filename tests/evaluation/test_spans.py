from __future__ import annotations

import numpy as np
import pytest

from simsearch.errors import InvalidData
from simsearch.evaluation import compare_spans, score_spans
from simsearch.records import Span

LABELS = ("A", "B", "C")


def random_spans(rng: np.random.Generator, words: int = 12) -> list[Span]:
    """Return spans over words of one character each, none of which overlaps another."""
    spans, at = [], 0
    while at < words - 3:
        at += int(rng.integers(0, 3))
        end = at + int(rng.integers(1, 3))
        spans.append(Span(at, end, str(rng.choice(LABELS))))
        at = end
    return spans


def iob2(spans: list[Span], words: int = 16) -> list[str]:
    tags = ["O"] * words
    for span in spans:
        tags[span.start] = f"B-{span.label}"
        for word in range(span.start + 1, span.end):
            tags[word] = f"I-{span.label}"
    return tags


@pytest.fixture
def texts() -> tuple[list[list[Span]], list[list[Span]], list[list[Span]]]:
    """Return gold spans of 60 texts, worse predictions of them, and better ones."""
    rng = np.random.default_rng(4)
    gold = [random_spans(rng) for _ in range(60)]

    def spoiled(share: float) -> list[list[Span]]:
        return [spans if rng.random() > share else random_spans(rng) for spans in gold]

    return gold, spoiled(0.7), spoiled(0.3)


def test_scores_are_those_of_seqeval_in_strict_mode(texts):
    metrics = pytest.importorskip("seqeval.metrics", reason="seqeval is in the extra dev")
    scheme = pytest.importorskip("seqeval.scheme")
    gold, worse, _ = texts
    scores = score_spans(gold, worse)
    tags = [[iob2(spans) for spans in side] for side in (gold, worse)]
    report = metrics.classification_report(
        *tags, mode="strict", scheme=scheme.IOB2, output_dict=True
    )
    overall = report["micro avg"]
    assert scores.precision == pytest.approx(overall["precision"])
    assert scores.recall == pytest.approx(overall["recall"])
    assert scores.f1 == pytest.approx(overall["f1-score"])
    for label in LABELS:
        assert scores.labels[label].f1 == pytest.approx(report[label]["f1-score"])
        assert scores.labels[label].support == report[label]["support"]


def test_a_span_counts_only_if_both_ends_and_the_label_are_right():
    gold = [[Span(0, 4, "A"), Span(6, 9, "B")], [Span(0, 2, "A")]]
    found = [[Span(0, 4, "A"), Span(6, 9, "A")], [Span(0, 3, "A")]]
    scores = score_spans(gold, found)
    assert (scores.precision, scores.recall, scores.f1) == (1 / 3, 1 / 3, 1 / 3)
    assert (scores.labels["A"].precision, scores.labels["A"].recall) == (1 / 3, 1 / 2)
    assert scores.labels["B"].recall == 0.0
    assert scores.counts.tolist() == [[1, 2, 2], [0, 1, 1]]


def test_nothing_found_and_nothing_to_find_is_0():
    scores = score_spans([[]], [[]])
    assert (scores.precision, scores.recall, scores.f1, scores.labels) == (0.0, 0.0, 0.0, {})


def test_the_better_tagger_is_better_and_no_tagger_than_itself(texts):
    gold, worse, better = texts
    before, after = score_spans(gold, worse), score_spans(gold, better)
    found = compare_spans(before, after, samples=2000)
    assert found.value == pytest.approx(after.f1 - before.f1)
    assert 0 < found.low < found.value < found.high
    assert found.p < 0.01
    same = compare_spans(before, before, samples=2000)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_the_interval_is_that_of_a_bootstrap_by_hand(texts):
    gold, worse, better = texts
    before, after = score_spans(gold, worse), score_spans(gold, better)
    found = compare_spans(before, after)
    rng = np.random.default_rng(99)
    values = []
    for _ in range(4000):
        rows = rng.integers(len(gold), size=len(gold))
        sides = [
            score_spans([gold[row] for row in rows], [side[row] for row in rows]).f1
            for side in (worse, better)
        ]
        values.append(sides[1] - sides[0])
    low, high = np.quantile(values, [0.025, 0.975])
    assert (found.low, found.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


def test_scores_of_other_texts_and_of_none_are_refused(texts):
    gold, worse, _ = texts
    with pytest.raises(InvalidData, match="not scored on the same texts"):
        compare_spans(score_spans(gold, worse), score_spans(gold[:5], worse[:5]))
    with pytest.raises(InvalidData, match="need the spans of each text, got 0 and 0"):
        score_spans([], [])
