"""What a run has to tell of itself, in lines: for its report."""

from __future__ import annotations

from collections.abc import Sequence

from simsearch.records import Pair
from simsearch.training.augmentation import describe
from simsearch.training.config import Augmentation, TrainingConfig
from simsearch.training.data_findings import DataCheck
from simsearch.training.examples import KIND_NAMES
from simsearch.training.forgetting import Forgetting
from simsearch.training.loop import Trained
from simsearch.training.plan import Plan, mined_of
from simsearch.training.result import AugmentationGain, FinetuneResult
from simsearch.wording import counted


def run_facts(
    plan: Plan,
    config: TrainingConfig,
    *,
    base: str,
    parameters: int,
    scorer: str,
    seconds: float,
    computed: tuple[str, str],
) -> dict[str, str]:
    """Return what was done, by what it is called in a table."""
    numbers = plan.numbers
    facts = {"base encoder": base}
    for part in plan.parts:
        of = f" of {part.name}" if part.name else ""
        facts[f"examples{of}"] = (
            f"{len(part.data.examples):,} {KIND_NAMES[part.data.kind]} "
            f"({part.duplicates:,} equal dropped)"
        )
        facts[f"training side{of}"] = (
            f"{len(part.training):,} ({part.leaks:,} dropped because held-out data has them, "
            f"{len(part.added):,} added by augmentation)"
        )
        objective = part.objective
        if part.data.kind is Pair:
            facts[f"hard negatives{of}"] = f"{mined_of(part, config)} of each pair, in each epoch"
        constants = "".join(f"; {n} = {v:g}" for n, v in objective.constants(config).items())
        facts[f"objective{of}"] = (
            f"{objective.name}: {objective.formula}{constants} [{objective.source}]"
        )
    dev = "none" if plan.dev is None else plan.dev.description
    return {
        **facts,
        "held-out data": plan.held_out.description,
        "dev part": dev,
        "adaptation": f"{config.adapt}{', frozen trunk' if config.freeze else ''}, "
        f"{parameters:,} parameters learn",
        **({"pair scorer": scorer} if scorer else {}),
        "epochs": str(numbers.epochs),
        "batch size": str(numbers.batch_size),
        "optimiser": f"{numbers.optimizer}, {numbers.schedule} schedule, "
        f"peak {numbers.learning_rate:g}, {config.warmup:.0%} warm-up",
        "computed": f"on {computed[0]}, in {computed[1]}",
        "seed": str(config.seed),
        "seconds": f"{seconds:g}",
    }


def run_sections(
    plan: Plan,
    config: TrainingConfig,
    *,
    checks: Sequence[DataCheck],
    mined: Sequence[str],
    trained: Trained,
    result: FinetuneResult,
) -> dict[str, list[str]]:
    """Return the sections of the report below its tables, by heading."""
    data = [line for check in checks for line in check.lines()]
    return {
        "Forgetting": _told_forgetting(result.forgetting, config),
        "Dev part": _told_dev(trained),
        "Data": data,
        "Hard negatives": list(mined),
        "Augmentation": _told_augmentation(plan, config, result.augmentation),
        "Heads": _told_heads(plan, result),
    }


def _told_heads(plan: Plan, result: FinetuneResult) -> list[str]:
    lines = [
        f"{part.name or 'the data'}: loss weighted {part.weight:g}"
        for part in plan.parts
        if part.weight != 1
    ]
    if result.heads:
        lines.append(
            f"fitted to the tuned encoder on the training side: {', '.join(result.heads)}; "
            "probabilities are calibrated on the held-out texts"
        )
    return lines


def _told_forgetting(forgetting: Forgetting | None, config: TrainingConfig) -> list[str]:
    if forgetting is None:
        return ["the general set (English) says nothing of this encoder"]
    lines = [
        f"general set (200 questions, 400 texts, everyday English): nDCG@10 "
        f"{forgetting.before:.4f} before, {forgetting.tuned:.4f} after"
    ]
    if forgetting.share is not None:
        lines.append(
            f"more than {config.max_forgetting:g} was lost, so the weights are mixed: "
            f"{forgetting.share:.0%} tuned, the rest base (Wortsman et al. 2022); then "
            f"{forgetting.after:.4f}"
        )
        if forgetting.after < forgetting.before - config.max_forgetting:
            lines.append("no mixture forgets as little as that; this one forgets least")
        lines += [
            f"{point.share:.0%} tuned: general set {point.general:.4f}"
            + ("" if point.dev is None else f", dev part {point.dev:.4f}")
            for point in forgetting.curve
        ]
    return lines


def _told_dev(trained: Trained) -> list[str]:
    lines = [
        f"epoch {record['epoch']:g}, step {record['step']:g}: {record['score']:.4f}"
        for record in trained.dev
    ]
    if lines:
        lines.append(f"kept: the weights of step {trained.kept_step}")
    if trained.stopped:
        lines.append(f"stopped early: {trained.stopped}")
    return lines


def _told_augmentation(
    plan: Plan, config: TrainingConfig, gain: AugmentationGain | None
) -> list[str]:
    if gain is None:
        return []
    measured = f"the control took {gain.seconds:g} seconds of training"
    lines = [measured if gain.without else f"what it gained was not measured: {gain.reason}"]
    methods = [Augmentation(name) for name in config.augment]
    for part in plan.parts:
        lines.append(
            f"{counted(len(part.added), 'example')} "
            f"added{f' to {part.name}' if part.name else ''}, each "
            "once, without those that became a text of the held-out data"
        )
        for summary in describe(part.originals, methods, seed=config.seed):
            lines.append(f"{summary.method}: {counted(summary.added, 'example')} made")
            lines += [f"{before!r} became {after!r}" for before, after in summary.samples]
    return lines
