"""What may stand between an encoder's transformer and its pooling: modules on token embeddings.

Each adds something to the token embeddings, through a linear map that is zero at first: an
untrained one leaves every embedding as it was. They compute in float32, whatever the transformer
runs in.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from simsearch.encoder.layout import Layout
from simsearch.encoder.modules import DenseConnections, TokenConvolution
from simsearch.errors import EncoderError

KERNEL = 5  # tokens: one, and two to each side
_FLOATS = ("F32", "F16", "BF16")


class DenseConnectionsModule(nn.Module):
    """h + W m: to the last layer's output is added a map of a mix of all layers' outputs.

    The embedding layer's output is one of them. Their shares of the mix are learned scalars under
    a softmax, and each is normalised first, for they differ in scale (Peters et al. 2018, ELMo,
    section 3.2).
    """

    needs_layers = True

    def __init__(self, hidden: int, *, layers: int) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.zeros(layers))
        self.linear = _zero_map(hidden)

    @property
    def sizes(self) -> dict[str, int]:
        """What its description says beside its kind."""
        return {"hidden": self.linear.in_features, "layers": len(self.mix)}

    def forward(self, tokens: Tensor, layers: Sequence[Tensor], mask: Tensor) -> Tensor:
        """Shape: (b, t, hidden), one of these for each layer, and (b, t) -> (b, t, hidden)."""
        shares = self.mix.softmax(0)  # (layers,)
        # A tensor's own shape would not be a constant to the exporter.
        width = (self.linear.in_features,)
        parts = (
            share * functional.layer_norm(layer.float(), width)
            for share, layer in zip(shares, layers, strict=True)
        )
        added: Tensor = self.linear(functools.reduce(torch.add, parts))
        return tokens.float() + added


class TokenConvolutionModule(nn.Module):
    """h + W gelu(c): to each token is added a map of a convolution of it and its neighbours.

    The convolution is depthwise, W its pointwise counterpart (Chollet 2017, Xception; over text
    Kaiser et al. 2018). Padding is zero to it, so a text's embedding does not depend on the
    batch beside it.
    """

    needs_layers = False

    def __init__(self, hidden: int, *, kernel: int = KERNEL) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(hidden, hidden, kernel, padding=kernel // 2, groups=hidden)
        self.pointwise = _zero_map(hidden)

    @property
    def sizes(self) -> dict[str, int]:
        """What its description says beside its kind."""
        return {"hidden": self.pointwise.in_features, "kernel": self.depthwise.kernel_size[0]}

    def forward(self, tokens: Tensor, layers: Sequence[Tensor], mask: Tensor) -> Tensor:
        """Shape: (b, t, hidden), not looked at, and (b, t) -> (b, t, hidden)."""
        tokens = tokens.float()
        inside = tokens.masked_fill(mask.unsqueeze(-1) == 0, 0.0)  # (b, t, hidden)
        context = self.depthwise(inside.transpose(1, 2)).transpose(1, 2)  # (b, t, hidden)
        added: Tensor = self.pointwise(functional.gelu(context))
        return tokens + added


AdaptationModule = DenseConnectionsModule | TokenConvolutionModule


def load_adaptations(layout: Layout, config: Any) -> list[AdaptationModule]:
    """Return the adaptations of an encoder with their weights, in order.

    `config` is the configuration of its transformer, as transformers has read it.

    Raises:
        EncoderError: a file is damaged, holds other tensors than the module has, or is of a
            transformer with another number of layers.
    """
    return [_load(description, config) for description in layout.adaptations]


def save_adaptation(module: AdaptationModule, folder: Path) -> None:
    """Write a module's description and weights into an existing folder."""
    text = json.dumps(module.sizes, indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")
    tensors = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    safetensors.torch.save_file(tensors, folder / "model.safetensors")


def _load(description: DenseConnections | TokenConvolution, config: Any) -> AdaptationModule:
    path = description.weights
    if isinstance(description, DenseConnections):
        outputs = config.num_hidden_layers + 1  # that of the embeddings is one
        if description.layers != outputs:
            raise EncoderError(
                f"{path.parent}: layers is {description.layers}, "
                f"but this encoder has the outputs of {outputs}"
            )
    # Without memory at first: the file has to fit before anything of its size is made.
    with torch.device("meta"):
        module = _make(description)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            _check_tensors(path, file, module.state_dict())
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except EncoderError:
        raise
    except Exception as error:  # safetensors has errors of its own
        raise EncoderError(f"{path}: {error}") from error
    module.load_state_dict(tensors, assign=True)
    return module


def _make(description: DenseConnections | TokenConvolution) -> AdaptationModule:
    if isinstance(description, DenseConnections):
        return DenseConnectionsModule(description.hidden, layers=description.layers)
    return TokenConvolutionModule(description.hidden, kernel=description.kernel)


def _check_tensors(path: Path, file: Any, expected: dict[str, Tensor]) -> None:
    if different := expected.keys() ^ set(file.keys()):
        raise EncoderError(f"{path}: {min(different)} is missing, or not expected")
    for name, tensor in expected.items():
        found = file.get_slice(name)
        if found.get_shape() != list(tensor.shape) or found.get_dtype() not in _FLOATS:
            raise EncoderError(
                f"{path}: {name} is {found.get_dtype()} {found.get_shape()}, "
                f"expected {_FLOATS[0]} {list(tensor.shape)}"
            )


def _zero_map(hidden: int) -> nn.Linear:
    linear = nn.Linear(hidden, hidden)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
