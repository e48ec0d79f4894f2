"""Held-out data: scores an encoder, and compares two scorings of the same data."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from simsearch.encoder import PairScorer, pair_features
from simsearch.errors import InvalidData, InvalidInput
from simsearch.evaluation import (
    DEFAULT_METRICS,
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
from simsearch.heads import Head
from simsearch.records import (
    ClassifiedText,
    ClassPair,
    Document,
    LabelledPair,
    LabelledText,
    Pair,
    ScoredPair,
    Triplet,
    UnlabelledText,
)
from simsearch.search_index import (
    Embedder,
    RetrievalTask,
    embed_pairs,
    evaluate_retrieval,
    pair_similarities,
)
from simsearch.wording import counted

FloatArray = npt.NDArray[np.float64]

# Of the probe that tells classes of pairs apart: the most pairs it is fitted on, and the inverse
# of its regularisation, for features of unit vectors.
_PROBE_PAIRS = 5000
_PROBE_C = 10.0


@dataclass(frozen=True, slots=True)
class Scores:
    """How one encoder did: `metrics` by name, and what they were computed from.

    `units` holds per-query scores by metric name for retrieval, or one array of similarities
    under the empty name for pairs. `head` is what was fitted to be scored, where that is kept.
    """

    metrics: Mapping[str, float]
    units: Mapping[str, FloatArray]
    head: Head | None = None


class HeldOut(Protocol):
    """Data with known answers that no training example has in it."""

    deciding_metric: str
    metrics: Sequence[str]  # all that are measured
    description: str
    size: int  # queries or pairs: what a difference is averaged over

    def score(self, encoder: Embedder) -> Scores: ...
    def compare(self, before: Scores, after: Scores) -> dict[str, Difference]: ...


class HeldOutRetrieval:
    """Queries against a corpus; every metric is a mean over queries."""

    def __init__(self, task: RetrievalTask) -> None:
        if not task.queries or not task.corpus:
            raise InvalidData("the held-out data has no query with an answer in its corpus")
        self.task = task
        self.size = len(task.queries)
        self.deciding_metric = "ndcg@10"
        self.metrics: Sequence[str] = DEFAULT_METRICS
        self.description = (
            f"{counted(len(task.queries), 'query', 'queries')} against "
            f"{counted(len(task.corpus), 'text')}"
            f"{f' ({task.name})' if task.name else ''}"
        )

    def score(self, encoder: Embedder) -> Scores:
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
        self.first = [pair.sentence1 for pair in pairs]
        self.second = [pair.sentence2 for pair in pairs]
        self._gold = np.array(
            [pair.label if isinstance(pair, LabelledPair) else pair.score for pair in pairs],
            dtype=np.float64,
        )
        if len(set(self._gold.tolist())) < 2:
            raise InvalidData(
                f"the held-out pairs ({len(pairs)}) all have the same label or score; "
                "nothing can be measured on them"
            )
        self.labelled = labelled = isinstance(pairs[0], LabelledPair)
        self.statistics = _LABEL_STATISTICS if labelled else _SCORE_STATISTICS
        self.metrics: Sequence[str] = list(self.statistics)
        self.deciding_metric = self.metrics[0]
        self.description = f"{len(pairs):,} {'labelled' if labelled else 'scored'} pairs"

    def matches(self, *, from_score: float | None) -> npt.NDArray[np.bool_] | None:
        """Return which pairs match: those labelled 1, or those of this score and above it.

        None where scores are given, and no score from which on they match.
        """
        if self.labelled:
            return np.asarray(self._gold == 1, dtype=np.bool_)
        return None if from_score is None else np.asarray(self._gold >= from_score, dtype=np.bool_)

    def score(self, encoder: Embedder) -> Scores:
        """Return the statistics, and the similarity of each pair."""
        similarities = pair_similarities(encoder, self.first, self.second)
        metrics = {name: f(self._gold, similarities) for name, (f, _) in self.statistics.items()}
        return Scores(metrics, {"": similarities})

    def compare(self, before: Scores, after: Scores) -> dict[str, Difference]:
        """Return the difference of each metric, by bootstrap over the pairs."""
        return {
            name: bootstrap_statistic(f, before.units[""], after.units[""], self._gold, swap=scale)
            for name, (f, scale) in self.statistics.items()
        }


def check_match_score(held_outs: Iterable[HeldOut], score: float | None) -> None:
    """Refuse a score from which on pairs match where no held-out pair has a score.

    Raises:
        InvalidInput: one is given, and would do nothing.
    """
    scored = any(isinstance(one, HeldOutPairs) and not one.labelled for one in held_outs)
    if score is not None and not scored:
        raise InvalidInput(
            "match_score says from which score on two texts match, and no held-out pair has a "
            "score (leave it out)"
        )


class HeldOutClasses:
    """Pairs with a class each: how well a linear probe tells the class from the embeddings.

    The probe is logistic regression on [u; v; |u - v|], fitted on pairs of the training side, for
    each encoder anew: the decoder that was trained with one encoder says nothing of another.
    """

    deciding_metric = "accuracy"
    metrics: Sequence[str] = ("accuracy",)

    def __init__(
        self, pairs: Sequence[ClassPair], *, training: Sequence[ClassPair], seed: int
    ) -> None:
        if len({pair.label for pair in training}) < 2:
            raise InvalidData(
                "held-out pairs of classes need training pairs of two classes to be measured by"
            )
        self._training = list(training)
        random.Random(seed).shuffle(self._training)
        del self._training[_PROBE_PAIRS:]
        self._pairs = list(pairs)
        self.size = len(pairs)
        classes = len({pair.label for pair in pairs})
        self.description = f"{counted(len(pairs), 'pair')} of {classes} classes"

    def score(self, encoder: Embedder) -> Scores:
        """Fit the probe and return the share of pairs whose class it finds."""
        probe = fit_pair_scorer(encoder, self._training)
        right = _found_right(probe, encoder, self._pairs)
        return Scores({"accuracy": float(right.mean())}, {"accuracy": right})

    def compare(self, before: Scores, after: Scores) -> dict[str, Difference]:
        """Return the difference of accuracy, by paired bootstrap over the pairs."""
        return {"accuracy": paired_bootstrap(before.units["accuracy"], after.units["accuracy"])}


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

    Texts with a class search for the others of it. Of pairs of classes a probe tells the class.
    Pairs and triplets become a retrieval task: each anchor searches for its positives among
    those of all held-out examples, the positives and negatives of the training side, and
    `distractors`, of which at most `distractor_limit` texts are drawn.
    """
    first = examples[0]
    if isinstance(first, ClassPair):
        return HeldOutClasses(
            [example for example in examples if isinstance(example, ClassPair)],
            training=[example for example in training if isinstance(example, ClassPair)],
            seed=seed,
        )
    if isinstance(first, LabelledText):
        return HeldOutRetrieval(_same_class([e for e in examples if isinstance(e, LabelledText)]))
    if isinstance(first, UnlabelledText | ClassifiedText):
        raise InvalidData(
            "texts alone prove nothing: bring evaluation data (--eval with pairs, or a BEIR folder)"
        )
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


