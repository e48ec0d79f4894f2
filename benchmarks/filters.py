"""P9: what does a filtered search cost, at every selectivity, beside the best of its alternatives?

    python benchmarks/filters.py [ROWS] [RECALL] [REAL]

200,000 sentence embeddings (see real_embeddings.py), at most REAL of them of lines, the others
perturbed; rows are let through at random. For the exact index and for the planner's: our search
among the rows; the same rows compared exactly; the unfiltered search of the planner's index.
Single queries, medians of 50, in turn. Then filters that have to do with the query: all rows but
those nearest to it. And what it costs to find the rows of `n < ...` in the store's SQL, once per
filter and commit.
"""

from __future__ import annotations

import json
import random
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from real_embeddings import real_embeddings, table

from simsearch.ann import FilteredIndex, Target, VectorIndex, plan_filters, plan_index
from simsearch.ann.exact import neighbours_among
from simsearch.ann.subset import Subset
from simsearch.query import parse_filter
from simsearch.storage.filters import matching_rows

K = 10
SELECTIVITIES = (0.001, 0.01, 0.1, 0.5, 1.0)
LEFT_OUT = (0.0001, 0.001, 0.01, 0.1, 0.5)
RUNS = 50


def main(rows: int, recall: float, real: int | None) -> None:
    """Build the two indexes and print one table for each, and one for the SQL."""
    vectors, queries = real_embeddings(rows, real)
    exact = VectorIndex(vectors.shape[1])
    exact.add(np.arange(rows), vectors)
    target = Target(recall=recall, k=K, exact_below=0)
    index, plan = plan_index(vectors, queries=queries[:500], target=target)
    filters = plan_filters(index, vectors, queries=queries[:500], target=target)
    print(f"{rows:,} vectors, planner: {plan.chosen.factory}")
    for level in filters.levels:
        print(
            f"  {level.selectivity:.0%}, k {level.k}: {level.parameters}, {level.recall.value:.4f}"
        )
    approximate = FilteredIndex(index, filters)
    lines = []
    for selectivity in SELECTIVITIES:
        among = some_rows(rows, selectivity)
        subset = Subset(among, rows)  # which an index directory makes once per filter and commit
        ways: dict[str, Callable[[np.ndarray], object]] = {
            "exact": lambda query, among=among: exact.search(query, K, among=among),
            "planner": lambda query, subset=subset: approximate.search(query, K, among=subset),
            "subset": lambda query, among=among: neighbours_among(vectors, among, query, K),
            "unfiltered": lambda query: index.search(query, K),
            "unfiltered exact": lambda query: exact.search(query, K),
        }
        times = medians(ways, queries[500:])
        found = approximate.search(queries[500:], K, among=subset)[0]
        wanted = neighbours_among(vectors, among, queries[500:], K)[0]
        short = sum(len(line) < min(K, len(among)) or line.min() < 0 for line in found)
        lines.append(
            [
                f"{selectivity:.1%}",
                "exact" if approximate.compares(len(among), k=K) else "overfetch",
                *(f"{1000 * times[way]:.2f}" for way in ways),
                f"{times['exact'] / min(times['subset'], times['unfiltered exact']):.2f}",
                f"{times['planner'] / min(times['subset'], times['unfiltered']):.2f}",
                f"{overlap(found, wanted):.4f}",
                str(short),
            ]
        )
    header = ["passing", "way", "exact ms", "planner ms", "subset ms", "unfiltered ms"]
    header += ["unf. exact ms", "exact ratio", "planner ratio", "recall", "short lists"]
    table(header, lines)
    print()
    against(approximate, vectors, queries[500:])
    print()
    sql(rows)


def against(approximate: FilteredIndex, vectors: np.ndarray, queries: np.ndarray) -> None:
    """Print time and recall where the filter leaves out what is nearest to the query."""
    lines = []
    for share in LEFT_OUT:
        seconds, recalls = [], []
        for query in queries[: 2 * RUNS]:
            order = np.argsort(-(vectors @ query))[int(share * len(vectors)) :]
            subset = Subset(np.sort(order), len(vectors))
            assert subset.mask.any()  # made once per filter and commit
            before = time.perf_counter()
            found = approximate.search(query[None], K, among=subset)[0]
            seconds.append(time.perf_counter() - before)
            recalls.append(overlap(found, order[None, :K]))
        lines.append(
            [
                f"{share:.2%}",
                f"{1000 * statistics.median(seconds):.2f}",
                f"{statistics.mean(recalls):.4f}",
                f"{min(recalls):.1f}",
            ]
        )
    table(["nearest left out", "ms", "recall", "least"], lines)


def some_rows(rows: int, selectivity: float) -> np.ndarray:
    """Return so many random rows, ascending."""
    chosen = np.random.default_rng(1).choice(rows, max(1, int(rows * selectivity)), replace=False)
    return np.sort(chosen).astype(np.int64)


def medians(
    ways: dict[str, Callable[[np.ndarray], object]], queries: np.ndarray
) -> dict[str, float]:
    """Return the median seconds of each way, run in turn."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    random.seed(0)
    for run in range(RUNS + 1):
        query = queries[run % len(queries)][None]
        # In any order: two ways that read the same rows must not always follow each other.
        for name in random.sample(sorted(ways), len(ways)):
            before = time.perf_counter()
            ways[name](query)
            times[name].append(time.perf_counter() - before)
    return {name: statistics.median(each[1:]) for name, each in times.items()}


def overlap(found: np.ndarray, exact: np.ndarray) -> float:
    """Return the recall."""
    shared = [len(set(a) & set(b)) for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
    return sum(shared) / exact.size


def sql(rows: int) -> None:
    """Print what it takes to find the rows of a filter in the store."""
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE TABLE documents (first_row INTEGER PRIMARY KEY, rows INTEGER, metadata TEXT)"
    )
    metadata = ({"n": n, "lang": ["en", "de"][n % 2], "tags": ["a", "b"]} for n in range(rows))
    connection.executemany(
        "INSERT INTO documents VALUES (?, 1, ?)",
        ((n, json.dumps(each)) for n, each in enumerate(metadata)),
    )
    lines = []
    for text in (f"n < {rows // 100}", f"lang = 'en' and n < {rows // 2}", "tags contains 'b'"):
        condition = parse_filter(text).condition
        before = time.perf_counter()
        found = len(matching_rows(connection, condition))
        seconds = time.perf_counter() - before
        lines.append([text, f"{found:,}", f"{1000 * seconds:.0f}", f"{1e6 * seconds / rows:.2f}"])
    table(["filter", "rows", "ms", "us a document"], lines)
    connection.close()


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        int(given[0]) if given else 200_000,
        float(given[1]) if len(given) > 1 else 0.99,
        int(given[2]) if len(given) > 2 else None,
    )
