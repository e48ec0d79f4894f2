"""What both runtimes of an encoder have in common: padded ids in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

SENTENCE_EMBEDDING = "sentence_embedding"
TOKEN_EMBEDDINGS = "token_embeddings"
HIDDEN_STATES = "hidden_states"


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """A padded batch: `ids` and `mask` (1 for a token, 0 for padding) are both (b, t)."""

    ids: IntArray
    mask: IntArray


class Runtime(Protocol):
    """Runs the encoder's graph.

    `sentence_embedding` is (b, dim) and of unit length, `token_embeddings` (b, t, dim),
    `hidden_states` (b, layers + 1, t, dim) with the embedding layer first.
    """

    name: str

    def run(self, batch: TokenBatch, output: str) -> FloatArray:
        """Return one named output, computing no more than it needs."""
        ...
