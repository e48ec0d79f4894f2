"""What an index says of itself, and what a write says that it did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WriteReport:
    """What a write did: documents, the vectors written for them, and what had to be encoded.

    `passages` are the vectors written: of texts that were `encoded`, of the same texts again
    (`reused`), or supplied.
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
class IndexInfo:
    """What an index is.

    `passages` are the vectors of its documents, `dead_rows` those of documents that were deleted
    or replaced. `precision` is that of its own copy of the encoder: fp32, or int8.
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
