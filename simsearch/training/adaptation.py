"""How much of a pretrained encoder learns, and what is added to it: the methods of `--adapt`.

    full       everything
    last-N     the top N layers and what is above them
    gradual    first the top layer and what is above it, then one more layer in each phase, the
               embeddings last (Howard & Ruder 2018, ULMFiT)
    lora       low-rank additions to the linear maps of all layers and nothing else, merged into
               them at the end (Hu et al. 2022)
    dense      everything, and a new map of the outputs of all layers (`DenseConnectionsModule`)
    conv       everything, and a new convolution over tokens (`TokenConvolutionModule`)

With `freeze` only what `dense` and `conv` add learns. An encoder that has such a module already,
from an earlier run, gets no second one: that one goes on learning.

Where the layers of an architecture are, and what is above and below them, is asked of the network
itself, so no list of families is kept. Projections after the pooling are above; relative positions,
which serve every layer, are below, with the embeddings. Layers that share their weights are one
(ALBERT): no part of them could learn alone.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from simsearch.encoder.adaptation import DenseConnectionsModule, TokenConvolutionModule
from simsearch.errors import InvalidInput
from simsearch.training.config import Adapt, TrainingConfig, parse_adapt
from simsearch.training.trainable import (
    DenseConnections,
    TokenConvolution,
    TokenModule,
    give_layers,
    token_module,
)

LORA_RANK = 16
LORA_ALPHA = 32  # an addition weighs alpha / rank


class Adaptation:
    """A method that was applied to a model, until `finish`.

    Attributes:
        method: which one.
        trained: the number of parameters that learn at some time.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        method: Adapt,
        *,
        phases: Sequence[Sequence[nn.Parameter]],
        factors: Mapping[str, float],
        merge: Callable[[], object] | None = None,
    ) -> None:
        self.method = method
        self.trained = sum(parameter.numel() for phase in phases for parameter in phase)
        self._model = model
        self._phases = phases
        self._factors = factors
        self._merge = merge

    @property
    def phases(self) -> int:
        """How many there are; a run of fewer steps would not reach the last."""
        return len(self._phases)

    def check_steps(self, steps: int) -> None:
        """Refuse a run that would not reach the last phase.

        Raises:
            InvalidInput: there are fewer steps than phases.
        """
        if self.phases > steps:
            raise InvalidInput(
                f"{self.method} has {self.phases} phases, and the run only {steps} steps (more "
                "epochs, or smaller batches)"
            )

    def set_phase(self, step: int, steps: int) -> None:
        """Let learn what learns at an optimiser step, counted from 0, of a run of `steps`.

        Phases are of equal length; only `gradual` has more than one. What has not begun to learn
        needs no gradient, and is given none.
        """
        phase = step * len(self._phases) // steps
        for number, parameters in enumerate(self._phases):
            for parameter in parameters:
                parameter.requires_grad_(number <= phase)

    def rate_factor(self, name: str) -> float:
        """Return what the learning rate of a parameter of the model is multiplied by.

        The top layer and all above have 1, each layer below `layer_decay` times that of the next,
        the embeddings the least. A name that is none of the model's has 1.
        """
        return self._factors.get(name, 1.0)

    def finish(self) -> None:
        """Make the model whole again: additions of `lora` become part of its weights."""
        if self._merge is not None:
            self._merge()
            self._merge = None
        self._model.requires_grad_(True)


def check_adaptation(config: TrainingConfig) -> None:
    """Refuse settings that go together with no encoder.

    Raises:
        InvalidInput: `freeze` or `layer_decay` has nothing to act on, or a package is missing.
    """
    method, _ = parse_adapt(config.adapt)
    if config.freeze and method not in (Adapt.DENSE, Adapt.CONV):
        raise InvalidInput(
            f"freeze goes with adapt dense or conv, got {config.adapt} (last-N freezes layers)"
        )
    if config.layer_decay != 1 and (config.freeze or method is Adapt.LORA):
        raise InvalidInput(
            f"layer_decay needs layers that learn, got {config.layer_decay:g} with "
            f"{'freeze' if config.freeze else 'adapt lora'}, where they do not (leave it at 1)"
        )
    if method is Adapt.LORA and importlib.util.find_spec("peft") is None:
        raise InvalidInput(
            "adapt lora needs the package peft, which is not installed (pip install "
            "'simsearch[lora]')"
        )


