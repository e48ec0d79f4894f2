"""P4 on a GPU: texts per second, beside sentence-transformers in fp32 and fp16.

    python benchmarks/encode_gpu.py [TEXTS] [ROUNDS]

Docstrings of the standard library, encoders of the size of MiniLM-L6 and of BERT-base with random
weights, every way once per round in turn, each warmed up; prints medians, ratios to the library in
fp32, and the lowest cosine to its embeddings. Without a GPU all of it runs on the CPU.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from train_loop import SIZES, random_encoder

from simsearch.demo import demo_documents, standard_library
from simsearch.encoder import Encoder

Encode = Callable[[Sequence[str]], np.ndarray]


def main(count: int, rounds: int) -> None:
    """Print a table for each size."""
    texts = [document.content for document in demo_documents(standard_library())][:count]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"{device}, torch {torch.__version__}, {len(texts):,} texts")
    for size, numbers in SIZES.items():
        with tempfile.TemporaryDirectory() as scratch:
            directory = random_encoder(Path(scratch) / "encoder", *numbers).directory
            compare(size, ways_of(str(directory)), texts, rounds)


def ways_of(directory: str) -> dict[str, Encode]:
    """Return the ways to encode, the library's in fp32 first."""
    half = SentenceTransformer(directory).half()
    device = "cuda" if torch.cuda.is_available() else None
    return {
        "library, fp32": SentenceTransformer(directory).encode,
        "library, fp16": half.encode,
        "ours, fp32": Encoder.load(directory, device=device).encode_documents,
        "ours, bf16": Encoder.load(directory, precision="bf16").encode_documents,
    }


def compare(size: str, ways: dict[str, Encode], texts: Sequence[str], rounds: int) -> None:
    """Time every way in turn and print the medians."""
    rates: dict[str, list[float]] = {way: [] for way in ways}
    lowest: dict[str, float] = {}
    expected = unit(ways["library, fp32"](texts))
    for _ in range(rounds):
        for way, encode in ways.items():
            encode(texts[: len(texts) // 10])
            started = time.perf_counter()
            embeddings = encode(texts)
            rates[way].append(len(texts) / (time.perf_counter() - started))
            lowest[way] = float((unit(embeddings) * expected).sum(axis=1).min())
    base = statistics.median(rates["library, fp32"])
    for way, values in rates.items():
        rate = statistics.median(values)
        ratio = f"{rate / base:5.2f}x"
        print(
            f"{size:10} {way:14} {rate:8.0f} texts/s  {ratio}  cosine {lowest[way]:.5f}", flush=True
        )


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Return embeddings (n, dim) scaled to unit length, in fp32."""
    found = np.asarray(embeddings, dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*(given + [6000, 3][len(given) :]))
