"""An encoder at work: how far it is, and what it has encoded already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from simsearch.encoder import Encoder, EncodingCounts
from simsearch.encoder.runtime import FloatArray

# Embeddings of documents that are kept: 0.3 GB of dim 384.
_MOST = 200_000


@dataclass(frozen=True, slots=True)
class WatchedEncoder:
    """Tells how many documents of a call are done, and encodes no document twice.

    The base is scored on a corpus and mined for hard negatives among it: the same texts, which are
    encoded once, up to 200,000 of them. `tell` is called with (done, all); queries are few.
    """

    encoder: Encoder
    tell: Callable[[int, int], None]
    memory: dict[str, FloatArray] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """Width of an embedding."""
        return self.encoder.dim

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return the embeddings of queries, (n, dim), in order."""
        return self.encoder.encode_queries(texts)

    def encode_documents(
        self, texts: Sequence[str], *, counts: EncodingCounts | None = None
    ) -> FloatArray:
        """Return the embeddings of documents, (n, dim), in order; `counts` see the new ones."""
        new = [text for text in dict.fromkeys(texts) if text not in self.memory]
        self.tell(len(texts) - len(new), len(texts))
        known = len(texts) - len(new)
        encoded = self.encoder.encode_documents(
            new, counts=counts, progress=lambda done: self.tell(known + done, len(texts))
        )
        found = dict(zip(new, encoded, strict=True))
        for text in new[: max(0, _MOST - len(self.memory))]:
            self.memory[text] = found[text].copy()  # a view would hold all of its chunk
        embeddings = np.empty((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            embeddings[row] = found[text] if text in found else self.memory[text]
        return embeddings
