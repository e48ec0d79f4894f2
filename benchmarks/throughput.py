"""How many queries a second, asked one by one, together, by 32 clients, and by the command line?

    python benchmarks/throughput.py FILE [--documents N] [--queries N] [--rounds N] [--work DIR]

The first lines of FILE (.gz too) are the documents, the next ones the queries; the index stays in
DIR for the next run. In each round every way answers the same queries, with CPU time beside the
clock, because a machine may have other work: `search` one by one; `search_many`, 256 at a time;
`AsyncSearchIndex.search` by 32 clients, each of whom asks the next query when the last is answered;
`query --queries FILE --json`, which opens index and encoder first; and by hand: the same encoder,
256 queries at a time, a flat FAISS index of the same vectors, texts from a list.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import faiss
import numpy as np

from simsearch.cli import main as command_line
from simsearch.encoder import Encoder
from simsearch.records import Document
from simsearch.search_index import AsyncSearchIndex, SearchIndex

CLIENTS = 32
TOGETHER = 256
K = 10


def main() -> None:
    """Print a line for each way: the median of its rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    texts = list(itertools.islice(lines(given.file), given.documents + given.queries))
    documents, queries = texts[: given.documents], texts[given.documents :]
    with tempfile.TemporaryDirectory() as folder:
        path = (given.work or Path(folder)) / "index"
        encoder = Encoder.load()
        build(path, encoder, documents)
        questions = Path(folder) / "queries.txt"
        questions.write_text("".join(f"{query}\n" for query in queries), encoding="utf-8")
        with SearchIndex.open(path) as index:
            flat = by_hand(index, documents)
            handles = [warmed(path, queries[0]) for _ in range(given.rounds)]
            ways: dict[str, Callable[[], object]] = {
                "search, one by one": lambda: [index.search(query, K) for query in queries],
                "search_many": lambda: [index.search_many(part, K) for part in parts(queries)],
                f"{CLIENTS} async clients": lambda: asyncio.run(
                    asked_by_clients(handles.pop(), queries)
                ),
                "query --queries --json": lambda: asked_on_command_line(path, questions),
                "encoder and faiss by hand": lambda: [flat(index, part) for part in parts(queries)],
            }
            index.search_many(queries[:300], K)  # warm
            measure(ways, len(queries), rounds=given.rounds)


def lines(path: Path) -> Iterator[str]:
    """Yield the distinct lines of a file."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        yield from dict.fromkeys(line.strip() for line in file if line.strip())


def build(path: Path, encoder: Encoder, documents: Sequence[str]) -> None:
    """Make the index, if it is not there."""
    if not path.exists():
        with SearchIndex.create(path, encoder=encoder) as index:
            index.add([Document(str(number), text) for number, text in enumerate(documents)])


def parts(queries: Sequence[str]) -> Iterator[Sequence[str]]:
    """Divide queries into what is asked together."""
    return (queries[start : start + TOGETHER] for start in range(0, len(queries), TOGETHER))


def by_hand(index: SearchIndex, documents: Sequence[str]) -> Callable[..., list[object]]:
    """Return a search of a flat index of the same vectors."""
    found = index.embeddings_of_texts(documents)
    flat = faiss.IndexFlatIP(index.dim)
    flat.add(np.stack([found[text] for text in documents]))

    def search(index: SearchIndex, queries: Sequence[str]) -> list[object]:
        similarities, rows = flat.search(index.encoder.encode_queries(queries), K)
        return [
            [(row, score, documents[row]) for row, score in zip(*own, strict=True)]
            for own in zip(rows.tolist(), similarities.tolist(), strict=True)
        ]

    return search


def warmed(path: Path, query: str) -> SearchIndex:
    """Return an open index that has its encoder and vectors in memory."""
    index = SearchIndex.open(path)
    index.search(query)
    return index


async def asked_by_clients(opened: SearchIndex, queries: Sequence[str]) -> None:
    """Ask every query once, and close the index."""
    left = iter(queries)

    async def ask(index: AsyncSearchIndex) -> None:
        for query in left:
            await index.search(query, K)

    async with AsyncSearchIndex(opened) as index:
        await asyncio.gather(*(ask(index) for _ in range(CLIENTS)))


def asked_on_command_line(path: Path, questions: Path) -> None:
    """Run the command in this process."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        code = command_line(["query", "--queries", str(questions), "-i", str(path), "--json"])
    if code:
        raise SystemExit(code)


def measure(ways: dict[str, Callable[[], object]], count: int, *, rounds: int) -> None:
    """Let every way run in turn, so that other work of the machine meets all of them."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            clock, cpu = time.perf_counter(), time.process_time()
            run()
            seconds[name].append((time.perf_counter() - clock, time.process_time() - cpu))
    first = np.median([cpu for _, cpu in seconds[next(iter(ways))]])
    for name, found in seconds.items():
        clock, cpu = (float(np.median(each)) for each in zip(*found, strict=True))
        print(
            f"{name:28} {count / clock:8.0f} queries/s {1000 * cpu / count:8.2f} ms of CPU each "
            f"{first / cpu:6.2f} x"
        )


if __name__ == "__main__":
    main()
