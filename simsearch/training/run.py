"""Fine-tuning from end to end: split, score, train, score again, compare, keep or reject."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import replace as with_changes
from enum import StrEnum
from pathlib import Path

from simsearch.encoder import Encoder, write_model_file
from simsearch.encoder.loading import read_whole_layout
from simsearch.errors import InvalidData
from simsearch.evaluation import Difference
from simsearch.files import draft_directory, install_directory
from simsearch.formats import Example
from simsearch.search_index import RetrievalTask
from simsearch.training.config import TrainingConfig
from simsearch.training.examples import (
    TrainingData,
    split_examples,
    texts_of,
    without_duplicates,
    without_leaks,
)
from simsearch.training.held_out import (
    HeldOut,
    HeldOutRetrieval,
    check_metric,
    make_held_out,
)
from simsearch.training.objectives import Objective, choose_objective
from simsearch.training.output import RUN, check_output, place_of
from simsearch.training.report import (
    before_after_table,
    report_text,
    write_run_folder,
)
from simsearch.training.trainer import load_trainable, resolve, save_model, steps_of, train
from simsearch.version import __version__

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
    folder), `run` the run folder.
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
    held_out: str
    training_seconds: float
    seconds: float


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a run is going to do, settled before any weight moves."""

    training: Sequence[Example]
    held_out: HeldOut
    objective: Objective
    facts: dict[str, str]


def finetune(
    data: TrainingData,
    output: str | os.PathLike[str],
    *,
    encoder: str | os.PathLike[str] | None = None,
    evaluation: Sequence[Example] | RetrievalTask | None = None,
    config: TrainingConfig | None = None,
    replace: bool = False,
    force: bool = False,
    say: Say = lambda line: None,
    progress: Progress = lambda stage, done, total: None,
) -> FinetuneResult:
    """Adapt an encoder to `data`, prove it on held-out data, and write a model directory.

    The base encoder is scored first, then the tuned one as it was exported, both on the same
    held-out data: `evaluation`, or a leakage-free split of `data`. The verdict is `keep` when the
    95% interval of the deciding metric's difference lies above 0 and p is at most 0.05. On
    `reject` only the run folder is left in `output`, unless `force`; a model that is there already
    stays, and the run folder goes to `output` + ".rejected".

    `say` is told in plain lines what was found and decided; `progress` follows the slow stages.

    Raises:
        AlreadyExists: `output` is there and `replace` is false, or it is no model directory.
        InvalidData: the data does not fit the objective, or nothing can be held out.
        EncoderError: the encoder cannot be loaded, or the loss is not finite any more.
    """
    started = time.monotonic()
    config = config or TrainingConfig()
    output = Path(output)
    check_output(output, replace=replace)
    plan = _plan(data, evaluation, config, say)

    base = Encoder.load(encoder, max_length=config.max_length)
    progress("score before", 0, 1)
    before = plan.held_out.score(base)
    progress("score before", 1, 1)
    metric = check_metric(plan.held_out, before, config.metric)
    say(f"before: {metric} {before.metrics[metric]:.4f} ({plan.held_out.description})")

    with draft_directory(output) as draft:
        training_started = time.monotonic()
        log = _train(base, draft, plan, config, progress)
        training_seconds = round(time.monotonic() - training_started, 1)
        tuned = Encoder.load(draft)
        progress("score after", 0, 1)
        after = plan.held_out.score(tuned)
        progress("score after", 1, 1)
        difference = plan.held_out.compare(before, after)
        verdict, reason = judge(metric, difference[metric])
        kept = verdict is Verdict.KEEP or force
        place = place_of(output, kept=kept)
        result = FinetuneResult(
            before=before.metrics,
            after=after.metrics,
            difference=difference,
            verdict=verdict,
            reason=reason,
            model=str(output),
            run=str(place / RUN),
            objective=plan.objective.name,
            examples=len(plan.training),
            held_out=plan.held_out.description,
            training_seconds=training_seconds,
            seconds=round(time.monotonic() - started, 1),
        )
        _document(draft, base, tuned, plan, config, result, log)
        if not kept:
            _keep_only_run_folder(draft)
        # Not over what somebody else put there during the training.
        install_directory(draft, place, replace=replace or place != output)
    say(f"verdict: {verdict} ({reason})")
    return result


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


