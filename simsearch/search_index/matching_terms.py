"""Hits with the terms of the query that they hold, and what each adds to their BM25 scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from simsearch.records import Hit, TermShare
from simsearch.storage import (
    DocumentStore,
    PlacedTerm,
    forms_found,
    placed_document_terms,
    placed_query_terms,
)

Shares = Mapping[int, Mapping[str, float]]  # by the number of the document, and the term
# In proportion to all scores: sums of the same numbers in another order.
_ROUNDING: Final = 1e-9


def term_shares(
    store: DocumentStore, query: str, hits: Sequence[Hit]
) -> list[tuple[TermShare, ...]]:
    """Return the terms of each hit, those first that add most; none where it has no BM25 score.

    They add up to that score, as long as nothing was written to the index since.
    """
    if all(hit.lexical is None for hit in hits):
        return [() for _ in hits]
    scores = _scores(store, query, hits)
    asked = placed_query_terms(query)
    held = [_held(hit) if found else [] for hit, found in zip(hits, scores, strict=True)]
    forms = forms_found(
        {term for found in scores for term in found},
        (placed.term for its in held for _, placed in its),
    )
    return [
        tuple(
            TermShare(
                term=term,
                contribution=found[term],
                query=tuple(asked[term]),
                places=tuple(
                    (field, placed.start, placed.first if term.endswith("*") else placed.end)
                    for field, placed in its
                    if placed.term in forms[term]
                ),
            )
            for term in sorted(found, key=lambda term: -found[term])
        )
        for found, its in zip(scores, held, strict=True)
    ]


def _held(hit: Hit) -> list[tuple[str, PlacedTerm]]:
    """Return the terms of a hit, each with the field that it stands in."""
    fields = {"title": hit.title or "", "text": hit.text}
    return [(field, each) for field, text in fields.items() for each in placed_document_terms(text)]


def _scores(store: DocumentStore, query: str, hits: Sequence[Hit]) -> list[Mapping[str, float]]:
    """Return what each term adds to the score of each hit.

    A search takes the rarest terms or, where these find too little, all of them. Which it was is
    told by the scores.
    """
    with store.snapshot():
        numbers = [None if hit.lexical is None else store.number_of(hit.id) for hit in hits]
        known = {
            number: hit.lexical
            for number, hit in zip(numbers, hits, strict=True)
            if number is not None and hit.lexical is not None
        }
        shares: Shares = store.lexical.shares(query, list(known))
        if _distance(shares, known) > _ROUNDING * sum(known.values()):
            of_all = store.lexical.shares(query, list(known), rarest=False)
            shares = min(shares, of_all, key=lambda each: _distance(each, known))
    return [{} if number is None else shares[number] for number in numbers]


def _distance(shares: Shares, scores: Mapping[int, float]) -> float:
    return sum(abs(sum(shares[number].values()) - score) for number, score in scores.items())
