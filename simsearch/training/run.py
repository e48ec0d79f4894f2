"""Fine-tuning from end to end: plan, score, train, score again, compare, keep or reject."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from simsearch.encoder import Encoder
from simsearch.files import clear_directory, draft_directory, install_directory
from simsearch.formats import Example
from simsearch.search_index import RetrievalTask
from simsearch.training.adaptation import check_adaptation
from simsearch.training.alone import follow_alone, tasks_alone
from simsearch.training.config import TrainingConfig
from simsearch.training.control import augmentation_gain, follow_control
from simsearch.training.data_check import check_data
from simsearch.training.data_findings import DataCheck
from simsearch.training.documents import HEADS, Origin, write_documents, write_heads
from simsearch.training.examples import TrainingData
from simsearch.training.held_out import Scores
from simsearch.training.identity import identity
from simsearch.training.output import (
    RUN,
    check_output,
    check_resumable,
    place_of,
    resumable,
    working,
    working_directory,
)
from simsearch.training.plan import Plan, make_plan, mined_of
from simsearch.training.refused_texts import refuse_unreadable, refused_texts_named
from simsearch.training.result import (
    AugmentationGain,
    FinetuneResult,
    TaskAlone,
    Verdict,
    judge,
    read_result,
)
from simsearch.training.run_file import RunSettings
from simsearch.training.session import Say, check_layers
from simsearch.training.trial import Outcome, Progress, Trial, metrics_of
from simsearch.training.workers import gpu, joined_workers


def finetune(
    data: TrainingData | Sequence[TrainingData],
    output: str | os.PathLike[str],
    *,
    encoder: str | os.PathLike[str] | None = None,
    evaluation: Sequence[Example] | RetrievalTask | None = None,
    config: TrainingConfig | None = None,
    settings: RunSettings | None = None,
    replace: bool = False,
    resume: bool = False,
    force: bool = False,
    say: Say = lambda line: None,
    progress: Progress = lambda stage, done, total: None,
) -> FinetuneResult:
    """Adapt an encoder to `data`, prove it on held-out data, and write a model directory.

    The base encoder is scored first, then the tuned one as it was exported, both on the same
    held-out data: `evaluation`, or a leakage-free split of `data`. Of several data sets that of the
    first decides. The verdict is `keep` when the 95% interval of the deciding metric's difference
    lies above 0 and p is at most 0.05. On `reject` only the run folder is left in `output`, unless
    `force`; a model that is there already stays, and the run folder goes to `output` + ".rejected".

    A run that augments is followed by its control, the same without augmentation, unless
    `config.augment_control` is false: the result then tells what augmentation gained. Of several
    data sets of which one makes a head, each is trained on alone, too, unless
    `config.task_controls` is false. Heads of classes and entities are left in `output`/heads.

    While it goes on, a run keeps checkpoints in `output` + ".training"; `resume` takes up one that
    was cut short, with the same settings and data. Started by torchrun, the processes share every
    batch, and the first one scores, talks and writes.

    `say` is told in plain lines what was found and decided; `progress` follows the slow stages.
    `settings` are where all of it came from, for the run folder.

    Raises:
        AlreadyExists: `output` is there and `replace` is false, or it is no model directory.
        InvalidData: the data does not fit the objective, or nothing can be held out.
        InvalidInput: the settings do not fit the encoder, or a run to be resumed is another one.
        EncoderError: the encoder cannot be loaded, or the loss is not finite any more.
    """
    config = config or TrainingConfig()
    sets = [data] if isinstance(data, TrainingData) else list(data)
    output = Path(output)
    check_adaptation(config)
    check_output(output, replace=replace, resume=resume)
    with joined_workers() as workers:
        if not workers.first:
            say, progress = _say_nothing, _show_nothing
        if resume and not resumable(output):
            say("there is nothing to resume: the run begins anew")
            resume = False
        plan = make_plan(sets, evaluation, config)
        if not workers.first:
            workers.wait()  # until the base is exported, once
        # Where there is a GPU it scores and mines, too; the export is for where there is none.
        base = Encoder.load(encoder, device=gpu(), max_length=config.max_length)
        if workers.first:
            workers.wait()
        trial = Trial(plan, config, base, workers, say, progress)
        run = _Run(trial, output, evaluation, settings, replace=replace, resume=resume, force=force)
        if workers.first:
            with refused_texts_named(sets, evaluation):
                result = run.lead()
            workers.wait()
        else:
            result = run.follow()
    say(f"verdict: {result.verdict} ({result.reason})")
    return result


def inspect(
    data: TrainingData | Sequence[TrainingData],
    *,
    encoder: str | os.PathLike[str] | None = None,
    evaluation: Sequence[Example] | RetrievalTask | None = None,
    config: TrainingConfig | None = None,
) -> list[DataCheck]:
    """Return what `finetune` finds in the data before it trains, one record for each data set.

    Raises:
        InvalidData, InvalidInput, EncoderError: as `finetune`.
    """
    config = config or TrainingConfig()
    sets = [data] if isinstance(data, TrainingData) else list(data)
    check_adaptation(config)
    plan = make_plan(sets, evaluation, config)
    base = Encoder.load(encoder, max_length=config.max_length)
    check_layers(base, plan, config)
    with refused_texts_named(sets, evaluation):
        return check_plan(plan, base, evaluation, config)


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: what it is going to train, judged by what, and where to."""

    trial: Trial
    output: Path
    evaluation: Sequence[Example] | RetrievalTask | None
    settings: RunSettings | None
    replace: bool
    resume: bool
    force: bool

    def lead(self) -> FinetuneResult:
        """Score, train, score again, judge, and write the directory."""
        started = time.monotonic()
        trial, plan, base, say = self.trial, self.trial.plan, self.trial.base, self.trial.say
        check_layers(base, plan, trial.config)
        checks = check_plan(plan, base, self.evaluation, trial.config)
        for check in checks:
            for line in check.lines():
                say(line)
        named = identity(
            plan, trial.config, base_fingerprint=base.fingerprint, evaluation=self.evaluation
        )
        if self.resume:
            check_resumable(self.output, identity=named)
        watched = trial.watched(base, "score before")
        before = trial.score(watched)
        decides = before[""].metrics[plan.metric]
        say(f"before: {plan.metric} {decides:.4f} ({plan.held_out.description})")
        with (
            working(self.output, identity=named, resume=self.resume, say=say) as work,
            draft_directory(self.output) as draft,
        ):
            trial.workers.wait()
            outcome = trial.run(work, draft, memory=watched.memory, resume=self.resume)
            gain = augmentation_gain(
                trial, outcome, work=work, memory=watched.memory, resume=self.resume
            )
            alone = tasks_alone(
                trial, outcome, work=work, memory=watched.memory, resume=self.resume
            )
            result = self._result(before, outcome, gain, alone, started=started)
            settings = self.settings or RunSettings((), base.name, None, "test", trial.config)
            origin = Origin(settings, self.evaluation, checks, named)
            write_documents(draft, trial, outcome=outcome, result=result, origin=origin)
            write_heads(draft, outcome, place=self.output)
            if not result.kept:
                clear_directory(draft, keep=(RUN,))
            place = place_of(self.output, kept=result.kept)
            # Not over what somebody else put there during the training.
            install_directory(draft, place, replace=self.replace or place != self.output)
        return result

    def _result(
        self,
        before: Mapping[str, Scores],
        outcome: Outcome,
        gain: AugmentationGain | None,
        alone: tuple[TaskAlone, ...],
        *,
        started: float,
    ) -> FinetuneResult:
        """Judge, and tell the other workers whether there will be a model."""
        trial, plan = self.trial, self.trial.plan
        difference = trial.compare(before, outcome.scores)
        verdict, reason = judge(plan.metric, difference[plan.metric])
        kept = trial.workers.agree(verdict is Verdict.KEEP or self.force)
        return FinetuneResult(
            before=metrics_of(before),
            after=metrics_of(outcome.scores),
            difference=difference,
            verdict=verdict,
            reason=reason,
            model=str(self.output),
            run=str(place_of(self.output, kept=kept) / RUN),
            kept=kept,
            objective=" + ".join(dict.fromkeys(part.objective.name for part in plan.parts)),
            examples=plan.examples,
            steps=len(outcome.trained.log),
            held_out=plan.held_out.description,
            forgetting=outcome.forgetting,
            augmentation=gain,
            training_seconds=outcome.seconds,
            seconds=round(time.monotonic() - started, 1),
            alone=alone,
            heads=tuple(str(self.output / HEADS / head.field) for head in outcome.heads if kept),
        )

    def follow(self) -> FinetuneResult:
        """Take a share of every batch, and read what the first worker found."""
        trial, work = self.trial, working_directory(self.output)
        trial.workers.wait()
        trial.train(work, memory={}, resume=self.resume)
        follow_control(trial, work, resume=self.resume)
        follow_alone(trial, work, resume=self.resume)
        kept = trial.workers.agree(False)  # what the first worker found
        trial.workers.wait()
        return read_result(place_of(self.output, kept=kept) / RUN)


def check_plan(
    plan: Plan,
    encoder: Encoder,
    evaluation: Sequence[Example] | RetrievalTask | None,
    config: TrainingConfig,
) -> list[DataCheck]:
    """Return what was found in each data set of a plan.

    Raises:
        UnreadableText: a text of it, or of the evaluation data, holds nothing for the encoder.
    """
    judged = set(map(id, plan.judged.values()))
    refuse_unreadable([part.data for part in plan.parts], evaluation, encoder.reads)
    return [
        check_data(
            part.data.examples,
            judged=id(part) in judged,
            places=part.data.places,
            name=part.name,
            leaks=part.leaks,
            training=part.originals,
            added=len(part.added),
            control=config.augment_control and plan.added > 0,
            dev=part.dev,
            held_out=evaluation if evaluation and not part.held_out else part.held_out,
            encoder=encoder,
            objective_name=part.objective.name,
            objective_why=part.why,
            batch_size=plan.numbers.batch_size,
            epochs=plan.numbers.epochs,
            negatives=mined_of(part, config),
        )
        for part in plan.parts
    ]


def _say_nothing(_: str) -> None:
    pass


def _show_nothing(_: str, __: int, ___: int) -> None:
    pass
