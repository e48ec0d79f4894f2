"""What a training run is set to. Plain values; the resolved ones are written to the run folder."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum

from simsearch.errors import InvalidInput

AUTO = "auto"
TAGS = "tags"
"""The objective whose examples are texts with entities, which files of their own hold."""


class OptimizerName(StrEnum):
    """How a step follows the gradient."""

    ADAMW = "adamw"
    ADAM = "adam"
    SGD = "sgd"  # with momentum 0.9


class ScheduleName(StrEnum):
    """How the learning rate falls after the warm-up: along a curve to 0, in steps, or never."""

    COSINE = "cosine"
    LINEAR = "linear"
    STEP = "step"
    CONSTANT = "constant"


class Sampling(StrEnum):
    """Which of several data sets the next batch is of: in proportion to size, or each in turn.

    Each in turn, an epoch ends when the shortest has no batch left.
    """

    PROPORTIONAL = "proportional"
    ROUND_ROBIN = "round-robin"


class Augmentation(StrEnum):
    """How a text becomes another one that means much the same."""

    DELETION = "deletion"
    SWAP = "swap"
    CROP = "crop"
    DROPOUT = "dropout"


class Adapt(StrEnum):
    """How much of the pretrained network is trained, or what is added to it."""

    FULL = "full"
    LAST = "last"  # written last-N
    GRADUAL = "gradual"
    LORA = "lora"
    DENSE = "dense"
    CONV = "conv"


class TrainingPrecision(StrEnum):
    """The numbers that texts are embedded in while training; the weights are kept in float32."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


