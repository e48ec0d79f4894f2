"""P1 and P2: how long does one query take, from a cold start and in a running process?

    python benchmarks/cold_query.py [RUNS] [DOCUMENTS] [REAL]

P1: whole processes, from start to printed hits, in turn: `simsearch query`; a script with
sentence-transformers and faiss.read_index; and the least there can be, a script with onnxruntime,
tokenizers and faiss on the same graph, which has no store (its texts lie in one JSON file).
P2: text to hits with text in one process: ours, and sentence-transformers + IndexFlatIP + dict.
100,000 documents with sentence embeddings of dim 384 (see real_embeddings.py; REAL of them are of
lines, the rest perturbed), which the index of ours is left to choose how to search, as
`simsearch index` does; the peers compare every row.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
from real_embeddings import real_embeddings

import simsearch
from simsearch.encoder import Encoder
from simsearch.encoder.locate import locate_encoder

QUERY = "how is a file or directory moved to another place"

LIBRARY_SCRIPT = """
import json, sys
import faiss
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[2], device="cpu")
index = faiss.read_index(sys.argv[1] + "/index.faiss")
texts = json.load(open(sys.argv[1] + "/texts.json"))
scores, rows = index.search(model.encode([sys.argv[3]], normalize_embeddings=True), 10)
for score, row in zip(scores[0], rows[0]):
    print(f"{score:.3f}", texts[row][:80])
"""
BARE_SCRIPT = """
import json, sys
import faiss, numpy as np, onnxruntime
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[2] + "/tokenizer.json")
tokenizer.no_padding()
session = onnxruntime.InferenceSession(sys.argv[2] + "/encoder.onnx")
index = faiss.read_index(sys.argv[1] + "/index.faiss")
texts = json.load(open(sys.argv[1] + "/texts.json"))
ids = np.array([tokenizer.encode(sys.argv[3]).ids])
feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
options = onnxruntime.RunOptions()
options.add_run_config_entry("only_execute_path_to_fetches", "1")
(vectors,) = session.run(["sentence_embedding"], feed, options)
scores, rows = index.search(vectors, 10)
for score, row in zip(scores[0], rows[0]):
    print(f"{score:.3f}", texts[row][:80])
"""


def main(runs: int, size: int, real: int) -> None:
    """Build the peers' files and the index, and print both tables."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        vectors, texts = build(place, size, real)
        encoder = Encoder.load()
        simsearch_command = [sys.executable, "-m", "simsearch", "query", QUERY, "-i"]
        model = locate_encoder(None).directory
        ways = {
            "simsearch query": [*simsearch_command, str(place / "index")],
            "sentence-transformers + faiss": [
                *(sys.executable, "-c", LIBRARY_SCRIPT, folder, str(model), QUERY)
            ],
            "bare onnxruntime + faiss": [
                *(sys.executable, "-c", BARE_SCRIPT, folder),
                *(str(encoder.export_directory()), QUERY),
            ],
        }
        print(f"P1, {size:,} documents, median of {runs} processes")
        table({name: process(command) for name, command in ways.items()}, runs)
        print(f"\nP2, {size:,} documents, median of {20 * runs} queries")
        with simsearch.SearchIndex.open(place / "index") as index:
            table(warm_ways(index, encoder, vectors, texts), 20 * runs)
            (query,) = encoder.encode_queries([QUERY])
            own = outside_faiss(lambda: index.search_vectors(query[None]), 20 * runs)
            print(f"{'of it, outside FAISS':30} {1000 * own:9.2f} ms")


def build(place: Path, size: int, real: int) -> tuple[np.ndarray, list[str]]:
    """Write an index of ours and the files of the peers."""
    rng = np.random.default_rng(0)
    vectors, queries = real_embeddings(size, real)
    texts = [
        f"document {row}: {' '.join(map(str, rng.integers(0, 9999, 12)))}" for row in range(size)
    ]
    flat = faiss.IndexFlatIP(384)
    flat.add(vectors)
    faiss.write_index(flat, str(place / "index.faiss"))
    (place / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    with simsearch.SearchIndex.create(place / "index") as index:
        for start in range(0, size, 4096):
            part = slice(start, start + 4096)
            documents = [
                simsearch.Document(id=str(start + row), text=text)
                for row, text in enumerate(texts[part])
            ]
            index.add(documents, vectors[part])
        for built in index.optimize(query_vectors=queries):
            print(f"ours: {built.index} of {built.rows:,} rows, built in {built.seconds:.0f} s")
    return vectors, texts


def process(command: list[str]) -> Callable[[], object]:
    """Return what runs a command and makes sure that it printed ten hits."""

    def run() -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        if done.stdout.count("\n") < 10:
            raise RuntimeError(f"{command[:4]} printed {done.stdout!r}")

    return run


def warm_ways(
    index: simsearch.SearchIndex, encoder: Encoder, vectors: np.ndarray, texts: list[str]
) -> dict[str, Callable[[], object]]:
    """Return the ways to answer a query in this process."""
    from sentence_transformers import SentenceTransformer

    library = SentenceTransformer(str(locate_encoder(None).directory), device="cpu")
    flat = faiss.IndexFlatIP(384)
    flat.add(vectors)
    by_row = dict(enumerate(texts))

    def by_library() -> list[tuple[float, str]]:
        query = library.encode([QUERY], normalize_embeddings=True, show_progress_bar=False)
        scores, rows = flat.search(query, 10)
        return [
            (score, by_row[row]) for score, row in zip(scores[0], rows[0].tolist(), strict=True)
        ]

    (query,) = encoder.encode_queries([QUERY])
    return {
        "ours, text to hits": lambda: index.search(QUERY),
        "sentence-transformers": by_library,
        "ours, encoding alone": lambda: encoder.encode_queries([QUERY]),
        "ours, vector to hits": lambda: index.search_vectors(query[None]),
        "FAISS alone": lambda: flat.search(query[None], 10),
    }


def outside_faiss(way: Callable[[], object], runs: int) -> float:
    """Return the median of the seconds that calls spend, but for those inside FAISS's searches."""
    inside = 0.0

    def timed(search: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*arguments: object, **named: object) -> object:
            nonlocal inside
            started = time.perf_counter()
            try:
                return search(*arguments, **named)
            finally:
                inside += time.perf_counter() - started

        return wrapper

    kinds = [each for each in vars(faiss).values() if isinstance(each, type)]
    searched = [
        (each, each.search)
        for each in kinds
        if issubclass(each, faiss.Index) and "search" in vars(each)
    ]
    for kind, search in searched:
        kind.search = timed(search)
    seconds = []
    for _ in range(runs):
        inside, started = 0.0, time.perf_counter()
        way()
        seconds.append(time.perf_counter() - started - inside)
    for kind, search in searched:
        kind.search = search
    return statistics.median(seconds)


def table(ways: dict[str, Callable[[], object]], runs: int) -> None:
    """Run all ways in turn and print medians and ratios to the first."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(runs):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    first = statistics.median(next(iter(seconds.values())))
    for name, values in seconds.items():
        median = statistics.median(values)
        least = 1000 * min(values)
        print(f"{name:30} {1000 * median:9.2f} ms  {median / first:6.2f}x  min {least:.2f}")


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    main(*(arguments + [7, 100_000, 200_000][len(arguments) :]))