def prepare_adaptation(model: SentenceTransformer, config: TrainingConfig) -> Adaptation:
    """Put into a model what the method adds, and let learn what it lets learn.

    Afterwards `requires_grad` is set for all that learns at some time, and for nothing else. A
    module is put in before the pooling, so the names of those behind it change.

    Raises:
        InvalidInput: the settings contradict each other, or do not fit this encoder.
    """
    check_adaptation(config)
    method, top = parse_adapt(config.adapt)
    transformer = model[0].model
    trunk = _read_trunk(transformer)
    added = _add(model, method, seed=config.seed)
    others = [parameter for module in list(model)[1:] for parameter in module.parameters()]
    above = [*others, *trunk.above]
    merge = None
    if method is Adapt.LAST:
        phases = [[*above, *_top_layers(trunk, top, transformer.config)]]
    elif method is Adapt.GRADUAL:
        first, *lower = reversed(_some_layers(trunk))
        phases = [[*above, *first], *lower, trunk.below]
    elif method is Adapt.LORA:
        merge = _add_lora(transformer, trunk, seed=config.seed)
        own = {id(parameter) for parameter in (*trunk.all, *others)}
        phases = [[each for each in model.parameters() if id(each) not in own]]
    elif config.freeze and added is not None:
        phases = [list(added.parameters())]
    else:
        phases = [[*above, *(each for layer in trunk.layers for each in layer), *trunk.below]]
    model.requires_grad_(False)
    for parameter in (parameter for phase in phases for parameter in phase):
        parameter.requires_grad_(True)
    factors = _rate_factors(model, trunk, config.layer_decay)
    return Adaptation(model, method, phases=phases, factors=factors, merge=merge)


def find_layers(transformer: nn.Module) -> tuple[str, list[nn.Module]]:
    """Return the name of a transformer's list of layers, and its members, from the bottom up.

    It is the longest list of modules that is in no other; "" and none where there is no list.
    """
    found = list(_outermost_lists(transformer, ""))
    return max(found, key=lambda item: len(item[1]), default=("", []))


def _outermost_lists(module: nn.Module, prefix: str) -> Iterator[tuple[str, list[nn.Module]]]:
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList):
            yield prefix + name, list(child)
        else:
            yield from _outermost_lists(child, f"{prefix}{name}.")


@dataclass(frozen=True, slots=True)
class _Trunk:
    """The parameters of a transformer by where they stand on the way to its last output.

    `layers` begin at the bottom; `path` is the name of what holds them. `below` is what comes
    before them or serves them all. `all` has, beside these, what the output does not depend on: a
    pooler of BERT, for one.
    """

    path: str
    layers: list[list[nn.Parameter]]
    above: list[nn.Parameter]
    below: list[nn.Parameter]
    all: list[nn.Parameter]


def _read_trunk(transformer: nn.Module) -> _Trunk:
    path, layers = find_layers(transformer)
    everything = list(transformer.parameters())
    used = _reached(transformer, everything)
    above: set[int] = set()
    if layers:
        # Cut off the layers' output, and gradients reach only what is above.
        hook = layers[-1].register_forward_hook(lambda module, inputs, output: _detached(output))
        try:
            above = _reached(transformer, everything)
        finally:
            hook.remove()
    inside = {id(parameter) for layer in layers for parameter in layer.parameters()}
    return _Trunk(
        path=path,
        layers=[[each for each in layer.parameters() if id(each) in used] for layer in layers],
        above=[each for each in everything if id(each) in above],
        below=[each for each in everything if id(each) in used - inside - above],
        all=everything,
    )


def _probe(transformer: Any, *, hidden_states: bool = False) -> Any:
    """Run three tokens through a transformer, without dropout, and return its outputs."""
    ids = torch.arange(3, device=transformer.device).unsqueeze(0)  # (1, t)
    training = transformer.training
    transformer.eval()
    try:
        return transformer(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            output_hidden_states=hidden_states,
        )
    finally:
        transformer.train(training)


