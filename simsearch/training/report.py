"""The run folder: configuration, log, curves, and a report a person reads; the model card."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simsearch.evaluation import Difference
from simsearch.training.calibration import (
    RELIABILITY_HEADER,
    RELIABILITY_PICTURE,
    CalibrationOutcome,
    calibration_lines,
    reliability_rows,
)
from simsearch.training.output import SETTINGS
from simsearch.training.result import FinetuneResult
from simsearch.training.run_file import RunSettings, write_run_file
from simsearch.version import __version__

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
_GAIN_HEADER = ("metric", "without", "with", "difference", "95% interval", "p")


TASKS_HEADER = (
    "task", "metric", "before", "alone", "jointly", "difference", "95% interval", "p"
)  # fmt: skip


def tasks_table(result: FinetuneResult) -> list[tuple[str, ...]]:
    """Return a row for each metric of each task of a joint run."""
    rows = []
    for task in result.alone:
        for metric, change in task.difference.items():
            name = f"{task.held_out}: {metric}" if task.held_out else metric
            figures = (result.before[name], task.metrics[metric], result.after[name])
            rows.append(
                (
                    task.name,
                    metric,
                    *(f"{figure:.4f}" for figure in figures),
                    f"{change.value:+.4f}",
                    f"{change.low:+.4f} .. {change.high:+.4f}",
                    f"{change.p:.4f}",
                )
            )
    return rows


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; a bar inside a cell is escaped, or it would begin another one."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    lines = [cells[0], ["---"] * len(header), *cells[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_run_folder(
    directory: Path,
    *,
    settings: RunSettings,
    log: Sequence[Mapping[str, float]],
    dev: Sequence[Mapping[str, float]],
    result: Mapping[str, Any],
    checks: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
    report: str,
) -> None:
    """Write all that a run leaves for people and programs to read.

    `config.toml`, which `finetune --config` takes, `log.jsonl` with a record for each step,
    `result.json`, `data.json` with what was found in the data, `provenance.json` with hashes,
    versions and how the files were read, `curves.png` and `report.md`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_run_file(directory / SETTINGS, settings)
    _write_json(directory / "result.json", {**result, "dev": list(dev)})
    _write_json(directory / "data.json", list(checks))
    reading = dict(settings.reading)
    _write_json(
        directory / "provenance.json", {**provenance, "reading": reading, "versions": _versions()}
    )
    lines = "".join(json.dumps(record) + "\n" for record in log)
    (directory / "log.jsonl").write_text(lines, encoding="utf-8")
    (directory / "report.md").write_text(report, encoding="utf-8")
    draw_curves(directory / "curves.png", log=log, dev=dev, result=result)


def draw_curves(
    path: Path,
    *,
    log: Sequence[Mapping[str, float]],
    dev: Sequence[Mapping[str, float]] = (),
    result: Mapping[str, Any],
) -> None:
    """Draw loss, learning rate and dev scores over the steps, and the metrics before and after.

    Beside these the metrics of the control, if augmentation had one.
    """
    # The object interface: pyplot would keep state, and choose a backend that needs a screen.
    from matplotlib.figure import Figure

    sides = {"before": result["before"], "after": result["after"]}
    if without := (result.get("augmentation") or {}).get("without"):
        sides = {"before": result["before"], "without augmentation": without, **sides}
    names = list(result["difference"])
    # A line of text needs 0.18 inches, in which a bar has its figure.
    figure = Figure(figsize=(11, max(4.0, 1.2 + 0.18 * len(names) * (len(sides) + 0.5))))
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2)
    _draw_training(left, log, dev)
    _draw_metrics(right, names, sides)
    figure.savefig(path, dpi=110)


def _draw_training(
    axes: Axes, log: Sequence[Mapping[str, float]], dev: Sequence[Mapping[str, float]]
) -> None:
    from matplotlib.ticker import MaxNLocator

    steps = [record["step"] for record in log]
    losses = [record["loss"] for record in log]
    axes.plot(steps, losses, color="tab:blue", linewidth=1, alpha=0.35)
    axes.plot(steps, running_mean(losses), color="tab:blue", linewidth=2)
    axes.set(title="Training", xlabel="step")
    axes.set_ylabel("loss, and its running mean", color="tab:blue")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    other = axes.twinx()
    if dev:
        scored = [record["step"] for record in dev]
        other.plot(scored, [each["score"] for each in dev], color="tab:orange", marker="o")
        other.set_ylabel("dev score", color="tab:orange")
    else:
        rates = [record["learning_rate"] for record in log]
        other.plot(steps, rates, color="tab:gray", linewidth=1)
        other.set_ylabel("learning rate", color="tab:gray")


