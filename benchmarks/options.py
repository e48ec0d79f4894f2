"""What does each option of a query cost among 100,000 documents?

    python benchmarks/options.py [--documents N] [--queries N] [--encoder M] [--work DIR]

Lines of large_text (see real_embeddings.py) with a little metadata become an index, in DIR or in
the user's cache, once. Every query is then answered in every way, in an order that is drawn anew
for each, in one process that has answered some before: so other work of the machine meets all of
them, and processor time stands beside the clock. All ways but `similar`, `facets` and "encode"
begin with a query's text and end with ten hits. "x dense" is of the medians of processor time;
what reads every document is asked every tenth time alone.
`pair` is there where the encoder M, by default the packaged one, has a pair scorer.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from real_embeddings import QUERIES, base_embeddings, real_lines, table

from simsearch.cache import cache_directory
from simsearch.encoder import Encoder
from simsearch.records import Document
from simsearch.search_index import RERANK_TOP, SearchIndex, calibrate, judge_index_hits

K = 10
TOGETHER = 1_000
WARM = 20
SELDOM = 10  # what reads every document is asked once in so many times
SELECTIVITIES = (0.001, 0.05, 0.5)
GROUPS = 5_000
READING = ("--where, asked for the first time", "facets FIELD", "facets FIELD, a list")
KNOWN = 200  # documents that are looked for by half of their words, to calibrate

Way = Callable[[str, int], object]  # of a query and its number


def main() -> None:
    """Build the index if it is not there, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--encoder")
    parser.add_argument("--work", type=Path, default=cache_directory() / "benchmarks")
    given = parser.parse_args()
    encoder = Encoder.load(given.encoder)
    path = given.work / f"options-{given.documents}-{encoder.fingerprint[:12]}"
    texts = real_lines()[: given.documents + QUERIES]
    if not path.exists():
        build(path, encoder, texts, packaged=given.encoder is None)
    with SearchIndex.open(path) as index:
        print(f"{len(index):,} documents; {search_kind(index)}; {given.queries} queries, k {K}")
        ways = all_ways(index, pair=encoder.pair_scorer is not None)
        report(ways, texts[: given.queries])
        together(index, texts[:TOGETHER])