def _plan(
    data: TrainingData,
    evaluation: Sequence[Example] | RetrievalTask | None,
    config: TrainingConfig,
    say: Say,
) -> _Plan:
    objective = choose_objective(config.objective, data.kind)
    examples, duplicates = without_duplicates(data.examples)
    if evaluation is not None and not isinstance(evaluation, RetrievalTask) and not evaluation:
        raise InvalidData("the evaluation data is empty")
    if evaluation is None:
        training, held = split_examples(
            examples, share=config.held_out, limit=config.held_out_limit, seed=config.seed
        )
        leaks = 0
    else:
        training, leaks = without_leaks(examples, evaluation)
        held = []
    if not training:
        raise InvalidData(
            "no training examples are left: all of them share a text with the held-out data "
            "(held-out questions need answers of their own, or a BEIR folder as --eval)"
        )
    held_out: HeldOut
    if isinstance(evaluation, RetrievalTask):
        held_out = HeldOutRetrieval(evaluation)
    else:
        held_out = make_held_out(
            evaluation or held,
            training=training,
            distractors=data.distractors,
            distractor_limit=config.distractors,
            seed=config.seed,
        )
    if held_out.size < 2:
        raise InvalidData(
            f"only {held_out.size} question can be held out of {len(data.examples)} examples, "
            "which proves nothing (bring more, or evaluation data of its own)"
        )
    numbers = resolve(config, objective)
    facts = {
        "examples": f"{len(data.examples):,} {data.kind.__name__} ({duplicates:,} equal dropped)",
        "training side": f"{len(training):,} ({leaks:,} dropped because held-out data has them)",
        "held-out data": held_out.description,
        "objective": f"{objective.name}: {objective.formula} [{objective.source}]",
        "epochs": str(numbers.epochs),
        "batch size": str(numbers.batch_size),
        "learning rate": f"{numbers.learning_rate:g}",
        "steps": str(steps_of(len(training), numbers)),
        "seed": str(config.seed),
    }
    say(f"{len(training):,} training examples, held out: {held_out.description}")
    say(
        f"objective {objective.name} ({'chosen for' if config.objective == 'auto' else 'takes'} "
        f"{data.kind.__name__} examples), {facts['steps']} steps"
    )
    if duplicates or leaks:
        say(
            f"dropped {duplicates:,} duplicate examples "
            f"and {leaks:,} that stand in the held-out data"
        )
    return _Plan(training, held_out, objective, facts)


def _train(
    base: Encoder, draft: Path, plan: _Plan, config: TrainingConfig, progress: Progress
) -> list[dict[str, float]]:
    """Train into `draft` and return the log."""
    if base.directory is None:
        raise InvalidData(f"{base.name} is an index's copy of an encoder, which cannot be trained")
    layout = with_changes(read_whole_layout(base.directory), max_length=base.max_length)
    model = load_trainable(layout)
    log = train(
        model,
        layout,
        plan.training,
        objective=plan.objective,
        config=config,
        progress=lambda done, total: progress("train", done, total),
    )
    save_model(model, draft, lower_case=layout.lower_case)
    write_model_file(draft, {})  # makes it a directory of ours, which keeps its export inside
    return log


def _document(
    draft: Path,
    base: Encoder,
    tuned: Encoder,
    plan: _Plan,
    config: TrainingConfig,
    result: FinetuneResult,
    log: Sequence[Mapping[str, float]],
) -> None:
    """Write the run folder, the model card and simsearch.json."""
    table = before_after_table(result.before, result.after, result.difference)
    facts = {"base encoder": base.name, **plan.facts, "seconds": f"{result.seconds:g}"}
    numbers = asdict(resolve(config, plan.objective))
    settings = {
        **asdict(config),
        **numbers,
        "objective": plan.objective.name,
        "encoder": base.name,
        "base_fingerprint": base.fingerprint,
        "examples_sha256": _hash_examples(plan.training),
        "versions": _versions(),
    }
    report = report_text(
        title=f"Fine-tuning {base.name}",
        verdict=result.verdict,
        reason=result.reason,
        facts=facts,
        table=table,
    )
    write_run_folder(draft / RUN, config=settings, log=log, result=asdict(result), report=report)
    card = _MODEL_CARD.format(base=base.name, report=report.replace("curves.png", "run/curves.png"))
    (draft / "README.md").write_text(card, encoding="utf-8")
    verdict = {
        "verdict": result.verdict,
        "reason": result.reason,
        "before": dict(result.before),
        "after": dict(result.after),
    }
    write_model_file(
        draft,
        {
            "fingerprint": tuned.fingerprint,
            "base": base.name,
            "base_fingerprint": base.fingerprint,
            "objective": plan.objective.name,
            "verdict": verdict,
        },
    )


_MODEL_CARD = """---
library_name: sentence-transformers
base_model: {base}
tags: [sentence-transformers, feature-extraction, sentence-similarity, simsearch]
---

A text encoder, adapted with simsearch. It loads with `simsearch.Encoder.load(path)` and with
`SentenceTransformer(path)`.

{report}"""


def _keep_only_run_folder(draft: Path) -> None:
    for entry in draft.iterdir():
        if entry.name == RUN:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _hash_examples(examples: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps(texts_of(example)).encode())
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    names = ("torch", "transformers", "sentence-transformers", "numpy")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"simsearch": __version__, "python": platform.python_version(), **found}
