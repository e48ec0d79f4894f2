"""Which hits are worth a judgement: those whose label would teach most.

Where the index has a calibration, the hits that are as likely right as wrong (uncertainty sampling,
Lewis & Gale 1994). Else those that a small change would put in another order (margin sampling,
Scheffer et al. 2001): two neighbours whose scores differ little, in proportion to what their order
counts in nDCG, so that the first two hits are worth more than the ninth and tenth.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from simsearch.errors import InvalidInput
from simsearch.records import Hit
from simsearch.search_index.index import SearchIndex
from simsearch.search_index.judging import JudgementState

DEPTH: Final = 10
"""Hits of each query that are looked at: as many as a search shows."""
_PART: Final = 256  # queries that are searched for together


@dataclass(frozen=True, slots=True)
class Proposal:
    """A hit that should be judged, and why.

    `margin` is by how much its score differs from that of a neighbour; None where its probability
    is why.
    """

    query: str
    hit: Hit
    margin: float | None


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A proposal, and what it is ordered by: the least comes first."""

    order: float
    proposal: Proposal


def propose_judgements(
    index: SearchIndex, queries: Iterable[str] | None = None, *, n: int = 20
) -> list[Proposal]:
    """Return up to `n` hits of queries whose judgements would teach most, best first.

    Without `queries`, of those for which something was judged so far. Hits that were judged are
    left out, unless the document has changed since. No query has more than its share of the `n`,
    as long as there are others.

    Raises:
        InvalidInput: `n` is below 1, a query is none, or there are no queries.
        CorruptIndex: a judgement is damaged or lost.
    """
    if n < 1:
        raise InvalidInput(f"n must be at least 1, got {n}")
    judged = index.judged_documents()
    known = {
        (each.judgement.query, each.judgement.document_id)
        for each in judged
        if each.state is JudgementState.CURRENT
    }
    if queries is None:
        queries = [each.judgement.query for each in judged]
    distinct = dict.fromkeys(queries)
    if not distinct:
        raise InvalidInput(
            "there are no queries to review: give some (--queries FILE), or judge hits first "
            "(`simsearch judge`, or `query --feedback`)"
        )
    kept: list[list[_Candidate]] = []
    for part in _parts(distinct):
        for query, hits in zip(part, index.search_many(part, DEPTH), strict=True):
            found = _uncertain(query, hits) or _close(query, hits)
            open_ = [each for each in found if (query, each.proposal.hit.id) not in known]
            kept.append(sorted(open_, key=lambda each: each.order)[:n])
        # No more queries than proposals are needed, and texts of documents may be long.
        kept = sorted(filter(None, kept), key=lambda own: own[0].order)[:n]
    return [each.proposal for each in _shared_out(kept, n)]


def _parts(queries: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(queries)
    while part := list(itertools.islice(iterator, _PART)):
        yield part


def _uncertain(query: str, hits: Sequence[Hit]) -> list[_Candidate]:
    return [
        _Candidate(abs(hit.probability - 0.5), Proposal(query, hit, None))
        for hit in hits
        if hit.probability is not None
    ]


def _close(query: str, hits: Sequence[Hit]) -> list[_Candidate]:
    """Return every hit with the neighbour that it would most easily change places with.

    The only one that there is has none, and teaches least.
    """
    if len(hits) == 1:
        return [_Candidate(math.inf, Proposal(query, hits[0], None))]
    best: dict[str, _Candidate] = {}
    for rank, (above, below) in enumerate(itertools.pairwise(hits), start=1):
        margin = above.score - below.score
        order = margin / (_discount(rank) - _discount(rank + 1))
        for hit in (above, below):
            if hit.id not in best or order < best[hit.id].order:
                best[hit.id] = _Candidate(order, Proposal(query, hit, margin))
    return list(best.values())


def _discount(rank: int) -> float:
    return 1 / math.log2(rank + 1)


def _shared_out(kept: Sequence[Sequence[_Candidate]], n: int) -> list[_Candidate]:
    """Return `n` candidates, in order, of as many queries as possible."""
    rounds = itertools.zip_longest(*kept)  # the first of each query, the second of each, ...
    chosen: list[_Candidate] = []
    for own in rounds:
        there = sorted((each for each in own if each is not None), key=lambda each: each.order)
        chosen += there[: n - len(chosen)]
    return sorted(chosen, key=lambda each: each.order)
