"""Are all near-duplicates among 200,000 lines found, in how many minutes and how much memory?

    python benchmarks/duplicates.py [ROWS] [PLANTED] [--threshold X]

Rows are lines of large_text, embedded by the default encoder. Planted near-duplicates are
perturbed embeddings: each has a cosine of 0.90 to 1.00, drawn evenly, to a line of its own.
`simsearch duplicates --pairs` runs in a process of its own, whose peak memory is measured, mapped
pages included. Beside the planted pairs, all pairs of 2,000 lines are compared with a product of
numpy's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from real_embeddings import base_embeddings, real_lines

from simsearch.records import Document
from simsearch.search_index import SearchIndex

# A child inherits the peak that wait4 reports, so it tells its own, in kB, on its last line.
COMMAND = """
import sys
from simsearch.cli import main
code = main(sys.argv[1:])
with open("/proc/self/status", encoding="ascii") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
sys.exit(code)
"""
PART = 4_096
CHECKED = 2_000
LOWEST = 0.90


def main() -> None:
    """Print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="?", default=200_000)
    parser.add_argument("planted", type=int, nargs="?", default=1_000)
    parser.add_argument("--threshold", type=float, default=0.95)
    arguments = parser.parse_args()
    base, _ = base_embeddings(arguments.rows)
    vectors, originals = planted(base, arguments.planted)
    first = len(vectors) - arguments.planted
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        build(path, vectors, originals)
        found, line = pairs_of(path, arguments.threshold)
    print(line)
    cosines = np.einsum("ij,ij->i", vectors[first:], vectors[originals], dtype=np.float64)
    over = np.flatnonzero(np.round(cosines, 6) >= arguments.threshold)
    missing = [
        place for place in over.tolist() if (int(originals[place]), first + place) not in found
    ]
    print(
        f"planted: {arguments.planted:,}, of which {len(over):,} are over {arguments.threshold:g}; "
        f"found {len(over) - len(missing):,}, missing {len(missing):,}"
    )
    print(f"pairs of {CHECKED:,} lines: {disagreements(vectors, found, arguments.threshold)}")


def planted(base: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of which the last ones are perturbed, and of which rows they are that."""
    rng = np.random.default_rng(0)
    kept = base[: len(base) - count]
    originals = rng.choice(len(kept), count, replace=False)
    rows = kept[originals]
    noise = rng.standard_normal(rows.shape)
    noise -= np.einsum("ij,ij->i", noise, rows)[:, None] * rows
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    cosines = rng.uniform(LOWEST, 1, (count, 1))
    near = cosines * rows + np.sqrt(1 - cosines**2) * noise
    return np.vstack([kept, near]).astype(np.float32), originals


def build(path: Path, vectors: np.ndarray, originals: np.ndarray) -> None:
    """Index all rows; most of their vectors lie in a segment, as `simsearch index` leaves them."""
    lines = real_lines()[: len(vectors) + 1_000][1_000:]  # the first thousand are queries
    lines[len(vectors) - len(originals) :] = [f"{lines[row]} (planted)" for row in originals]
    with SearchIndex.create(path) as index:
        for start in range(0, len(vectors), PART):
            part = vectors[start : start + PART]
            numbered = enumerate(lines[start : start + PART], start)
            index.add([Document(str(number), text) for number, text in numbered], part)
        for built in index.optimize():
            print(f"{built.index} of {built.rows:,} rows")


def pairs_of(path: Path, threshold: float) -> tuple[dict[tuple[int, int], float], str]:
    """Return the pairs that the command finds, by numbers of rows, and what it took."""
    command = [sys.executable, "-c", COMMAND, "duplicates", str(path), "--pairs", "--json"]
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        process = subprocess.Popen([*command, "--threshold", str(threshold)], stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(process.returncode)
        out.seek(0)
        *lines, peak = out
    minutes = (time.perf_counter() - started) / 60
    found = dict(_pairs(lines))
    return found, (
        f"{len(found):,} pairs in {minutes:.2f} minutes ({usage.ru_utime / 60:.2f} of "
        f"processor time), peak memory {int(peak) / 1e6:.2f} GB"
    )


def _pairs(lines: Iterable[str]) -> Iterator[tuple[tuple[int, int], float]]:
    for line in lines:
        pair = json.loads(line)
        yield (int(pair["first"]), int(pair["second"])), pair["similarity"]


def disagreements(vectors: np.ndarray, found: dict[tuple[int, int], float], least: float) -> str:
    """Compare the pairs of some rows with those of the whole product."""
    chosen = np.random.default_rng(1).choice(len(vectors), CHECKED, replace=False)
    chosen[: CHECKED // 2] = np.arange(len(vectors) - CHECKED // 2, len(vectors))
    wanted = set()
    for row in np.unique(chosen).tolist():
        products = np.round(vectors @ vectors[row], 6)
        others = np.flatnonzero(products >= least).tolist()
        wanted |= {(min(row, other), max(row, other)) for other in others if other != row}
    rows = set(chosen.tolist())
    its = {pair for pair in found if not rows.isdisjoint(pair)}
    return f"{len(wanted):,}, {len(wanted ^ its):,} of them otherwise than by numpy"


if __name__ == "__main__":
    main()
