"""Nearest rows into nearest documents: a document scores by its best passage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.ann import SegmentedIndex
from simsearch.records import Document, Hit
from simsearch.storage import DocumentStore, StoredPassage

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

# How many times deeper the next look goes where the last one met too few documents.
_DEEPER = 4
# Rows that are looked at in one go, over all queries: 50 MB of row numbers and similarities.
_CELLS = 1 << 22


@dataclass(frozen=True, slots=True)
class Match:
    """The best passage of a document for a query."""

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
) -> list[list[Hit]]:
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
            passages = store.passages_at(sorted({row for its_rows in rows for row in its_rows}))
            for position, its_rows, its_similarities in zip(
                portion.tolist(), rows, similarities.tolist(), strict=True
            ):
                matches[position] = _best_passages(its_rows, its_similarities, passages, k)
        if depth >= rows_to_see:
            break
        waiting = waiting[[len(matches[position]) < k for position in waiting]]
        depth *= _DEEPER
    met = {match.passage.document for its in matches for match in its}
    documents = store.fetch_numbers(list(met))
    return [[_hit(documents[match.passage.document], match) for match in its] for its in matches]


def _hit(document: Document, match: Match) -> Hit:
    place = match.passage.start, match.passage.stop
    return Hit(
        id=document.id,
        score=max(-1.0, min(1.0, match.similarity)),  # rounding of unit vectors gives 1.0000002
        text=document.text,
        title=document.title,
        metadata=document.metadata,
        passage=None if place == (0, len(document.text)) else place,
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
            best[passage.document] = Match(passage, similarity)
            if len(best) == k:
                break
    return list(best.values())
