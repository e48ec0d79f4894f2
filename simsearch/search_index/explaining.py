"""Hits with their reasons: which words carry the similarity, which words are in the query, too.

The words of the similarity come from one pass over the query and the hits, those of the BM25 score
from the lexical index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from simsearch.encoder import TokenReading, truncate_embeddings
from simsearch.errors import EncoderError
from simsearch.heads.words import split_words
from simsearch.query import (
    Contributions,
    TokenSum,
    contributions,
    likeness,
    token_sum,
    words_of_tokens,
)
from simsearch.records import Document, Explanation, Hit, Passage, WordShare
from simsearch.search_index.binding import TextEncoder
from simsearch.search_index.matching_terms import term_shares
from simsearch.storage import DocumentStore

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_WITH = 3  # words of the query that are named for a word of a hit


@runtime_checkable
class TokenEncoder(Protocol):
    """An encoder that gives token vectors, too; `Encoder` is one."""

    def read_queries(self, texts: Sequence[str]) -> list[TokenReading]: ...
    def read_documents(self, texts: Sequence[str]) -> list[TokenReading]: ...
    def split_documents(self, documents: Sequence[Document]) -> list[list[Passage]]: ...


def token_encoder(encoder: TextEncoder) -> TokenEncoder:
    """Return an encoder as one that gives token vectors.

    Raises:
        EncoderError: it gives none.
    """
    if not isinstance(encoder, TokenEncoder):
        raise EncoderError(f"{encoder.name} gives no token vectors (open the index without it)")
    return encoder


def explained(
    store: DocumentStore, encoder: Callable[[], TextEncoder], query: str, hits: Sequence[Hit]
) -> list[Hit]:
    """Return hits with their explanations, in order; see `SearchIndex.explain`.

    `encoder` is asked for where a hit has a similarity.
    """
    near = [number for number, hit in enumerate(hits) if hit.dense is not None]
    explanations = [Explanation() for _ in hits]
    if near:
        reader = token_encoder(encoder())
        found = _by_similarity(reader, query, [hits[number] for number in near], dim=store.dim)
        for number, explanation in zip(near, found, strict=True):
            explanations[number] = explanation
    terms = term_shares(store, query, hits)
    return [
        replace(hit, explanation=replace(explanation, terms=own))
        for hit, explanation, own in zip(hits, explanations, terms, strict=True)
    ]


def _by_similarity(
    encoder: TokenEncoder, query: str, hits: Sequence[Hit], *, dim: int
) -> list[Explanation]:
    """Return where the similarity of each hit comes from; `dim` is that of the index."""
    (asked,) = encoder.read_queries([query])
    contents = hit_contents(encoder, hits)
    read = encoder.read_documents(contents)
    own = _Read.of(query, asked, dim)
    return [
        _explanation(own, _Read.of(content, reading, dim), hit)
        for hit, content, reading in zip(hits, contents, read, strict=True)
    ]


def hit_contents(encoder: TokenEncoder, hits: Sequence[Hit]) -> list[str]:
    """Return the text of each hit as it was encoded: of the passage that matched, if it has one."""
    documents = [Document(id=hit.id, text=hit.text, title=hit.title) for hit in hits]
    contents = [document.content for document in documents]
    parts = [number for number, hit in enumerate(hits) if hit.passage is not None]
    split = encoder.split_documents([documents[number] for number in parts])
    for number, passages in zip(parts, split, strict=True):
        own = [each.content for each in passages if (each.start, each.stop) == hits[number].passage]
        contents[number] = own[0] if own else contents[number]
    return contents


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """A text with its words, (w, 2) ranges, and what an encoder read of it."""

    text: str
    words: IntArray
    word: IntArray  # of each token
    reading: TokenReading
    embedding: FloatArray  # (dim,) of the index
    sum: TokenSum | None

    @classmethod
    def of(cls, text: str, reading: TokenReading, dim: int) -> _Read:
        words = split_words(text)
        word = words_of_tokens(reading.offsets, words)
        (embedding,) = truncate_embeddings(reading.embedding[None], dim)
        found = token_sum(reading.vectors, reading.pooled, embedding, word=word, words=len(words))
        return cls(text, words, word, reading, embedding, found)


def _explanation(query: _Read, text: _Read, hit: Hit) -> Explanation:
    exact = query.sum is not None and text.sum is not None
    found: Contributions
    if query.sum is not None and text.sum is not None:
        found = contributions(query.sum, text.sum)
    else:
        found = likeness(
            query.reading.vectors,
            query.word,
            text.reading.vectors,
            text.word,
            shape=(len(query.words), len(text.words)),
            cosine=float(query.embedding @ text.embedding),
        )
    before, shifts = _places(text.text, hit)
    shares = []
    seen = np.unique(text.word[text.word >= 0]).tolist()
    for number in seen:
        start, end = text.words[number].tolist()
        field = "title" if start < before else "text"
        shares.append(
            WordShare(
                start=start + shifts[field],
                end=end + shifts[field],
                field=field,
                contribution=float(found.words[number]),
                loss=float(found.losses[number]),
                query=_partners(found.pairs[:, number], query.words),
            )
        )
    similarity = found.cosine if hit.dense is None else hit.dense
    rest = similarity - sum(share.contribution for share in shares)
    return Explanation(tuple(shares), rest, exact)


def _places(content: str, hit: Hit) -> tuple[int, dict[str, int]]:
    """Return where the text begins in what was encoded, and what to add to a place there.

    Before it stands the title, or as much of it as there was room for.
    """
    if hit.passage == (0, 0):  # a part of a long title, and nothing of the text
        return len(content), {"title": (hit.title or "").find(content), "text": 0}
    start, stop = (0, len(hit.text)) if hit.passage is None else hit.passage
    before = len(content) - (stop - start)
    return before, {"title": 0, "text": start - before}


def _partners(
    pairs: npt.NDArray[np.float64], words: IntArray
) -> tuple[tuple[int, int, float], ...]:
    best = np.argsort(-pairs, kind="stable")[:_WITH].tolist()
    return tuple(
        (int(words[each][0]), int(words[each][1]), float(pairs[each]))
        for each in best
        if pairs[each] > 0
    )
