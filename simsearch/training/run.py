"""Fine-tuning from end to end: plan, score, train, score again, compare, keep or reject."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import replace as with_changes
from enum import StrEnum
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer
from torch import Tensor

from simsearch.encoder import Encoder, write_model_file, write_pair_scorer
from simsearch.encoder.layout import Layout
from simsearch.encoder.loading import read_whole_layout
from simsearch.errors import InvalidData
from simsearch.evaluation import Difference
from simsearch.files import draft_directory, install_directory
from simsearch.formats import Example
from simsearch.search_index import RetrievalTask
from simsearch.training.adaptation import Adaptation, check_adaptation, prepare_adaptation
from simsearch.training.batches import DataSet
from simsearch.training.checkpoints import Checkpoints
from simsearch.training.config import Adapt, TrainingConfig
from simsearch.training.data_check import DataCheck, check_data
from simsearch.training.examples import TrainingData
from simsearch.training.forgetting import (
    Forgetting,
    choose_share,
    mix,
    mixing_curve,
    score_base,
    score_general,
)
from simsearch.training.held_out import HeldOut, Scores, check_metric
from simsearch.training.live import LiveEncoder
from simsearch.training.loop import Trained, Training, snapshot
from simsearch.training.mining import Miner
from simsearch.training.output import RUN, check_output, place_of, working, working_directory
from simsearch.training.plan import Plan, identity, make_plan
from simsearch.training.report import model_card, report_text, write_run_folder
from simsearch.training.resolve import resolved_config
from simsearch.training.run_file import RunSettings
from simsearch.training.telling import run_facts, run_sections
from simsearch.training.trainable import load_trainable, save_model
from simsearch.training.workers import Workers, joined_workers

SIGNIFICANCE = 0.05

# Called with the stage, and how much of it is done: ("train", 3, 57).
Progress = Callable[[str, int, int], None]
Say = Callable[[str], None]


class Verdict(StrEnum):
    """Whether the tuned encoder is better than the base on data that it has not seen."""

    KEEP = "keep"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class FinetuneResult:
    """What a run found; `difference` is after - before, by metric.

    `model` is the model directory (of a rejected model nothing was written to it, or only the run
    folder), `run` the run folder. `forgetting` is nDCG@10 on the general set, None where it says
    nothing of the encoder.
    """

    before: Mapping[str, float]
    after: Mapping[str, float]
    difference: Mapping[str, Difference]
    verdict: Verdict
    reason: str
    model: str
    run: str
    objective: str
    examples: int
    steps: int
    held_out: str
    forgetting: Forgetting | None
    training_seconds: float
    seconds: float


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
    plan = make_plan(sets, evaluation, config)
    return check_plan(plan, Encoder.load(encoder, max_length=config.max_length), evaluation)


def judge(metric: str, difference: Difference) -> tuple[Verdict, str]:
    """Return the verdict on a difference and its reason in words."""
    interval = f"95% interval {difference.low:+.4f} .. {difference.high:+.4f}"
    if difference.low <= 0:
        return (
            Verdict.REJECT,
            f"{metric} changed by {difference.value:+.4f}, and its {interval} does not lie above 0",
        )
    # With few units the bootstrap's interval is too narrow; the permutation test is exact.
    if difference.p > SIGNIFICANCE:
        return (
            Verdict.REJECT,
            f"{metric} rose by {difference.value:.4f}, {interval}, but with p = {difference.p:.2f} "
            "that may be chance (hold out more data)",
        )
    return Verdict.KEEP, f"{metric} rose by {difference.value:.4f}, {interval}"


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
        checks = check_plan(plan, base, evaluation)
        for check in checks:
            for line in check.lines():
                self.say(line)
        self.progress("score before", 0, 1)
        before = self._score(base)
        self.progress("score before", 1, 1)
        metric = check_metric(plan.held_out, before[""], self.config.metric)
        told = f"{metric} {before[''].metrics[metric]:.4f} ({plan.held_out.description})"
        self.say(f"before: {told}")
        named = identity(plan, self.config, base_fingerprint=base.fingerprint)
        with (
            working(self.output, identity=named, resume=resume) as work,
            draft_directory(self.output) as draft,
        ):
            self.workers.wait()
            began = time.monotonic()
            session = self._train(work, resume=resume)
            training_seconds = round(time.monotonic() - began, 1)
            forgetting = self._limit_forgetting(session)
            save_model(session.model, draft, lower_case=session.layout.lower_case)
            write_model_file(draft, {})  # makes it a directory of ours, which keeps its export
            tuned = Encoder.load(draft)
            self.progress("score after", 0, 1)
            after = self._score(tuned)
            self.progress("score after", 1, 1)
            difference = self._compare(before, after)
            verdict, reason = judge(metric, difference[metric])
            kept = verdict is Verdict.KEEP or force
            place = place_of(self.output, kept=kept)
            result = FinetuneResult(
                before=_metrics(before),
                after=_metrics(after),
                difference=difference,
                verdict=verdict,
                reason=reason,
                model=str(self.output),
                run=str(place / RUN),
                objective=" + ".join(dict.fromkeys(p.objective.name for p in plan.parts)),
                examples=plan.examples,
                steps=len(session.trained.log),
                held_out=plan.held_out.description,
                forgetting=forgetting,
                training_seconds=training_seconds,
                seconds=round(time.monotonic() - started, 1),
            )
            self._document(draft, tuned, session, checks, result, settings)
            if not kept:
                _keep_only_run_folder(draft)
            # Not over what somebody else put there during the training.
            install_directory(draft, place, replace=replace or place != self.output)
        return result

    def follow(self, *, resume: bool) -> FinetuneResult:
        """Take a share of every batch, and read what the first worker found."""
        self.workers.wait()
        self._train(working_directory(self.output), resume=resume)
        self.workers.wait()
        rejected = place_of(self.output, kept=False)
        place = rejected if rejected.is_dir() else self.output
        return _read_result(place / RUN)

    def _score(self, encoder: Encoder) -> dict[str, Scores]:
        """Return the scores on the held-out data: the deciding one named "", then the others."""
        held_outs = {"": self.plan.held_out, **self.plan.further}
        return {name: held_out.score(encoder) for name, held_out in held_outs.items()}

    def _compare(
        self, before: Mapping[str, Scores], after: Mapping[str, Scores]
    ) -> dict[str, Difference]:
        held_outs: dict[str, HeldOut] = {"": self.plan.held_out, **self.plan.further}
        return {
            _metric_name(name, metric): difference
            for name, held_out in held_outs.items()
            for metric, difference in held_out.compare(before[name], after[name]).items()
        }

    def _train(self, work: Path, *, resume: bool) -> _Session:
        """Train, from the beginning or from the last checkpoint in `work`."""
        plan, config, base = self.plan, self.config, self.base
        if base.directory is None:
            raise InvalidData(
                f"{base.name} is an index's copy of an encoder, which cannot be trained"
            )
        layout = with_changes(read_whole_layout(base.directory), max_length=base.max_length)
        model = load_trainable(layout, from_scratch=config.seed if config.from_scratch else None)
        pristine = snapshot(model.state_dict())
        adaptation = prepare_adaptation(model, config)
        # What LoRA adds is merged in the end; what the others add stays, and moves other names.
        if adaptation.method is not Adapt.LORA:
            pristine = snapshot(model.state_dict())
        datasets = [DataSet(part.name, part.training, part.objective) for part in plan.parts]
        miner = Miner(
            plan.parts, datasets, config, directory=work, workers=self.workers, say=self.say
        )
        training = Training(
            model,
            layout,
            datasets,
            config=config,
            numbers=plan.numbers,
            adaptation=adaptation,
            checkpoints=Checkpoints(work),
            workers=self.workers,
            dev=self._dev_score(),
            mine=miner,
        )
        start = training.resume() if resume else 0
        if start:
            self.say(f"resumed after step {start} of {training.steps}")
        elif resume:
            self.say("there is no whole checkpoint to resume from: training begins anew")
        trained = training.run(
            start=start, progress=lambda done, total: self.progress("train", done, total)
        )
        if trained.stopped:
            self.say(f"stopped early: {trained.stopped}")
        return _Session(model, layout, training, trained, adaptation, miner, pristine)

    def _dev_score(self) -> Callable[[LiveEncoder], float] | None:
        """Return what scores an encoder on the dev part; None if there is none."""
        dev = self.plan.dev
        if dev is None:
            return None
        return lambda encoder: dev.score(encoder).metrics[dev.deciding_metric]

    def _limit_forgetting(self, session: _Session) -> Forgetting | None:
        """Score the general set; where too much was forgotten, mix the weights with the base's."""
        before = score_base(self.base)
        if before is None:
            return None
        live, model = session.training.encoder, session.model
        after = score_general(live)
        if before - after <= self.config.max_forgetting:
            return Forgetting(before, after)
        tuned = snapshot(model.state_dict())
        if self.config.from_scratch:  # random weights are nothing to go back to
            return Forgetting(before, after)
        base = {name: session.pristine[name] for name in tuned}
        score_dev = self._dev_score()

        def score(share: float) -> tuple[float, float]:
            model.load_state_dict(mix(base, tuned, share))
            # Without a dev part the most that is not too much forgetting.
            return (score_dev(live) if score_dev else share), score_general(live)

        curve = mixing_curve(score)
        chosen = choose_share(curve, floor=before - self.config.max_forgetting)
        model.load_state_dict(mix(base, tuned, chosen.share))
        self.say(
            f"general set: nDCG@10 {before:.4f} -> {after:.4f}: that is forgetting; weights mixed, "
            f"{chosen.share:.0%} tuned: {chosen.general:.4f}"
        )
        return Forgetting(before, chosen.general, chosen.share, tuple(curve))

    def _document(
        self,
        draft: Path,
        tuned: Encoder,
        session: _Session,
        checks: Sequence[DataCheck],
        result: FinetuneResult,
        settings: RunSettings | None,
    ) -> None:
        """Write the run folder, the model card, the pair scorer and simsearch.json."""
        plan, trained = self.plan, session.trained
        facts = run_facts(
            plan,
            self.config,
            base=self.base.name,
            parameters=session.adaptation.trained,
            seconds=result.seconds,
        )
        sections = run_sections(
            plan,
            self.config,
            checks=checks,
            mined=session.miner.found,
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
            provenance=identity(plan, self.config, base_fingerprint=self.base.fingerprint),
            report=report,
        )
        plain = session.adaptation.method not in (Adapt.DENSE, Adapt.CONV)
        (draft / "README.md").write_text(
            model_card(self.base.name, report, plain=plain), encoding="utf-8"
        )
        scorer = trained.pair_scorer
        if scorer is not None and result.forgetting and result.forgetting.share:
            scorer = None  # it was trained with weights that are mixed now
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


