"""Calibration from known answers: which similarities are collected, and of what they are.

The chance that a hit is an answer is not that of two texts drawn by chance: a hit is the nearest
of many. So where there is a corpus, the similarities are those of the hits themselves, the `DEPTH`
nearest of each query, right ones and wrong ones as the search finds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.encoder import Calibration, ChanceCount
from simsearch.errors import InvalidData, InvalidInput
from simsearch.evaluation import (
    Difference,
    Qrels,
    ReliabilityBin,
    Run,
    fit_curve,
    paired_bootstrap,
    rank,
    reliability,
    score_run,
)
from simsearch.query import SearchMode
from simsearch.search_index.binding import Embedder
from simsearch.search_index.evaluate import RetrievalTask, pair_similarities, search_exactly
from simsearch.search_index.index import SearchIndex
from simsearch.search_index.mode_tuning import LEAST_QUERIES
from simsearch.search_index.probability import leads_of
from simsearch.search_index.reranking import Rerank, RerankChoice, as_rerank
from simsearch.wording import counted

DoubleArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

DEPTH = 10
"""Hits of each query that a calibration is measured on: as many as a search shows."""
_COUNTS = 200  # thresholds that are kept
_SIGNIFICANCE = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class JudgedScores:
    """Similarities (n,), which of them are of a match, and the number of their query or pair.

    `leads` (n,) are over the best of the other hits, None where pairs were given. `candidates`
    are the texts that each query was compared with, None where pairs were given.
    """

    scores: DoubleArray
    matches: BoolArray
    units: IntArray
    leads: DoubleArray | None
    candidates: int | None

    def rows(self, own: BoolArray) -> JudgedScores:
        """Return some of them."""
        leads = None if self.leads is None else self.leads[own]
        return JudgedScores(
            self.scores[own], self.matches[own], self.units[own], leads, self.candidates
        )


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """A calibration, and what was predicted and true of queries, or pairs, that did not fit it."""

    calibration: Calibration
    bins: Sequence[ReliabilityBin]


def judge_hits(encoder: Embedder, task: RetrievalTask, *, dim: int | None = None) -> JudgedScores:
    """Return the similarities of the nearest texts of each query, by exact search.

    `dim` as in `evaluate_retrieval`.
    """
    run = search_exactly(encoder, task, depth=DEPTH, dim=dim)
    return _judged(run, task.qrels, candidates=len(task.corpus))


def judge_index_hits(index: SearchIndex, queries: Mapping[str, str], qrels: Qrels) -> JudgedScores:
    """Return the similarities of the hits of each query in an index as it is."""
    names = list(queries)
    found = index.search_many([queries[name] for name in names], DEPTH, mode="dense")
    run = {
        name: {hit.id: hit.dense for hit in hits if hit.dense is not None}
        for name, hits in zip(names, found, strict=True)
    }
    return _judged(run, qrels, candidates=len(index))


def judge_pairs(
    encoder: Embedder, first: Sequence[str], second: Sequence[str], matches: Sequence[bool]
) -> JudgedScores:
    """Return the similarity of each pair of texts, all of them independent of each other."""
    return JudgedScores(
        pair_similarities(encoder, first, second),
        np.array(matches, dtype=np.bool_),
        np.arange(len(first)),
        leads=None,
        candidates=None,
    )


def _judged(run: Run, qrels: Qrels, *, candidates: int) -> JudgedScores:
    scores, matches, units = [], [], []
    leads: list[float] = []
    for number, (name, found) in enumerate(run.items()):
        ranked = rank(found)[:DEPTH]
        leads += leads_of([found[document] for document in ranked])
        for document in ranked:
            scores.append(found[document])
            matches.append(qrels.get(name, {}).get(document, 0) > 0)
            units.append(number)
    return JudgedScores(
        np.array(scores, dtype=np.float64),
        np.array(matches, dtype=np.bool_),
        np.array(units, dtype=np.int64),
        np.array(leads, dtype=np.float64),
        candidates,
    )


def calibrate(
    judged: JudgedScores, *, fingerprint: str, dim: int, seed: int = 0
) -> CalibrationReport:
    """Fit a calibration for the encoder of this fingerprint, cut to `dim`.

    Raises:
        InvalidData: there are too few matches, others or units to measure its error.
    """
    alone = fit_curve(judged.scores[:, None], judged.matches, judged.units, seed=seed)
    fitted, weights = alone, (1.0, 0.0)
    if judged.leads is not None:
        features = np.column_stack([judged.scores, judged.leads])
        fitted = fit_curve(features, judged.matches, judged.units, seed=seed)
        weights = (fitted.weights[0], fitted.weights[1])
    calibration = Calibration(
        curve=fitted.curve,
        weights=weights,
        alone=alone.curve,
        fingerprint=fingerprint,
        dim=dim,
        candidates=judged.candidates,
        units=len(np.unique(judged.units)),
        scored=len(judged.scores),
        matches=int(judged.matches.sum()),
        log_losses={str(method): loss for method, loss in fitted.log_losses.items()},
        error=fitted.error,
        counts=_counts(fitted.held_out, judged.matches),
    )
    return CalibrationReport(calibration, reliability(fitted.held_out, judged.matches))


def _counts(chances: DoubleArray, matches: BoolArray) -> tuple[ChanceCount, ...]:
    """Return how many matches and others have at least a probability, for those that there are."""
    order = np.argsort(-chances, kind="stable")
    falling, found = chances[order], np.cumsum(matches[order])
    # Of equal ones the last: all of them are above a threshold or none.
    last = np.append(falling[1:] < falling[:-1], True)
    places = np.flatnonzero(last)
    if len(places) > _COUNTS:
        places = places[np.linspace(0, len(places) - 1, _COUNTS).astype(np.int64)]
    return tuple(
        ChanceCount(float(falling[each]), int(found[each]), int(each + 1 - found[each]))
        for each in places.tolist()
    )


@dataclass(frozen=True, slots=True)
class RerankReport:
    """nDCG@10 without and with reranking, on the same queries; `choice` is what the index keeps."""

    before: float
    after: float
    difference: Difference
    choice: RerankChoice


def choose_rerank(
    index: SearchIndex, queries: Mapping[str, str], qrels: Qrels, *, by: Rerank | str, top: int
) -> RerankReport:
    """Rerank the `top` nearest of each query, and let the index do so by itself if that is better.

    Better means that the 95% interval of nDCG@10's difference lies above 0 and p is at most 0.05;
    else it does not. Whichever it is, the index keeps it.

    Raises:
        InvalidData: there are fewer than 10 queries.
        InvalidInput: `by` is none, or the index is searched by words alone; else as
            `SearchIndex.rerank`.
        EncoderError: as `SearchIndex.rerank`.
        EncoderMismatch: the index was switched to another encoder meanwhile.
    """
    if as_rerank(by) is Rerank.NONE:
        raise InvalidInput("reranking by none needs no measuring (give maxsim, or pair)")
    names = list(queries)
    if len(names) < LEAST_QUERIES:
        raise InvalidData(
            f"{counted(len(names), 'query', 'queries')} with an answer in the index, at least "
            f"{LEAST_QUERIES} are needed to measure reranking"
        )
    asked = [queries[name] for name in names]
    mode, fingerprint = index.mode_choice().mode, index.fingerprint
    if mode is SearchMode.LEXICAL:
        raise InvalidInput(
            f"{index.path} is searched by words, and what words alone have found is not reranked "
            "(leave out --rerank, or measure the modes again: `simsearch mode`)"
        )
    # As many as a query reranks that asks for ten hits.
    found = index.search_many(asked, k=max(top, DEPTH), mode=mode)
    again = index.rerank(asked, found, by=by)
    before, after = (
        score_run(
            {name: qrels[name] for name in names},
            {
                name: {hit.id: hit.score for hit in hits}
                for name, hits in zip(names, each, strict=True)
            },
            metrics=["ndcg@10"],
        ).per_query["ndcg@10"]
        for each in (found, again)
    )
    difference = paired_bootstrap(before, after)
    better = difference.low > 0 and difference.p <= _SIGNIFICANCE
    choice = RerankChoice(
        by=as_rerank(by) if better else Rerank.NONE,
        top=top,
        measured=as_rerank(by),
        queries=len(before),
        before=float(before.mean()),
        after=float(after.mean()),
        low=difference.low,
        high=difference.high,
        p=difference.p,
        mode=mode,
    )
    index.keep_rerank_choice(choice, fingerprint=fingerprint)
    return RerankReport(choice.before, choice.after, difference, choice)
