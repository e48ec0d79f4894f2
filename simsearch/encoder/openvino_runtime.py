"""The exported graph run by OpenVINO in bfloat16: bulk work without torch, where it is installed.

It reads the same file as ONNX Runtime, and was a third faster than torch in bfloat16
(docs/log.md, 2026-11-22). An optional extra: `pip install simsearch[openvino]`.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simsearch.encoder.runtime import SENTENCE_EMBEDDING, FloatArray, TokenBatch, run_error
from simsearch.encoder.threads import thread_count
from simsearch.errors import EncoderError


def openvino_is_installed() -> bool:
    """Return whether the extra is there, without importing it."""
    return importlib.util.find_spec("openvino") is not None


class OpenVinoRuntime:
    """An exported encoder, for sentence embeddings alone."""

    name = "openvino"
    token_budget = 1024  # the faster of 1,024 and 2,048 (docs/log.md, 2026-11-22)

    def __init__(self, graph: Path) -> None:
        import openvino

        self.streams = thread_count()
        try:
            core = openvino.Core()
            model = core.read_model(str(graph))
            outputs = [node for node in model.outputs if SENTENCE_EMBEDDING in node.get_names()]
            model = openvino.Model(outputs, model.get_parameters(), "encoder")
            settings = {
                "INFERENCE_PRECISION_HINT": "bf16",
                "INFERENCE_NUM_THREADS": self.streams,
                "NUM_STREAMS": self.streams,
            }
            self._model = core.compile_model(model, "CPU", settings)
            self._inputs = [node.any_name for node in self._model.inputs]
        except Exception as error:  # OpenVINO raises bare RuntimeError, and more
            raise EncoderError(f"{graph}: {error}") from error
        self._local = threading.local()

    def run(self, batch: TokenBatch, output: str) -> FloatArray:
        """Return the sentence embeddings of a padded batch."""
        if output != SENTENCE_EMBEDDING:
            raise EncoderError(f"the OpenVINO runtime has no output {output!r}")
        try:
            # A copy: the request's memory is used again by the next batch of this thread.
            return np.array(self._request().infer(batch.feed(self._inputs))[0], dtype=np.float32)
        except Exception as error:  # as above
            raise run_error(error, batch) from error

    def run_many(self, batch: TokenBatch, outputs: Sequence[str]) -> list[FloatArray]:
        """Return the outputs in order, of which there can only be one."""
        return [self.run(batch, output) for output in outputs]

    def _request(self) -> Any:
        """Return this thread's request: a request serves one batch at a time."""
        if not hasattr(self._local, "request"):
            self._local.request = self._model.create_infer_request()
        return self._local.request
