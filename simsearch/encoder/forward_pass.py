"""The way through an encoder: texts in, tokens, even batches, a runtime, vectors in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.encoder.batching import pad, text_chunks, token_budget_batches
from simsearch.encoder.refusals import (
    REFUSED,
    UnencodableText,
    UnreadableText,
    refuse_no_text,
    text_length,
)
from simsearch.encoder.runtime import (
    HIDDEN_STATES,
    SENTENCE_EMBEDDING,
    TOKEN_EMBEDDINGS,
    FloatArray,
    IntArray,
    OutOfMemory,
    Runtime,
    TokenBatch,
)
from simsearch.encoder.tokenization import TextTokenizer, TokenizedText
from simsearch.errors import EncoderError

# Texts tokenized at once: bounds memory, and is enough to sort lengths into even batches.
CHUNK = 4096
# Tokens of a call from which on the runtime for bulk work is worth its start, about 0.2 s.
BULK_TOKENS = 16 * 1024

BoolArray = npt.NDArray[np.bool_]

# Called with the number of texts done so far.
Progress = Callable[[int], None]

# Of one batch: positions, size in tokens with padding, and embeddings.
_Part = tuple[IntArray, int, FloatArray]

# Of the tokens of texts; an encoder that does not know more was made for another language.
MOST_UNKNOWN = 0.3


@dataclass(slots=True)
class EncodingCounts:
    """What was seen while encoding; filled by `encode*` when passed to it.

    `texts` are those asked for, `encoded` those that went through the encoder (equal texts do so
    once), and the others are counted over these. `tokens` leaves special ones out; `computed` is
    all that went through the encoder, special ones and `padding` included.
    """

    texts: int = 0
    encoded: int = 0
    tokens: int = 0
    unknown_tokens: int = 0
    truncated: int = 0
    all_unknown: int = 0
    padding: int = 0
    computed: int = 0

    @property
    def unknown_share(self) -> float:
        """Share of tokens, special ones not counted, that the tokenizer does not know."""
        return self.unknown_tokens / self.tokens if self.tokens else 0.0

    @property
    def padding_share(self) -> float:
        """Share of what was computed that was padding."""
        return self.padding / self.computed if self.computed else 0.0


@dataclass(frozen=True, slots=True)
class LayerReading:
    """All that one pass gives of one text.

    `embedding` (dim,) is the text's, as `encode_documents` gives it; `layers` (layers + 1, t,
    hidden) are the token vectors of every layer, the embedding layer first, and `offsets` (t, 2)
    the tokens' character ranges in the text, (0, 0) of special ones and those of a prompt.
    `truncated`: the text goes on beyond the last token.
    """

    embedding: FloatArray
    layers: FloatArray
    offsets: IntArray
    truncated: bool


@dataclass(frozen=True, slots=True)
class TokenReading:
    """What one pass gives of one text for comparing it token by token.

    `embedding` (dim,) is the text's; `vectors` (t, hidden) those of its tokens; `offsets` (t, 2)
    as in `LayerReading`. `pooled` (t,) says of which tokens the embedding is made.
    """

    embedding: FloatArray
    vectors: FloatArray
    offsets: IntArray
    pooled: BoolArray


@dataclass(frozen=True, slots=True)
class ForwardPass:
    """A tokenizer and the runtimes behind it.

    `runtime` computes in float32, and is quick with a few texts; `bulk()` returns the one for
    calls of more than `bulk_tokens` tokens, which may compute in other numbers.
    """

    tokenizer: TextTokenizer
    pad_id: int
    dim: int
    runtime: Runtime
    bulk: Callable[[], Runtime]
    bulk_tokens: int = BULK_TOKENS

    def embed_many(
        self,
        texts: Iterable[str],
        prompt: str,
        *,
        counts: EncodingCounts | None = None,
        progress: Progress | None = None,
    ) -> Iterator[FloatArray]:
        """Yield the embeddings of texts in order, (n, dim), a chunk at a time.

        No more than a chunk of texts is held. Within it equal texts are encoded once.
        """
        counts = counts if counts is not None else EncodingCounts()
        progress = progress or _ignore
        done = 0
        for chunk in text_chunks(texts, text_length, most=CHUNK):
            refuse_no_text(chunk, first=done)
            row = {text: number for number, text in enumerate(dict.fromkeys(chunk))}
            try:
                embeddings = self._embed(list(row), prompt, counts, progress, done)
            except REFUSED as error:
                position = chunk.index(list(row)[error.position])
                raise error.at(done + position) from error
            if len(row) < len(chunk):
                embeddings = embeddings[[row[text] for text in chunk]]
            done += len(chunk)
            counts.texts += len(chunk)
            progress(done)
            yield embeddings

    def _embed(
        self, texts: list[str], prompt: str, counts: EncodingCounts, progress: Progress, before: int
    ) -> FloatArray:
        rows = self._tokenize(texts, prompt)
        lengths = np.array([len(row.ids) for row in rows])
        runtime = self.bulk() if lengths.sum() > self.bulk_tokens else self.runtime
        embeddings = np.empty((len(texts), self.dim), dtype=np.float32)
        done = 0
        skip = self.tokenizer.left_out(prompt)
        for positions, size, vectors in self._run(runtime, rows, skip):
            if vectors.shape[1] != self.dim:  # the description is not that of this graph
                raise EncoderError(
                    f"the encoder gives vectors of dim {vectors.shape[1]}, expected {self.dim}"
                )
            embeddings[positions] = vectors
            counts.padding += size - int(lengths[positions].sum())
            counts.computed += size
            done += len(positions)
            progress(before + done)
        self._mend(embeddings, rows, skip)
        self._count(rows, counts)
        return embeddings

    def _tokenize(
        self, texts: Sequence[str], prompt: str, *, offsets: bool = False
    ) -> list[TokenizedText]:
        given = [prompt + text for text in texts] if prompt else texts
        rows = self.tokenizer.tokenize(given, offsets=offsets)
        # Of few texts so little is left that nothing of them may be in it.
        few = self.tokenizer.length(prompt) + 1
        for position, row in enumerate(rows):
            if len(row.ids) <= few and not self.tokenizer.reads(texts[position]):
                raise UnreadableText(position)
        return rows

    def _run(self, runtime: Runtime, rows: Sequence[TokenizedText], skip: int) -> Iterator[_Part]:
        """Yield what becomes of each batch, in order."""
        batches = token_budget_batches([len(row.ids) for row in rows], runtime.token_budget)

        def run(positions: IntArray) -> _Part:
            batch = self._batch([rows[position].ids for position in positions], skip)
            return positions, batch.ids.size, run_halving(runtime, batch, SENTENCE_EMBEDDING)

        if runtime.streams == 1 or len(batches) == 1:
            yield from map(run, batches)
            return
        with ThreadPoolExecutor(runtime.streams) as pool:
            try:
                yield from _in_threads(pool, run, batches)
            finally:  # after an error, or when the caller has enough
                pool.shutdown(cancel_futures=True)

    def _batch(self, ids: Sequence[IntArray], skip: int = 0) -> TokenBatch:
        """Return a padded batch; `skip` tokens at the beginning do not count for embeddings."""
        mask = pad([np.ones_like(row) for row in ids])
        pooled = None
        if skip:
            pooled = mask.copy()
            pooled[:, :skip] = 0
        return TokenBatch(pad(ids, value=self.pad_id), mask, pooled)

    def _mend(self, embeddings: FloatArray, rows: Sequence[TokenizedText], skip: int) -> None:
        """Encode rows that came out as NaN or zero once more, alone and in float32."""
        for position in np.flatnonzero(~_of_unit_length(embeddings)).tolist():
            batch = self._batch([rows[position].ids], skip)
            again = self.runtime.run(batch, SENTENCE_EMBEDDING)
            if not _of_unit_length(again)[0]:
                raise UnencodableText(position)
            embeddings[position] = again[0]

    def _count(self, rows: Sequence[TokenizedText], counts: EncodingCounts) -> None:
        special = self.tokenizer.special_tokens
        counts.encoded += len(rows)
        for row in rows:
            unknown = int((row.ids == self.tokenizer.unknown_id).sum())
            tokens = len(row.ids) - special
            counts.tokens += tokens
            counts.unknown_tokens += unknown
            counts.truncated += row.truncated
            counts.all_unknown += unknown == tokens > 0

    def run_ragged(self, texts: Sequence[str], output: str) -> list[tuple[IntArray, FloatArray]]:
        """Return of each text the tokens' character ranges (t, 2) and their rows of an output.

        Tokens are the last axis but one of the output; padding is cut off.
        """
        refuse_no_text(texts, first=0)
        rows = self._tokenize(texts, "", offsets=True)
        ranges = [row.offsets for row in rows if row.offsets is not None]
        results: list[FloatArray] = [np.empty(0, dtype=np.float32)] * len(rows)
        lengths = [len(row.ids) for row in rows]
        for positions in token_budget_batches(lengths, self.runtime.token_budget):
            batch = self._batch([rows[position].ids for position in positions])
            vectors = run_halving(self.runtime, batch, output)
            for position, row in zip(positions, vectors, strict=True):
                results[position] = row[..., : lengths[position], :].copy()
        return list(zip(ranges, results, strict=True))

    def read_layers(
        self,
        texts: Sequence[str],
        prompt: str,
        *,
        counts: EncodingCounts | None = None,
    ) -> Iterator[tuple[int, LayerReading]]:
        """Yield the position and the reading of each text, longest first.

        A reading of 256 tokens is some megabytes: only those of a batch are held.
        """
        for position, found, embedding, layers in self._read(
            texts, prompt, HIDDEN_STATES, counts=counts
        ):
            yield (
                position,
                LayerReading(
                    embedding=embedding,
                    layers=layers,
                    offsets=_behind(found.offsets, len(prompt)),
                    truncated=found.truncated,
                ),
            )

    def read_tokens(self, texts: Sequence[str], prompt: str) -> Iterator[tuple[int, TokenReading]]:
        """Yield the position and the reading of each text, longest first."""
        skip = self.tokenizer.left_out(prompt)
        for position, found, embedding, vectors in self._read(texts, prompt, TOKEN_EMBEDDINGS):
            reading = TokenReading(
                embedding=embedding,
                vectors=vectors,
                offsets=_behind(found.offsets, len(prompt)),
                pooled=np.arange(len(vectors)) >= skip,
            )
            yield position, reading

    def _read(
        self,
        texts: Sequence[str],
        prompt: str,
        output: str,
        *,
        counts: EncodingCounts | None = None,
    ) -> Iterator[tuple[int, TokenizedText, FloatArray, FloatArray]]:
        """Yield position, tokens, embedding and an output of each text.

        Tokens are the last axis but one of the output; padding is cut off.
        """
        refuse_no_text(texts, first=0)
        skip = self.tokenizer.left_out(prompt)
        for start in range(0, len(texts), CHUNK):
            part = texts[start : start + CHUNK]
            try:
                rows = self._tokenize(part, prompt, offsets=True)
            except UnreadableText as error:
                raise error.at(start + error.position) from error
            lengths = [len(row.ids) for row in rows]
            for positions in token_budget_batches(lengths, self.runtime.token_budget):
                batch = self._batch([rows[position].ids for position in positions], skip)
                embeddings, vectors = _run_both(self.runtime, batch, output)
                good = _of_unit_length(embeddings)
                for row, position in enumerate(positions.tolist()):
                    if not good[row]:
                        raise UnencodableText(start + position)
                    of_its_own = vectors[row][..., : lengths[position], :]
                    yield start + position, rows[position], embeddings[row], of_its_own
            if counts is not None:
                counts.texts += len(part)
                self._count(rows, counts)


def _of_unit_length(embeddings: FloatArray) -> BoolArray:
    """Return of each row (n, dim) whether it is finite, and as long as a runtime makes it.

    What is next to nothing before it is scaled (below 1e-12 in torch) stays far shorter.
    """
    norms = np.linalg.norm(embeddings, axis=1)
    found: BoolArray = np.isfinite(norms) & (norms > 0.5)
    return found


def _behind(offsets: IntArray | None, prompt: int) -> IntArray:
    """Return character ranges in a text of what stands behind a prompt of so many characters."""
    if offsets is None:
        raise EncoderError("the tokenizer gave no character ranges")
    return np.maximum(offsets - prompt, 0) if prompt else offsets


def _run_both(runtime: Runtime, batch: TokenBatch, output: str) -> tuple[FloatArray, FloatArray]:
    """Return sentence embeddings and an output; in halves where memory does not suffice."""
    try:
        embeddings, vectors = runtime.run_many(batch, (SENTENCE_EMBEDDING, output))
    except (OutOfMemory, MemoryError):
        rows = len(batch.ids)
        if rows == 1:
            raise
        first = _run_both(runtime, batch.rows(slice(None, rows // 2)), output)
        second = _run_both(runtime, batch.rows(slice(rows // 2, None)), output)
        return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])
    return embeddings, vectors


def _in_threads(
    pool: ThreadPoolExecutor, run: Callable[[IntArray], _Part], batches: Sequence[IntArray]
) -> Iterator[_Part]:
    """Return the results in order; where no thread can be started, of calls in this one."""
    try:
        return pool.map(run, batches)
    except RuntimeError:  # no memory for a stack, or as many threads as the system allows
        pool.shutdown(cancel_futures=True)
        return map(run, batches)


def run_halving(runtime: Runtime, batch: TokenBatch, output: str) -> FloatArray:
    """Run a batch; one that does not fit into memory in halves, down to a single text.

    Raises:
        OutOfMemory: not even one text fits.
    """
    try:
        return runtime.run(batch, output)
    except (OutOfMemory, MemoryError) as error:
        rows = len(batch.ids)
        if rows == 1:
            raise OutOfMemory(
                f"out of memory: not even one text of {batch.ids.shape[1]} tokens fits"
            ) from error
        half = rows // 2
    parts = [
        run_halving(runtime, batch.rows(part), output)
        for part in (slice(None, half), slice(half, None))
    ]
    return np.concatenate(parts)


def _ignore(_: int) -> None:
    pass
