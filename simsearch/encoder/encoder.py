"""Encoder: texts in, unit-length float32 vectors out."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from dataclasses import replace as with_changes
from enum import StrEnum
from pathlib import Path

import numpy as np

from simsearch.encoder.batching import pad, token_budget_batches
from simsearch.encoder.export_files import (
    CHECKED_FILES,
    DESCRIPTION,
    EXPORT_FORMAT,
    GRAPH,
    TOKENIZER,
    EncoderSpec,
    read_export,
)
from simsearch.encoder.fingerprint import fingerprint
from simsearch.encoder.layout import Layout, read_layout
from simsearch.encoder.locate import EncoderFiles, locate_encoder
from simsearch.encoder.model_file import MODEL_FILE, write_model_file
from simsearch.encoder.runtime import (
    HIDDEN_STATES,
    SENTENCE_EMBEDDING,
    TOKEN_EMBEDDINGS,
    FloatArray,
    IntArray,
    Runtime,
    TokenBatch,
)
from simsearch.encoder.tokenization import TextTokenizer, TokenizedText
from simsearch.errors import (
    AlreadyExists,
    EncoderError,
    InvalidData,
    InvalidInput,
    SystemFailure,
)
from simsearch.files import new_directory, occupied, translated_os_errors

logger = logging.getLogger("simsearch")

# Tokens of one batch, padding included: the fastest of 1,024 to 16,384 with ONNX Runtime on two
# cores (docs/log.md, 2026-11-22); the products then stay in the cache.
TOKEN_BUDGET = 2048
# Texts tokenized at once: bounds memory, and is enough to sort lengths into even batches.
CHUNK = 4096

# Called with the number of texts done so far.
Progress = Callable[[int], None]


class RuntimeName(StrEnum):
    """What runs the encoder."""

    ONNX = "onnx"
    TORCH = "torch"


@dataclass(slots=True)
class EncodingCounts:
    """What was seen while encoding; filled by `encode*` when passed to it."""

    texts: int = 0
    tokens: int = 0
    unknown_tokens: int = 0
    truncated: int = 0
    all_unknown: int = 0

    @property
    def unknown_share(self) -> float:
        """Share of tokens, special ones not counted, that the tokenizer does not know."""
        return self.unknown_tokens / self.tokens if self.tokens else 0.0


@dataclass(frozen=True, slots=True)
class EncodedTokens:
    """The tokens of one text: `vectors` (t, dim), and `offsets` (t, 2), their character ranges.

    Special tokens are included, with the range (0, 0).
    """

    vectors: FloatArray
    offsets: IntArray


class UnencodableText(EncoderError):
    """The encoder gave NaN or a zero vector for a text, alone and in float32 too."""

    def __init__(self, position: int) -> None:
        super().__init__(f"the encoder gives no finite, non-zero vector for text {position}")
        self.position = position


class Encoder:
    """A pretrained or tuned text encoder.

    Made by `Encoder.load`. Embeddings are float32, of unit length and `dim` wide, so the inner
    product of two of them is their cosine similarity. `fingerprint` is a hash of all that decides
    them: two encoders with the same fingerprint can read each other's index.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        tokenizer: TextTokenizer,
        runtime: Runtime,
        *,
        layout: Layout | None,
        export: Path | None,
    ) -> None:
        self._spec = spec
        self._tokenizer = tokenizer
        self._runtime = runtime
        self._layout = layout
        self._export = export

    @classmethod
    def load(
        cls,
        name: str | os.PathLike[str] | None = None,
        *,
        runtime: RuntimeName | str | None = None,
        max_length: int | None = None,
    ) -> Encoder:
        """Load an encoder by directory or hub name; None is the packaged default.

        Without `runtime` the torch-free one is used; the export that it needs is made on first
        use (which imports torch once) and kept in the model directory or the user's cache.
        `max_length` caps the window in tokens, and changes the fingerprint: it is for trials.

        Raises:
            EncoderError: the encoder cannot be found, trusted or loaded.
        """
        wanted = _runtime_name(runtime)
        if name is not None and (Path(name) / DESCRIPTION).is_file():
            if wanted is RuntimeName.TORCH or max_length is not None:
                raise InvalidInput(
                    f"{name} is an export: it has its window, and runs without torch"
                )
            return cls._open_export(Path(name))
        files = locate_encoder(name)
        full = read_layout(files.directory)
        layout = full if max_length is None else _capped(full, max_length)
        spec = _describe(files.name, layout)
        tokenizer = TextTokenizer(
            layout.tokenizer, max_length=layout.max_length, lower_case=layout.lower_case
        )
        if wanted is RuntimeName.TORCH:
            return cls(spec, tokenizer, _torch_runtime(layout), layout=layout, export=None)
        try:
            # The graph does not depend on the window, so one export serves every cap of it.
            export = _find_or_make_export(files, full, _describe(files.name, full))
        except (EncoderError, SystemFailure) as error:
            if wanted is RuntimeName.ONNX:
                raise
            logger.warning("%s; torch is used instead, which starts more slowly", error)
            return cls(spec, tokenizer, _torch_runtime(layout), layout=layout, export=None)
        return cls(spec, tokenizer, _onnx_runtime(export), layout=layout, export=export)

    @classmethod
    def _open_export(cls, directory: Path) -> Encoder:
        spec = read_export(directory)
        spec = with_changes(spec, name=spec.name or str(directory))
        tokenizer = TextTokenizer(
            directory / TOKENIZER, max_length=spec.max_length, lower_case=spec.lower_case
        )
        return cls(spec, tokenizer, _onnx_runtime(directory), layout=None, export=directory)

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
        """`onnx` or `torch`."""
        return self._runtime.name

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
            InvalidData: a text is empty or blank.
            UnencodableText: the encoder has no finite vector for a text.
        """
        return self._encode(texts, self._spec.document_prompt, counts, progress)

    def encode_queries(
        self,
        texts: Sequence[str],
        *,
        counts: EncodingCounts | None = None,
        progress: Progress | None = None,
    ) -> FloatArray:
        """Return the embeddings of queries, (n, dim), in order; errors as `encode_documents`."""
        return self._encode(texts, self._spec.query_prompt, counts, progress)

    def encode_tokens(self, texts: Sequence[str]) -> list[EncodedTokens]:
        """Return the contextual token vectors of each text, without a prompt, in order."""
        tokenized = self._tokenize(texts, "", None)
        vectors = self._run_ragged(tokenized, TOKEN_EMBEDDINGS)
        return [
            EncodedTokens(vectors=rows, offsets=text.offsets)
            for rows, text in zip(vectors, tokenized, strict=True)
        ]

    def hidden_states(self, texts: Sequence[str]) -> list[FloatArray]:
        """Return every layer's token vectors of each text, (layers + 1, t, dim), in order."""
        return self._run_ragged(self._tokenize(texts, "", None), HIDDEN_STATES)

    def save(self, path: str | os.PathLike[str], *, replace: bool = False) -> None:
        """Write the encoder to a model directory that `Encoder.load` and other tools read.

        Raises:
            AlreadyExists: something is at `path` and `replace` is false, or it is no model
                directory of ours, which is never replaced.
            EncoderError: this encoder was opened from an index, which holds no full model.
        """
        if self._layout is None:
            raise EncoderError("an encoder opened from an index has no full model to save")
        path = Path(path)
        if occupied(path) and not (path / MODEL_FILE).is_file():
            raise AlreadyExists(f"{path} exists and is no model directory, which is never replaced")
        with new_directory(path, replace=replace) as draft:
            for file in self._model_files(self._layout):
                target = draft / file.relative_to(self._layout.directory)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
            if self._export is not None:
                self.save_export(draft / "onnx")
            write_model_file(draft, {"fingerprint": self.fingerprint, "base": self.name})

    def save_export(self, directory: Path) -> None:
        """Copy the torch-free export to `directory`, which must not exist.

        Raises:
            EncoderError: this encoder has none, because it runs on torch.
        """
        if self._export is None:
            raise EncoderError(
                "this encoder runs on torch and has no export; an index needs one to answer "
                "queries (load it without runtime='torch')"
            )
        with translated_os_errors(directory):
            directory.mkdir(mode=0o700)
            for name in CHECKED_FILES:
                shutil.copyfile(self._export / name, directory / name)
            content = json.loads((self._export / DESCRIPTION).read_text(encoding="utf-8"))
            content |= asdict(self._spec)
            text = json.dumps(content, indent=2) + "\n"
            (directory / DESCRIPTION).write_text(text, encoding="utf-8")

    @staticmethod
    def _model_files(layout: Layout) -> list[Path]:
        extra = ("tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
        beside = [layout.transformer / name for name in extra]
        return [*layout.files, *(path for path in beside if path.is_file())]

    def _encode(
        self,
        texts: Sequence[str],
        prompt: str,
        counts: EncodingCounts | None,
        progress: Progress | None,
    ) -> FloatArray:
        embeddings = np.empty((len(texts), self.dim), dtype=np.float32)
        done = 0
        for start in range(0, len(texts), CHUNK):
            rows = self._tokenize(texts[start : start + CHUNK], prompt, counts, first=start)
            for positions, batch in self._batches(rows):
                embeddings[start + positions] = self._runtime.run(batch, SENTENCE_EMBEDDING)
                done += len(positions)
                if progress is not None:
                    progress(done)
            self._mend(embeddings[start : start + len(rows)], rows, first=start)
        return embeddings

    def _mend(self, embeddings: FloatArray, rows: Sequence[TokenizedText], *, first: int) -> None:
        """Encode rows that came out as NaN or zero once more, alone."""
        norms = np.linalg.norm(embeddings, axis=1)
        for position in np.flatnonzero(~(np.isfinite(norms) & (norms > 0.5))).tolist():
            ids = rows[position].ids[None, :]
            again = self._runtime.run(TokenBatch(ids, np.ones_like(ids)), SENTENCE_EMBEDDING)[0]
            if not np.isfinite(again).all() or not again.any():
                raise UnencodableText(first + position)
            embeddings[position] = again

    def _tokenize(
        self, texts: Sequence[str], prompt: str, counts: EncodingCounts | None, first: int = 0
    ) -> list[TokenizedText]:
        if isinstance(texts, str):
            raise InvalidInput("encode takes several texts, got one string (pass [text])")
        for position, text in enumerate(texts, start=first):
            if not isinstance(text, str):
                raise InvalidData(f"text {position} is a {type(text).__name__}, expected a string")
            if not text.strip():
                raise InvalidData(f"text {position} is empty")
        rows = self._tokenizer.tokenize([prompt + text for text in texts] if prompt else texts)
        if counts is not None:
            self._count(rows, counts)
        return rows

    def _count(self, rows: Sequence[TokenizedText], counts: EncodingCounts) -> None:
        special = self._tokenizer.special_tokens
        counts.texts += len(rows)
        for row in rows:
            unknown = int((row.ids == self._tokenizer.unknown_id).sum())
            tokens = len(row.ids) - special
            counts.tokens += tokens
            counts.unknown_tokens += unknown
            counts.truncated += row.truncated
            counts.all_unknown += unknown == tokens > 0

    def _batches(self, rows: Sequence[TokenizedText]) -> Iterator[tuple[IntArray, TokenBatch]]:
        for positions in token_budget_batches([len(row.ids) for row in rows], TOKEN_BUDGET):
            ids = [rows[position].ids for position in positions]
            mask = pad([np.ones_like(row) for row in ids])
            yield positions, TokenBatch(pad(ids, value=self._spec.pad_id), mask)

    def _run_ragged(self, rows: Sequence[TokenizedText], output: str) -> list[FloatArray]:
        """Run and cut the padding off; tokens are the last axis but one of the output."""
        results: list[FloatArray] = [np.empty(0, dtype=np.float32)] * len(rows)
        for positions, batch in self._batches(rows):
            for position, row in zip(positions, self._runtime.run(batch, output), strict=True):
                results[position] = row[..., : len(rows[position].ids), :].copy()
        return results


def _runtime_name(name: RuntimeName | str | None) -> RuntimeName | None:
    try:
        return None if name is None else RuntimeName(name)
    except ValueError:
        raise InvalidInput(f"no runtime {name!r} (there are: {', '.join(RuntimeName)})") from None


def _capped(layout: Layout, max_length: int) -> Layout:
    # Below 3 there is no room for a token between the special ones.
    if not 3 <= max_length <= layout.max_length:
        raise InvalidInput(
            f"max_length must be 3..{layout.max_length}, the encoder's window, got {max_length}"
        )
    return with_changes(layout, max_length=max_length)


def _describe(name: str, layout: Layout) -> EncoderSpec:
    return EncoderSpec(
        name=name,
        fingerprint=fingerprint(layout),
        dim=layout.dim,
        max_length=layout.max_length,
        pad_id=int(layout.config.get("pad_token_id") or 0),
        lower_case=layout.lower_case,
        query_prompt=layout.query_prompt,
        document_prompt=layout.document_prompt,
    )


def _find_or_make_export(files: EncoderFiles, layout: Layout, spec: EncoderSpec) -> Path:
    directory = files.export_directory(spec.fingerprint)
    # A damaged export is made anew: it is derived, and the model is at hand.
    with contextlib.suppress(EncoderError):
        if read_export(directory).fingerprint == spec.fingerprint:
            return directory
    from simsearch.encoder.export import export_encoder  # imports torch

    # Said where it surprises: at the first use of an encoder, not at the end of a training run.
    level = logging.DEBUG if files.ours_to_write else logging.INFO
    logger.log(level, "exporting %s for use without torch, once", spec.name)
    # Inside a model directory the export is named by that directory, wherever it is moved to.
    described = with_changes(spec, name="") if files.ours_to_write else spec
    export_encoder(layout, directory, description={"format": EXPORT_FORMAT, **asdict(described)})
    return directory


def _torch_runtime(layout: Layout) -> Runtime:
    from simsearch.encoder.torch_runtime import TorchRuntime

    return TorchRuntime(layout)


def _onnx_runtime(export: Path) -> Runtime:
    from simsearch.encoder.onnx_runtime import OnnxRuntime

    return OnnxRuntime(export / GRAPH)
