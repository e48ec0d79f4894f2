"""Export of an encoder to one ONNX graph, accepted only when it agrees with torch.

An export is a directory of three files that need nothing else: `encoder.onnx` (pooling and
normalisation inside), `tokenizer.json` and `encoder.json`. Where one file cannot hold the graph
(2 GB), its weights are in a fourth, `encoder.onnx.data`. An index carries a copy of it.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simsearch.encoder.batching import pad
from simsearch.encoder.export_files import (
    DATA,
    DESCRIPTION,
    GRAPH,
    TOKENIZER,
    ExportRefused,
    file_hashes,
)
from simsearch.encoder.graph_weights import LARGEST_GRAPH, gather_weights
from simsearch.encoder.layout import Layout
from simsearch.encoder.onnx_runtime import OnnxRuntime
from simsearch.encoder.runtime import (
    POOLING_MASK,
    SENTENCE_EMBEDDING,
    IntArray,
    OutOfMemory,
    TokenBatch,
)
from simsearch.encoder.tokenization import TextTokenizer
from simsearch.encoder.torch_runtime import OUTPUTS, EncoderModule, TorchRuntime
from simsearch.errors import EncoderError, SystemFailure
from simsearch.files import new_directory

PARITY_COSINE = 0.9999
PARITY_TEXTS = 200
# Positions that are learnt end here at the latest; attention over more takes gigabytes.
_LONGEST_COMPARED = 2048
_OF_ALL = 64  # tokens that all sentences together have at least, in any tokenizer
_OPSET = 17


def export_encoder(layout: Layout, destination: Path, *, description: dict[str, Any]) -> None:
    """Write the export of an encoder to `destination`, whole or not at all.

    Raises:
        ExportRefused: the graph cannot be made, or its embeddings are not those of torch.
        EncoderError: the encoder itself cannot be loaded or run.
        SystemFailure: the disk is full, or the place cannot be written.
    """
    runtime = TorchRuntime(layout)
    with new_directory(destination, replace=True) as draft:
        _write_graph(runtime.module, draft, pooling_mask=not layout.include_prompt)
        if strangers := {path.name for path in draft.iterdir()} - {GRAPH, DATA}:
            raise ExportRefused(f"torch wrote {min(strangers)!r}, which the graph does not name")
        shutil.copyfile(layout.fast_tokenizer, draft / TOKENIZER)
        parity = _check_parity(layout, runtime, OnnxRuntime(draft / GRAPH))
        content = {**description, "parity": parity, **file_hashes(draft)}
        (draft / DESCRIPTION).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_graph(module: EncoderModule, directory: Path, *, pooling_mask: bool) -> None:
    path = directory / GRAPH
    # Two rows of different length: an example without padding would let the tracer fold the mask.
    ids = torch.full((2, 7), 5, dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    # The mask twice: the tracer takes one tensor object given for two inputs for one input.
    inputs = (ids, mask, mask.clone()) if pooling_mask else (ids, mask)
    names = ["input_ids", "attention_mask", POOLING_MASK][: len(inputs)]
    axes = {name: {0: "batch", 1: "tokens"} for name in [*names, *OUTPUTS[:2]]}
    axes[OUTPUTS[0]] = {0: "batch"}
    axes[OUTPUTS[2]] = {0: "batch", 2: "tokens"}
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, but its graph ran 15% faster in bulk than the new
        # exporter's, and was made five times as fast (docs/log.md, 2026-11-22). The parity
        # gate below answers for it.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module,
                inputs,
                str(path),
                input_names=names,
                output_names=list(OUTPUTS),
                dynamic_axes=axes,
                opset_version=_OPSET,
                dynamo=False,
            )
            # Above 2 GB torch writes most tensors to a file of their own each, without a word.
            if path.stat().st_size > LARGEST_GRAPH or len(list(directory.iterdir())) > 1:
                gather_weights(path, path, directory / DATA)
        except OSError as error:  # a full disk says nothing about the encoder
            raise SystemFailure(f"{path}: {error.strerror or error}") from error
        except MemoryError as error:
            raise OutOfMemory("out of memory while exporting the encoder") from error
        except Exception as error:  # the exporter has no common base for its failures
            raise ExportRefused(f"this encoder cannot be exported to ONNX: {error}") from error


def _check_parity(layout: Layout, torch_runtime: TorchRuntime, onnx: OnnxRuntime) -> dict[str, Any]:
    chunks = _parity_chunks(layout)
    lowest = 1.0
    for chunk in chunks:
        batch = TokenBatch(
            pad(chunk, value=layout.pad_id), pad([np.ones_like(row) for row in chunk])
        )
        expected = torch_runtime.run(batch, SENTENCE_EMBEDDING)
        try:
            given = onnx.run(batch, SENTENCE_EMBEDDING)
        except OutOfMemory:
            raise
        except EncoderError as error:
            first_line = str(error).split("\n", 1)[0]
            raise ExportRefused(f"the exported graph does not run: {first_line}") from error
        cosines = (expected * given).sum(axis=1)
        if not np.isfinite(cosines).all():
            raise ExportRefused("the exported graph gives NaN; it is not used")
        lowest = min(lowest, float(cosines.min()))
    if lowest < PARITY_COSINE:
        raise ExportRefused(
            f"the exported graph disagrees with torch: cosine {lowest:.5f}, "
            f"at least {PARITY_COSINE} is required"
        )
    return {"texts": sum(map(len, chunks)), "lowest_cosine": round(lowest, 7)}


def _parity_chunks(layout: Layout) -> list[list[IntArray]]:
    """Return the token ids of the texts of the parity gate; the last of them fills the window.

    A tokenizer may have no token for what is in some of them (BPE without an unknown token): such
    texts are refused when they are to be encoded, too.
    """
    texts = parity_texts()
    rows = [text.ids for text in TextTokenizer.of(layout).tokenize(texts) if len(text.ids)]
    if 2 * len(rows) < len(texts):
        raise ExportRefused(
            f"the tokenizer has tokens for {len(rows)} of {len(texts)} texts: too few to compare "
            "the exported graph with torch"
        )
    length = min(layout.max_length, _LONGEST_COMPARED)
    cut = TextTokenizer(layout.fast_tokenizer, max_length=length, lower_case=layout.lower_case)
    everything = " ".join(_SENTENCES)
    longest = cut.tokenize([" ".join([everything] * (1 + length // _OF_ALL))])[0].ids
    # Mixed lengths: padding is part of what is checked.
    return [*(rows[start : start + 8] for start in range(0, len(rows), 8)), [longest]]


_SENTENCES: Sequence[str] = (
    "a",
    "?",
    "card was swallowed by the machine",
    "Where is my parcel? I ordered it on the 3rd, and nothing has come since.",
    "def join(path: str, *paths: str) -> str: return posixpath.join(path, *paths)",
    "The court held that the limitation period had not begun to run.",
    "p53 (TP53) mutations were found in 12.5% of the samples, p < 0.001.",
    "Grüße aus Zürich, naïve café, Ærøskøbing",
    "卡被机器吞了，怎么办？",
    "東京は日本の首都です。",
    "Где находится ближайшая станция метро?",
    "🙂🚀🔥",
    "👩‍👩‍👧‍👦 family",
    "שלום עולם مرحبا بالعالم",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "https://example.com/a?b=c&d=e#f",
    "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15",
)


def parity_texts() -> list[str]:
    """Return the 200 texts of the parity gate: one word up to beyond the window, many scripts."""
    texts = list(_SENTENCES)
    for size in range(PARITY_TEXTS - len(_SENTENCES)):
        # Mostly short, as a gate must be quick; every 30th text goes far over a window of 256.
        words = 400 if size % 30 == 0 else 2 + size % 40
        start = size % len(_SENTENCES)
        line = " ".join([*_SENTENCES[start:], *_SENTENCES[:start]] * 4)
        texts.append(" ".join(line.split()[:words]))
    return texts
