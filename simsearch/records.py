"""The records that flow between the rooms. They are frozen and know nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
        return self.passage(0, len(self.text))

    def passage(self, start: int, stop: int) -> str:
        """What is encoded of a half-open range of the text's characters, the title with it."""
        part = self.text[start:stop]
        return f"{self.title} {part}" if self.title else part


@dataclass(frozen=True, slots=True)
class Hit:
    """A document found by a search.

    `score` is the cosine similarity of query and document (higher is better, at most 1).
    `probability` is the calibrated chance that the hit is relevant; None where the encoder
    has no calibration. `passage` is the half-open range in `text` of the passage that matched,
    None where the document was encoded whole.
    """

    id: str
    score: float
    text: str
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    probability: float | None = None
    passage: tuple[int, int] | None = None


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
class ScoredPair:
    """Two texts and how similar they are, on a scale of the data's own."""

    sentence1: str
    sentence2: str
    score: float
