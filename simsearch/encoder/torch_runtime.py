"""The torch runtime, and the module that both it and the export are made of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import safetensors.torch
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModel
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from simsearch.encoder.adaptation import load_adaptations
from simsearch.encoder.layout import ENCODER_OF, Layout, refuse_decoder
from simsearch.encoder.modules import Activation, Dense, Pooling
from simsearch.encoder.runtime import (
    HIDDEN_STATES,
    SENTENCE_EMBEDDING,
    TOKEN_EMBEDDINGS,
    FloatArray,
    TokenBatch,
    run_error,
)
from simsearch.encoder.threads import thread_count
from simsearch.errors import EncoderError

OUTPUTS = (SENTENCE_EMBEDDING, TOKEN_EMBEDDINGS, HIDDEN_STATES)
# Tokens of one batch, padding included. On a CPU the products then stay in the cache
# (docs/log.md, 2026-11-22); a GPU wants enough work to fill it.
_CPU_BUDGET = 2048
_GPU_BUDGET = 65536

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    Activation.IDENTITY: nn.Identity,
    Activation.TANH: nn.Tanh,
    Activation.RELU: nn.ReLU,
    Activation.GELU: nn.GELU,
    Activation.SILU: nn.SiLU,
    Activation.SIGMOID: nn.Sigmoid,
}


def pool(token_embeddings: Tensor, mask: Tensor, pooling: Sequence[Pooling]) -> Tensor:
    """Return one vector per text, of several modes side by side.

    `mask` is 1 for the tokens that count, one run of them in each row.
    Shape: (b, t, hidden) and (b, t) -> (b, hidden x modes).
    """
    return torch.cat([_pool(token_embeddings, mask, mode) for mode in pooling], dim=-1)


def _pool(tokens: Tensor, mask: Tensor, mode: Pooling) -> Tensor:
    weights = mask.unsqueeze(-1).to(tokens.dtype)  # (b, t, 1)
    if mode in (Pooling.CLS, Pooling.LAST_TOKEN):
        # The first largest; in int32, because ONNX Runtime has no argmax of int64.
        token = mask.to(torch.int32).argmax(1)  # (b,)
        if mode is Pooling.LAST_TOKEN:
            token = token + mask.sum(1) - 1
        index = token.view(-1, 1, 1).expand(-1, 1, tokens.shape[-1])  # (b, 1, hidden)
        return tokens.gather(1, index).squeeze(1)
    if mode is Pooling.MAX:
        return tokens.masked_fill(weights == 0, torch.finfo(tokens.dtype).min).amax(1)
    if mode is Pooling.WEIGHTED_MEAN:
        weights = weights * torch.ones_like(weights).cumsum(1)  # the n-th token weighs n
    length = weights.sum(1)  # (b, 1)
    if mode is Pooling.MEAN_SQRT_LENGTH:
        length = length.sqrt()
    return (tokens * weights).sum(1) / length


class DenseModule(nn.Module):
    """A linear map with an activation, loaded from its file."""

    def __init__(self, dense: Dense) -> None:
        super().__init__()
        self.linear = load_linear(dense)
        self.activation = activation_module(dense.activation)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Shape: (b, in) -> (b, out)."""
        mapped: Tensor = self.activation(self.linear(embeddings))
        return mapped


class UnitLength(nn.Module):
    """Scaling to unit length."""

    def forward(self, embeddings: Tensor) -> Tensor:
        """Shape: (b, dim) -> (b, dim)."""
        return nn.functional.normalize(embeddings, dim=-1)


def activation_module(activation: Activation) -> nn.Module:
    """Return the module of an activation."""
    return _ACTIVATIONS[activation]()


