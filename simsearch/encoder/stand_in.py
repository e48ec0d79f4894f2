"""What stands for an encoder: all is as the encoder has it, but how documents are encoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simsearch.encoder.calibration import Calibration
from simsearch.encoder.encoder import Encoder
from simsearch.encoder.pair_scorer import PairScorer
from simsearch.encoder.runtime import FloatArray
from simsearch.records import Document, Passage


class StandIn:
    """The part of an `Encoder` that an index needs, less `encode_documents`."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    @property
    def name(self) -> str:
        """As `Encoder.name`."""
        return self._encoder.name

    @property
    def dim(self) -> int:
        """As `Encoder.dim`."""
        return self._encoder.dim

    @property
    def fingerprint(self) -> str:
        """As `Encoder.fingerprint`."""
        return self._encoder.fingerprint

    @property
    def trained_dims(self) -> tuple[int, ...]:
        """As `Encoder.trained_dims`."""
        return self._encoder.trained_dims

    @property
    def calibration(self) -> Calibration | None:
        """As `Encoder.calibration`."""
        return self._encoder.calibration

    @property
    def pair_scorer(self) -> PairScorer | None:
        """As `Encoder.pair_scorer`."""
        return self._encoder.pair_scorer

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        """As `Encoder.encode_queries`."""
        return self._encoder.encode_queries(texts)

    def reads(self, text: str) -> bool:
        """As `Encoder.reads`."""
        return self._encoder.reads(text)

    def split_documents(self, documents: Sequence[Document]) -> list[list[Passage]]:
        """As `Encoder.split_documents`."""
        return self._encoder.split_documents(documents)

    def save_export(self, directory: Path) -> None:
        """As `Encoder.save_export`."""
        self._encoder.save_export(directory)
