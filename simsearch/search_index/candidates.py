"""What a query meets: the nearest documents, those that share its words, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from simsearch.ann import SegmentedIndex
from simsearch.errors import InvalidInput
from simsearch.query import Candidates, Fusion, SearchMode, best_first, fused
from simsearch.records import Document, Hit
from simsearch.search_index.nearest import Match, matches_among, nearest_documents
from simsearch.search_index.probability import (
    leads_of,
    stored_calibration,
    with_probabilities,
)
from simsearch.storage import DocumentStore

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

# Each of the two searches of a hybrid one brings at least so many documents.
CANDIDATES: Final = 100


@dataclass(frozen=True, slots=True)
class Asked:
    """Queries: their texts, which a dense search does not need, and their embeddings (n, dim).

    A lexical search needs no embeddings. `among`: only documents with these rows, ascending, are
    searched.
    """

    texts: Sequence[str]
    embeddings: FloatArray | None
    among: IntArray | None = None

    def rows(self) -> FloatArray:
        """Return the embeddings."""
        if self.embeddings is None:
            raise InvalidInput("a dense or hybrid search needs embeddings of the queries")
        return self.embeddings

    def at(self, places: Sequence[int]) -> Asked:
        """Return some of the queries."""
        embeddings = None if self.embeddings is None else self.embeddings[places]
        return Asked([self.texts[place] for place in places], embeddings, self.among)


@dataclass(frozen=True, slots=True)
class Met:
    """The candidates of a query, and by document number the passage that is nearest to it.

    `nearest` are the similarities of the two documents that are nearest in the whole index, by
    number, where a filter was asked and they tell how probable a hit is; else there are none.
    """

    candidates: Candidates
    matches: dict[int, Match]
    nearest: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """A document that is to become a hit.

    `lead` is how far its similarity is above the best of the other documents, whatever a filter
    lets through; None where it has no similarity, or is the only one.
    """

    number: int
    score: float
    parts: dict[str, float]
    dense: float | None
    lexical: float | None
    match: Match | None
    lead: float | None


@dataclass(frozen=True, slots=True)
class Reader:
    """What is searched: a store, and its vectors of the same commit."""

    vectors: SegmentedIndex
    store: DocumentStore
    several_rows: bool  # whether a document may have more than one
    exact: bool = False  # whether every row is compared, also where there is an approximate index

    def met(self, asked: Asked, n: int, mode: SearchMode) -> list[Met]:
        """Return what each query meets, `n` documents or more if there are so many.

        Call it inside a snapshot.
        """
        found = self._met(asked, n, mode)
        by_words = mode is SearchMode.LEXICAL
        if asked.among is None or by_words or stored_calibration(self.store) is None:
            return found
        # How probable a hit is was measured by its lead over all that the index holds.
        nearest = self._nearest(replace(asked, among=None), 2)
        return [
            replace(met, nearest={each.passage.document: each.similarity for each in its})
            for met, its in zip(found, nearest, strict=True)
        ]

    def _met(self, asked: Asked, n: int, mode: SearchMode) -> list[Met]:
        if mode is SearchMode.DENSE:
            return [_met(matches, {}) for matches in self._nearest(asked, n)]
        if mode is SearchMode.LEXICAL:
            return [_met([], self._lexical(text, n, asked, least=n)) for text in asked.texts]
        n = max(n, CANDIDATES)
        found = []
        for text, embedding, matches in zip(
            asked.texts, asked.rows(), self._nearest(asked, n), strict=True
        ):
            by_words = self._lexical(text, n, asked, least=0)
            near = {match.passage.document for match in matches}
            others = [number for number in by_words if number not in near]
            more = matches_among(self.vectors, self.store, embedding, others)
            found.append(_met([*matches, *more], by_words))
        return found

    def _nearest(self, asked: Asked, n: int) -> list[list[Match]]:
        # Where documents have several rows, one may be among the nearest more than once.
        depth = 2 * n if self.several_rows else n
        queries, among = asked.rows(), asked.among
        return nearest_documents(
            self.vectors, self.store, queries, n, depth=depth, among=among, exact=self.exact
        )

    def _lexical(self, text: str, n: int, asked: Asked, *, least: int) -> dict[int, float]:
        return dict(self.store.lexical.search(text, n, among=asked.among, least=least))

    def ids(self, met: Met) -> dict[int, str]:
        """Return the ids of what a query met, by number."""
        numbers = met.candidates.numbers.tolist()
        return {number: each.id for number, each in self.store.fetch_numbers(numbers).items()}

    def hits(self, found: Sequence[Sequence[Found]]) -> list[list[Hit]]:
        """Return what was found as hits, with the documents of the store.

        Those that have a similarity have a probability, where the index has a calibration.
        """
        numbers = list({each.number for its in found for each in its})
        documents = self.store.fetch_numbers(numbers)
        hits = [[hit_of(documents[each.number], each) for each in its] for its in found]
        by_words = all(each.dense is None for its in found for each in its)
        calibration = None if by_words else stored_calibration(self.store)
        if calibration is None:
            return hits
        count = self.store.count()
        return [
            with_probabilities(own, [each.lead for each in its], calibration, among=count)
            for own, its in zip(hits, found, strict=True)
        ]


def _met(matches: Sequence[Match], lexical: dict[int, float]) -> Met:
    by_number = {match.passage.document: match for match in matches}
    numbers = list(dict.fromkeys([*by_number, *lexical]))
    dense = [by_number[number].similarity if number in by_number else 0.0 for number in numbers]
    words = [lexical.get(number, 0.0) for number in numbers]
    return Met(
        Candidates(np.array(numbers, dtype=np.int64), np.array(dense), np.array(words)), by_number
    )


def ranked(met: Met, k: int, *, mode: SearchMode, fusion: Fusion) -> list[Found]:
    """Return the `k` best candidates of a query, best first."""
    candidates = _with_words(met.candidates) if mode is SearchMode.LEXICAL else met.candidates
    if mode is SearchMode.HYBRID:
        dense, lexical = fused(candidates, fusion)
        shares, scores = {"dense": dense, "lexical": lexical}, dense + lexical
    else:
        scores = candidates.dense if mode is SearchMode.DENSE else candidates.lexical
        shares = {str(mode): scores}
    leads = _leads(met)
    found = []
    for place in best_first(scores, candidates.numbers, k):
        number = int(candidates.numbers[place])
        match = met.matches.get(number)
        words = float(candidates.lexical[place])
        parts = {name: float(share[place]) for name, share in shares.items()}
        similarity = None if match is None else match.similarity
        lead = leads.get(number)
        found.append(
            Found(number, float(scores[place]), parts, similarity, words or None, match, lead)
        )
    return found


def _leads(met: Met) -> dict[int, float]:
    """Return the lead of each document with a similarity; none where only one has."""
    own = {number: match.similarity for number, match in met.matches.items()}
    similarities = {**met.nearest, **own}
    if len(similarities) < 2:
        return {}
    return dict(zip(similarities, leads_of(list(similarities.values())), strict=True))


def _with_words(candidates: Candidates) -> Candidates:
    found = candidates.lexical > 0
    return Candidates(candidates.numbers[found], candidates.dense[found], candidates.lexical[found])


def hit_of(document: Document, found: Found) -> Hit:
    """Return what was found as a hit that has no probability."""
    passage = None
    if found.match is not None:
        place = found.match.passage.start, found.match.passage.stop
        passage = None if place == (0, len(document.text)) else place
    return Hit(
        id=document.id,
        score=found.score,
        text=document.text,
        title=document.title,
        metadata=document.metadata,
        passage=passage,
        parts=found.parts,
        dense=found.dense,
        lexical=found.lexical,
    )