def load_linear(dense: Dense) -> nn.Linear:
    """Return the linear map of a dense module with its weights, in float32.

    Raises:
        EncoderError: the file is damaged, or holds other tensors than the module has.
    """
    linear = nn.Linear(dense.in_features, dense.out_features, bias=dense.bias)
    expected = {f"linear.{name}" for name in linear.state_dict()}
    try:
        tensors = safetensors.torch.load_file(dense.weights)
        if different := expected ^ tensors.keys():
            raise EncoderError(f"{dense.weights}: {min(different)} is missing, or not expected")
        linear.load_state_dict(
            {name.removeprefix("linear."): tensor.float() for name, tensor in tensors.items()}
        )
    except EncoderError:
        raise
    except Exception as error:  # safetensors and torch each raise their own
        raise EncoderError(f"{dense.weights}: {error}") from error
    return linear


def _both_ways(mask: Tensor, window: int) -> dict[str, Tensor]:
    """Return the masks that a bidirectional Gemma makes of `mask` (b, t), each (b, 1, t, t).

    Its own way to them cannot be traced.
    """
    every = mask[:, None, None, :].bool().expand(-1, 1, mask.shape[1], -1)
    place = torch.ones_like(mask[0]).cumsum(0)  # (t,)
    near = (place[:, None] - place[None, :]).abs() < window  # (t, t)
    return {"full_attention": every, "sliding_attention": every & near}


class EncoderModule(nn.Module):
    """A pretrained transformer with all that turns its token vectors into an embedding."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.transformer = load_transformer(layout)
        config: Any = self.transformer.config
        gemma = layout.family == "gemma3_text" and config.use_bidirectional_attention
        self.gemma_window: int | None = config.sliding_window if gemma else None
        self.adaptations = nn.ModuleList(load_adaptations(layout, config))
        self.needs_layers = any(module.needs_layers for module in self.adaptations)
        self.pooling = layout.pooling
        self.projections = nn.Sequential(
            *(
                DenseModule(module) if isinstance(module, Dense) else UnitLength()
                for module in layout.projections
            )
        )
        self.dim = layout.dim

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, pooling_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return sentence embeddings, token embeddings and hidden states.

        Adaptations change the token embeddings; hidden states stay the transformer's own.

        Shape: (b, t) each -> (b, dim), (b, t, hidden), (b, layers + 1, t, hidden).
        """
        pooled = attention_mask if pooling_mask is None else pooling_mask
        outputs = self.transform(input_ids, attention_mask, hidden_states=True)
        tokens = self.adapt(outputs, attention_mask)
        layers = torch.stack(outputs.hidden_states, dim=1)  # (b, layers + 1, t, hidden)
        return self.embed(tokens, pooled), tokens, layers

    def transform(
        self, input_ids: Tensor, attention_mask: Tensor, *, hidden_states: bool = False
    ) -> Any:
        """Run the transformer alone and return its outputs. Shape: (b, t) each."""
        # A single text has token types of 0 throughout, which is what the models assume.
        mask: Tensor | dict[str, Tensor] = attention_mask
        if self.gemma_window is not None:
            mask = _both_ways(attention_mask, self.gemma_window)
        return self.transformer(
            input_ids=input_ids, attention_mask=mask, output_hidden_states=hidden_states
        )

    def adapt(self, outputs: Any, attention_mask: Tensor) -> Tensor:
        """Return token embeddings from the outputs of the transformer. Shape: (b, t, hidden)."""
        tokens: Tensor = outputs.last_hidden_state
        for module in self.adaptations:
            tokens = module(tokens, outputs.hidden_states, attention_mask)
        return tokens

    def embed(self, tokens: Tensor, pooling_mask: Tensor) -> Tensor:
        """Return unit vectors, computed in float32 whatever the transformer runs in.

        Shape: (b, t, hidden) and (b, t) -> (b, dim).
        """
        embeddings: Tensor = self.projections(pool(tokens.float(), pooling_mask, self.pooling))
        return nn.functional.normalize(embeddings[:, : self.dim], dim=-1)