def _same_class(examples: Sequence[LabelledText]) -> RetrievalTask:
    """Return the task of finding for each text the others of its class."""
    corpus = [Document(id=_text_id(text), text=text) for text in {e.text: None for e in examples}]
    members: dict[str, dict[str, int]] = {}
    for example in examples:
        members.setdefault(example.label, {})[_text_id(example.text)] = 1
    queries, qrels = {}, {}
    for example in examples:
        name = _text_id(example.text)
        others = {each: 1 for each in members[example.label] if each != name}
        if others:
            queries[name], qrels[name] = example.text, others
    return RetrievalTask(queries, corpus, qrels, name="others of the same class")


def check_metric(held_out: HeldOut, metric: str | None) -> str:
    """Return the metric that decides: the one asked for, or the data's own.

    Raises:
        InvalidInput: it is not one of those measured.
    """
    metric = metric or held_out.deciding_metric
    if metric not in held_out.metrics:
        raise InvalidInput(f"no metric {metric!r} here (measured: {', '.join(held_out.metrics)})")
    return metric


def fit_pair_scorer(
    encoder: Embedder, pairs: Sequence[ClassPair | LabelledPair], *, seed: int = 0
) -> PairScorer:
    """Return logistic regression on [u; v; |u - v|] of pairs, at most 5,000 drawn from them."""
    from sklearn.linear_model import LogisticRegression

    if len(pairs) > _PROBE_PAIRS:
        pairs = random.Random(seed).sample(pairs, _PROBE_PAIRS)
    first, second = embed_pairs(
        encoder, [pair.sentence1 for pair in pairs], [pair.sentence2 for pair in pairs]
    )
    fitted = LogisticRegression(C=_PROBE_C, max_iter=1000)
    fitted.fit(pair_features(first, second), [str(pair.label) for pair in pairs])
    weight, bias = fitted.coef_, fitted.intercept_
    if len(fitted.classes_) == 2:  # of two classes only the second has numbers
        weight, bias = np.vstack([0 * weight, weight]), np.append(0 * bias, bias)
    classes = tuple(map(str, fitted.classes_))
    return PairScorer(classes, weight.astype(np.float32), bias.astype(np.float32))


def _found_right(
    scorer: PairScorer, encoder: Embedder, pairs: Sequence[ClassPair | LabelledPair]
) -> FloatArray:
    """Return 1 for each pair whose class a scorer finds, 0 for the others; (n,)."""
    first, second = embed_pairs(
        encoder, [pair.sentence1 for pair in pairs], [pair.sentence2 for pair in pairs]
    )
    found = scorer.probabilities(first.astype(np.float32), second.astype(np.float32)).argmax(axis=1)
    right = [scorer.classes[n] == str(pair.label) for n, pair in zip(found, pairs, strict=True)]
    return np.array(right, dtype=np.float64)


def scorer_accuracy(
    scorer: PairScorer, encoder: Embedder, examples: Sequence[Example]
) -> float | None:
    """Return the share of pairs whose class a scorer finds; None where there are no such pairs."""
    pairs = [example for example in examples if isinstance(example, ClassPair | LabelledPair)]
    return float(_found_right(scorer, encoder, pairs).mean()) if pairs else None


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
