"""What do coarser numbers or shorter embeddings cost in quality?

    python benchmarks/coarser.py [DATA_DIR]

SciFact (BEIR, test split, exact search), the default encoder, which was not trained for shorter
embeddings: nDCG@10 in fp32, bf16 and int8, and at the first N of 384 dimensions, with the 95%
interval of the difference to fp32 at 384 (paired bootstrap over the queries).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import simsearch
from simsearch.ann import VectorIndex
from simsearch.encoder import Encoder, truncate_embeddings
from simsearch.encoder.int8 import write_int8
from simsearch.evaluation import paired_bootstrap, score_run

DIMS = (384, 256, 192, 128, 96, 64, 32)
METRIC = "ndcg@10"
DEPTH = 100


def main(data: Path) -> None:
    """Print one row per form of the embeddings."""
    beir = simsearch.read_beir(data / "scifact", "test")
    texts = [document.content for document in beir.corpus]
    ids = [document.id for document in beir.corpus]
    names = list(beir.queries)
    queries = [beir.queries[name] for name in names]

    def score(documents: np.ndarray, asked: np.ndarray) -> tuple[float, np.ndarray]:
        index = VectorIndex(documents.shape[1])
        index.add(np.arange(len(documents)), documents)
        rows, similarities = index.search(asked, DEPTH)
        run = {
            name: {ids[row]: float(value) for row, value in zip(its_rows, values, strict=True)}
            for name, its_rows, values in zip(names, rows.tolist(), similarities, strict=True)
        }
        scores = score_run(beir.qrels, run)
        return scores.means()[METRIC], scores.per_query[METRIC]

    def show(form: str, figure: float, per_query: np.ndarray) -> None:
        found = paired_bootstrap(base, per_query)
        low, high = 100 * found.low, 100 * found.high
        print(
            f"{form:12} {100 * figure:6.2f}  {100 * found.value:+6.2f}  {low:+6.2f} .. {high:+.2f}"
        )

    exact = Encoder.load()
    full, asked = exact.encode_documents(texts), exact.encode_queries(queries)
    figure, base = score(full, asked)
    print("form          nDCG@10  change  95% interval")
    show("fp32", figure, base)
    bf16 = Encoder.load(precision="bf16")
    show("bf16", *score(bf16.encode_documents(texts), asked))
    with tempfile.TemporaryDirectory() as folder:
        write_int8(exact.export_directory(), Path(folder))
        int8 = Encoder.load(folder)
        show("int8", *score(int8.encode_documents(texts), int8.encode_queries(queries)))
    for dim in DIMS[1:]:
        show(
            f"dim {dim}",
            *score(truncate_embeddings(full, dim), truncate_embeddings(asked, dim)),
        )


if __name__ == "__main__":
    here = Path(__file__).parents[2] / "shared" / "data"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else here)
