"""Communities: a document in the middle, and those that are similar to it.

The star clustering of Aslam, Pelekhov and Rus ("The star clustering algorithm for static and
dynamic information organization", 2004), without overlaps: of all documents that belong to none
yet, the one with the most neighbours over the threshold becomes the middle of a community, and
takes those of its neighbours that are free. (What sentence-transformers calls community detection
does nearly so.) The graph of all neighbours is never held: they are counted first, and looked up
again for those that may become a middle, so memory grows with the documents alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from simsearch.ann import PairFinder

IntArray = npt.NDArray[np.int64]
Advance = Callable[[int, int], None]
# Called with the name of a stage that begins; returns what tells how far it is.
Stage = Callable[[str], Advance]

NONE: Final = -1  # the community of a document that is in none
_MIDDLES: Final = 256  # whose neighbours are looked up in one go
_NEIGHBOURS: Final = 4_000_000  # which are so many at most, or those of one


def communities(finder: PairFinder, *, min_size: int, stage: Stage) -> IntArray:
    """Return for each row the number of its community, NONE if it is in none, (n,).

    Every community has `min_size` rows or more. They are numbered as they are made; of rows with
    equally many neighbours the first one becomes a middle.
    """
    counts = np.ones(finder.count, dtype=np.int64)  # of neighbours, itself among them
    for pairs in finder.all_pairs(stage("comparing")):
        np.add.at(counts, pairs.first, 1)
        np.add.at(counts, pairs.second, 1)
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] >= min_size]
    labels = np.full(finder.count, NONE, dtype=np.int64)
    advance, made, at = stage("grouping"), 0, 0
    while at < len(order):
        end = at + _affordable(counts[order[at : at + _MIDDLES]])
        middles = order[at:end]
        middles = middles[labels[middles] == NONE]
        for its in _free_neighbours(finder, middles, labels):
            free = its[labels[its] == NONE]
            if len(free) >= min_size:
                labels[free] = made
                made += 1
        at = end
        advance(at, len(order))
    return labels


def _affordable(counts: IntArray) -> int:
    """Return of how many rows the neighbours may be looked up together, 1 or more."""
    return max(1, int(np.searchsorted(np.cumsum(counts), _NEIGHBOURS, side="right")))


def _free_neighbours(finder: PairFinder, middles: IntArray, labels: IntArray) -> Iterator[IntArray]:
    """Yield the neighbours of each row that were in no community when this began.

    None of a row that was taken by a middle before it.
    """
    if not len(middles):
        return
    free = labels == NONE
    firsts, seconds = list[IntArray](), list[IntArray]()
    for pairs in finder.neighbours(middles):
        open_ones = free[pairs.second]
        firsts.append(pairs.first[open_ones])
        seconds.append(pairs.second[open_ones])
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    place = np.empty(len(labels), dtype=np.int64)
    place[middles] = np.arange(len(middles))
    order = np.argsort(place[first], kind="stable")
    ends = np.cumsum(np.bincount(place[first], minlength=len(middles)))
    for middle, its in zip(middles, np.split(second[order], ends[:-1]), strict=True):
        yield its if labels[middle] == NONE else its[:0]
