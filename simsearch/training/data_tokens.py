"""What the texts of training data are to an encoder: tokens, and the time that they take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_changes
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from simsearch.encoder import EncodingCounts, text_chunks
from simsearch.encoder.loading import read_whole_layout
from simsearch.encoder.tokenization import TextTokenizer
from simsearch.errors import EncoderError
from simsearch.formats import Example
from simsearch.training.data_counts import FoldedTexts

IntArray = npt.NDArray[np.int64]

_SAMPLE: Final = 20_000  # texts that are tokenized
_CHUNK: Final = 1024  # of them at once
_TIMED_TEXTS: Final = 64  # the most in one call
_TIMED_TOKENS: Final = 2048  # about
_TIMED_CALLS: Final = 16
_TIMED_SECONDS: Final = 1.0


class TrainableEncoder(Protocol):
    """What the check needs of an encoder; `Encoder` is one."""

    @property
    def name(self) -> str: ...
    @property
    def directory(self) -> Path | None: ...
    @property
    def max_length(self) -> int: ...
    def encode_documents(self, texts: Sequence[str]) -> npt.NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class TokenizedSample:
    """Some of the distinct texts: how often each is used, in which column it stands first.

    And its length in tokens.
    """

    texts: Sequence[str]
    uses: IntArray
    columns: IntArray
    lengths: IntArray
    counts: EncodingCounts

    @property
    def mean_length(self) -> float:
        """The length of a text of a row, in the mean over all rows."""
        return float(np.average(self.lengths, weights=self.uses))

    def mean_length_of(self, column: int) -> float:
        """Return the mean length of the distinct texts of a column; of all, where it has none."""
        own = self.lengths[self.columns == column]
        return float(own.mean()) if len(own) else self.mean_length

    def percentile(self, percent: int) -> int:
        """Return the least length that so many percent of the texts do not exceed."""
        return int(np.percentile(self.lengths, percent, method="inverted_cdf"))


def tokenized_sample(
    examples: Sequence[Example], texts: FoldedTexts, *, encoder: TrainableEncoder, seed: int
) -> TokenizedSample:
    """Tokenize the distinct texts of examples, at most 20,000 of them, as training will see them.

    Each has the prompt of the column that it stands in first.

    Raises:
        EncoderError: the encoder has no directory to be trained from.
    """
    if encoder.directory is None:
        raise EncoderError(
            f"{encoder.name} is an index's copy of an encoder, which cannot be trained "
            "(name the encoder itself)"
        )
    layout = with_changes(read_whole_layout(encoder.directory), max_length=encoder.max_length)
    tokenizer = TextTokenizer.of(layout)
    # By first appearance: the order of hashes differs from one process to the next.
    chosen = np.argsort(texts.first)
    if len(chosen) > _SAMPLE:
        drawn = np.random.default_rng(seed).choice(len(chosen), _SAMPLE, replace=False)
        chosen = chosen[np.sort(drawn)]
    positions = texts.first[chosen].tolist()
    sampled = [texts.text(examples, position) for position in positions]
    counts = EncodingCounts(texts=len(sampled), encoded=len(sampled))
    lengths: list[int] = []
    prompts = [
        layout.query_prompt if name == "anchor" else layout.document_prompt
        for name in texts.columns
    ]
    prompted = (
        prompts[at % len(prompts)] + text for at, text in zip(positions, sampled, strict=True)
    )
    for chunk in text_chunks(prompted, len, most=_CHUNK):
        for row in tokenizer.tokenize(chunk):
            lengths.append(len(row.ids))
            counts.tokens += len(row.ids) - tokenizer.special_tokens
            counts.unknown_tokens += int((row.ids == tokenizer.unknown_id).sum())
            counts.truncated += row.truncated
    columns = texts.first[chosen] % len(texts.columns)
    return TokenizedSample(sampled, texts.uses[chosen], columns, np.array(lengths), counts)


def tokens_per_second(
    encoder: TrainableEncoder,
    sample: TokenizedSample,
    *,
    most: int,
    seed: int,
    clock: Callable[[], float],
) -> float | None:
    """Return how many tokens the encoder takes in a second, measured in about a second.

    Some of the texts are encoded, at most `most` in a call, by `clock`. None if that took no
    time, or no text has a token.
    """
    # A tokenizer without special tokens may leave nothing of a text; it would be refused.
    usable = np.random.default_rng(seed).permutation(np.flatnonzero(sample.lengths))
    if not len(usable):
        return None
    # As short as the micro-batches of a step, or a large encoder would take minutes for a call.
    fitting = int(_TIMED_TOKENS / sample.lengths[usable].mean())
    size = max(1, min(most, _TIMED_TEXTS, fitting))
    starts = range(0, len(usable), size)[:_TIMED_CALLS]
    encoder.encode_documents([sample.texts[usable[0]]])  # the first call starts the runtime
    tokens, seconds = 0, 0.0
    for positions in (usable[start : start + size] for start in starts):
        chunk = [sample.texts[position] for position in positions]
        started = clock()
        encoder.encode_documents(chunk)
        seconds += clock() - started
        tokens += int(sample.lengths[positions].sum())
        if seconds >= _TIMED_SECONDS:
            break
    return tokens / seconds if seconds > 0 else None
