"""What a configuration leaves open, filled in from the objective."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from dataclasses import replace as with_changes

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


def resolved_config(config: TrainingConfig, numbers: Resolved) -> TrainingConfig:
    """Return a configuration with what was filled in.

    But for the hard negatives: each data set of a run has its objective's own number.
    """
    return with_changes(config, **{**asdict(numbers), "negatives": config.negatives})
