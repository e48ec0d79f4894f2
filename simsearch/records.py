"""The records that flow between the rooms. They are frozen and know nothing."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# White space, and what is there to be obeyed or ignored: joiners, marks of direction, controls.
_INVISIBLE = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
# Which form of the character before it is meant, which alone is none.
_VARIATIONS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))


def is_blank(text: str | None) -> bool:
    """Whether there is nothing to read in a text, or no text."""
    return text is None or not any(map(_is_visible, text))


def has_word(text: str) -> bool:
    """Whether there is a letter or a digit in a text; nearly every tokenizer reads one that has."""
    return any(map(str.isalnum, text))


def _is_visible(character: str) -> bool:
    if unicodedata.category(character) in _INVISIBLE:
        return False
    return not any(ord(character) in variations for variations in _VARIATIONS)


@dataclass(frozen=True, slots=True)
class Document:
    """A text with an id; every value of `metadata` is JSON."""

    id: str
    text: str
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """What is encoded: title, space, text; or the text alone."""
        return f"{self.title} {self.text}" if self.title else self.text


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document that is encoded by itself: `content`, the title before the part.

    `start` and `stop` are its half-open range in the document's text. A title too long to stand
    before every part is cut there; parts of its own, of the range (0, 0), hold it whole.
    """

    start: int
    stop: int
    content: str


def whole_passage(document: Document) -> Passage:
    """Return a document as the only passage of itself."""
    return Passage(0, len(document.text), document.content)


@dataclass(frozen=True, slots=True)
class WordShare:
    """A word of a hit, and what it contributes to the similarity of hit and query.

    `start` and `end` are its half-open range in the hit's `field`, "text" or "title". `loss` is by
    how much the similarity would fall without the word, as far as one pass can tell. `query` are
    the half-open ranges of the words of the query that it goes with most, and what each of these
    pairs contributes.
    """

    start: int
    end: int
    field: str
    contribution: float
    loss: float
    query: tuple[tuple[int, int, float], ...]


@dataclass(frozen=True, slots=True)
class TermShare:
    """A term of a query that a hit holds, and what it adds to the hit's BM25 score.

    `query` are the half-open ranges in which it stands in the query. `places` are where the hit has
    it, in whatever form: the hit's field, "text" or "title", and a half-open range of that.
    """

    term: str
    contribution: float
    query: tuple[tuple[int, int], ...]
    places: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where the two scores of a hit come from that its own is made of.

    The contributions of `words`, in the order of the text, and `rest` add up to the similarity,
    those of `terms`, the highest first, to the BM25 score; there are none where the hit has none.
    `rest` is what tokens carry that belong to no word, and
    what a stored vector differs by. Where `exact` is false the encoder's embedding is no sum over
    tokens, and the similarity is divided by how like the query's words each word is.
    """

    words: tuple[WordShare, ...] = ()
    rest: float = 0.0
    exact: bool = True
    terms: tuple[TermShare, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A document found by a search.

    Hits are ordered by `score`, higher is better. It is the cosine similarity of query and
    document (at most 1) in a dense search, BM25 in a lexical one, and in a hybrid one a mean of
    both, each brought to 0..1 among the candidates of the query. `dense` and `lexical` are that
    similarity and that BM25 score, None where the search did not compute them (`lexical` also where
    the document was not found by its words); `parts` is what each adds to the score.
    `probability` is the calibrated chance that the hit is relevant; None where the encoder
    has no calibration. `passage` is the half-open range in `text` of the passage that matched,
    (0, 0) where that was a part of a long title, None where the document was encoded whole.
    `explanation` is there where one was asked for.
    """

    id: str
    score: float
    text: str
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    probability: float | None = None
    passage: tuple[int, int] | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    dense: float | None = None
    lexical: float | None = None
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What somebody said of a document as an answer to a query: that it is one, or is none."""

    query: str
    document_id: str
    relevant: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts that belong together."""

    anchor: str
    positive: str


@dataclass(frozen=True, slots=True)
class Triplet:
    """An anchor, a text that belongs to it, and one that does not."""

    anchor: str
    positive: str
    negative: str


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two texts, and whether they are similar: 1 or 0."""

    sentence1: str
    sentence2: str
    label: int


@dataclass(frozen=True, slots=True)
class ClassPair:
    """Two texts, and by name which of several relations holds between them."""

    sentence1: str
    sentence2: str
    label: str


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """Two texts and how similar they are, on a scale of the data's own."""

    sentence1: str
    sentence2: str
    score: float


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text, and the name of its class."""

    text: str
    label: str


@dataclass(frozen=True, slots=True)
class UnlabelledText:
    """A text of the domain, of which nothing more is known."""

    text: str


@dataclass(frozen=True, slots=True)
class ClassifiedText:
    """A text and the names of its classes: one, or any number where several may hold at once."""

    text: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A labelled half-open range of characters of a text."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class TaggedText:
    """A text and its spans, in order, none of which overlaps another."""

    text: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value of a field, and how many documents have it."""

    value: str | int | float | bool
    count: int


@dataclass(frozen=True, slots=True)
class Facet:
    """The values of a field, the most frequent first, of which `values` are some.

    Of `documents` in all `missing` have none. There are `distinct` values.
    """

    field: str
    values: tuple[FacetValue, ...]
    distinct: int
    documents: int
    missing: int
