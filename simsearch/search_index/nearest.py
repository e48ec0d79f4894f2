"""Nearest rows into nearest documents: a document is as near as its best passage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.ann import SegmentedIndex
from simsearch.storage import DocumentStore, StoredPassage

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

# How many times deeper the next look goes where the last one met too few documents.
_DEEPER = 4
# Rows that are looked at in one go, over all queries: 50 MB of row numbers and similarities.
_CELLS = 1 << 22


@dataclass(frozen=True, slots=True)
class Match:
    """The best passage of a document for a query, and the row of its vector."""

    row: int
    passage: StoredPassage
    similarity: float


def nearest_documents(
    vectors: SegmentedIndex,
    store: DocumentStore,
    queries: FloatArray,
    k: int,
    *,
    depth: int,
    among: IntArray | None = None,
    exact: bool = False,
) -> list[list[Match]]:
    """Return the `k` nearest documents of each query (n, dim), best first; all if there are fewer.

    `depth` is how many rows are looked at first. A query that met fewer than `k` documents in
    them looks deeper, until it has met `k` or seen every row. `among`: only these rows are
    searched. `exact` compares every row, also where there is an approximate index. Call it inside
    a snapshot of the store whose vectors these are.

    Raises:
        CorruptIndex: a row has a vector but no document.
    """
    matches: list[list[Match]] = [[] for _ in queries]
    waiting = np.arange(len(queries))
    rows_to_see = len(vectors) if among is None else len(among)
    while len(waiting):
        for portion in _portions(waiting, depth):
            found, similarities = vectors.search(queries[portion], depth, among=among, exact=exact)
            rows = found.tolist()
            passages = store.passages.at(sorted({row for its_rows in rows for row in its_rows}))
            for position, its_rows, its_similarities in zip(
                portion.tolist(), rows, similarities.tolist(), strict=True
            ):
                matches[position] = _best_passages(its_rows, its_similarities, passages, k)
        if depth >= rows_to_see:
            break
        waiting = waiting[[len(matches[position]) < k for position in waiting]]
        depth *= _DEEPER
    return matches


def matches_among(
    vectors: SegmentedIndex, store: DocumentStore, query: FloatArray, numbers: Sequence[int]
) -> list[Match]:
    """Return the best passage of each of these documents for a query (dim,), in any order."""
    if not numbers:
        return []
    rows = store.rows_of(numbers)
    similarities = vectors.vectors_at(rows) @ query
    order = np.argsort(-similarities, kind="stable")
    passages = store.passages.at(rows.tolist())
    return _best_passages(
        rows[order].tolist(), similarities[order].tolist(), passages, len(numbers)
    )


def _portions(waiting: IntArray, depth: int) -> Iterator[IntArray]:
    size = max(1, _CELLS // depth)
    return (waiting[start : start + size] for start in range(0, len(waiting), size))


def _best_passages(
    rows: Sequence[int], similarities: Sequence[float], passages: dict[int, StoredPassage], k: int
) -> list[Match]:
    """Return the first row of each document; rows come best first."""
    best: dict[int, Match] = {}
    for row, similarity in zip(rows, similarities, strict=True):
        passage = passages[row]
        if passage.document not in best:
            # Rounding of unit vectors gives 1.0000002.
            best[passage.document] = Match(row, passage, max(-1.0, min(1.0, similarity)))
            if len(best) == k:
                break
    return list(best.values())
