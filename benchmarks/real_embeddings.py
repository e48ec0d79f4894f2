"""Real sentence embeddings for the benchmarks of indexes: lines of large_text, default encoder.

They are kept in the user's cache, since encoding 200,000 lines takes minutes. Where more
rows are asked for than there are lines, the rest are the same embeddings with a little noise.
"""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from simsearch.cache import cache_directory
from simsearch.encoder import Encoder

FILES = ("en_trivia_questions", "en_dictionary_wordset", "en_common_voice")
QUERIES = 1_000
_NOISE = 0.25  # length of the noise beside a unit vector


def real_embeddings(rows: int, real: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors (rows, dim) and queries (1000, dim), lines that are none of the rows.

    At most `real` of the rows are embeddings of lines, all others are made of those.
    """
    base, queries = base_embeddings(rows if real is None else min(rows, real))
    vectors = np.vstack([part for part in portions(base, rows)])
    return np.ascontiguousarray(vectors), np.ascontiguousarray(queries)


def base_embeddings(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings of up to so many lines, and those of 1,000 others."""
    encoded = _encoded(real_lines()[: rows + QUERIES])
    return encoded[QUERIES:], encoded[:QUERIES]


def portions(base: np.ndarray, rows: int, size: int = 65_536) -> Iterator[np.ndarray]:
    """Yield so many vectors: first the real ones, then perturbed ones, a portion at a time."""
    if rows > len(base):
        print(f"{len(base):,} real embeddings; {rows - len(base):,} more are perturbed ones")
    yield base[:rows]
    rng = np.random.default_rng(0)
    for start in range(len(base), rows, size):
        more = base[rng.integers(0, len(base), min(size, rows - start))]
        noise = rng.standard_normal(more.shape, dtype=np.float32) / math.sqrt(more.shape[1])
        more = more + _NOISE * noise
        yield (more / np.linalg.norm(more, axis=1, keepdims=True)).astype(np.float32)


def real_lines() -> list[str]:
    """Return the English lines of large_text, each once, in one random order."""
    named = os.environ.get("SIMSEARCH_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    lines: dict[str, None] = {}
    for name in FILES:
        with gzip.open(folder / "large_text" / f"{name}.txt.gz", "rt", encoding="utf-8") as file:
            lines.update(dict.fromkeys(line.strip() for line in file if line.strip()))
    every = list(lines)
    return [every[row] for row in np.random.default_rng(0).permutation(len(every))]


def _encoded(lines: list[str]) -> np.ndarray:
    place = cache_directory() / "benchmarks" / f"large_text-{len(lines)}.npy"
    if not place.exists():
        print(f"encoding {len(lines):,} lines")
        vectors = Encoder.load().encode_documents(lines)
        place.parent.mkdir(parents=True, exist_ok=True)
        np.save(place, vectors)
    return np.load(place)


def table(header: list[str], rows: list[list[str]]) -> None:
    """Print a table, numbers to the right."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        print("  ".join(cells))
