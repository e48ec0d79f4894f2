"""How much memory does it take to encode a million texts from a generator?

    python benchmarks/stream.py [TEXTS]

Short texts that all differ, in bfloat16 where the machine is fast in it. Prints the highest
resident memory of the process, after the first chunk and at the end, and texts per second.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator

import numpy as np

from simsearch.encoder import Encoder, bulk_precision

WORDS = ["card", "cash", "machine", "parcel", "refund", "order", "screen", "phone", "bill", "bank"]


def texts(size: int) -> Iterator[str]:
    """Yield texts of four words and a number."""
    rng = np.random.default_rng(0)
    for number in range(size):
        words = rng.integers(0, len(WORDS), 4)
        yield f"{' '.join(WORDS[word] for word in words)} {number}"


def main(size: int) -> None:
    """Encode and print."""
    encoder = Encoder.load(precision=bulk_precision(size))
    done, total, first = 0, np.zeros(encoder.dim), 0.0
    started = time.perf_counter()
    for rows in encoder.encode_stream(texts(size)):
        done += len(rows)
        total += rows.sum(axis=0)
        first = first or memory()
    seconds = time.perf_counter() - started
    print(f"{done:,} texts in {encoder.precision}, {done / seconds:,.0f}/s")
    print(f"highest memory: {first:,.0f} MB after the first chunk, {memory():,.0f} MB at the end")


def memory() -> float:
    """Return the highest resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