def _draw_metrics(
    axes: Axes, names: Sequence[str], sides: Mapping[str, Mapping[str, float]]
) -> None:
    """Draw a group of bars for each metric, with a bar for each side, in their order."""
    colors = {"before": "tab:gray", "without augmentation": "lightblue", "after": "tab:blue"}
    height = 0.8 / len(sides)
    for number, (side, values) in enumerate(sides.items()):
        rows = [row + (number - (len(sides) - 1) / 2) * height for row in range(len(names))]
        widths = [values[name] for name in names]
        bars = axes.barh(rows, widths, 0.95 * height, label=side, color=colors[side])
        axes.bar_label(bars, fmt="%.3f", padding=2, fontsize=8)
    least = min(0.0, *(values[name] for values in sides.values() for name in names))
    room = 0.14 * (1 - least)  # for the figure at the end of a bar, on either side
    axes.set(title="Held-out data", xlim=(least - room if least < 0 else 0, 1 + room))
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    # Below the axes: in them it would cover bars, or their figures.
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=len(sides), frameon=False)


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
    title: str,
    *,
    result: FinetuneResult,
    facts: Mapping[str, str],
    sections: Mapping[str, Sequence[str]],
    calibration: CalibrationOutcome,
) -> str:
    """Return the report: the verdict first, then the figures, then how they came about.

    `sections` are lists of lines under their headings; one without lines is left out.
    """
    table = before_after_table(result.before, result.after, result.difference)
    parts = [
        f"# {title}",
        f"**verdict: {result.verdict}** - {result.reason}",
        "## Held-out data",
        markdown_table(TABLE_HEADER, table),
        "nDCG has linear gain. The interval is a 95% bootstrap over the held-out units; p is "
        "from a paired permutation test.",
        "![curves](curves.png)",
    ]
    gain = result.augmentation
    if gain is not None and gain.without:
        rows = before_after_table(gain.without, result.after, gain.difference)
        parts += [
            "## What augmentation gained",
            markdown_table(_GAIN_HEADER, rows),
            f"The same run without {' and '.join(gain.ways)} was trained too, with the same seed, "
            f"{gain.steps:,} steps in the place of {result.steps:,}, and scored on the same data. "
            "The verdict does not depend on it.",
        ]
    if result.alone:
        parts += [
            "## Each task before, alone and jointly",
            markdown_table(TASKS_HEADER, tasks_table(result)),
            "Each task was trained alone, too, with the same settings, seed and held-out data. The "
            "difference is jointly - alone. The verdict does not depend on it.",
        ]
    parts += _calibration_parts(calibration)
    for heading, lines in sections.items():
        if lines:
            parts += [f"## {heading}", "\n".join(f"- {line}" for line in lines)]
    parts += ["## Run", markdown_table(("what", "value"), list(facts.items()))]
    return "\n\n".join(parts) + "\n"


def _calibration_parts(calibration: CalibrationOutcome) -> list[str]:
    parts = ["## Calibration", "\n".join(f"- {line}" for line in calibration_lines(calibration))]
    if calibration.report is not None:
        rows = reliability_rows(calibration.report.bins)
        picture = f"![reliability]({RELIABILITY_PICTURE})"
        parts += [markdown_table(RELIABILITY_HEADER, rows), picture]
    return parts


def model_card(base: str, report: str, *, plain: bool) -> str:
    """Return the README.md of a model directory; `plain` is one that other libraries load."""
    loads = (
        "It loads with `simsearch.Encoder.load(path)` and with `SentenceTransformer(path)`."
        if plain
        else "It has a module that sentence-transformers does not know: it loads with "
        "`simsearch.Encoder.load(path)` only."
    )
    library = "sentence-transformers" if plain else "simsearch"
    for picture in ("curves.png", RELIABILITY_PICTURE):
        report = report.replace(f"({picture})", f"(run/{picture})")
    return (
        f"---\nlibrary_name: {library}\nbase_model: {json.dumps(base)}\n"
        "tags: [feature-extraction, sentence-similarity, simsearch]\n---\n\n"
        f"A text encoder, adapted with simsearch. {loads}\n\n" + report
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in ("torch", "transformers", "sentence-transformers", "peft", "onnxruntime", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # some are extras
            found[name] = importlib.metadata.version(name)
    return {"simsearch": __version__, "python": platform.python_version(), **found}


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    path.write_text(text + "\n", encoding="utf-8")
