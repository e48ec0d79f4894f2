"""The torch-free runtime: an exported graph run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from simsearch.encoder.runtime import FloatArray, TokenBatch
from simsearch.encoder.threads import thread_count
from simsearch.errors import EncoderError

onnxruntime.set_default_logger_severity(3)  # errors only: warnings are about graph rewriting


class OnnxRuntime:
    """An exported encoder."""

    name = "onnx"

    def __init__(self, graph: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = thread_count()
        try:
            self._session = onnxruntime.InferenceSession(
                str(graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base
            raise EncoderError(f"{graph}: {error}") from error
        self._options = onnxruntime.RunOptions()
        # Without it the whole graph runs, whichever outputs are asked for.
        self._options.add_run_config_entry("only_execute_path_to_fetches", "1")

    def run(self, batch: TokenBatch, output: str) -> FloatArray:
        """Return one output of the graph for a padded batch."""
        feed = {"input_ids": batch.ids, "attention_mask": batch.mask}
        try:
            (result,) = self._session.run([output], feed, self._options)
        except Exception as error:  # as above
            raise EncoderError(
                f"the encoder failed on a batch of {batch.ids.shape}: {error}"
            ) from error
        return np.asarray(result, dtype=np.float32)
