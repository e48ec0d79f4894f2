"""The run folder: configuration, log, curves, and a report a person reads; the model card."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simsearch.evaluation import Difference
from simsearch.training.run_file import RunSettings, write_run_file
from simsearch.version import __version__


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
    settings: RunSettings,
    log: Sequence[Mapping[str, float]],
    dev: Sequence[Mapping[str, float]],
    result: Mapping[str, Any],
    checks: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, str],
    report: str,
) -> None:
    """Write all that a run leaves for people and programs to read.

    `config.toml`, which `finetune --config` takes, `log.jsonl` with a record for each step,
    `result.json`, `data.json` with what was found in the data, `provenance.json` with hashes and
    versions, `curves.png` and `report.md`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_run_file(directory / "config.toml", settings)
    _write_json(directory / "result.json", {**result, "dev": list(dev)})
    _write_json(directory / "data.json", list(checks))
    _write_json(directory / "provenance.json", {**provenance, "versions": _versions()})
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
    """Draw loss, learning rate and dev scores over the steps, and the metrics before and after."""
    # The object interface: pyplot would keep state, and choose a backend that needs a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [record["step"] for record in log]
    losses = [record["loss"] for record in log]
    left.plot(steps, losses, color="tab:blue", linewidth=1, alpha=0.35)
    left.plot(steps, running_mean(losses), color="tab:blue", linewidth=2)
    left.set(title="Training", xlabel="step", ylabel="loss")
    right_axis = left.twinx()
    if dev:
        right_axis.plot(
            [record["step"] for record in dev],
            [record["score"] for record in dev],
            color="tab:orange",
            marker="o",
        )
        right_axis.set_ylabel("dev score", color="tab:orange")
    else:
        rates = [record["learning_rate"] for record in log]
        right_axis.plot(steps, rates, color="tab:gray", linewidth=1)
        right_axis.set_ylabel("learning rate", color="tab:gray")

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
    title: str,
    *,
    result: Mapping[str, Any],
    difference: Mapping[str, Difference],
    facts: Mapping[str, str],
    sections: Mapping[str, Sequence[str]],
) -> str:
    """Return the report: the verdict first, then the figures, then how they came about.

    `sections` are lists of lines under their headings; one without lines is left out.
    """
    table = before_after_table(result["before"], result["after"], difference)
    parts = [
        f"# {title}",
        f"**verdict: {result['verdict']}** - {result['reason']}",
        "## Held-out data",
        markdown_table(TABLE_HEADER, table),
        "nDCG has linear gain. The interval is a 95% bootstrap over the held-out units; p is "
        "from a paired permutation test.",
        "![curves](curves.png)",
    ]
    for heading, lines in sections.items():
        if lines:
            parts += [f"## {heading}", "\n".join(f"- {line}" for line in lines)]
    parts += ["## Run", markdown_table(("what", "value"), list(facts.items()))]
    return "\n\n".join(parts) + "\n"


def model_card(base: str, report: str, *, plain: bool) -> str:
    """Return the README.md of a model directory; `plain` is one that other libraries load."""
    loads = (
        "It loads with `simsearch.Encoder.load(path)` and with `SentenceTransformer(path)`."
        if plain
        else "It has a module that sentence-transformers does not know: it loads with "
        "`simsearch.Encoder.load(path)` only."
    )
    library = "sentence-transformers" if plain else "simsearch"
    return (
        f"---\nlibrary_name: {library}\nbase_model: {base}\n"
        "tags: [feature-extraction, sentence-similarity, simsearch]\n---\n\n"
        f"A text encoder, adapted with simsearch. {loads}\n\n"
        + report.replace("curves.png", "run/curves.png")
    )


def _versions() -> dict[str, str]:
    names = ("torch", "transformers", "sentence-transformers", "numpy")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"simsearch": __version__, "python": platform.python_version(), **found}


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    path.write_text(text + "\n", encoding="utf-8")
