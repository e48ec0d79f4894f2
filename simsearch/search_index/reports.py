"""What an index says of itself, and what a write says that it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simsearch.ann import Target


@dataclass(frozen=True, slots=True)
class WriteReport:
    """What a write did: documents, the vectors that they have, and what had to be encoded.

    `passages` are the vectors of the documents that were added or replaced: of texts that were
    `encoded`, of the same texts as before (`reused`), or supplied now.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    passages: int = 0
    encoded: int = 0
    reused: int = 0

    def __add__(self, other: WriteReport) -> WriteReport:
        return WriteReport(
            self.added + other.added,
            self.replaced + other.replaced,
            self.unchanged + other.unchanged,
            self.passages + other.passages,
            self.encoded + other.encoded,
            self.reused + other.reused,
        )


@dataclass(frozen=True, slots=True)
class UpgradeReport:
    """Where an upgrade keeps the old index, and what of it the new one has not.

    `segments` is how many the old index had: they are built anew from the vectors. `previous` is
    where the generation before is kept, None if there was none.
    """

    backup: Path
    segments: int
    previous: Path | None


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """One segment: its rows, of which `dead_rows` are dead by now, and how they are searched.

    `index` is FAISS's name of it, "Flat" where every row is compared. `fault` says why it is not
    used, None if it is. `plan` has the choice, the curve by which it was tuned, what was measured,
    and what became of the other kinds; None where no choice was made.
    """

    rows: int
    dead_rows: int
    bytes: int
    index: str
    fault: str | None
    plan: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class SearchInfo:
    """How the rows of an index are searched.

    `compared_rows` are compared one by one by every search, `rows_in_memory` of them are in no
    segment and are read into memory by whoever opens the index. `recall` is what was measured on
    queries that tuned nothing, the least of all segments', with its interval; 1 where every row is
    compared.
    """

    compared_rows: int
    rows_in_memory: int
    recall: float
    recall_low: float
    recall_high: float
    segments: tuple[SegmentInfo, ...]


@dataclass(frozen=True, slots=True)
class GenerationInfo:
    """A generation of an index that does not answer: the one before, or one that is being built."""

    generation: int
    encoder: str
    fingerprint: str
    dim: int
    documents: int
    path: str


@dataclass(frozen=True, slots=True)
class CalibrationInfo:
    """What the probabilities of an index were measured on, and how far they are from the truth.

    `measured_on` are "hits" of known queries, each among `candidates` texts, or "pairs".
    `scored` similarities of `units`, queries or pairs, `matches` of them of a match. The error is
    cross-validated.
    """

    method: str
    measured_on: str
    candidates: int | None
    units: int
    scored: int
    matches: int
    expected_calibration_error: float


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an index is.

    `passages` are the vectors of its documents, `dead_rows` those of documents that were deleted
    or replaced. `precision` is that of its own copy of the encoder: fp32, or int8. `previous` is
    the generation before, where one is kept, `building` the next one, where it was begun. `mode` is
    how it is searched where nobody says how, and `mode_reason` says why; `rerank` and `rerank_top`
    are how and how many of its hits are reranked then. Without a `calibration` no hit has a
    probability.
    """

    path: str
    format: int
    finished: bool
    documents: int
    passages: int
    dead_rows: int
    long_texts: str
    dim: int
    encoder: str
    precision: str
    fingerprint: str
    commit_number: int
    created_by: str
    bytes_on_disk: int
    target: Target
    search: SearchInfo
    generation: int
    previous: GenerationInfo | None
    building: GenerationInfo | None
    mode: str
    mode_reason: str
    rerank: str
    rerank_top: int
    rerank_reason: str
    calibration: CalibrationInfo | None
    judgements: int