def load_transformer(layout: Layout) -> nn.Module:
    """Load the weights named by a checked layout, in float32.

    Raises:
        EncoderError: the family is none of transformers' own, a weight file is damaged, or
            tensors are missing from it.
    """
    if layout.family not in MODEL_MAPPING_NAMES:
        raise EncoderError(
            f"{layout.directory}: transformers {transformers.__version__} has no encoder family "
            f"{layout.family!r} of its own, and code from a model is never run"
        )
    name = ENCODER_OF.get(layout.family)
    family = AutoModel if name is None else getattr(transformers, name)
    try:
        with quiet_transformers():
            model, report = family.from_pretrained(
                str(layout.transformer),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused here, by name
            )
    except Exception as error:  # safetensors, transformers and torch each raise their own
        raise EncoderError(f"{layout.transformer}: {error}") from error
    if report["mismatched_keys"]:
        tensor, given, expected = min(report["mismatched_keys"])
        raise EncoderError(
            f"{layout.transformer}: tensor {tensor!r} has shape {tuple(given)}, expected "
            f"{tuple(expected)} by config.json"
        )
    # A pooler that no embedding uses may be missing; any other missing tensor would be random.
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise EncoderError(
            f"{layout.transformer}: {len(missing)} tensors are missing from the weights, "
            f"first {missing[0]!r}"
        )
    if getattr(model.config, "is_encoder_decoder", False):  # config.json may leave it to the family
        refuse_decoder(layout.directory, layout.family)
    # Keys and values are cached for generation only; here they would be outputs of the graph.
    if getattr(model.config, "use_cache", False):
        model.config.use_cache = False
    module: nn.Module = model.eval()
    return module


class TorchRuntime:
    """The encoder run by torch, on the CPU or a GPU; in bfloat16 if asked for.

    In bfloat16 the transformer's weights and products are; adaptations, pooling and what follows
    are float32.
    """

    name = "torch"
    streams = 1

    def __init__(self, layout: Layout, *, device: str = "cpu", bfloat16: bool = False) -> None:
        torch.set_num_threads(thread_count())
        try:
            self._device = torch.device(device)
            self.module = EncoderModule(layout).eval().to(self._device)
        except (RuntimeError, AssertionError) as error:  # an unknown device, or one without driver
            raise EncoderError(
                f"device {device!r} cannot be used: {error} (name another, or none: then the CPU "
                "does the work)"
            ) from error
        if bfloat16:
            self.module.transformer.to(torch.bfloat16)
        self.token_budget = _CPU_BUDGET if self._device.type == "cpu" else _GPU_BUDGET

    def run(self, batch: TokenBatch, output: str) -> FloatArray:
        """Return one output for a padded batch."""
        return self.run_many(batch, [output])[0]

    def run_many(self, batch: TokenBatch, outputs: Sequence[str]) -> list[FloatArray]:
        """Return several outputs of one pass for a padded batch."""
        try:
            ids = torch.from_numpy(batch.ids).to(self._device)
            mask = torch.from_numpy(batch.mask).to(self._device)
            pooled = mask
            if batch.pooled is not None:
                pooled = torch.from_numpy(batch.pooled).to(self._device)
            with torch.inference_mode():
                results = self._outputs(ids, mask, pooled, outputs)
                arrays = [result.float().cpu().numpy() for result in results]
        except (RuntimeError, IndexError) as error:
            raise run_error(error, batch) from error
        return [np.ascontiguousarray(array) for array in arrays]

    def _outputs(
        self, ids: Tensor, mask: Tensor, pooled: Tensor, outputs: Sequence[str]
    ) -> list[Tensor]:
        if HIDDEN_STATES in outputs:
            every = self.module(ids, mask, pooled)
            return [every[OUTPUTS.index(output)] for output in outputs]
        results = self.module.transform(ids, mask, hidden_states=self.module.needs_layers)
        tokens = self.module.adapt(results, mask)  # (b, t, hidden)
        return [
            tokens if output == TOKEN_EMBEDDINGS else self.module.embed(tokens, pooled)
            for output in outputs
        ]


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