def build(path: Path, encoder: Encoder, texts: list[str], *, packaged: bool) -> None:
    """Make the index, with a calibration."""
    documents = [
        Document(
            str(row),
            text,
            metadata={
                "n": row,
                "group": f"g{row % GROUPS}",
                "words": len(text.split()),
                "tags": ["question" if text.endswith("?") else "other", f"t{row % 7}"],
            },
        )
        for row, text in enumerate(texts[QUERIES:])
    ]
    vectors = base_embeddings(len(documents))[0] if packaged else None
    path.parent.mkdir(parents=True, exist_ok=True)
    with SearchIndex.create(path, encoder=encoder, finished=False) as index:
        for start in range(0, len(documents), 1_024):
            part = slice(start, start + 1_024)
            index.add(documents[part], None if vectors is None else vectors[part])
        index.optimize(say=print)
        known = documents[:: len(documents) // KNOWN][:KNOWN]
        queries = {each.id: half_of(each.text) for each in known}
        judged = judge_index_hits(index, queries, {each.id: {each.id: 1} for each in known})
        info = index.info()
        found = calibrate(judged, fingerprint=info.fingerprint, dim=info.dim)
        index.calibrate(found.calibration)
        index.mark_finished()


def half_of(text: str) -> str:
    """Return the first half of the words of a text, at least one."""
    words = text.split()
    return " ".join(words[: max(1, len(words) // 2)])


def search_kind(index: SearchIndex) -> str:
    """Return in words how the rows are searched."""
    found = index.info().search
    return ", ".join(f"{each.index} of {each.rows:,} rows" for each in found.segments) or "exact"


def all_ways(index: SearchIndex, *, pair: bool) -> dict[str, Way]:
    """Return every way to ask, by name; the first one is what the others are held against."""
    ids = [str(row) for row in range(0, len(index), max(1, len(index) // 1_000))]

    def reranked(by: str) -> Way:
        def ask(query: str, _: int) -> object:
            found = index.search_many([query], RERANK_TOP, mode="dense")
            return index.rerank([query], found, by=by)[0][:K]

        return ask

    def explained(mode: str) -> Way:
        return lambda query, _: index.explain(query, index.search(query, K, mode=mode))

    def filtered(share: float, *, anew: bool) -> Way:
        limit = max(1, int(share * len(index)))
        # A condition that nobody had before is looked for among all documents.
        return lambda query, number: index.search(
            query, K, mode="dense", where=f"n < {limit} and n != -{number if anew else 1}"
        )

    ways: dict[str, Way] = {
        "dense": lambda query, _: index.search(query, K, mode="dense"),
        "encode the query alone": lambda query, _: index.encoder.encode_queries([query]),
        "lexical": lambda query, _: index.search(query, K, mode="lexical"),
        "hybrid": lambda query, _: index.search(query, K, mode="hybrid"),
        f"--rerank maxsim, the nearest {RERANK_TOP}": reranked("maxsim"),
    }
    if pair:
        ways[f"--rerank pair, the nearest {RERANK_TOP}"] = reranked("pair")
    ways |= {
        "--explain": explained("dense"),
        "--explain, hybrid": explained("hybrid"),
        "--diversity 0.3": lambda query, _: index.search(query, K, mode="dense", diversity=0.3),
        "--group-by": lambda query, _: index.search(query, K, mode="dense", group_by="group"),
        "--min-probability 0.5": lambda query, _: index.search(
            query, K, mode="dense", min_probability=0.5
        ),
    }
    for share in SELECTIVITIES:
        ways[f"--where, {share:.1%} pass"] = filtered(share, anew=False)
    ways["--where, asked for the first time"] = filtered(SELECTIVITIES[1], anew=True)
    ways["similar ID"] = lambda _, number: index.similar(ids[number % len(ids)], K)
    ways["facets FIELD"] = lambda _, number: index.facet("group")
    ways["facets FIELD, a list"] = lambda _, number: index.facet("tags")
    return ways


def report(ways: dict[str, Way], queries: list[str]) -> None:
    """Answer every query in every way and print the table."""
    clock: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    rng = random.Random(0)
    for number, query in enumerate([*queries[:WARM], *queries]):
        for name in rng.sample(sorted(ways), len(ways)):
            if name in READING and number % SELDOM:
                continue
            before, cpu = time.perf_counter(), time.process_time()
            ways[name](query, number)
            clock[name].append(time.perf_counter() - before)
            processor[name].append(time.process_time() - cpu)
    dense = np.median(processor["dense"][WARM:])
    lines = []
    for name in ways:
        warm = WARM // SELDOM if name in READING else WARM
        seconds, cpu = np.array(clock[name][warm:]), np.array(processor[name][warm:])
        lines.append(
            [
                name,
                f"{1000 * np.median(seconds):.1f}",
                f"{1000 * np.quantile(seconds, 0.95):.1f}",
                f"{1000 * np.median(cpu):.1f}",
                f"{1000 * np.quantile(cpu, 0.95):.1f}",
                f"{np.median(cpu) / dense:.2f}",
            ]
        )
    table(["way", "ms", "95%", "CPU ms", "95%", "x dense"], lines)


def together(index: SearchIndex, queries: list[str]) -> None:
    """Print what a query costs when many are asked at once, and of that its encoding."""
    for mode in ("dense", "hybrid"):
        cpu = time.process_time()
        index.search_many(queries, K, mode=mode)
        own = 1000 * (time.process_time() - cpu) / len(queries)
        print(f"search_many, {len(queries):,} queries at once, {mode}: {own:.2f} CPU ms a query")
    cpu = time.process_time()
    index.encoder.encode_queries(queries)
    print(f"of that encoding: {1000 * (time.process_time() - cpu) / len(queries):.2f}")


if __name__ == "__main__":
    main()
