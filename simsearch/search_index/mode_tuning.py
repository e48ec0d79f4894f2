"""Dense, lexical or hybrid: measured on queries with known answers, the index's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from simsearch.errors import InvalidData
from simsearch.evaluation import Difference, Qrels, ndcg, paired_bootstrap
from simsearch.query import Fusion, FusionWay, SearchMode
from simsearch.search_index.candidates import Met, ranked
from simsearch.search_index.checks import check_query
from simsearch.search_index.index import SearchIndex
from simsearch.search_index.search_mode import ModeChoice

_DEPTH: Final = 10  # nDCG@10
FloatArray = npt.NDArray[np.float64]

# Dense and lexical alone are the ends of it.
_WEIGHTS: Final = tuple(round(0.05 * step, 2) for step in range(1, 20))
FUSIONS: Final = (
    *(Fusion(FusionWay.CONVEX, weight) for weight in _WEIGHTS),
    Fusion(FusionWay.RECIPROCAL, 0.5),
)
# Fewer prove nothing: no difference of theirs can have a small p.
LEAST_QUERIES: Final = 10
_FOLDS: Final = 5
_SINGLE: Final = (SearchMode.DENSE, SearchMode.LEXICAL)
_SIGNIFICANT: Final = 0.05


@dataclass(frozen=True, slots=True)
class Question:
    """What a hybrid search of a query met, and the ids of the documents that it met, by number.

    `alone` are the ids that the other modes find, best first: they look for words, and for
    neighbours, in their own way.
    """

    name: str
    met: Met
    ids: Mapping[int, str]
    alone: Mapping[SearchMode, Sequence[str]]


def tune_mode(index: SearchIndex, queries: Mapping[str, str], qrels: Qrels) -> ModeChoice:
    """Measure dense, lexical and hybrid search on queries with known answers, and keep the best.

    `qrels` names the documents that answer each query: query -> id -> gain. From now on the index
    is searched so where nobody says how. Queries without an answer in it are left out.

    Raises:
        InvalidData: fewer than 10 queries have an answer.
        EncoderMismatch: the index was switched to another encoder meanwhile.
    """
    answers = {id_ for judged in qrels.values() for id_, gain in judged.items() if gain > 0}
    there = index.known_ids(sorted(answers))
    names = [name for name in queries if _is_answered(qrels.get(name, {}), there)]
    if len(names) < LEAST_QUERIES:
        raise InvalidData(
            f"{len(names)} queries with an answer in the index, at least {LEAST_QUERIES} are needed"
        )
    texts = [queries[name] for name in names]
    for text in texts:
        check_query(text)
    fingerprint = index.fingerprint
    alone = {mode: index.search_many(texts, _DEPTH, mode=mode) for mode in _SINGLE}
    questions = [
        Question(name, met, ids, {mode: [hit.id for hit in alone[mode][n]] for mode in _SINGLE})
        for n, (name, (met, ids)) in enumerate(zip(names, index.meet(texts), strict=True))
    ]
    choice = choose_mode(questions, qrels)
    index.keep_mode_choice(choice, fingerprint=fingerprint)
    return choice


def _is_answered(judged: Mapping[str, int], there: set[str]) -> bool:
    return any(gain > 0 and id_ in there for id_, gain in judged.items())


def choose_mode(questions: Sequence[Question], qrels: Qrels, *, seed: int = 0) -> ModeChoice:
    """Return the mode that ranks best, and the fusion that does so when hybrid is asked for.

    A weight counts for as much as it and its two neighbours bring: one by itself is often the best
    by chance. Every query is scored with the fusion that was best on the other four fifths; hybrid
    is chosen if the difference of these scores to the better single mode lies above 0 (its 95%
    interval, and p at most 0.05). Else dense is, or lexical where that is proved better in the same
    way.
    """
    single = {
        mode: np.array([ndcg(each.alone[mode], qrels[each.name], k=_DEPTH) for each in questions])
        for mode in _SINGLE
    }
    table = np.array([_scores(questions, qrels, fusion=each) for each in FUSIONS])  # (fusions, n)
    folds = np.random.default_rng(seed).permutation(len(questions)) % _FOLDS
    hybrid = np.empty(len(questions))
    for fold in range(_FOLDS):
        its = folds == fold
        hybrid[its] = table[best_fusion(table[:, ~its]), its]
    fusion = FUSIONS[best_fusion(table)]
    better, other = sorted(single, key=lambda mode: -single[mode].mean())
    found = paired_bootstrap(single[better], hybrid)
    mode = SearchMode.HYBRID if _proved(found) else SearchMode.DENSE
    if mode is SearchMode.DENSE and better is SearchMode.LEXICAL:
        over_dense = paired_bootstrap(single[other], single[better])
        if _proved(over_dense):
            mode, found = better, over_dense
    return ModeChoice(
        mode=mode,
        fusion=fusion,
        queries=len(questions),
        scores={
            **{str(each): float(scores.mean()) for each, scores in single.items()},
            str(SearchMode.HYBRID): float(hybrid.mean()),
        },
        low=found.low,
        high=found.high,
        p=found.p,
    )


def best_fusion(table: FloatArray) -> int:
    """Return which of FUSIONS is best; `table` (fusions, n) are the scores of queries."""
    means = table.mean(axis=1)
    weights = np.pad(means[: len(_WEIGHTS)], 1, mode="edge")
    smooth = (weights[:-2] + weights[1:-1] + weights[2:]) / 3
    return int(np.append(smooth, means[len(_WEIGHTS) :]).argmax())


def _proved(found: Difference) -> bool:
    return found.low > 0 and found.p <= _SIGNIFICANT


def _scores(questions: Sequence[Question], qrels: Qrels, *, fusion: Fusion) -> FloatArray:
    """Return the nDCG@10 of a hybrid search of each question, (n,)."""
    scores = []
    for each in questions:
        found = ranked(each.met, _DEPTH, mode=SearchMode.HYBRID, fusion=fusion)
        scores.append(ndcg([each.ids[it.number] for it in found], qrels[each.name], k=_DEPTH))
    return np.array(scores)
