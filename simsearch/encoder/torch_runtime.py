"""The torch runtime, and the module that both it and the export are made of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModel

from simsearch.encoder.layout import Layout, Pooling
from simsearch.encoder.runtime import (
    HIDDEN_STATES,
    SENTENCE_EMBEDDING,
    TOKEN_EMBEDDINGS,
    FloatArray,
    TokenBatch,
)
from simsearch.errors import EncoderError

OUTPUTS = (SENTENCE_EMBEDDING, TOKEN_EMBEDDINGS, HIDDEN_STATES)


def pool(token_embeddings: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Return one unit vector per text.

    Shape: (b, t, dim) and (b, t) -> (b, dim).
    """
    if pooling is Pooling.CLS:
        pooled = token_embeddings[:, 0]
    else:
        weights = mask.unsqueeze(-1).to(token_embeddings.dtype)  # (b, t, 1)
        if pooling is Pooling.MEAN:
            pooled = (token_embeddings * weights).sum(1) / weights.sum(1)
        else:
            lowest = torch.finfo(token_embeddings.dtype).min
            pooled = token_embeddings.masked_fill(weights == 0, lowest).amax(1)
    return nn.functional.normalize(pooled, dim=-1)


class EncoderModule(nn.Module):
    """A pretrained transformer with pooling and normalisation on top."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.transformer = load_transformer(layout)
        self.pooling = layout.pooling

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return sentence embeddings, token embeddings and hidden states.

        Shape: (b, t) each -> (b, dim), (b, t, dim), (b, layers + 1, t, dim).
        """
        # A single text has token types of 0 throughout, which is what the models assume.
        outputs = self.transformer(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True
        )
        tokens = outputs.last_hidden_state  # (b, t, dim)
        layers = torch.stack(outputs.hidden_states, dim=1)  # (b, layers + 1, t, dim)
        return pool(tokens, attention_mask, self.pooling), tokens, layers


def load_transformer(layout: Layout) -> nn.Module:
    """Load the weights named by a checked layout, in float32.

    Raises:
        EncoderError: a weight file is damaged, or tensors are missing from it.
    """
    try:
        with quiet_transformers():
            model, report = AutoModel.from_pretrained(
                str(layout.transformer),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except Exception as error:  # safetensors, transformers and torch each raise their own
        raise EncoderError(f"{layout.transformer}: {error}") from error
    # A pooler that no embedding uses may be missing; any other missing tensor would be random.
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise EncoderError(
            f"{layout.transformer}: {len(missing)} tensors are missing from the weights, "
            f"first {missing[0]!r}"
        )
    module: nn.Module = model.eval()
    return module


class TorchRuntime:
    """The encoder run by torch, on the CPU or the given device."""

    name = "torch"

    def __init__(self, layout: Layout, *, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self.module = EncoderModule(layout).eval().to(self._device)

    def run(self, batch: TokenBatch, output: str) -> FloatArray:
        """Return one output for a padded batch."""
        ids = torch.from_numpy(batch.ids).to(self._device)
        mask = torch.from_numpy(batch.mask).to(self._device)
        with torch.inference_mode():
            outputs = self.module(ids, mask)
        result: FloatArray = outputs[OUTPUTS.index(output)].float().cpu().numpy()
        return np.ascontiguousarray(result)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep the library's progress bars and advice off the user's terminal."""
    verbosity = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.logging.enable_progress_bar()
