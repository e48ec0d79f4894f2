"""Does the default encoder reach the figures published for it?

    python benchmarks/published.py [DATA_DIR]

SciFact (BEIR, test split, exact search) and STS-B (test split), all-MiniLM-L6-v2, against MTEB's
results for the same weights. Exits 1 where a figure is off by more than the tolerance.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import simsearch
from simsearch.records import ScoredPair
from simsearch.search_index import RetrievalTask

# metric, MTEB's figure x 100, tolerance
SCIFACT = ("ndcg@10", 64.51, 0.3)
STSB = ("spearman", 82.03, 0.1)


def main(data: Path) -> int:
    """Print the table and return the exit code."""
    encoder = simsearch.Encoder.load()
    started = time.perf_counter()
    beir = simsearch.read_beir(data / "scifact", "test")
    task = RetrievalTask(beir.queries, beir.corpus, beir.qrels)
    scifact = simsearch.evaluate_retrieval(encoder, task).means()
    scifact_seconds = time.perf_counter() - started

    started = time.perf_counter()
    pairs = [
        pair
        for pair in simsearch.read_examples(data / "stsb" / "test.jsonl")
        if isinstance(pair, ScoredPair)
    ]
    stsb = simsearch.evaluate_sts(encoder, pairs)
    stsb_seconds = time.perf_counter() - started

    print(f"encoder {encoder.name}, runtime {encoder.runtime}")
    print("set      metric     ours   published  difference  tolerance  seconds")
    worst = 0
    for name, metrics, (metric, published, tolerance), seconds in (
        ("SciFact", scifact, SCIFACT, scifact_seconds),
        ("STS-B", stsb, STSB, stsb_seconds),
    ):
        ours = 100 * metrics[metric]
        off = abs(ours - published) > tolerance
        worst |= off
        print(
            f"{name:8} {metric:9} {ours:6.2f}  {published:9.2f}  {ours - published:+10.2f}"
            f"  {tolerance:9.2f}  {seconds:7.1f}{'  OFF' if off else ''}"
        )
    return int(worst)


if __name__ == "__main__":
    default = Path(__file__).parents[2] / "shared" / "data"
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else default))