def _reached(transformer: nn.Module, parameters: Sequence[nn.Parameter]) -> set[int]:
    """Return the ids of the parameters that a gradient of the last output comes to."""
    transformer.requires_grad_(True)
    output: Tensor = _probe(transformer).last_hidden_state
    if not output.requires_grad:
        return set()
    gradients = torch.autograd.grad(output.sum(), parameters, allow_unused=True)
    reached = zip(parameters, gradients, strict=True)
    return {id(parameter) for parameter, gradient in reached if gradient is not None}


def _detached(output: Any) -> Any:
    if isinstance(output, tuple):
        return tuple(_detached(part) for part in output)
    return output.detach() if isinstance(output, Tensor) else output


def _some_layers(trunk: _Trunk) -> list[list[nn.Parameter]]:
    if not trunk.layers:
        raise InvalidInput("this encoder's layers cannot be told apart (adapt full needs none)")
    return trunk.layers


def _top_layers(trunk: _Trunk, top: int, config: Any) -> Iterable[nn.Parameter]:
    layers = _some_layers(trunk)
    if top > len(layers):
        run = config.num_hidden_layers
        shared = f", which {run} layers share" if run > len(layers) else ""
        raise InvalidInput(
            f"last-{top} needs {top} layers, this encoder has {len(layers)} with weights of their "
            f"own{shared} (last-{len(layers)} is the most)"
        )
    return (parameter for layer in layers[-top:] for parameter in layer)


def _add(model: SentenceTransformer, method: Adapt, *, seed: int) -> TokenModule | None:
    """Return the module that a method adds, put in before the pooling unless it is there."""
    kinds: dict[Adapt, type[TokenModule]] = {
        Adapt.DENSE: DenseConnections,
        Adapt.CONV: TokenConvolution,
    }
    kind = kinds.get(method)
    if kind is None:
        return None
    there: TokenModule | None = next((each for each in model if isinstance(each, kind)), None)
    if there is not None:
        return there
    made = token_module(_make(model[0], method, seed=seed))
    position = next(n for n, module in enumerate(model) if isinstance(module, Pooling))
    model.insert(position, made.to(model.device))
    give_layers(model)
    return made


def _make(
    transformer: Any, method: Adapt, *, seed: int
) -> DenseConnectionsModule | TokenConvolutionModule:
    hidden = transformer.get_embedding_dimension()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if method is Adapt.CONV:
            return TokenConvolutionModule(hidden)
        with torch.no_grad():
            states = _probe(transformer.model, hidden_states=True).hidden_states
        layers = transformer.model.config.num_hidden_layers + 1
        if [state.shape for state in states] != [(1, 3, hidden)] * layers:
            raise InvalidInput(
                f"adapt dense needs the outputs of {layers} layers, each {hidden} wide for each "
                f"token, got {[tuple(state.shape[1:]) for state in states]} (adapt conv needs none)"
            )
        return DenseConnectionsModule(hidden, layers=layers)


def _add_lora(transformer: nn.Module, trunk: _Trunk, *, seed: int) -> Callable[[], object]:
    """Put LoRA adapters into the linear maps of all layers; return what merges them."""
    from peft import LoraConfig, LoraModel  # an extra

    maps = [
        name
        for name, module in transformer.named_modules()
        if name.startswith(f"{trunk.path}.") and isinstance(module, nn.Linear | Conv1D)
    ]
    if not trunk.path or not maps:
        raise InvalidInput("adapt lora needs linear maps in layers, this encoder has none")
    settings = LoraConfig(r=LORA_RANK, lora_alpha=LORA_ALPHA, target_modules=maps)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(seed)
        # It sees for itself which way round the weights of GPT-2's maps are, and warns of it.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set")
        adapters = LoraModel(transformer, settings, adapter_name="default")
    merge: Callable[[], object] = adapters.merge_and_unload
    return merge


def _rate_factors(model: SentenceTransformer, trunk: _Trunk, decay: float) -> dict[str, float]:
    """Return the factors of the trunk by the parameters' names in the model."""
    if decay != 1:
        _some_layers(trunk)
    depths = {id(parameter): len(trunk.layers) for parameter in trunk.below}
    for depth, layer in enumerate(reversed(trunk.layers)):
        depths |= {id(parameter): depth for parameter in layer}
    return {
        name: decay ** depths[id(parameter)]
        for name, parameter in model.named_parameters()
        if id(parameter) in depths
    }
