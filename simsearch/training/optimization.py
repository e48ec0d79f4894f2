"""How the weights follow the gradient: the optimiser, its rate over a run, float32 copies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from simsearch.training.config import OptimizerName, ScheduleName

# The class of each optimiser, and its settings beside the learning rate.
_OPTIMIZERS: dict[OptimizerName, tuple[Callable[..., Optimizer], dict[str, Any]]] = {
    OptimizerName.ADAMW: (torch.optim.AdamW, {}),
    OptimizerName.ADAM: (torch.optim.Adam, {}),
    OptimizerName.SGD: (torch.optim.SGD, {"momentum": 0.9}),
}
_DROPS = (0.5, 0.75)  # of the steps after the warm-up, with `step`
_FACTOR = 0.1  # by which the rate falls at each of them
MAX_NORM = 1.0  # of the gradient; a longer one is shortened


class Weights:
    """The weights of a run in float32, which the model may compute with in bfloat16.

    A step of 1e-5 is lost on a bfloat16 weight, which has 8 bits of precision; so the optimiser
    moves copies in float32, and the model is given what they round to (Micikevicius et al. 2018,
    mixed precision training, section 3.1). Where the model is in float32 they are its own.
    """

    def __init__(self, modules: Mapping[str, nn.Module], *, bfloat16: nn.Module | None) -> None:
        """Take over the weights of `modules`, by name; those of `bfloat16` are converted.

        `bfloat16` is a part of them. Its buffers stay as they are: a rotary embedding's
        frequencies, for one, need their precision.
        """
        self._model = {
            f"{prefix}{name}": parameter
            for prefix, module in modules.items()
            for name, parameter in module.named_parameters()
        }
        self._copies: dict[str, nn.Parameter] = {}
        inside = {id(parameter) for parameter in bfloat16.parameters()} if bfloat16 else set()
        for name, parameter in self._model.items():
            if id(parameter) in inside:
                self._copies[name] = nn.Parameter(parameter.detach().clone().float())
                parameter.data = parameter.data.to(torch.bfloat16)

    def __iter__(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield name and float32 weight."""
        for name, parameter in self._model.items():
            yield name, self._copies.get(name, parameter)

    def gather_gradients(self, *, times: float = 1.0) -> float:
        """Bring the model's gradients to the float32 weights; return the norm that they had.

        It is now at most 1, times `times`: multiplied before it is shortened, the gradient of a
        loss that has a long one would stay as it is. A weight that the model has no gradient of,
        or that does not learn now, gets none.
        """
        for name, copy in self._copies.items():
            gradient = self._model[name].grad
            copy.grad = None if gradient is None else gradient.float()
            self._model[name].grad = None
        for name, weight in self:
            if not self._model[name].requires_grad:
                weight.grad = None
        norm = nn.utils.clip_grad_norm_([weight for _, weight in self], MAX_NORM)
        for _, weight in self:
            if weight.grad is not None and times != 1:
                weight.grad *= times
        return float(norm)

    @torch.no_grad()
    def follow(self) -> None:
        """Give the model what the float32 weights are now; gradients are done with."""
        for name, copy in self._copies.items():
            self._model[name].copy_(copy)
        for _, weight in self:
            weight.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return the float32 weights by name, as they are: not copies."""
        return {name: weight.data for name, weight in self}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        for name, weight in self:
            weight.copy_(state[name])
        self.follow()

    def release(self) -> None:
        """Bring the model back to float32, with the weights that it has come to."""
        for name, copy in self._copies.items():
            self._model[name].data = copy.data
        self._copies = {}


def make_optimizer(
    name: OptimizerName,
    weights: Weights,
    *,
    rate: float,
    weight_decay: float,
    rate_factor: Callable[[str], float],
) -> Optimizer:
    """Return the optimiser of a run; a weight's rate is `rate` times the factor of its name.

    Vectors (biases, normalisation) do not decay.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for weight_name, weight in weights:
        decay = weight_decay if weight.ndim > 1 else 0.0
        groups.setdefault((rate * rate_factor(weight_name), decay), []).append(weight)
    made, settings = _OPTIMIZERS[name]
    return made(
        [
            {"params": members, "lr": peak, "peak": peak, "weight_decay": decay}
            for (peak, decay), members in groups.items()
        ],
        lr=rate,
        **settings,
    )


def set_rate(optimizer: Optimizer, factor: float) -> None:
    """Set every group's learning rate to a share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def schedule_factor(name: ScheduleName, step: int, *, warmup: int, steps: int) -> float:
    """Return the share of the peak that the learning rate has at a step, counted from 0.

    It rises linearly, and no step is lost on a rate of 0. Then `cosine` and `linear` fall to 0,
    `step` falls to a tenth at half and again at three quarters of what is left, `constant` stays.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    way = (step - warmup) / max(1, steps - warmup)
    match name:
        case ScheduleName.COSINE:
            return 0.5 * (1 + math.cos(math.pi * way))
        case ScheduleName.LINEAR:
            return max(0.0, 1 - way)
        case ScheduleName.STEP:
            return float(_FACTOR ** sum(way >= drop for drop in _DROPS))
    return 1.0
