"""Held-out data: scores an encoder, and compares two scorings of the same data."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from simsearch.errors import InvalidData, InvalidInput
from simsearch.evaluation import (
    Difference,
    SwapScale,
    average_precision_score,
    best_f1,
    bootstrap_statistic,
    paired_bootstrap,
    pearson,
    spearman,
)
from simsearch.formats import Example
from simsearch.records import Document, LabelledPair, Pair, ScoredPair, Triplet
from simsearch.search_index import (
    RetrievalTask,
    TextEncoder,
    evaluate_retrieval,
    pair_similarities,
)

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """How one encoder did: `metrics` by name, and what they were computed from.

    `units` holds per-query scores by metric name for retrieval, or one array of similarities
    under the empty name for pairs.
    """

    metrics: Mapping[str, float]
    units: Mapping[str, FloatArray]


class HeldOut(Protocol):
    """Data with known answers that no training example has in it."""

    deciding_metric: str
    description: str
    size: int  # queries or pairs: what a difference is averaged over

    def score(self, encoder: TextEncoder) -> Scores: ...
    def compare(self, before: Scores, after: Scores) -> dict[str, Difference]: ...


class HeldOutRetrieval:
    """Queries against a corpus; every metric is a mean over queries."""

    def __init__(self, task: RetrievalTask) -> None:
        if not task.queries or not task.corpus:
            raise InvalidData("the held-out data has no query with an answer in its corpus")
        self.task = task
        self.size = len(task.queries)
        self.deciding_metric = "ndcg@10"
        self.description = (
            f"{len(task.queries):,} queries against {len(task.corpus):,} texts"
            f"{f' ({task.name})' if task.name else ''}"
        )

    def score(self, encoder: TextEncoder) -> Scores:
        """Search exactly and return the means, and the scores of each query."""
        scores = evaluate_retrieval(encoder, self.task)
        return Scores(scores.means(), scores.per_query)

    def compare(self, before: Scores, after: Scores) -> dict[str, Difference]:
        """Return the difference of each metric, by paired bootstrap over the queries."""
        return {
            name: paired_bootstrap(before.units[name], after.units[name]) for name in before.metrics
        }


class HeldOutPairs:
    """Pairs with a known answer each; every metric is a statistic over all pairs at once."""

    def __init__(self, pairs: Sequence[LabelledPair | ScoredPair]) -> None:
        self.size = len(pairs)
        self._first = [pair.sentence1 for pair in pairs]
        self._second = [pair.sentence2 for pair in pairs]
        self._gold = np.array(
            [pair.label if isinstance(pair, LabelledPair) else pair.score for pair in pairs],
            dtype=np.float64,
        )
        if len(set(self._gold.tolist())) < 2:
            raise InvalidData(
                f"the held-out pairs ({len(pairs)}) all have the same label or score; "
                "nothing can be measured on them"
            )
        labelled = isinstance(pairs[0], LabelledPair)
        self.statistics = _LABEL_STATISTICS if labelled else _SCORE_STATISTICS
        self.deciding_metric = next(iter(self.statistics))
        self.description = f"{len(pairs):,} {'labelled' if labelled else 'scored'} pairs"

    def score(self, encoder: TextEncoder) -> Scores:
        """Return the statistics, and the similarity of each pair."""
        similarities = pair_similarities(encoder, self._first, self._second)
        metrics = {name: f(self._gold, similarities) for name, (f, _) in self.statistics.items()}
        return Scores(metrics, {"": similarities})

    def compare(self, before: Scores, after: Scores) -> dict[str, Difference]:
        """Return the difference of each metric, by bootstrap over the pairs."""
        return {
            name: bootstrap_statistic(f, before.units[""], after.units[""], self._gold, swap=scale)
            for name, (f, scale) in self.statistics.items()
        }


def _f1(gold: FloatArray, similarities: FloatArray) -> float:
    return best_f1(gold, similarities).f1


# Each with the scale on which two systems may swap their scores. The first one decides.
_LABEL_STATISTICS = {
    "average_precision": (average_precision_score, SwapScale.RANKS),
    "f1": (_f1, SwapScale.RANKS),
}
_SCORE_STATISTICS = {
    "spearman": (spearman, SwapScale.RANKS),
    "pearson": (pearson, SwapScale.STANDARD),
}


def make_held_out(
    examples: Sequence[Example],
    *,
    training: Sequence[Example] = (),
    distractors: Sequence[str] = (),
    distractor_limit: int,
    seed: int,
) -> HeldOut:
    """Return the held-out data that examples of this kind make.

    Pairs and triplets become a retrieval task: each anchor searches for its positives among
    those of all held-out examples, the positives and negatives of the training side, and
    `distractors`, of which at most `distractor_limit` texts are drawn.
    """
    first = examples[0]
    if isinstance(first, LabelledPair | ScoredPair):
        return HeldOutPairs([e for e in examples if isinstance(e, LabelledPair | ScoredPair)])
    answers: dict[str, list[str]] = {}
    for example in examples:
        if isinstance(example, Pair | Triplet):
            answers.setdefault(example.anchor, []).append(example.positive)
    needed = dict.fromkeys(text for texts in answers.values() for text in texts)
    others = dict.fromkeys([*_candidates(examples), *_candidates(training), *distractors], None)
    pool = [text for text in others if text not in needed]
    random.Random(seed).shuffle(pool)
    corpus = [
        Document(id=_text_id(text), text=text) for text in [*needed, *pool[:distractor_limit]]
    ]
    queries = {_text_id(anchor): anchor for anchor in answers}
    qrels = {
        _text_id(anchor): {_text_id(text): 1 for text in texts} for anchor, texts in answers.items()
    }
    return HeldOutRetrieval(RetrievalTask(queries, corpus, qrels, name=""))


def check_metric(held_out: HeldOut, before: Scores, metric: str | None) -> str:
    """Return the metric that decides: the one asked for, or the data's own.

    Raises:
        InvalidInput: it is not one of those measured.
    """
    metric = metric or held_out.deciding_metric
    if metric not in before.metrics:
        raise InvalidInput(f"no metric {metric!r} here (measured: {', '.join(before.metrics)})")
    return metric


def _candidates(examples: Sequence[Example]) -> list[str]:
    texts: list[str] = []
    for example in examples:
        if isinstance(example, Pair | Triplet):
            texts.append(example.positive)
        if isinstance(example, Triplet):
            texts.append(example.negative)
    return texts


def _text_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
