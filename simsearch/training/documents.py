"""What a run leaves beside the weights: run folder, model card, pair scorer, simsearch.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import replace as with_changes
from pathlib import Path
from typing import Any

from simsearch.encoder import PairScorer, write_model_file, write_pair_scorer
from simsearch.formats import Example
from simsearch.heads import EncoderReference
from simsearch.records import ClassPair, LabelledPair
from simsearch.search_index import RetrievalTask
from simsearch.training.calibration import RELIABILITY_PICTURE, draw_reliability
from simsearch.training.data_findings import DataCheck
from simsearch.training.examples import class_names
from simsearch.training.held_out import fit_pair_scorer, scorer_accuracy
from simsearch.training.output import RUN
from simsearch.training.plan import Plan
from simsearch.training.report import model_card, report_text, write_run_folder
from simsearch.training.resolve import resolved_config
from simsearch.training.result import FinetuneResult
from simsearch.training.run_file import RunSettings
from simsearch.training.telling import run_facts, run_sections
from simsearch.training.trial import Outcome, Trial

HEADS = "heads"
_FROM_A_HEAD = "../.."  # to the model directory


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run was made of: its settings and data, what was found in it, and hashes of all."""

    settings: RunSettings
    evaluation: Sequence[Example] | RetrievalTask | None
    checks: Sequence[DataCheck]
    identity: Mapping[str, Any]


def write_documents(
    directory: Path, trial: Trial, *, outcome: Outcome, result: FinetuneResult, origin: Origin
) -> None:
    """Write all that is to be read of a run into its model directory, for people and programs."""
    scorer, told = _pair_scorer(trial.plan, outcome, origin.evaluation)
    device, precision = outcome.trained.computed
    report = _report(trial, outcome, result, checks=origin.checks, scorer=told)
    config = resolved_config(
        trial.config, trial.plan.numbers, [part.objective for part in trial.plan.parts]
    )
    write_run_folder(
        directory / RUN,
        settings=with_changes(origin.settings, config=config),
        log=outcome.trained.log,
        dev=outcome.trained.dev,
        result=asdict(result),
        checks=[check.as_dict() for check in origin.checks],
        provenance={**origin.identity, "device": device, "computed in": precision},
        report=report,
    )
    found = outcome.calibration.report
    if found is not None:
        draw_reliability(directory / RUN / RELIABILITY_PICTURE, found.bins)
    modules = (directory / "modules.json").read_text(encoding="utf-8")
    # A base that was adapted so before keeps its module, whatever the adaptation now.
    plain = not any(each["type"].startswith("simsearch.") for each in json.loads(modules))
    card = model_card(trial.base.name, report, plain=plain)
    (directory / "README.md").write_text(card, encoding="utf-8")
    write_model_file(
        directory,
        {
            "calibration": None if found is None else found.calibration.as_dict(),
            "pair_scorer": None if scorer is None else write_pair_scorer(directory, scorer),
            "fingerprint": outcome.encoder.fingerprint,
            "base": trial.base.name,
            "base_fingerprint": trial.base.fingerprint,
            "objective": result.objective,
            "adapt": trial.config.adapt,
            "verdict": {
                "verdict": result.verdict,
                "reason": result.reason,
                "before": dict(result.before),
                "after": dict(result.after),
            },
        },
    )


def write_heads(directory: Path, outcome: Outcome, *, place: Path) -> None:
    """Write the heads into a model directory that is going to be at `place`, each by its field."""
    encoder = outcome.encoder
    reference = EncoderReference(
        str(place.resolve()), encoder.fingerprint, encoder.dim, beside=_FROM_A_HEAD
    )
    for head in outcome.heads:
        with_changes(head, encoder=reference).save(directory / HEADS / head.field)


def _report(
    trial: Trial,
    outcome: Outcome,
    result: FinetuneResult,
    *,
    checks: Sequence[DataCheck],
    scorer: str,
) -> str:
    facts = run_facts(
        trial.plan,
        trial.config,
        base=trial.base.name,
        parameters=outcome.parameters,
        scorer=scorer,
        seconds=result.seconds,
        computed=outcome.trained.computed,
    )
    sections = run_sections(
        trial.plan,
        trial.config,
        checks=checks,
        mined=outcome.mined,
        trained=outcome.trained,
        result=result,
    )
    return report_text(
        f"Fine-tuning {trial.base.name}",
        result=result,
        facts=facts,
        sections=sections,
        calibration=outcome.calibration,
    )


def _pair_scorer(
    plan: Plan, outcome: Outcome, evaluation: Sequence[Example] | RetrievalTask | None
) -> tuple[PairScorer | None, str]:
    """Return the pair scorer, if there is one to keep, and what the report says of it."""
    scorer = outcome.trained.pair_scorer
    if scorer is None:
        return None, ""
    made = ""
    if outcome.forgetting is not None and outcome.forgetting.share is not None:
        scorer = fit_pair_scorer(outcome.encoder, _pairs_of_classes(plan))
        made = "fitted anew, because its decoder was trained with weights that are mixed now; "
    judging = [example for part in plan.parts for example in part.held_out]
    if evaluation is not None and not isinstance(evaluation, RetrievalTask):
        judging = list(evaluation)
    known = {(name,) for name in scorer.classes}
    judging = [example for example in judging if class_names([example]) in known]
    accuracy = scorer_accuracy(scorer, outcome.encoder, judging)
    measured = "" if accuracy is None else f", accuracy {accuracy:.4f} on the held-out pairs"
    return scorer, f"{made}tells {', '.join(scorer.classes)}{measured}"


def _pairs_of_classes(plan: Plan) -> list[ClassPair | LabelledPair]:
    """Return what the pair scorer of a run learns from: the first data set with its objective."""
    part = next(part for part in plan.parts if part.objective.name == "softmax")
    return [each for each in part.originals if isinstance(each, ClassPair | LabelledPair)]
