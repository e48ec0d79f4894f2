"""Encoder: texts in, unit-length float32 vectors out."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_changes
from pathlib import Path

import numpy as np

from simsearch.encoder.bulk import bfloat16_bulk, float32_bulk
from simsearch.encoder.calibration import Calibration, read_calibration
from simsearch.encoder.export_files import ExportRefused
from simsearch.encoder.forward_pass import (
    EncodingCounts,
    ForwardPass,
    LayerReading,
    Progress,
    TokenReading,
)
from simsearch.encoder.layout import read_layout
from simsearch.encoder.loading import RuntimeName, find_or_make_export, read_whole_layout
from simsearch.encoder.model_file import MODEL_FILE
from simsearch.encoder.opening import EncoderParts, open_parts
from simsearch.encoder.pair_scorer import PairScorer, find_pair_scorer
from simsearch.encoder.passages import split_documents
from simsearch.encoder.precision import Precision
from simsearch.encoder.refusals import REFUSED, list_of_texts, refuse_no_collection, refuse_no_text
from simsearch.encoder.runtime import HIDDEN_STATES, TOKEN_EMBEDDINGS, FloatArray, IntArray
from simsearch.encoder.saving import copy_export, copy_knowledge, copy_model, write_pointer
from simsearch.encoder.tokenization import TextTokenizer
from simsearch.errors import AlreadyExists, EncoderError, InvalidInput
from simsearch.files import new_directory, occupied
from simsearch.records import Document, Passage

logger = logging.getLogger("simsearch")


@dataclass(frozen=True, slots=True)
class EncodedTokens:
    """The tokens of one text: `vectors` (t, dim), and `offsets` (t, 2), their character ranges.

    Special tokens are included, with the range (0, 0).
    """

    vectors: FloatArray
    offsets: IntArray


class Encoder:
    """A pretrained or tuned text encoder.

    Made by `Encoder.load`. Embeddings are float32, of unit length and `dim` wide, so the inner
    product of two of them is their cosine similarity. `fingerprint` is a hash of all that decides
    them: two encoders with the same fingerprint can read each other's index.
    """

    def __init__(self, parts: EncoderParts) -> None:
        spec, runtime = parts.spec, parts.runtime
        self._spec = spec
        self._files = parts.files
        self._layout = parts.layout
        self._export = parts.export
        self._precision = parts.precision
        self._tokenizer = TextTokenizer(
            parts.tokenizer,
            max_length=spec.max_length,
            lower_case=spec.lower_case,
            include_prompt=spec.include_prompt,
        )
        for prompt in (spec.query_prompt, spec.document_prompt):
            self._tokenizer.refuse_full(prompt)
        exact = ForwardPass(
            self._tokenizer,
            pad_id=spec.pad_id,
            dim=spec.dim,
            runtime=runtime,
            bulk=float32_bulk(runtime),
        )
        self._exact = self._documents = exact
        if parts.precision is Precision.BF16:
            bulk = bfloat16_bulk(
                runtime,
                self._tokenizer,
                layout=parts.layout,
                export=parts.export,
                device=parts.device,
                pad_id=spec.pad_id,
            )
            self._documents = with_changes(exact, bulk=bulk, bulk_tokens=0)

    @classmethod
    def load(
        cls,
        name: str | os.PathLike[str] | None = None,
        *,
        runtime: RuntimeName | str | None = None,
        precision: Precision | str | None = None,
        device: str | None = None,
        max_length: int | None = None,
    ) -> Encoder:
        """Load an encoder by directory or hub name; None is the packaged default.

        Without `runtime` the torch-free one is used; the export that it needs is made on first
        use (which imports torch once) and kept in the model directory or the user's cache. An
        encoder that cannot be exported runs on torch, with a warning.

        With `precision="bf16"` documents are encoded in bfloat16: on a GPU if there is one, else
        by OpenVINO if it is installed, else by torch; queries stay in float32. `"int8"` is another
        encoder, to be had where it was measured to rank as well (`simsearch model export
        --precision int8`). None is fp32, and of an export what that is in. On a `device` that is
        named (`cuda`, `cuda:1`, ...) torch does all the work; in bf16 queries stay on the CPU.
        `max_length` caps the window in tokens, and changes the fingerprint: it is for trials.

        Raises:
            EncoderError: the encoder cannot be found, trusted or loaded, or not on that device.
            InvalidInput: what is asked for contradicts itself.
        """
        parts = open_parts(
            name, runtime=runtime, precision=precision, device=device, max_length=max_length
        )
        encoder = cls(parts)
        # Not before: a model that torch cannot run either is an error.
        if parts.refusal is not None:
            logger.warning("%s; torch is used instead, which starts more slowly", parts.refusal)
        if device not in (None, "cpu"):
            encoder._documents.bulk()  # a device that cannot be used is an error now
        return encoder

    @property
    def name(self) -> str:
        """What the encoder was loaded as."""
        return self._spec.name

    @property
    def dim(self) -> int:
        """Width of an embedding."""
        return self._spec.dim

    @property
    def max_length(self) -> int:
        """Window in tokens, special ones included; what lies beyond it is not seen."""
        return self._spec.max_length

    @property
    def fingerprint(self) -> str:
        """SHA-256 over weights, tokenizer and settings, in hex."""
        return self._spec.fingerprint

    @property
    def runtime(self) -> str:
        """What queries are encoded by: `onnx` or `torch`."""
        return self._exact.runtime.name

    @property
    def precision(self) -> Precision:
        """In which numbers documents are encoded."""
        return self._precision

    @property
    def trained_dims(self) -> tuple[int, ...]:
        """The widths that the encoder says its embeddings may be cut to; none if it is silent."""
        return self._spec.trained_dims

    @property
    def calibration(self) -> Calibration | None:
        """What its similarity says about the chance of a match; None where nobody measured it.

        It is in the model directory; an index keeps one of its own.
        """
        return read_calibration(self.directory, self.fingerprint)

    @property
    def pair_scorer(self) -> PairScorer | None:
        """What tells which relation holds between two texts; None where none was trained."""
        return find_pair_scorer(self.directory, self.fingerprint, self.dim)

    @property
    def directory(self) -> Path | None:
        """Where the full model lies; None for an encoder opened from an export."""
        return self._layout.directory if self._layout else None

    def encode(
        self,
        texts: Sequence[str],
        *,
        counts: EncodingCounts | None = None,
        progress: Progress | None = None,
    ) -> FloatArray:
        """Return the embeddings of documents, (n, dim), in order; same as `encode_documents`."""
        return self.encode_documents(texts, counts=counts, progress=progress)

    def encode_documents(
        self,
        texts: Sequence[str],
        *,
        counts: EncodingCounts | None = None,
        progress: Progress | None = None,
    ) -> FloatArray:
        """Return the embeddings of documents, (n, dim), in order.

        Raises:
            InvalidData: a text is empty or blank, or nothing of it is left by the tokenizer.
            UnencodableText: the encoder has no finite vector for a text.
        """
        return self._stack(self._documents, texts, self._spec.document_prompt, counts, progress)

    def encode_queries(
        self,
        texts: Sequence[str],
        *,
        counts: EncodingCounts | None = None,
        progress: Progress | None = None,
    ) -> FloatArray:
        """Return the embeddings of queries, (n, dim), in order; errors as `encode_documents`."""
        return self._stack(self._exact, texts, self._spec.query_prompt, counts, progress)

    def encode_stream(
        self,
        texts: Iterable[str],
        *,
        counts: EncodingCounts | None = None,
        progress: Progress | None = None,
    ) -> Iterator[FloatArray]:
        """Yield the embeddings of documents in order, some thousands at a time, (n, dim).

        Only these are held in memory, however many texts there are; errors as `encode_documents`.
        """
        refuse_no_collection(texts)
        return self._documents.embed_many(
            texts, self._spec.document_prompt, counts=counts, progress=progress
        )

    def _stack(
        self,
        forward: ForwardPass,
        texts: Sequence[str],
        prompt: str,
        counts: EncodingCounts | None,
        progress: Progress | None,
    ) -> FloatArray:
        texts = list_of_texts(texts)
        refuse_no_text(texts, first=0)
        row = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        embeddings = np.empty((len(row), self.dim), dtype=np.float32)
        done = 0
        try:
            for rows in forward.embed_many(row, prompt, counts=counts, progress=progress):
                embeddings[done : done + len(rows)] = rows
                done += len(rows)
        except REFUSED as error:
            refused = list(row)[error.position]
            raise error.at(texts.index(refused), refused) from error
        if len(row) == len(texts):
            return embeddings
        if counts is not None:
            counts.texts += len(texts) - len(row)
        if progress is not None:
            progress(len(texts))
        return embeddings[[row[text] for text in texts]]

    def encode_tokens(self, texts: Sequence[str]) -> list[EncodedTokens]:
        """Return the contextual token vectors of each text, without a prompt, in order."""
        texts = list_of_texts(texts)
        return [
            EncodedTokens(vectors=vectors, offsets=offsets)
            for offsets, vectors in self._exact.run_ragged(texts, TOKEN_EMBEDDINGS)
        ]

    def hidden_states(self, texts: Sequence[str]) -> list[FloatArray]:
        """Return every layer's token vectors of each text, (layers + 1, t, hidden), in order."""
        texts = list_of_texts(texts)
        return [vectors for _, vectors in self._exact.run_ragged(texts, HIDDEN_STATES)]

    def read_layers(
        self, texts: Sequence[str], *, counts: EncodingCounts | None = None
    ) -> Iterator[tuple[int, LayerReading]]:
        """Yield position, and embedding and token vectors of one pass, of each text, in any order.

        The texts are documents, computed in float32, each as often as it stands there; errors as
        `encode_documents`.
        """
        return self._exact.read_layers(
            list_of_texts(texts), self._spec.document_prompt, counts=counts
        )

    def read_queries(self, texts: Sequence[str]) -> list[TokenReading]:
        """Return embedding and token vectors of queries, from one pass, in order.

        Errors as `encode_documents`.
        """
        return self._read(texts, self._spec.query_prompt)

    def read_documents(self, texts: Sequence[str]) -> list[TokenReading]:
        """Return embedding and token vectors of documents, in float32; else as `read_queries`."""
        return self._read(texts, self._spec.document_prompt)

    def _read(self, texts: Sequence[str], prompt: str) -> list[TokenReading]:
        texts = list_of_texts(texts)
        found = dict(self._exact.read_tokens(texts, prompt))
        return [found[position] for position in range(len(texts))]

    def reads(self, text: str) -> bool:
        """Whether there is anything in a text that the encoder reads.

        If not (the text is white space to the tokenizer), it is refused like a blank one.
        """
        return self._tokenizer.reads(text)

    def split_documents(self, documents: Sequence[Document]) -> list[list[Passage]]:
        """Return the passages of each document, each of which fits the window.

        A document that fits it is one. Those of a longer one end with a sentence where possible
        and overlap; together they hold the whole text, and the whole title.
        """
        return split_documents(self._tokenizer, documents, prompt=self._spec.document_prompt)

    def save(self, path: str | os.PathLike[str], *, replace: bool = False) -> None:
        """Write the encoder to a model directory that `Encoder.load` and other tools read.

        What its own directory says of it (its calibration, its pair scorer) goes with it.

        Raises:
            AlreadyExists: something is at `path` and `replace` is false, or it is no model
                directory of ours, which is never replaced.
            EncoderError: this encoder was opened from an index, which holds no full model.
        """
        if self._layout is None:
            raise EncoderError("an encoder opened from an index has no full model to save")
        if self.max_length < read_layout(self._layout.directory).max_length:
            raise InvalidInput("an encoder with a capped window (max_length) cannot be saved")
        path = Path(path)
        if occupied(path) and not (path / MODEL_FILE).is_file():
            raise AlreadyExists(f"{path} exists and is no model directory, which is never replaced")
        with new_directory(path, replace=replace) as draft:
            copy_model(self._layout, draft)
            if self._export is not None:
                self.save_export(draft / "onnx")
            copy_knowledge(self._layout.directory, draft, self._spec)

    def save_export(self, directory: Path) -> None:
        """Copy the torch-free export to `directory`, which must not exist.

        Of an encoder that cannot be exported only the description is written, with the place of
        the full model, which must then stay where it is.
        """
        try:
            copy_export(self.export_directory(), directory, self._spec)
        except ExportRefused as error:
            logger.warning("%s; queries will need the full model, and torch", error)
            write_pointer(self._full_model(), directory, self._spec)

    def export_directory(self) -> Path:
        """Return where the torch-free export of this encoder is, made if there is none yet.

        Raises:
            ExportRefused: it has none that agrees with torch.
        """
        if self._export is None and self._files is not None:
            whole = read_whole_layout(self._files.directory)
            self._export = find_or_make_export(self._files, whole)
        if self._export is None:
            raise ExportRefused(f"{self.name} has no export")
        return self._export

    def _full_model(self) -> str:
        if self._files is None or self._layout is None:
            raise EncoderError(f"{self.name} has neither an export nor a full model")
        is_directory = Path(self._files.name).is_dir()
        return str(self._layout.directory) if is_directory else self._files.name
