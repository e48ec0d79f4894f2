"""The torch-free runtime: an exported graph run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from simsearch.encoder.runtime import FloatArray, TokenBatch, run_error
from simsearch.encoder.threads import thread_count
from simsearch.errors import EncoderError

# Nothing but what is fatal: its warnings are about graph rewriting, its errors are ours to tell.
onnxruntime.set_default_logger_severity(4)

# Tokens of one batch, padding included: the fastest of 512 to 2,048 (docs/log.md, 2026-11-22).
_STREAM_BUDGET = 512


class OnnxRuntime:
    """An exported encoder.

    `streams` is 1 for a runtime whose products are shared out among all threads, the quickest way
    to one answer. With more, each of so many batches at once has one thread, which does bulk work
    in four fifths of the time.
    """

    name = "onnx"
    token_budget = _STREAM_BUDGET

    def __init__(self, graph: Path, *, streams: int = 1) -> None:
        self.graph = graph
        self.streams = streams
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, thread_count() // streams)
        try:
            self._session = onnxruntime.InferenceSession(
                str(graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base
            raise EncoderError(f"{graph}: {error}") from error
        self._inputs = [node.name for node in self._session.get_inputs()]
        self._options = onnxruntime.RunOptions()
        # Without it the whole graph runs, whichever outputs are asked for.
        self._options.add_run_config_entry("only_execute_path_to_fetches", "1")

    def run(self, batch: TokenBatch, output: str) -> FloatArray:
        """Return one output of the graph for a padded batch."""
        return self.run_many(batch, [output])[0]

    def run_many(self, batch: TokenBatch, outputs: Sequence[str]) -> list[FloatArray]:
        """Return several outputs of the graph, of one pass."""
        try:
            results = self._session.run(list(outputs), batch.feed(self._inputs), self._options)
        except Exception as error:  # as above
            raise run_error(error, batch) from error
        return [np.asarray(result, dtype=np.float32) for result in results]
