"""Real sentence embeddings for the benchmarks of indexes: lines of large_text, default encoder.

They are kept in the user's cache, since encoding 200,000 lines takes minutes. Where more
rows are asked for than there are lines, the rest are the same embeddings with a little noise.
"""

from __future__ import annotations

import gzip
import math
import os
from pathlib import Path

import numpy as np

from simsearch.cache import cache_directory
from simsearch.encoder import Encoder

FILES = ("en_trivia_questions", "en_dictionary_wordset", "en_common_voice")
QUERIES = 1_000
_NOISE = 0.25  # length of the noise beside a unit vector


def real_embeddings(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors (rows, dim) and queries (1000, dim), lines that are none of the rows."""
    lines = real_lines()
    encoded = _encoded(lines[: rows + QUERIES])
    queries, vectors = encoded[:QUERIES], encoded[QUERIES:]
    if len(vectors) < rows:
        print(f"{len(vectors):,} real embeddings; {rows - len(vectors):,} more are perturbed ones")
        rng = np.random.default_rng(0)
        more = vectors[rng.integers(0, len(vectors), rows - len(vectors))]
        noise = rng.standard_normal(more.shape, dtype=np.float32) / math.sqrt(more.shape[1])
        more = more + _NOISE * noise
        vectors = np.vstack([vectors, more / np.linalg.norm(more, axis=1, keepdims=True)])
    return np.ascontiguousarray(vectors), np.ascontiguousarray(queries)


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
