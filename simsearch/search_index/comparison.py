"""What changes for queries when one index is put in the place of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simsearch.errors import InvalidData
from simsearch.evaluation import DEFAULT_METRICS, Difference, Qrels, paired_bootstrap
from simsearch.search_index.checks import check_query
from simsearch.search_index.evaluate import evaluate_index
from simsearch.search_index.index import SearchIndex


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the hits of two indexes differ, and where answers are known, which are better.

    `overlap` is the mean share of the first `k` hits that both have, `same_first` the share of
    queries with the same first hit. `before`, `after` and `difference` are by metric, and empty
    without known answers; an interval is of 95%.
    """

    queries: int
    k: int
    overlap: float
    same_first: float
    before: Mapping[str, float]
    after: Mapping[str, float]
    difference: Mapping[str, Difference]


def check_questions(queries: Mapping[str, str], qrels: Qrels | None) -> dict[str, str]:
    """Return the queries to compare by: with known answers, those that have one.

    Raises:
        InvalidInput: one is no query.
        InvalidData: there is none, or, with known answers, fewer than two: no interval.
    """
    asked = dict(queries)
    if qrels is not None:
        judged = {query for query, gains in qrels.items() if max(gains.values(), default=0) > 0}
        asked = {query: text for query, text in queries.items() if query in judged}
        if len(asked) < 2:
            raise InvalidData(
                f"{len(asked)} of {len(queries)} queries have an answer in the judgements, at "
                "least 2 are needed (do the ids agree?)"
            )
    if not asked:
        raise InvalidData("there is no query to compare by")
    for query, text in asked.items():
        check_query(text, name=f"query {query!r}")
    return asked


def compare_indexes(
    before: SearchIndex,
    after: SearchIndex,
    queries: Mapping[str, str],
    *,
    qrels: Qrels | None = None,
    k: int = 10,
) -> Comparison:
    """Ask both indexes the same, by their own encoders; queries are by id.

    With `qrels` (query -> document -> gain) only the queries that have an answer there are asked.

    Raises:
        InvalidData: as `check_questions`, or no judged document is in the index.
    """
    asked = check_questions(queries, qrels)
    texts = list(asked.values())
    overlap = same_first = 0.0
    pairs = zip(before.search_many(texts, k=k), after.search_many(texts, k=k), strict=True)
    for old, new in ([[hit.id for hit in hits] for hits in pair] for pair in pairs):
        overlap += len(set(old) & set(new)) / max(len(old), len(new), 1)
        same_first += old[:1] == new[:1]
    if qrels is None:
        return Comparison(len(asked), k, overlap / len(asked), same_first / len(asked), {}, {}, {})
    judged = {query: qrels[query] for query in asked}
    answers = sorted({name for gains in judged.values() for name in gains})
    if not before.known_ids(answers):
        raise InvalidData(f"{before.path} holds no judged document (other ids?)")
    old_scores, new_scores = (evaluate_index(index, asked, judged) for index in (before, after))
    return Comparison(
        queries=len(asked),
        k=k,
        overlap=overlap / len(asked),
        same_first=same_first / len(asked),
        before=old_scores.means(),
        after=new_scores.means(),
        difference={
            name: paired_bootstrap(old_scores.per_query[name], new_scores.per_query[name])
            for name in DEFAULT_METRICS
        },
    )
