"""What augmentation gained: the same run once more without it, and the difference.

The control has the settings, the seed, the split and the held-out data of the run. It is trained
after it, in a folder of its own inside the run's working directory, so that each goes on from its
own checkpoint after a kill; nothing of it is left, and the verdict does not depend on it.
"""

from __future__ import annotations

import gc
from dataclasses import replace as with_changes
from pathlib import Path

from simsearch.encoder.runtime import FloatArray
from simsearch.errors import EncoderError, InvalidData, InvalidInput
from simsearch.files import draft_directory
from simsearch.training.result import AugmentationGain
from simsearch.training.trial import Outcome, Trial, metrics_of

_FOLDER = "control"
_ANNOUNCED = (
    "training once more without augmentation, to tell what it gained (--no-augment-control "
    "leaves that out)"
)


def augmentation_gain(
    trial: Trial, outcome: Outcome, *, work: Path, memory: dict[str, FloatArray], resume: bool
) -> AugmentationGain | None:
    """Train and score the control of a trial; None if no augmentation was asked for.

    `outcome` is what came of the trial, `work` its working directory, and `memory` are embeddings
    of the base. What keeps the control alone from being trained costs the comparison, not the run.

    Raises:
        SystemFailure: the operating system refused, or another process is gone.
        InvalidInput, InvalidData, EncoderError: with several processes, of which the others may
            be waiting: the control cannot be trained.
    """
    if not trial.config.augment:
        return None
    ways = tuple(dict.fromkeys(str(name) for name in trial.config.augment))
    gain = AugmentationGain(ways, trial.plan.added, reason=_why_none(trial))
    if gain.reason:
        return gain
    trial.say(_ANNOUNCED)
    try:
        found = run_beside(_control(trial), work / _FOLDER, memory=memory, resume=resume)
    except (EncoderError, InvalidData, InvalidInput) as error:
        if trial.workers.count > 1:
            raise
        trial.say(f"the control cannot be trained: {error}")
        return with_changes(gain, reason=f"the control cannot be trained: {error}")
    difference = trial.compare(found.scores, outcome.scores)
    decides = difference[trial.plan.metric]
    trial.say(
        f"augmentation: {trial.plan.metric} {decides.value:+.4f}, 95% interval "
        f"{decides.low:+.4f} .. {decides.high:+.4f}, p {decides.p:.4f}"
    )
    return with_changes(
        gain,
        without=metrics_of(found.scores),
        difference=difference,
        steps=len(found.trained.log),
        seconds=found.seconds,
    )


def follow_control(trial: Trial, work: Path, *, resume: bool) -> None:
    """Take a share of every batch of the control, if there is one."""
    if trial.config.augment and not _why_none(trial):
        train_beside(_control(trial), work / _FOLDER, resume=resume)


def _why_none(trial: Trial) -> str:
    """Return why a run that augments has no control; "" if it has one."""
    if not trial.config.augment_control:
        return "augment_control is off"
    return "" if trial.plan.added else "no example could be added"


def _control(trial: Trial) -> Trial:
    return with_changes(
        trial,
        plan=trial.plan.without_augmentation(),
        config=with_changes(trial.config, augment=()),
        say=lambda line: trial.say(f"control: {line}"),
        progress=lambda stage, done, total: trial.progress(f"{stage} (control)", done, total),
    )


def run_beside(
    control: Trial, folder: Path, *, memory: dict[str, FloatArray], resume: bool
) -> Outcome:
    """Train and score another trial of a run, in a folder of its own, of which nothing is left."""
    folder.mkdir(mode=0o700, exist_ok=True)
    _make_room()
    with draft_directory(folder / "encoder") as target:
        return control.run(folder, target, memory=memory, resume=resume and _begun(folder))


def train_beside(control: Trial, folder: Path, *, resume: bool) -> None:
    """Take a share of every batch of such a trial."""
    _make_room()
    control.train(folder, memory={}, resume=resume and _begun(folder))


def _make_room() -> None:
    """Free the network of the run, which refers to itself: two would be in memory else."""
    gc.collect()


def _begun(folder: Path) -> bool:
    """Whether there is a checkpoint to resume; the run may have been killed before the control."""
    return any(folder.glob("step-*"))
