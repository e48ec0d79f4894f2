"""What joint training costs or gains each task: the same run on each of its data sets alone.

As with augmentation's control, a run on one task has the settings, the seed, the split and the
held-out data of the joint one, and a folder of its own in the run's working directory. Nothing of
it is left, and the verdict does not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace as with_changes
from pathlib import Path

from simsearch.encoder.runtime import FloatArray
from simsearch.errors import EncoderError, InvalidData, InvalidInput
from simsearch.training.control import run_beside, train_beside
from simsearch.training.plan import Plan
from simsearch.training.result import TaskAlone
from simsearch.training.trial import Outcome, Trial

_ANNOUNCED = (
    "training on each task alone, to tell what it costs that they share an encoder "
    "(--no-task-controls leaves that out)"
)


def tasks_alone(
    trial: Trial, outcome: Outcome, *, work: Path, memory: dict[str, FloatArray], resume: bool
) -> tuple[TaskAlone, ...]:
    """Train and score each task of a joint trial alone; none where no head is made in it.

    `outcome` is what came of the trial, `work` its working directory, and `memory` are embeddings
    of the base. A task that cannot be trained alone costs the comparison, not the run.

    Raises:
        SystemFailure: the operating system refused.
        InvalidInput, InvalidData, EncoderError: with several processes, as above.
    """
    found: list[TaskAlone] = []
    for number, (name, folder, alone) in enumerate(_trials(trial, work)):
        if not number:
            trial.say(_ANNOUNCED)
        try:
            one = run_beside(alone, folder, memory=memory, resume=resume)
        except (EncoderError, InvalidData, InvalidInput) as error:
            if trial.workers.count > 1:  # the others may be waiting
                raise
            trial.say(f"{alone.plan.parts[0].name} cannot be trained alone: {error}")
            continue
        held_out = alone.plan.held_out
        difference = held_out.compare(one.scores[""], outcome.scores[name])
        found.append(
            TaskAlone(
                name=alone.plan.parts[0].name,
                metrics=dict(one.scores[""].metrics),
                difference=difference,
                held_out=name,
                steps=len(one.trained.log),
                seconds=one.seconds,
            )
        )
        decides = difference[held_out.deciding_metric]
        trial.say(
            f"{found[-1].name}: {held_out.deciding_metric} jointly {decides.value:+.4f} over "
            f"alone, 95% interval {decides.low:+.4f} .. {decides.high:+.4f}"
        )
    return tuple(found)


def follow_alone(trial: Trial, work: Path, *, resume: bool) -> None:
    """Take a share of every batch of the tasks alone, if they are trained."""
    for _, folder, alone in _trials(trial, work):
        train_beside(alone, folder, resume=resume)


def _trials(trial: Trial, work: Path) -> Iterator[tuple[str, Path, Trial]]:
    """Yield the name of the held-out data, the folder and the trial of each task."""
    plan = trial.plan
    joint = len(plan.parts) > 1 and any(part.objective.head for part in plan.parts)
    if not joint or not trial.config.task_controls:
        return
    for number, (name, part) in enumerate(plan.judged.items(), start=1):
        alone = with_changes(
            plan,
            parts=[with_changes(part, weight=1.0)],  # beside nothing
            held_out=plan.held_outs[name],
            further={},
            dev=plan.dev if part is plan.parts[0] else None,
        )
        yield name, work / f"alone-{number}", _one_task(trial, alone, part.name)


def _one_task(trial: Trial, plan: Plan, name: str) -> Trial:
    return with_changes(
        trial,
        plan=plan,
        say=lambda line: trial.say(f"{name} alone: {line}"),
        progress=lambda stage, done, total: trial.progress(f"{stage} ({name} alone)", done, total),
    )
