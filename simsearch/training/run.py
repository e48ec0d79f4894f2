"""Fine-tuning from end to end: plan, score, train, score again, compare, keep or reject."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import replace as with_changes
from pathlib import Path

from simsearch.encoder import Encoder, PairScorer, write_model_file, write_pair_scorer
from simsearch.encoder.runtime import FloatArray
from simsearch.evaluation import Difference
from simsearch.files import clear_directory, draft_directory, install_directory
from simsearch.formats import Example
from simsearch.search_index import RetrievalTask
from simsearch.training.adaptation import check_adaptation
from simsearch.training.config import Adapt, TrainingConfig
from simsearch.training.data_check import DataCheck, check_data
from simsearch.training.examples import TrainingData, class_names
from simsearch.training.held_out import Scores, scorer_accuracy
from simsearch.training.output import RUN, check_output, place_of, working, working_directory
from simsearch.training.plan import Plan, identity, make_plan
from simsearch.training.report import model_card, report_text, write_run_folder
from simsearch.training.resolve import resolved_config
from simsearch.training.result import FinetuneResult, Verdict, judge, read_result
from simsearch.training.run_file import RunSettings
from simsearch.training.session import (
    Session,
    check_layers,
    limit_forgetting,
    train_session,
)
from simsearch.training.telling import run_facts, run_sections
from simsearch.training.trainable import save_model
from simsearch.training.watched import WatchedEncoder
from simsearch.training.workers import Workers, joined_workers

# Called with the stage, and how much of it is done: ("train", 3, 57).
Progress = Callable[[str, int, int], None]
Say = Callable[[str], None]


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
        plan = make_plan(sets, evaluation, config)
        if not workers.first:
            workers.wait()  # until the base is exported, once
        base = Encoder.load(encoder, max_length=config.max_length)
        if workers.first:
            workers.wait()
        run = _Run(plan, base, config, output, workers, say, progress)
        if workers.first:
            result = run.lead(evaluation, settings, replace=replace, resume=resume, force=force)
            workers.wait()
        else:
            result = run.follow(resume=resume)
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
    check_layers(base, config)
    return check_plan(plan, base, evaluation)


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: what it is going to do, with what, and to whom it tells."""

    plan: Plan
    base: Encoder
    config: TrainingConfig
    output: Path
    workers: Workers
    say: Say
    progress: Progress

    def lead(
        self,
        evaluation: Sequence[Example] | RetrievalTask | None,
        settings: RunSettings | None,
        *,
        replace: bool,
        resume: bool,
        force: bool,
    ) -> FinetuneResult:
        """Score, train, score again, judge, and write the directory."""
        started = time.monotonic()
        plan, base = self.plan, self.base
        check_layers(base, self.config)
        checks = check_plan(plan, base, evaluation)
        for check in checks:
            for line in check.lines():
                self.say(line)
        watched = self._watched(base, "score before")
        before = self._score(watched)
        metric = plan.metric
        told = f"{metric} {before[''].metrics[metric]:.4f} ({plan.held_out.description})"
        self.say(f"before: {told}")
        named = identity(
            plan, self.config, base_fingerprint=base.fingerprint, evaluation=evaluation
        )
        with (
            working(self.output, identity=named, resume=resume) as work,
            draft_directory(self.output) as draft,
        ):
            self.workers.wait()
            began = time.monotonic()
            session = self._train(work, watched.memory, resume=resume)
            training_seconds = round(time.monotonic() - began, 1)
            forgetting = limit_forgetting(session, base, plan, self.config, self.say)
            save_model(session.model, draft, lower_case=session.layout.lower_case)
            write_model_file(draft, {})  # makes it a directory of ours, which keeps its export
            tuned = Encoder.load(draft)
            after = self._score(self._watched(tuned, "score after"))
            difference = self._compare(before, after)
            verdict, reason = judge(metric, difference[metric])
            kept = self.workers.agree(verdict is Verdict.KEEP or force)
            place = place_of(self.output, kept=kept)
            result = FinetuneResult(
                before=_metrics(before),
                after=_metrics(after),
                difference=difference,
                verdict=verdict,
                reason=reason,
                model=str(self.output),
                run=str(place / RUN),
                kept=kept,
                objective=" + ".join(dict.fromkeys(p.objective.name for p in plan.parts)),
                examples=plan.examples,
                steps=len(session.trained.log),
                held_out=plan.held_out.description,
                forgetting=forgetting,
                training_seconds=training_seconds,
                seconds=round(time.monotonic() - started, 1),
            )
            self._document(draft, tuned, session, checks, result, settings, evaluation, named)
            if not kept:
                clear_directory(draft, keep=(RUN,))
            # Not over what somebody else put there during the training.
            install_directory(draft, place, replace=replace or place != self.output)
        return result

    def follow(self, *, resume: bool) -> FinetuneResult:
        """Take a share of every batch, and read what the first worker found."""
        self.workers.wait()
        self._train(working_directory(self.output), {}, resume=resume)
        kept = self.workers.agree(False)  # what the first worker found
        self.workers.wait()
        return read_result(place_of(self.output, kept=kept) / RUN)

    def _train(self, work: Path, memory: dict[str, FloatArray], *, resume: bool) -> Session:
        """Train; `memory` are embeddings of the base."""
        mining = with_changes(self._watched(self.base, "mine negatives"), memory=memory)
        return train_session(
            self.base,
            mining,
            self.plan,
            self.config,
            work=work,
            resume=resume,
            workers=self.workers,
            say=self.say,
            progress=lambda done, total: self.progress("train", done, total),
        )

    def _watched(self, encoder: Encoder, stage: str) -> WatchedEncoder:
        return WatchedEncoder(encoder, lambda done, total: self.progress(stage, done, total))

    def _score(self, encoder: WatchedEncoder) -> dict[str, Scores]:
        """Return the scores on the held-out data: the deciding one named "", then the others."""
        return {name: one.score(encoder) for name, one in self.plan.held_outs.items()}

    def _compare(
        self, before: Mapping[str, Scores], after: Mapping[str, Scores]
    ) -> dict[str, Difference]:
        return {
            _metric_name(name, metric): difference
            for name, held_out in self.plan.held_outs.items()
            for metric, difference in held_out.compare(before[name], after[name]).items()
        }

    def _document(
        self,
        draft: Path,
        tuned: Encoder,
        session: Session,
        checks: Sequence[DataCheck],
        result: FinetuneResult,
        settings: RunSettings | None,
        evaluation: Sequence[Example] | RetrievalTask | None,
        provenance: Mapping[str, str],
    ) -> None:
        """Write the run folder, the model card, the pair scorer and simsearch.json."""
        plan, trained = self.plan, session.trained
        scorer, told = self._pair_scorer(tuned, session, result, evaluation)
        facts = run_facts(
            plan,
            self.config,
            base=self.base.name,
            parameters=session.adaptation.trained,
            scorer=told,
            seconds=result.seconds,
        )
        sections = run_sections(
            plan,
            self.config,
            checks=checks,
            mined=session.mined,
            trained=trained,
            forgetting=result.forgetting,
        )
        report = report_text(
            f"Fine-tuning {self.base.name}",
            result=asdict(result),
            difference=result.difference,
            facts=facts,
            sections=sections,
        )
        settings = settings or RunSettings((), self.base.name, None, "test", self.config)
        write_run_folder(
            draft / RUN,
            settings=with_changes(settings, config=resolved_config(self.config, plan.numbers)),
            log=trained.log,
            dev=trained.dev,
            result=asdict(result),
            checks=[check.as_dict() for check in checks],
            provenance=provenance,
            report=report,
        )
        plain = session.adaptation.method not in (Adapt.DENSE, Adapt.CONV)
        (draft / "README.md").write_text(
            model_card(self.base.name, report, plain=plain), encoding="utf-8"
        )
        write_model_file(
            draft,
            {
                "pair_scorer": None if scorer is None else write_pair_scorer(draft, scorer),
                "fingerprint": tuned.fingerprint,
                "base": self.base.name,
                "base_fingerprint": self.base.fingerprint,
                "objective": result.objective,
                "adapt": self.config.adapt,
                "verdict": {
                    "verdict": result.verdict,
                    "reason": result.reason,
                    "before": dict(result.before),
                    "after": dict(result.after),
                },
            },
        )

    def _pair_scorer(
        self,
        tuned: Encoder,
        session: Session,
        result: FinetuneResult,
        evaluation: Sequence[Example] | RetrievalTask | None,
    ) -> tuple[PairScorer | None, str]:
        """Return the pair scorer, if there is one to keep, and what the report says of it."""
        scorer = session.trained.pair_scorer
        if scorer is None:
            return None, ""
        if result.forgetting is not None and result.forgetting.share is not None:
            return None, "not kept: it was trained with weights that are mixed now"
        judging = [example for part in self.plan.parts for example in part.held_out]
        if evaluation is not None and not isinstance(evaluation, RetrievalTask):
            judging = list(evaluation)
        known = {(name,) for name in scorer.classes}
        judging = [example for example in judging if class_names([example]) in known]
        accuracy = scorer_accuracy(scorer, tuned, judging)
        measured = "" if accuracy is None else f", accuracy {accuracy:.4f} on the held-out pairs"
        return scorer, f"tells {', '.join(scorer.classes)}{measured}"


def check_plan(
    plan: Plan, encoder: Encoder, evaluation: Sequence[Example] | RetrievalTask | None
) -> list[DataCheck]:
    """Return what was found in each data set of a plan."""
    return [
        check_data(
            part.data.examples,
            name=part.name,
            leaks=part.leaks,
            training=part.originals,
            dev=part.dev,
            held_out=part.held_out if evaluation is None else evaluation,
            encoder=encoder,
            objective_name=part.objective.name,
            objective_why=part.why,
            batch_size=plan.numbers.batch_size,
            epochs=plan.numbers.epochs,
        )
        for part in plan.parts
    ]


def _metric_name(held_out: str, metric: str) -> str:
    return f"{held_out}: {metric}" if held_out else metric


def _metrics(scores: Mapping[str, Scores]) -> dict[str, float]:
    return {
        _metric_name(name, metric): value
        for name, one in scores.items()
        for metric, value in one.metrics.items()
    }


def _say_nothing(_: str) -> None:
    pass


def _show_nothing(_: str, __: int, ___: int) -> None:
    pass
