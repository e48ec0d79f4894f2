"""What a training run is set to. Plain values; the resolved ones are written to the run folder."""

from __future__ import annotations

from dataclasses import dataclass

from simsearch.errors import InvalidInput

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Settings of a fine-tuning run; None means the default of the objective.

    Attributes:
        objective: what is minimised, by name (`simsearch.training.OBJECTIVES`), or `auto`.
        epochs: passes over the training side.
        batch_size: examples per optimiser step.
        learning_rate: the peak, reached after the warm-up.
        warmup: share of the steps in which the learning rate rises from 0; then it falls along
            a cosine back to 0.
        max_length: window in tokens while training and afterwards; None is the encoder's own.
        held_out: share of the examples kept for the verdict, when no evaluation data is given.
        held_out_limit: the most examples kept for it.
        distractors: the most texts, beside the answers, that the held-out queries search among.
        metric: the metric that decides the verdict.
        micro_batch_tokens: tokens embedded at once within a step, padding included.
        seed: of the split, the order of the examples and dropout.
    """

    objective: str = AUTO
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    warmup: float = 0.1
    max_length: int | None = None
    held_out: float = 0.2
    held_out_limit: int = 500
    distractors: int = 5000
    metric: str | None = None
    micro_batch_tokens: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInput(f"{name} must be at least 1, got {value}")
        if self.learning_rate is not None and not 0 < self.learning_rate < 1:
            raise InvalidInput(f"learning_rate must be between 0 and 1, got {self.learning_rate}")
        if not 0 < self.held_out < 1:
            raise InvalidInput(f"held_out must be between 0 and 1, got {self.held_out}")
