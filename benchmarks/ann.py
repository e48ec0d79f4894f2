"""P5: does the planner's index beat hnswlib, usearch and FAISS's HNSW at the same recall?

    python benchmarks/ann.py [ROWS] [RECALL] [REAL] [MAX_LATENCY_MS]

200,000 sentence embeddings (see real_embeddings.py), at most REAL of them of lines, the others
perturbed; recall@10 of at least 0.99 on 500 queries that nothing was tuned on. Every peer's width
of search is the least that reaches the recall on 500 others. All threads; batches of all queries
and single ones in turn, medians of five. A peer that is not installed is left out with a note.
Sizes are those of the saved index.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from real_embeddings import QUERIES, real_embeddings, table

from simsearch.ann import Target, plan_index

K = 10
ROUNDS = 5
WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
Search = Callable[[np.ndarray], np.ndarray]


@dataclass
class Peer:
    """A built index: how it is searched, how long its building took, and how large it is."""

    name: str
    search: Search
    build_seconds: float
    size: int


def main(rows: int, recall: float, real: int | None, max_latency: float | None) -> None:
    """Build all, tune them, and print one table."""
    vectors, queries = real_embeddings(rows, real)
    tuning, judging = queries[: QUERIES // 2], queries[QUERIES // 2 :]
    exact = np.argpartition(-(queries @ vectors.T), K, axis=1)[:, :K]
    answers = {"tuning": exact[: QUERIES // 2], "judging": exact[QUERIES // 2 :]}
    threads = faiss.omp_get_max_threads()
    print(f"{rows:,} vectors of dim {vectors.shape[1]}, recall@{K} >= {recall}, {threads} threads")
    peers = [ours(vectors, tuning, recall, max_latency), flat(vectors)]
    for name, build in BUILDERS.items():
        if name != "FAISS HNSW16" and importlib.util.find_spec(name) is None:
            print(f"{name} is not installed: left out")
            continue
        peer = tuned(name, build(vectors), tuning, answers["tuning"], recall)
        if peer is None:
            print(f"{name} does not reach the recall with any width up to {WIDTHS[-1]}")
        else:
            peers.append(peer)
    report(peers, judging, answers["judging"])


def ours(vectors: np.ndarray, tuning: np.ndarray, recall: float, max_latency: float | None) -> Peer:
    """Return the planner's choice, and print how it came about."""
    target = Target(recall=recall, k=K, max_latency=max_latency, exact_below=0)
    before = time.perf_counter()
    index, plan = plan_index(vectors, queries=tuning, target=target)
    seconds = time.perf_counter() - before
    print(f"planning took {seconds:.0f} s, its index {plan.chosen.build_seconds:.1f} s of them:")
    for each in plan.measurements:
        print(f"  {each.name}: {each.finding}")
    set_ = {
        name: value
        for name in ("nprobe", "k_factor", "ef_search")
        if (value := getattr(index.parameters, name))
    }
    name = f"planner: {plan.chosen.factory} {set_ or ''}"
    build_seconds, size = plan.chosen.build_seconds or 0.0, plan.chosen.bytes or 0
    return Peer(name, lambda queries: index.search(queries, K)[0], build_seconds, size)


def flat(vectors: np.ndarray) -> Peer:
    """Return the exact index."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return Peer("FAISS flat", lambda queries: index.search(queries, K)[1], 0.0, vectors.nbytes)


@dataclass
class Graph:
    """A peer's graph: how its width of search is set, and how it is searched."""

    set_width: Callable[[int], Any]
    search: Search
    build_seconds: float
    size: int


def faiss_hnsw(vectors: np.ndarray) -> Graph:
    """Build FAISS's own HNSW over plain vectors."""
    index = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 200
    seconds = timed(lambda: index.add(vectors))
    size = saved_size(lambda path: faiss.write_index(index, path))
    return Graph(
        lambda width: setattr(index.hnsw, "efSearch", width),
        lambda queries: index.search(queries, K)[1],
        seconds,
        size,
    )


def hnswlib_hnsw(vectors: np.ndarray) -> Graph:
    """Build hnswlib's."""
    import hnswlib

    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), M=16, ef_construction=200)
    seconds = timed(lambda: index.add_items(vectors))
    size = saved_size(index.save_index)
    return Graph(index.set_ef, lambda queries: index.knn_query(queries, K)[0], seconds, size)


def usearch_hnsw(vectors: np.ndarray) -> Graph:
    """Build usearch's."""
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="ip", dtype="f32", connectivity=16)
    index.expansion_add = 200
    seconds = timed(lambda: index.add(np.arange(len(vectors)), vectors))

    def search(queries: np.ndarray) -> np.ndarray:
        return np.asarray(index.search(queries, K).keys).reshape(len(queries), -1)

    def set_width(width: int) -> None:
        index.expansion_search = width

    return Graph(set_width, search, seconds, saved_size(index.save))


BUILDERS: dict[str, Callable[[np.ndarray], Graph]] = {
    "hnswlib": hnswlib_hnsw,
    "usearch": usearch_hnsw,
    "FAISS HNSW16": faiss_hnsw,
}


def tuned(
    name: str, graph: Graph, queries: np.ndarray, exact: np.ndarray, recall: float
) -> Peer | None:
    """Return a peer at the least width that reaches the recall, None if none does."""
    for width in WIDTHS:
        graph.set_width(width)
        if overlap(graph.search(queries), exact) >= recall:
            return Peer(f"{name} ef {width}", graph.search, graph.build_seconds, graph.size)
    return None


def report(peers: Sequence[Peer], queries: np.ndarray, exact: np.ndarray) -> None:
    """Measure all in turn and print the table, with ratios to the first peer of a graph."""
    batches: dict[str, list[float]] = {peer.name: [] for peer in peers}
    singles: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for _ in range(ROUNDS):
        for peer in peers:
            batches[peer.name].append(timed(lambda peer=peer: peer.search(queries)))
            singles[peer.name] += [
                timed(lambda peer=peer, row=row: peer.search(queries[row : row + 1]))
                for row in range(50)
            ]
    rows = []
    for peer in peers:
        batch, single = (statistics.median(all_[peer.name]) for all_ in (batches, singles))
        rows.append(
            [
                peer.name,
                f"{peer.build_seconds:.1f}",
                f"{peer.size / 1e6:,.0f}",
                f"{overlap(peer.search(queries), exact):.4f}",
                f"{len(queries) / batch:,.0f}",
                f"{1000 * single:.2f}",
            ]
        )
    table(["index", "build s", "MB", "recall@10", "q/s in batch", "ms single"], rows)


def overlap(found: np.ndarray, exact: np.ndarray) -> float:
    """Return the recall."""
    shared = [len(set(a) & set(b)) for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
    return sum(shared) / exact.size


def timed(run: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    before = time.perf_counter()
    run()
    return time.perf_counter() - before


def saved_size(save: Callable[[str], object]) -> int:
    """Return the bytes of what `save` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        save(os.fspath(path))
        return path.stat().st_size


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        int(given[0]) if given else 200_000,
        float(given[1]) if len(given) > 1 else 0.99,
        int(given[2]) if len(given) > 2 else None,
        float(given[3]) / 1000 if len(given) > 3 else None,
    )
