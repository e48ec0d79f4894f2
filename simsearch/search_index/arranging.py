"""The best candidates as they are, one of each group, or so that they do not all say the same."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Final

import numpy as np

from simsearch.errors import InvalidInput
from simsearch.query import Fusion, SearchMode, diverse_order, first_of_each
from simsearch.records import Hit
from simsearch.search_index.candidates import Asked, Found, Reader, ranked
from simsearch.search_index.filtering import refuse_unknown_field

# How many candidates diverse hits are chosen from: at least so many, or so many times k.
_POOL: Final = 100
_POOL_TIMES: Final = 4
# How many times deeper the next look goes where the last one met too few groups.
_DEEPER: Final = 4


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How hits are chosen among what a query meets.

    `diversity` 0 takes the best; more gives room to what is unlike the hits before. `group_by` is
    a metadata field, of each value of which only the best document is taken.
    """

    mode: SearchMode
    fusion: Fusion
    diversity: float = 0.0
    group_by: str | None = None


def check_diversity(diversity: float) -> float:
    """Refuse a diversity that is not 0 to 1."""
    number = isinstance(diversity, Real) and not isinstance(diversity, bool)
    if not (number and 0 <= diversity <= 1):
        raise InvalidInput(f"diversity must be 0..1, got {diversity!r}")
    return float(diversity)


def arranged(reader: Reader, asked: Asked, k: int, arrangement: Arrangement) -> list[list[Hit]]:
    """Return up to `k` hits of each query, best first; inside a snapshot.

    Raises:
        InvalidInput: no document has the field to group by.
    """
    n = k if not arrangement.diversity else max(_POOL, _POOL_TIMES * k)
    if arrangement.group_by is None:
        found = _look(reader, asked, n, arrangement)
    else:
        found = _grouped(reader, asked, n, arrangement, arrangement.group_by)
    if arrangement.diversity:
        found = [_diverse(reader, its, k, arrangement.diversity) for its in found]
    return reader.hits(found)


def _look(reader: Reader, asked: Asked, n: int, arrangement: Arrangement) -> list[list[Found]]:
    met = reader.met(asked, max(n, 2), arrangement.mode)  # a hit's lead is over another one
    return [ranked(each, n, mode=arrangement.mode, fusion=arrangement.fusion) for each in met]


def _grouped(
    reader: Reader, asked: Asked, k: int, arrangement: Arrangement, field: str
) -> list[list[Found]]:
    """Look deeper for a query that met fewer than `k` groups, until it has met all there are."""
    refuse_unknown_field(reader.store, field)
    k = min(k, reader.store.metadata.count_groups(field))
    results = []
    for query, found in enumerate(_look(reader, asked, _DEEPER * k, arrangement)):
        depth, firsts = _DEEPER * k, _firsts(reader, found, field, k)
        while len(firsts) < k and len(found) >= depth:  # one query at a time: it may meet them all
            depth *= _DEEPER
            (found,) = _look(reader, asked.at([query]), depth, arrangement)
            firsts = _firsts(reader, found, field, k)
        results.append(firsts)
    return results


def _firsts(reader: Reader, found: list[Found], field: str, k: int) -> list[Found]:
    """Return the first of each of up to `k` groups of what was found."""
    documents = reader.store.fetch_numbers([each.number for each in found])
    metadata = [documents[each.number].metadata for each in found]
    return [found[place] for place in first_of_each(metadata, field, k)]


def _diverse(reader: Reader, found: list[Found], k: int, diversity: float) -> list[Found]:
    # A document that only words have found is as its first passage.
    rows = [each.match.row if each.match else each.number for each in found]
    its = reader.vectors.vectors_at(np.array(rows, dtype=np.int64))
    scores = np.array([each.score for each in found])
    return [found[place] for place in diverse_order(scores, its, k, diversity=diversity)]
