"""What a runtime of an encoder is: padded token ids in, one named output out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from simsearch.errors import EncoderError

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

POOLING_MASK = "pooling_mask"  # an input only of graphs that leave the prompt out of pooling
SENTENCE_EMBEDDING = "sentence_embedding"
TOKEN_EMBEDDINGS = "token_embeddings"
HIDDEN_STATES = "hidden_states"


class OutOfMemory(EncoderError):
    """A batch does not fit into memory; a smaller one may."""


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """A batch padded on the right: `ids` and `mask` (1: a token, 0: padding) are both (b, t).

    `pooled`, where it differs from `mask`, has 1 for the tokens that the embedding is made of.
    """

    ids: IntArray
    mask: IntArray
    pooled: IntArray | None = None

    def rows(self, part: slice) -> TokenBatch:
        """Return a batch of some of the rows."""
        pooled = None if self.pooled is None else self.pooled[part]
        return TokenBatch(self.ids[part], self.mask[part], pooled)

    def feed(self, inputs: Sequence[str]) -> dict[str, IntArray]:
        """Return the values of a graph's inputs by name."""
        pooled = self.mask if self.pooled is None else self.pooled
        values = {"input_ids": self.ids, "attention_mask": self.mask, POOLING_MASK: pooled}
        return {name: values[name] for name in inputs}


class Runtime(Protocol):
    """Runs the encoder's graph.

    `sentence_embedding` is (b, dim) and of unit length, `token_embeddings` (b, t, hidden),
    `hidden_states` (b, layers + 1, t, hidden) with the embedding layer first. `streams` is how
    many threads may call `run` at once to some advantage, `token_budget` how large a batch should
    be, in tokens, padding included.
    """

    name: str
    streams: int
    token_budget: int

    def run(self, batch: TokenBatch, output: str) -> FloatArray:
        """Return one named output, computing no more than it needs.

        Raises:
            OutOfMemory: the batch is too large.
            EncoderError: it cannot be run.
        """
        ...

    def run_many(self, batch: TokenBatch, outputs: Sequence[str]) -> list[FloatArray]:
        """Return several named outputs of one pass, in order; errors as `run`."""
        ...


# None of the runtimes has an exception of its own for these.
_MEMORY_FULL = ("bad_alloc", "allocate memory", "out of memory", "bad allocation", "alloc_failed")
_UNKNOWN_TOKEN = ("index out of range", "out of data bounds")


def run_error(error: Exception, batch: TokenBatch) -> EncoderError:
    """Return a runtime's failure as an error of ours; the caller raises it from `error`."""
    whole = str(error)
    text = whole.strip().partition("\n")[0]  # CUDA adds lines of advice about itself
    if isinstance(error, MemoryError) or any(words in whole.lower() for words in _MEMORY_FULL):
        return OutOfMemory(f"out of memory on a batch of {batch.ids.shape}: {text}")
    if any(words in whole for words in _UNKNOWN_TOKEN):
        return EncoderError(f"the tokenizer gives a token that the encoder does not have: {text}")
    return EncoderError(f"the encoder failed on a batch of {batch.ids.shape}: {text}")
