"""P6 and scale: what does an index directory of many rows take, and how quickly does it answer?

    python benchmarks/scale.py ROWS [REAL] [RECALL] [FOLDER]

Real sentence embeddings (see real_embeddings.py), at most REAL of them, the rest perturbed ones
that are made a portion at a time, so that five million fit. They are written into an index
directory, which then chooses and builds its own index, as `simsearch index` does. Recall@10 on 500
queries that tuned nothing, against the index's own exact search. Opening is measured in fresh
processes: from `SearchIndex.open` to the hits, with their texts, of a first query by vector. The
folder is kept if it is named, and used again.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from real_embeddings import base_embeddings, portions, table

from simsearch.ann import Target
from simsearch.encoder import Encoder
from simsearch.records import Document
from simsearch.search_index import SearchIndex

K = 10
OPENED = 5
# The peak is the kernel's of this program: that of getrusage is also that of who started it.
OPEN_SCRIPT = """
import sys, time
import numpy as np
import simsearch
from simsearch.search_index import SearchIndex
query = np.load(sys.argv[2])
before = time.perf_counter()
with SearchIndex.open(sys.argv[1]) as index:
    opened = time.perf_counter()
    hits = index.search_vectors(query[None], 10)
    found = time.perf_counter()
    assert len(hits[0]) == 10
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(opened - before, found - before, peak.split()[1])
"""


def main(rows: int, real: int | None, recall: float, folder: Path) -> None:
    """Build the index unless it is there, and print what it takes."""
    base, queries = base_embeddings(rows if real is None else min(rows, real))
    path = folder / f"index-{rows}"
    built = folder / f"index-{rows}.json"
    if not built.exists():
        built.write_text(json.dumps(build(path, base, rows, queries[:500], recall)))
    facts = json.loads(built.read_text())
    facts |= searched(path, queries[500:])
    facts |= opened(path, queries[0], folder)
    table(["what", f"{rows:,} rows"], [[name, str(value)] for name, value in facts.items()])


def build(
    path: Path, base: np.ndarray, rows: int, queries: np.ndarray, recall: float
) -> dict[str, str]:
    """Write an index, let it build what is worth it, and return what that took."""
    started, done = time.perf_counter(), 0
    target = Target(recall=recall)
    with SearchIndex.create(path, encoder=Encoder.load(), replace=True, target=target) as index:
        for part in portions(base, rows):
            for start in range(0, len(part), 4_096):
                vectors = part[start : start + 4_096]
                numbers = range(done, done + len(vectors))
                index.add([Document(f"d{n}", f"document {n}") for n in numbers], vectors)
                done += len(vectors)
        written = time.perf_counter()
        reports = index.optimize(query_vectors=queries)
        ended = time.perf_counter()
    chosen = 0.0
    for segment in SearchIndex.open(path).info().search.segments:
        if segment.plan is not None and "chosen" in segment.plan:
            chosen += segment.plan["chosen"]["build_seconds"]
    return {
        "written in s": f"{written - started:.0f}",
        "planned and built in s": f"{ended - written:.0f}",
        "of that, the index chosen s": f"{chosen:.1f}",
        "index": ", ".join(report.index for report in reports),
        "peak memory while building, MB": f"{peak_memory():,.0f}",
    }


def searched(path: Path, queries: np.ndarray) -> dict[str, str]:
    """Return recall and speed in a running process."""
    with SearchIndex.open(path) as index, index.live_rows() as (rows, _):
        segments = rows.segments
        exact = rows.search(queries, K, exact=True)[1]
        found = rows.search(queries, K)[1]
        recall = (found >= exact[:, -1:] - 1e-6).mean()
        batch = statistics.median(timed(lambda: rows.search(queries, K)) for _ in range(3))
        every = statistics.median(
            timed(lambda: rows.search(queries[:50], K, exact=True)) for _ in range(3)
        )
        single = [timed(lambda n=n: rows.search(queries[n : n + 1], K)) for n in range(100)]
        memory = sum(segment.memory() for segment in segments)
        files = sum(each.stat().st_size for each in (path / "segments").glob("*.faiss"))
    return {
        "recall@10": f"{recall:.4f}",
        "q/s in batch": f"{len(queries) / batch:,.0f}",
        "q/s in batch, exact": f"{50 / every:,.0f}",
        "ms single": f"{1000 * statistics.median(single):.2f}",
        "memory of the index, MB": f"{memory / 1e6:,.0f}",
        "segments on disk, MB": f"{files / 1e6:,.0f}",
        "database, MB": f"{(path / 'meta.db').stat().st_size / 1e6:,.0f}",
    }


def opened(path: Path, query: np.ndarray, folder: Path) -> dict[str, str]:
    """Return what fresh processes take to open the index and to find the first hits."""
    place = folder / "query.npy"
    np.save(place, query)
    lines = []
    for _ in range(OPENED):
        command = [sys.executable, "-c", OPEN_SCRIPT, str(path), str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        lines.append([float(each) for each in done.stdout.split()])
    open_, first, memory = (statistics.median(each) for each in zip(*lines, strict=True))
    return {
        "open, ms": f"{1000 * open_:.1f}",
        "open and first hits, ms": f"{1000 * first:.1f}",
        "memory of such a process, MB": f"{memory / 1024:,.0f}",
    }


def peak_memory() -> float:
    """Return the peak of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(run) -> float:
    """Return the seconds that a call takes."""
    before = time.perf_counter()
    run()
    return time.perf_counter() - before


if __name__ == "__main__":
    given = sys.argv[1:]
    with tempfile.TemporaryDirectory() as temporary:
        main(
            int(given[0]),
            int(given[1]) if len(given) > 1 and given[1] != "all" else None,
            float(given[2]) if len(given) > 2 else 0.99,
            Path(given[3] if len(given) > 3 else temporary),
        )
