"""P3: how long from a file of documents to an index on the disk, beside the usual script?

    python benchmarks/bulk_index.py [DOCUMENTS] [ROUNDS]

Whole processes, in turn: `simsearch index` on lines of large_text as JSONL, everything it makes
included (SQLite, lexical index, segments, each commit synced), and a script of
sentence-transformers (its defaults), `IndexFlatIP` and `faiss.write_index`. The same documents are
then indexed with their vectors given, which leaves everything but the encoder. Medians.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from real_embeddings import real_lines, table

from simsearch.encoder.locate import locate_encoder

LIBRARY_SCRIPT = """
import json, sys
import faiss
from sentence_transformers import SentenceTransformer
with open(sys.argv[1]) as file:
    texts = [json.loads(line)["text"] for line in file]
model = SentenceTransformer(sys.argv[3], device="cpu")
index = faiss.IndexFlatIP(model.get_embedding_dimension())
index.add(model.encode(texts, normalize_embeddings=True))
faiss.write_index(index, sys.argv[2] + "/index.faiss")
with open(sys.argv[2] + "/texts.json", "w") as file:
    json.dump(texts, file)
"""


def main(documents: int, rounds: int) -> None:
    """Print a line for each way."""
    lines = real_lines()[:documents]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        corpus, vectors = folder / "corpus.jsonl", folder / "vectors.npy"
        rows = (json.dumps({"id": str(n), "text": text}) for n, text in enumerate(lines))
        corpus.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        model = locate_encoder(None).directory
        rng = np.random.default_rng(0)
        ready = rng.standard_normal((len(lines), 384), dtype=np.float32)
        np.save(vectors, ready / np.linalg.norm(ready, axis=1, keepdims=True))
        python, index = sys.executable, [sys.executable, "-m", "simsearch", "index", str(corpus)]
        ways: dict[str, Callable[[Path], Sequence[str]]] = {
            "simsearch index": lambda to: [*index, "-i", str(to)],
            "sentence-transformers and faiss": lambda to: [
                python, "-c", LIBRARY_SCRIPT, str(corpus), str(to), str(model),
            ],
            "simsearch index --embeddings": lambda to: [
                *index, "-i", str(to), "--embeddings", str(vectors),
            ],
        }  # fmt: skip
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for round_ in range(rounds):
            for name, command in ways.items():
                seconds[name].append(timed(command, folder / f"{round_}"))
    report(seconds, len(lines))


def timed(command: Callable[[Path], Sequence[str]], to: Path) -> float:
    """Run a process that writes into a new folder; return its seconds."""
    to.mkdir()
    before = time.perf_counter()
    subprocess.run(command(to), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    taken = time.perf_counter() - before
    shutil.rmtree(to)
    return taken


def report(seconds: dict[str, list[float]], documents: int) -> None:
    """Print medians, documents a second, and ratios to the library."""
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    library = medians["sentence-transformers and faiss"]
    rows = [
        [name, f"{taken:.1f}", f"{documents / taken:,.0f}", f"{library / taken:.2f}"]
        for name, taken in medians.items()
    ]
    table(["way", f"s for {documents:,} documents", "documents/s", "x of the library"], rows)


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    main(given[0] if given else 10_000, given[1] if len(given) > 1 else 3)
