"""The documents nearest to one that is in the index, by its stored vectors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simsearch.errors import NotFound
from simsearch.records import Hit
from simsearch.search_index.candidates import Found, Reader, hit_of
from simsearch.search_index.checks import askable_ids
from simsearch.search_index.nearest import Match, nearest_documents

IntArray = npt.NDArray[np.int64]


def similar_documents(
    reader: Reader, document_id: str, k: int, *, among: IntArray | None = None
) -> list[Hit]:
    """Return up to `k` hits, best first; equal ones in the order of the index. In a snapshot.

    `among`: only documents with these rows, ascending.

    Raises:
        NotFound: no document has that id.
        InvalidInput: the id is none.
    """
    store = reader.store
    number = next((store.number_of(each) for each in askable_ids([document_id])), None)
    if number is None:
        raise NotFound(
            f"no document has the id {document_id!r} (take the id of a hit, or of the corpus)"
        )
    rows = reader.vectors.vectors_at(store.rows_of([number]))
    # One more, for the nearest of all is the document itself.
    found = nearest_documents(
        reader.vectors,
        store,
        rows,
        k + 1,
        depth=2 * (k + 1) if reader.several_rows else k + 1,
        among=among,
        exact=reader.exact,
    )
    best: dict[int, Match] = {}
    for match in (match for matches in found for match in matches):
        other = match.passage.document
        if other != number and (other not in best or match.similarity > best[other].similarity):
            best[other] = match
    order = sorted(best, key=lambda other: (-best[other].similarity, other))[:k]
    documents = store.fetch_numbers(order)
    return [hit_of(documents[other], _found(other, best[other])) for other in order]


def _found(number: int, match: Match) -> Found:
    score = match.similarity
    return Found(number, score, {"dense": score}, score, None, match, None)
