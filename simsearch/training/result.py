"""What a run found: figures before and after, and the verdict on them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from simsearch.evaluation import Difference
from simsearch.training.forgetting import Forgetting, MixPoint

SIGNIFICANCE = 0.05


class Verdict(StrEnum):
    """Whether the tuned encoder is better than the base on data that it has not seen."""

    KEEP = "keep"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class AugmentationGain:
    """What augmentation was worth: a run beside its control, the same run without augmentation.

    `without` are the figures of the control, `difference` is with - without, by metric; `steps` and
    `seconds` are what training it took. Where there is no control all of them are empty or 0, and
    `reason` says why.
    """

    ways: tuple[str, ...]
    examples_added: int
    without: Mapping[str, float] = field(default_factory=dict)
    difference: Mapping[str, Difference] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TaskAlone:
    """One task of a joint run, trained alone: the same run on its data set only.

    `metrics` are the figures, `difference` is jointly - alone, by metric; `held_out` is the name
    that its held-out data has among the figures of the run, "" for the deciding one.
    """

    name: str
    metrics: Mapping[str, float]
    difference: Mapping[str, Difference]
    held_out: str
    steps: int
    seconds: float


@dataclass(frozen=True, slots=True)
class FinetuneResult:
    """What a run found; `difference` is after - before, by metric.

    `model` is the model directory (of a rejected model nothing was written to it, or only the run
    folder), `run` the run folder; `kept` says whether there is a model. `forgetting` is nDCG@10 on
    the general set, None where it says nothing of the encoder. `augmentation` is None where none
    was asked for. `alone` has each task of a joint run that makes heads, `heads` the directories of
    these.
    """

    before: Mapping[str, float]
    after: Mapping[str, float]
    difference: Mapping[str, Difference]
    verdict: Verdict
    reason: str
    model: str
    run: str
    kept: bool
    objective: str
    examples: int
    steps: int
    held_out: str
    forgetting: Forgetting | None
    augmentation: AugmentationGain | None
    training_seconds: float
    seconds: float
    alone: tuple[TaskAlone, ...] = ()
    heads: tuple[str, ...] = ()


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


def read_result(run: Path) -> FinetuneResult:
    """Read `result.json` of a run folder."""
    content: dict[str, Any] = json.loads((run / "result.json").read_text(encoding="utf-8"))
    content["verdict"] = Verdict(content["verdict"])
    content["difference"] = _differences(content["difference"])
    if (gain := content["augmentation"]) is not None:
        difference = _differences(gain["difference"])
        content["augmentation"] = AugmentationGain(
            **{**gain, "ways": tuple(gain["ways"]), "difference": difference}
        )
    content["alone"] = tuple(
        TaskAlone(**{**one, "difference": _differences(one["difference"])})
        for one in content["alone"]
    )
    content["heads"] = tuple(content["heads"])
    if content["forgetting"] is not None:
        points = content["forgetting"].pop("curve")
        content["forgetting"] = Forgetting(
            **content["forgetting"], curve=tuple(MixPoint(**point) for point in points)
        )
    return FinetuneResult(**{each.name: content[each.name] for each in fields(FinetuneResult)})


def _differences(content: Mapping[str, Mapping[str, float]]) -> dict[str, Difference]:
    return {name: Difference(**difference) for name, difference in content.items()}
