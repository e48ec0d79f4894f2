"""The log of benchmarks/methods.py as Markdown tables on stdout, and as pictures.

python benchmarks/methods_report.py LOG PICTURES_DIR
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

Row = Mapping[str, Any]
TITLES = {
    "objectives": "The same pairs, another objective",
    "adaptations": "The same objective, another adaptation",
    "scratch": "Pretrained weights against random ones",
}


def main(log: Path, pictures: Path) -> None:
    """Print a table and draw a picture for each part of the log."""
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    pictures.mkdir(parents=True, exist_ok=True)
    for part, title in TITLES.items():
        own = [row for row in rows if row["part"] == part]
        if own:
            print(f"\n### {title}\n\n{table(own)}")
            draw(own, title).savefig(pictures / f"{part}.png", dpi=110)


def table(rows: Sequence[Row]) -> str:
    """Return a Markdown table, in the order of the log."""
    header = ("", "nDCG@10", "gain, 95% interval", "MRR@10", "parameters", "seconds", "MB")
    lines = [header, ["---"] * len(header), *map(cells, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cells(row: Row) -> Sequence[str]:
    """Return a row of the table."""
    gain = row["ndcg@10"] - row["before"]
    return (
        row["name"],
        f"{row['ndcg@10']:.3f}",
        f"{gain:+.3f} ({row['low']:+.3f} .. {row['high']:+.3f})",
        f"{row['mrr@10']:.3f}",
        f"{row['parameters'] / 1e6:.2f} M",
        f"{row['seconds']:.0f}",
        f"{row['megabytes']:.0f}",
    )


def draw(rows: Sequence[Row], title: str) -> Figure:
    """Return a bar for each row, with the interval of its gain, and a line where the base is."""
    figure = Figure(figsize=(8, 0.8 + 0.34 * len(rows)), layout="constrained")
    axes = figure.subplots()
    names = [row["name"] for row in rows]
    values = [row["ndcg@10"] for row in rows]
    low = [row["ndcg@10"] - (row["before"] + row["low"]) for row in rows]
    high = [row["before"] + row["high"] - row["ndcg@10"] for row in rows]
    axes.barh(names, values, xerr=[low, high], color="#4c78a8", ecolor="#333333", capsize=2)
    base = max(row["before"] for row in rows)
    axes.axvline(base, color="#e45756", linewidth=1.2)
    axes.annotate(
        f"base {base:.3f}", (base, 1), xycoords=("data", "axes fraction"), color="#e45756",
        xytext=(2, 2), textcoords="offset points", fontsize=8,
    )  # fmt: skip
    axes.invert_yaxis()
    axes.set_xlabel("nDCG@10 on held-out questions")
    axes.set_title(title, loc="left", fontsize=10)
    return figure


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
