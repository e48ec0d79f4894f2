"""What a configuration leaves open, filled in from the objective."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from dataclasses import replace as with_changes
from typing import Any

from simsearch.training.config import OptimizerName, Sampling, ScheduleName, TrainingConfig
from simsearch.training.objectives import Objective


@dataclass(frozen=True, slots=True)
class Resolved:
    """The numbers of a run after the defaults of its objective were filled in."""

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: OptimizerName
    schedule: ScheduleName
    sampling: Sampling
    negatives: int


def resolve(config: TrainingConfig, objective: Objective) -> Resolved:
    """Fill what the configuration leaves open from the objective's defaults.

    The schedule is that of the optimiser: steps with SGD, which needs a far higher rate than Adam,
    too, a cosine with the others.
    """
    optimizer = OptimizerName(config.optimizer or objective.optimizer)
    schedule = ScheduleName.STEP if optimizer is OptimizerName.SGD else ScheduleName.COSINE
    return Resolved(
        epochs=config.epochs or objective.epochs,
        batch_size=config.batch_size or objective.batch_size,
        learning_rate=config.learning_rate or objective.rate_with(optimizer),
        optimizer=optimizer,
        schedule=ScheduleName(config.schedule or schedule),
        sampling=Sampling(config.sampling),
        negatives=negatives_of(config, objective),
    )


def negatives_of(config: TrainingConfig, objective: Objective) -> int:
    """Return how many hard negatives each pair gets: as many as asked for, or the objective's."""
    return objective.negatives if config.negatives is None else config.negatives


def resolved_config(
    config: TrainingConfig, numbers: Resolved, objectives: Sequence[Objective]
) -> TrainingConfig:
    """Return a configuration with what was filled in.

    Hard negatives, temperature and margin are each data set's objective's own: they are filled in
    where all `objectives` that have them agree.
    """
    filled = {
        "negatives": _agreed(negatives_of(config, each) for each in objectives),
        "temperature": _agreed(each.constant("temperature", config) for each in objectives),
        "margin": _agreed(each.constant("margin", config) for each in objectives),
    }
    return with_changes(config, **{**asdict(numbers), **filled})


def _agreed(values: Iterable[Any]) -> Any:
    """Return the one value there is beside None; None if there are several, or none."""
    found = {value for value in values if value is not None}
    return found.pop() if len(found) == 1 else None