@dataclass(frozen=True, slots=True)
class _Session:
    """What training leaves in memory; `pristine` are the weights that it began with, by name."""

    model: SentenceTransformer
    layout: Layout
    training: Training
    trained: Trained
    adaptation: Adaptation
    miner: Miner
    pristine: Mapping[str, Tensor]


def check_plan(
    plan: Plan, encoder: Encoder, evaluation: Sequence[Example] | RetrievalTask | None
) -> list[DataCheck]:
    """Return what was found in each data set of a plan."""
    return [
        check_data(
            part.data.examples,
            training=part.training[: len(part.training) - part.added],
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


def _read_result(run: Path) -> FinetuneResult:
    content: dict[str, Any] = json.loads((run / "result.json").read_text(encoding="utf-8"))
    content["verdict"] = Verdict(content["verdict"])
    content["difference"] = {
        name: Difference(**difference) for name, difference in content["difference"].items()
    }
    if content["forgetting"] is not None:
        content["forgetting"] = Forgetting(**content["forgetting"])
    return FinetuneResult(**content)


def _keep_only_run_folder(draft: Path) -> None:
    for entry in draft.iterdir():
        if entry.name == RUN:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _say_nothing(_: str) -> None:
    pass


def _show_nothing(_: str, __: int, ___: int) -> None:
    pass
