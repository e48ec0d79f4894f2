"""P4: how many texts a second are encoded, beside sentence-transformers and OpenVINO by hand?

    python benchmarks/encode.py [ROUNDS]

The same texts (14 words, and whole docstrings of the standard library), the default encoder, all
threads, every way once per round in turn; prints medians, ratios to sentence-transformers at its
defaults, and the lowest cosine to its float32 embeddings. Each way is warmed up once.

The peer by hand is the fastest that was found before the project began: OpenVINO in bfloat16 on
the same graph, one stream per thread, asynchronous, batches of 1,024 tokens sorted by length.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import openvino
from sentence_transformers import SentenceTransformer

from simsearch.demo import demo_documents, standard_library
from simsearch.encoder import Encoder, EncodingCounts
from simsearch.encoder import bulk as bulk_module
from simsearch.encoder.batching import pad, token_budget_batches
from simsearch.encoder.locate import locate_encoder
from simsearch.encoder.precision import cpu_has_bfloat16
from simsearch.encoder.threads import thread_count

Encode = Callable[[Sequence[str]], np.ndarray]
SETS = {"short": 2000, "docstrings": 400}


def main(rounds: int) -> None:
    """Print one table per set of texts."""
    documents = [document.content for document in demo_documents(standard_library())]
    ways = make_ways()
    print(f"{thread_count()} threads, bfloat16 in the CPU: {cpu_has_bfloat16()}")
    for name, size in SETS.items():
        step = len(documents) // size
        texts = documents[::step][:size]
        if name == "short":
            texts = [" ".join(text.split()[:14]) for text in texts]
        compare(name, texts, ways, rounds)


def compare(name: str, texts: Sequence[str], ways: dict[str, Encode], rounds: int) -> None:
    """Time every way in turn and print the medians."""
    counts = EncodingCounts()
    Encoder.load().encode_documents(texts, counts=counts)
    print(
        f"\n{name}: {len(texts):,} texts, {counts.tokens / counts.encoded:.0f} tokens each, "
        f"{counts.padding_share:.1%} padding in our batches"
    )
    expected = ways["sentence-transformers"](texts)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    lowest: dict[str, float] = {}
    for way, encode in ways.items():
        lowest[way] = float(np.einsum("nd,nd->n", encode(texts), expected).min())  # and warm-up
    for _ in range(rounds):
        for way, encode in ways.items():
            started = time.perf_counter()
            encode(texts)
            rates[way].append(len(texts) / (time.perf_counter() - started))
    base = statistics.median(rates["sentence-transformers"])
    for way, values in rates.items():
        rate = statistics.median(values)
        spread = f"{min(values):,.0f}..{max(values):,.0f}"
        print(f"{way:24} {rate:7,.0f}/s  {rate / base:5.2f}x  cos {lowest[way]:.5f}  {spread}")


def make_ways() -> dict[str, Encode]:
    """Return the ways to encode, by name."""
    directory = locate_encoder(None).directory
    library = SentenceTransformer(str(directory), device="cpu")
    exact, openvino_bf16 = Encoder.load(), Encoder.load(precision="bf16")
    # As where the extra is not installed: bfloat16 by torch.
    installed, bulk_module.openvino_is_installed = bulk_module.openvino_is_installed, lambda: False
    torch_bf16 = Encoder.load(precision="bf16")
    torch_bf16.encode(["load it now"])
    bulk_module.openvino_is_installed = installed
    return {
        "sentence-transformers": lambda texts: library.encode(
            list(texts), normalize_embeddings=True, show_progress_bar=False
        ),
        "OpenVINO bf16 by hand": by_hand(exact),
        "ours, fp32": exact.encode,
        "ours, bf16 by OpenVINO": openvino_bf16.encode,
        "ours, bf16 by torch": torch_bf16.encode,
    }


def by_hand(encoder: Encoder) -> Encode:
    """Return the peer: what one would write who knows OpenVINO well."""
    graph = encoder.export_directory() / "encoder.onnx"
    tokenizer = encoder._tokenizer
    core = openvino.Core()
    model = core.read_model(str(graph))
    outputs = [node for node in model.outputs if "sentence_embedding" in node.get_names()]
    compiled = core.compile_model(
        openvino.Model(outputs, model.get_parameters(), "peer"),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "bf16",
            "NUM_STREAMS": thread_count(),
            "INFERENCE_NUM_THREADS": thread_count(),
        },
    )

    def encode(texts: Sequence[str]) -> np.ndarray:
        rows = [row.ids for row in tokenizer.tokenize(texts)]
        embeddings = np.empty((len(texts), encoder.dim), dtype=np.float32)
        queue = openvino.AsyncInferQueue(compiled, thread_count())

        def done(request: openvino.InferRequest, positions: np.ndarray) -> None:
            embeddings[positions] = request.get_output_tensor(0).data

        queue.set_callback(done)
        for positions in token_budget_batches([len(row) for row in rows], 1024):
            ids = [rows[position] for position in positions]
            feed = {"input_ids": pad(ids), "attention_mask": pad([np.ones_like(r) for r in ids])}
            queue.start_async(feed, positions)
        queue.wait_all()
        return embeddings

    return encode


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
