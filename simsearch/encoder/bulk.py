"""The runtime for many texts: more streams, or bfloat16 where that is as good as float32."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from simsearch.encoder.batching import pad
from simsearch.encoder.device import has_gpu
from simsearch.encoder.export_files import GRAPH
from simsearch.encoder.layout import Layout
from simsearch.encoder.loading import torch_runtime
from simsearch.encoder.onnx_runtime import OnnxRuntime
from simsearch.encoder.openvino_runtime import OpenVinoRuntime, openvino_is_installed
from simsearch.encoder.runtime import SENTENCE_EMBEDDING, FloatArray, Runtime, TokenBatch
from simsearch.encoder.threads import thread_count
from simsearch.encoder.tokenization import TextTokenizer
from simsearch.errors import EncoderError

logger = logging.getLogger("simsearch")

# The least cosine between an embedding in bfloat16 and in float32.
BFLOAT16_COSINE = 0.999
_SAMPLES: Sequence[str] = (
    "a",
    "card was swallowed by the machine",
    "Where is my parcel? I ordered it on the 3rd, and nothing has come since. 🙂",
    "p53 (TP53) mutations were found in 12.5% of the samples, p < 0.001. " * 20,
    "Grüße aus Zürich; 卡被机器吞了，怎么办？ Где находится метро?",
)


def float32_bulk(runtime: Runtime) -> Callable[[], Runtime]:
    """Return what makes, once, the runtime for many texts beside `runtime`, in float32."""

    def make() -> Runtime:
        if not isinstance(runtime, OnnxRuntime) or thread_count() == 1:
            return runtime
        return OnnxRuntime(runtime.graph, streams=thread_count())

    return _once(make)


def bfloat16_bulk(
    runtime: Runtime,
    tokenizer: TextTokenizer,
    *,
    layout: Layout | None,
    export: Path | None,
    device: str | None,
    pad_id: int,
) -> Callable[[], Runtime]:
    """Return what makes, once, a runtime in bfloat16, checked against `runtime` in float32.

    Without a `device` it is a GPU if there is one. Where it cannot be had, or its embeddings are
    not those of float32, float32 is used, with a warning of one line. A device that was named
    and cannot be used is an EncoderError.
    """
    named = device not in (None, "cpu")
    beside = float32_bulk(runtime)

    def float32() -> Runtime:
        return torch_runtime(layout, device) if named and layout and device else beside()

    def make() -> Runtime:
        try:
            found = _bfloat16_runtime(layout, export, device)
            lowest = _lowest_cosine(found, runtime, tokenizer, pad_id)
        except (EncoderError, ImportError, OSError, MemoryError) as error:  # a broken library, too
            if named:
                raise
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            logger.warning("no bf16 (%s); documents are encoded in fp32", reason)
            return float32()
        if not lowest >= BFLOAT16_COSINE:  # NaN, too
            logger.warning(
                "bf16 gives other embeddings with this encoder (cosine %.4f to fp32, at least %s "
                "is required); documents are encoded in fp32",
                lowest,
                BFLOAT16_COSINE,
            )
            return float32()
        logger.info("documents are encoded in bf16 by %s (cosine %.5f)", found.name, lowest)
        return found

    return _once(make)


def _once(make: Callable[[], Runtime]) -> Callable[[], Runtime]:
    """Return a function that calls `make` the first time, whichever thread is first."""
    lock = threading.Lock()
    made: list[Runtime] = []

    def get() -> Runtime:
        with lock:
            if not made:
                made.append(make())
            return made[0]

    return get


def _bfloat16_runtime(layout: Layout | None, export: Path | None, device: str | None) -> Runtime:
    if device is None:
        device = "cuda" if layout is not None and has_gpu() else "cpu"
    if export is not None and device == "cpu" and openvino_is_installed():
        return OpenVinoRuntime(export / GRAPH)
    if layout is None:
        raise EncoderError(
            "without the full model it needs OpenVINO (pip install 'simsearch[openvino]')"
        )
    return torch_runtime(layout, device, bfloat16=True)


def _lowest_cosine(
    tested: Runtime, reference: Runtime, tokenizer: TextTokenizer, pad_id: int
) -> float:
    rows = [row.ids for row in tokenizer.tokenize(_SAMPLES)]
    batch = TokenBatch(pad(rows, value=pad_id), pad([np.ones_like(row) for row in rows]))
    cosines: FloatArray = np.einsum(
        "nd,nd->n",
        tested.run(batch, SENTENCE_EMBEDDING),
        reference.run(batch, SENTENCE_EMBEDDING),
    )
    return float(cosines.min())
