"""Scores of a ranking, as trec_eval computes them (Buckley & Voorhees, TREC).

A document is relevant if its gain in the qrels is 1 or more; an unjudged document is not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from simsearch.errors import DuplicateId, InvalidData, InvalidInput
from simsearch.evaluation._arrays import FloatArray

Qrels = Mapping[str, Mapping[str, int]]
"""Query id -> document id -> gain (0: judged, not relevant)."""

Run = Mapping[str, Mapping[str, float]]
"""Query id -> document id -> score, higher is better."""

DEFAULT_METRICS = ("ndcg@10", "mrr@10", "recall@10", "recall@100", "map")


@dataclass(frozen=True, slots=True, eq=False)
class RetrievalScores:
    """One score per query and metric; row i of every array belongs to `query_ids[i]`."""

    query_ids: tuple[str, ...]
    per_query: dict[str, FloatArray]  # metric name -> (n_queries,)

    def means(self) -> dict[str, float]:
        """Return the mean over the queries of every metric, in the order they were asked for."""
        return {name: float(values.mean()) for name, values in self.per_query.items()}


def rank(scores: Mapping[str, float]) -> list[str]:
    """Return the document ids, best first, in the order in which trec_eval reads a run.

    trec_eval keeps a score as a C float, so scores that differ by less than single precision
    (1.0 and 1.0 + 1e-9) are a tie. Ties are broken by document id, descending by code point
    (= by UTF-8 byte): of "a" and "b", "b" comes first. Raises InvalidData on a NaN.
    """
    values = np.fromiter(scores.values(), dtype=np.float64, count=len(scores))
    if np.isnan(values).any():
        doc_id = list(scores)[int(np.flatnonzero(np.isnan(values))[0])]
        raise InvalidData(f"the score of document {doc_id!r} is NaN; a rank needs a number")
    with np.errstate(over="ignore", under="ignore"):  # 1e300 ranks as infinity, as in C
        singles = values.astype(np.float32).tolist()
    return [doc_id for _, doc_id in sorted(zip(singles, scores, strict=True), reverse=True)]


def ndcg(ranked: Sequence[str], gains: Mapping[str, int], *, k: int) -> float:
    """Return DCG / ideal DCG of the top `k`, 0.0 if no document has a positive gain.

    The gain is linear and discounted by log2(rank + 1): ndcg_cut of trec_eval (Järvelin &
    Kekäläinen 2002, TOIS 20(4), with the discount of Burges et al. 2005). The ideal ranking is
    over all judged documents, found or not. Negative gains count as 0.
    """
    found = [gains.get(doc_id, 0) for doc_id in _top(ranked, k)]
    ideal = _dcg(sorted(gains.values(), reverse=True)[:k])
    return _dcg(found) / ideal if ideal else 0.0


def reciprocal_rank(ranked: Sequence[str], relevant: AbstractSet[str], *, k: int) -> float:
    """Return 1/rank of the first relevant id within the top `k`, 0.0 if there is none."""
    ranks = (at for at, doc_id in enumerate(_top(ranked, k), start=1) if doc_id in relevant)
    return next((1 / at for at in ranks), 0.0)


def recall(ranked: Sequence[str], relevant: AbstractSet[str], *, k: int) -> float:
    """Return the share of the relevant ids within the top `k`, 0.0 if none is relevant."""
    found = sum(doc_id in relevant for doc_id in _top(ranked, k))
    return found / len(relevant) if relevant else 0.0


def hit_rate(ranked: Sequence[str], relevant: AbstractSet[str], *, k: int) -> float:
    """Return 1.0 if a relevant id is within the top `k`, else 0.0 (success of trec_eval)."""
    return float(any(doc_id in relevant for doc_id in _top(ranked, k)))


def average_precision(ranked: Sequence[str], relevant: AbstractSet[str], *, k: int = 1000) -> float:
    """Return the mean over all relevant ids of the precision at their rank, 0.0 if there is none.

    A relevant id below the top `k` counts 0 (map_cut of trec_eval).
    """
    found, total = 0, 0.0
    for at, doc_id in enumerate(_top(ranked, k), start=1):
        if doc_id in relevant:
            found += 1
            total += found / at
    return total / len(relevant) if relevant else 0.0


def score_run(
    qrels: Qrels, run: Run, *, metrics: Sequence[str] = DEFAULT_METRICS
) -> RetrievalScores:
    """Score every query of `qrels` that has a relevant document, in the order of `qrels`.

    Which queries are scored depends on the qrels alone, so the scores of two runs are paired:
    a query that the run lacks scores 0, and a query that the qrels lack is ignored.
    Metrics: ndcg@K, mrr@K, recall@K, hit_rate@K, and map over the first 1,000.
    Raises InvalidInput for an unknown metric, InvalidData if no query has a relevant document
    or a score is NaN.
    """
    scorers = {name: _scorer(name) for name in metrics}
    if not scorers:
        raise InvalidInput(f"no metric to compute; {_KNOWN}")
    query_ids = tuple(query_id for query_id, gains in qrels.items() if _relevant(gains))
    if not query_ids:
        raise InvalidData(f"none of the {len(qrels)} queries in the qrels has a relevant document")
    per_query = {name: np.empty(len(query_ids)) for name in scorers}
    for row, query_id in enumerate(query_ids):
        ranked = rank(run.get(query_id, {}))
        for name, scorer in scorers.items():
            per_query[name][row] = scorer(ranked, qrels[query_id])
    return RetrievalScores(query_ids=query_ids, per_query=per_query)


_Scorer = Callable[[Sequence[str], Mapping[str, int]], float]

_BINARY = {"mrr": reciprocal_rank, "recall": recall, "hit_rate": hit_rate}
_KNOWN = "known metrics: ndcg@K, mrr@K, recall@K, hit_rate@K with K at least 1, and map"


def _scorer(name: str) -> _Scorer:
    if name == "map":
        return lambda ranked, gains: average_precision(ranked, _relevant(gains))
    match = re.fullmatch(r"(ndcg|mrr|recall|hit_rate)@([1-9][0-9]*)", name)
    if match is None:
        raise InvalidInput(f"unknown metric {name!r}; {_KNOWN}")
    kind, k = match[1], int(match[2])
    if kind == "ndcg":
        return lambda ranked, gains: ndcg(ranked, gains, k=k)
    measure = _BINARY[kind]
    return lambda ranked, gains: measure(ranked, _relevant(gains), k=k)


def _relevant(gains: Mapping[str, int]) -> set[str]:
    return {doc_id for doc_id, gain in gains.items() if gain >= 1}


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(at + 1) for at, gain in enumerate(gains, start=1) if gain > 0)


def _top(ranked: Sequence[str], k: int) -> Sequence[str]:
    if k < 1:
        raise InvalidInput(f"k must be at least 1, got {k}")
    top = ranked[:k]
    if len(set(top)) < len(top):  # counted twice, a document would lift recall above 1
        twice = next(doc_id for at, doc_id in enumerate(top) if doc_id in top[:at])
        raise DuplicateId(f"document {twice!r} stands twice in a ranking")
    return top