MOST_NEGATIVES = 10
_MOST_SEED = 2**32 - 1
_LAST = re.compile(r"last-([1-9][0-9]?)")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Settings of a fine-tuning run; None means the default of the objective.

    Attributes:
        objective: what is minimised, by name (`simsearch.training.OBJECTIVES`), or `auto`.
        epochs: passes over the training side.
        batch_size: examples per optimiser step.
        learning_rate: the peak, reached after the warm-up.
        optimizer: `adamw`, `adam` or `sgd`.
        schedule: `cosine`, `linear`, `step` or `constant`.
        warmup: share of the steps in which the learning rate rises from 0.
        weight_decay: of all weights but biases and normalisation, decoupled with `adamw`.
        temperature: what similarities are divided by (t in the formulas of the objectives).
        margin: by how much similarities or distances have to differ (m there).
        adapt: `full`, `last-N`, `gradual`, `lora`, `dense` or `conv`.
        freeze: with `dense` and `conv`, leave the pretrained weights as they are.
        layer_decay: what a layer's learning rate is multiplied by for each layer above it.
        from_scratch: begin with random weights instead of the pretrained ones.
        negatives: hard negatives that are mined for each pair; 0 for none.
        negatives_window: how many of the nearest texts they are looked for among.
        negatives_margin: a negative's similarity is at most this share below the positive's.
        negatives_every: mine anew every so many epochs; 0 for once, before training.
        augment: ways to make more examples of the training side.
        augment_control: with `augment`, train once more without it, to tell what it gained.
        task_controls: of several data sets of which one makes a head, train on each alone, too.
        sampling: of several data sets, which one the next batch is of.
        max_length: window in tokens while training and afterwards; None is the encoder's own.
        held_out: share of the examples kept for the verdict, when no evaluation data is given.
        held_out_limit: the most examples kept for it.
        dev: share of the training side by which checkpoints are chosen, and how weights are mixed;
            None is a tenth with `patience`, else nothing.
        dev_limit: the most examples kept for it.
        patience: stop after so many epochs without improvement on the dev part; None for never.
        min_improvement: what counts as one.
        max_forgetting: how much the general set may lose before weights are mixed.
        distractors: the most texts, beside the answers, that the held-out queries search among.
        metric: the metric that decides the verdict.
        match_score: of scored pairs, from which score on they count as a match; None is unknown,
            and then they calibrate nothing.
        precision: `auto`, `fp32` or `bf16`.
        micro_batch_tokens: tokens embedded at once within a step, padding included; None is what
            suits the device.
        checkpoint_minutes: the longest time of work that a kill may cost.
        seed: of the split, the order of the examples and dropout.
    """

    objective: str = AUTO
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    optimizer: OptimizerName | str | None = None
    schedule: ScheduleName | str | None = None
    warmup: float = 0.1
    weight_decay: float = 0.0
    temperature: float | None = None
    margin: float | None = None
    adapt: str = "full"
    freeze: bool = False
    layer_decay: float = 1.0
    from_scratch: bool = False
    negatives: int | None = None
    negatives_window: int = 60
    negatives_margin: float = 0.05
    negatives_every: int = 0
    augment: tuple[Augmentation | str, ...] = ()
    augment_control: bool = True
    task_controls: bool = True
    sampling: Sampling | str = Sampling.PROPORTIONAL
    max_length: int | None = None
    held_out: float = 0.2
    held_out_limit: int = 500
    dev: float | None = None
    dev_limit: int = 100
    patience: int | None = None
    min_improvement: float = 0.0
    max_forgetting: float = 0.02
    distractors: int = 5000
    metric: str | None = None
    match_score: float | None = None
    precision: TrainingPrecision | str = TrainingPrecision.AUTO
    micro_batch_tokens: int | None = None
    checkpoint_minutes: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "max_length", "patience", "micro_batch_tokens"):
            _check_least(name, getattr(self, name), 1)
        _check_least("held_out_limit", self.held_out_limit, 1)
        _check_most("seed", self.seed, _MOST_SEED)
        for name in ("negatives", "negatives_every", "distractors", "dev_limit", "seed"):
            _check_least(name, getattr(self, name), 0)
        _check_least("negatives_window", self.negatives_window, self.negatives or 1)
        _check_most("negatives", self.negatives, MOST_NEGATIVES)
        if self.learning_rate is not None and not 0 < self.learning_rate < 1:
            raise InvalidInput(f"learning_rate must be between 0 and 1, got {self.learning_rate}")
        for name in ("warmup", "weight_decay", "negatives_margin", "dev", "max_forgetting"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise InvalidInput(f"{name} must be from 0 up to 1, got {value}")
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise InvalidInput(f"temperature must be above 0, got {self.temperature}")
        # The cosine similarities of two texts differ by 2 at most.
        if self.margin is not None and not 0 <= self.margin <= 2:
            raise InvalidInput(f"margin must be from 0 to 2, got {self.margin}")
        if not 0 < self.held_out < 1:
            raise InvalidInput(f"held_out must be between 0 and 1, got {self.held_out}")
        if not 0 < self.layer_decay <= 1:
            raise InvalidInput(f"layer_decay must be above 0, at most 1, got {self.layer_decay}")
        if not 0 <= self.min_improvement < math.inf:
            raise InvalidInput(f"min_improvement must be 0 or more, got {self.min_improvement}")
        if not self.checkpoint_minutes > 0:
            raise InvalidInput(f"checkpoint_minutes must be above 0, got {self.checkpoint_minutes}")
        if self.match_score is not None and not math.isfinite(self.match_score):
            raise InvalidInput(f"match_score must be a number, got {self.match_score}")
        _check_name("optimizer", self.optimizer, OptimizerName)
        _check_name("schedule", self.schedule, ScheduleName)
        _check_name("sampling", self.sampling, Sampling)
        _check_name("precision", self.precision, TrainingPrecision)
        for name in self.augment:
            _check_name("augmentation", name, Augmentation)
        parse_adapt(self.adapt)


def parse_adapt(name: str) -> tuple[Adapt, int]:
    """Return a method of adaptation and, for `last-N`, its N, else 0.

    Raises:
        InvalidInput: there is no method of that name.
    """
    if found := _LAST.fullmatch(name):
        return Adapt.LAST, int(found[1])
    if name not in tuple(Adapt) or name == Adapt.LAST:
        known = ", ".join("last-N" if method is Adapt.LAST else method for method in Adapt)
        raise InvalidInput(f"no adaptation {name!r} (there are: {known})")
    return Adapt(name), 0


def _check_least(name: str, value: float | None, least: int) -> None:
    if value is not None and value < least:
        raise InvalidInput(f"{name} must be at least {least}, got {value}")


def _check_most(name: str, value: float | None, most: int) -> None:
    if value is not None and value > most:
        raise InvalidInput(f"{name} must be at most {most}, got {value}")


def _check_name(setting: str, name: str | None, known: type[StrEnum]) -> None:
    if name is not None and name not in tuple(known):
        raise InvalidInput(f"no {setting} {name!r} (there are: {', '.join(known)})")
