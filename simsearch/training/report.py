"""The run folder: configuration, log, curves, and a report a person reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simsearch.evaluation import Difference


def before_after_table(
    before: Mapping[str, float], after: Mapping[str, float], difference: Mapping[str, Difference]
) -> list[tuple[str, str, str, str, str, str]]:
    """Return the rows of the table: metric, before, after, difference, 95% interval, p."""
    return [
        (
            name,
            f"{before[name]:.4f}",
            f"{after[name]:.4f}",
            f"{change.value:+.4f}",
            f"{change.low:+.4f} .. {change.high:+.4f}",
            f"{change.p:.4f}",
        )
        for name, change in difference.items()
    ]


TABLE_HEADER = ("metric", "before", "after", "difference", "95% interval", "p")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_run_folder(
    directory: Path,
    *,
    config: Mapping[str, Any],
    log: Sequence[Mapping[str, float]],
    result: Mapping[str, Any],
    report: str,
) -> None:
    """Write `config.json`, `log.jsonl`, `result.json`, `curves.png` and `report.md`."""
    directory.mkdir(parents=True, exist_ok=True)
    _write_json(directory / "config.json", config)
    _write_json(directory / "result.json", result)
    lines = "".join(json.dumps(record) + "\n" for record in log)
    (directory / "log.jsonl").write_text(lines, encoding="utf-8")
    (directory / "report.md").write_text(report, encoding="utf-8")
    draw_curves(directory / "curves.png", log=log, result=result)


def draw_curves(
    path: Path, *, log: Sequence[Mapping[str, float]], result: Mapping[str, Any]
) -> None:
    """Draw loss and learning rate over the steps, and the metrics before and after."""
    # The object interface: pyplot would keep state, and choose a backend that needs a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [record["step"] for record in log]
    losses = [record["loss"] for record in log]
    left.plot(steps, losses, color="tab:blue", linewidth=1, alpha=0.35)
    left.plot(steps, running_mean(losses), color="tab:blue", linewidth=2)
    left.set(title="Training", xlabel="step", ylabel="loss")
    rate = left.twinx()
    rate.plot(steps, [record["learning_rate"] for record in log], color="tab:gray", linewidth=1)
    rate.set_ylabel("learning rate", color="tab:gray")

    names = list(result["difference"])
    rows = range(len(names))
    for offset, side, color in ((-0.2, "before", "tab:gray"), (0.2, "after", "tab:blue")):
        values = [result[side][name] for name in names]
        bars = right.barh([row + offset for row in rows], values, 0.38, label=side, color=color)
        right.bar_label(bars, fmt="%.3f", padding=2, fontsize=8)
    right.set(title="Held-out data", xlim=(min(0.0, *right.get_xlim()), 1.12))
    right.set_yticks(list(rows), names)
    right.invert_yaxis()
    right.legend(loc="lower right")
    figure.savefig(path, dpi=110)


def running_mean(values: Sequence[float], *, weight: float = 0.9) -> list[float]:
    """Return the exponential moving average, without its bias towards 0 at the beginning.

    The correction is that of Adam (Kingma & Ba 2015, section 3).
    """
    means: list[float] = []
    total = 0.0
    for step, value in enumerate(values, start=1):
        total = weight * total + (1 - weight) * value
        means.append(total / (1 - weight**step))
    return means


def report_text(
    *,
    title: str,
    verdict: str,
    reason: str,
    facts: Mapping[str, str],
    table: Sequence[Sequence[str]],
) -> str:
    """Return the report: the verdict first, then the figures, then how they came about."""
    settings = markdown_table(("what", "value"), list(facts.items()))
    return (
        f"# {title}\n\n**verdict: {verdict}** - {reason}\n\n"
        f"## Held-out data\n\n{markdown_table(TABLE_HEADER, table)}\n\n"
        "nDCG has linear gain. The interval is a 95% bootstrap over the held-out units; p is "
        "from a paired permutation test.\n\n![curves](curves.png)\n\n"
        f"## Run\n\n{settings}\n"
    )


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    path.write_text(text + "\n", encoding="utf-8")
