"""Documents that say the same: all pairs over a similarity, and the groups that they make."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from simsearch.ann import NearPairs, PairFinder, rounded
from simsearch.corpus.grouping import Forest
from simsearch.corpus.reading import Corpus, opened_corpus
from simsearch.errors import InvalidInput
from simsearch.search_index import SearchIndex

IntArray = npt.NDArray[np.int64]
# Called with how much is done, and how much there is.
Advance = Callable[[int, int], None]

THRESHOLD: Final = 0.95
MAX_PAIRS: Final = 10_000_000  # 240 MB, and some times that while they are sorted
_READ: Final = 4_096  # vectors that are compared with one at a time


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A document of a group, and how similar it is to the one that is kept.

    That may be below the threshold: then it is one over it to another document of the group.
    """

    id: str
    similarity: float


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Documents that pairs over the threshold connect, in the order of the index.

    `kept` is the first of them.
    """

    kept: str
    others: tuple[Duplicate, ...]


@dataclass(frozen=True, slots=True)
class DuplicateReport:
    """The groups among `documents` documents, in the order of those that are kept.

    `pairs` is how many pairs are over the threshold.
    """

    threshold: float
    documents: int
    pairs: int
    groups: tuple[DuplicateGroup, ...]

    @property
    def superfluous(self) -> int:
        """How many documents are not kept."""
        return sum(len(group.others) for group in self.groups)


@dataclass(frozen=True, slots=True)
class SimilarPair:
    """Two documents, in the order of the index, and how similar they are."""

    first: str
    second: str
    similarity: float


@dataclass(frozen=True, slots=True)
class SimilarPairs:
    """Pairs in the order of the index; each is made when it is asked for."""

    ids: Sequence[str]
    found: NearPairs

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[SimilarPair]:
        for start in range(0, len(self), _READ):
            its = slice(start, start + _READ)
            yield from (
                SimilarPair(self.ids[first], self.ids[second], similarity)
                for first, second, similarity in zip(
                    self.found.first[its].tolist(),
                    self.found.second[its].tolist(),
                    self.found.similarity[its].tolist(),
                    strict=True,
                )
            )


def check_threshold(threshold: float) -> float:
    """Refuse a similarity that is not over 0 and at most 1."""
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise InvalidInput(f"threshold must be a number, got {type(threshold).__name__}")
    if not math.isfinite(threshold) or not 0 < threshold <= 1:
        raise InvalidInput(f"threshold must be over 0 and at most 1, got {threshold!r}")
    return float(threshold)


def find_duplicates(
    index: SearchIndex,
    *,
    threshold: float = THRESHOLD,
    where: str | None = None,
    advance: Advance | None = None,
) -> DuplicateReport:
    """Return the groups of documents that pairs with a similarity of `threshold` or more connect.

    All pairs are found, also where searches are approximate: every two documents are compared.
    Similarities are cosines, rounded to six digits. Documents of several passages are similar if
    each passage of either has one in the other that is; their similarity is the lowest of these.
    `where`: only the documents that a filter lets through are compared with each other. `advance`
    is told how many blocks are compared, and how many there are. Nothing is written, and searches
    by the same handle go on meanwhile.

    Raises:
        InvalidInput: `threshold` is not over 0 and at most 1; or documents have several passages,
            of which more than ten million pairs are over it.
        InvalidFilter: `where` is no filter, or names a field that no document has.
    """
    threshold = check_threshold(threshold)
    with opened_corpus(index, where) as corpus:
        forest, pairs = Forest(len(corpus)), 0
        for part in _document_pairs(corpus, threshold, MAX_PAIRS, advance):
            forest.join(part.first, part.second)
            pairs += len(part)
        groups = tuple(_groups(corpus, forest.roots()))
        return DuplicateReport(threshold, len(corpus), pairs, groups)


def similar_pairs(
    index: SearchIndex,
    *,
    threshold: float = THRESHOLD,
    where: str | None = None,
    max_pairs: int = MAX_PAIRS,
    advance: Advance | None = None,
) -> SimilarPairs:
    """Return every pair of documents with a similarity of `threshold` or more, as above.

    Raises:
        InvalidInput: as above, or there are more than `max_pairs`.
        InvalidFilter: as above.
    """
    threshold = check_threshold(threshold)
    with opened_corpus(index, where) as corpus:
        parts = _document_pairs(corpus, threshold, max_pairs, advance)
        found = _collected(parts, threshold, max_pairs)
        order = np.lexsort((found.second, found.first))
        ordered = NearPairs(found.first[order], found.second[order], found.similarity[order])
        return SimilarPairs(corpus.ids, ordered)


def _document_pairs(
    corpus: Corpus, threshold: float, max_pairs: int, advance: Advance | None
) -> Iterator[NearPairs]:
    """Yield the pairs of documents, named by their places, part by part."""
    if len(corpus) < 2:
        return
    finder = PairFinder(corpus.read_rows, len(corpus.rows), threshold=threshold)
    found = finder.all_pairs(advance)
    if corpus.single:
        yield from found
    else:
        yield whole_pairs(_collected(found, threshold, max_pairs), corpus.owners())


def _collected(found: Iterable[NearPairs], threshold: float, max_pairs: int) -> NearPairs:
    parts, count = list[NearPairs](), 0
    for part in found:
        count += len(part)
        if count > max_pairs:
            raise InvalidInput(
                f"more than {max_pairs:,} pairs have a similarity of {threshold:g} or more "
                "(take a higher threshold)"
            )
        if len(part):
            parts.append(part)
    none = np.empty(0, dtype=np.int64)
    return NearPairs(
        np.concatenate([none, *(part.first for part in parts)]),
        np.concatenate([none, *(part.second for part in parts)]),
        np.concatenate([np.empty(0), *(part.similarity for part in parts)]),
    )


def whole_pairs(rows: NearPairs, owners: IntArray) -> NearPairs:
    """Return the pairs of documents of which every passage has a partner in the other one.

    `rows` are pairs of passages over the threshold, `owners` (m,) the document of each passage,
    ascending. The similarity of two documents is the lowest one of a passage and its best partner.
    """
    sizes = np.bincount(owners)
    count = len(sizes)
    # Each passage is asked for its best partner in each other document, so each pair counts twice.
    own = np.concatenate([rows.first, rows.second])
    partner = owners[np.concatenate([rows.second, rows.first])]
    similarity = np.concatenate([rows.similarity, rows.similarity])
    strange = owners[own] != partner
    own, partner, similarity = own[strange], partner[strange], similarity[strange]
    order = np.lexsort((-similarity, partner, own))
    own, partner, similarity = own[order], partner[order], similarity[order]
    best = np.ones(len(own), dtype=bool)
    best[1:] = (own[1:] != own[:-1]) | (partner[1:] != partner[:-1])
    own, partner, similarity = own[best], partner[best], similarity[best]
    low, high = np.minimum(owners[own], partner), np.maximum(owners[own], partner)
    keys, places = np.unique(low * count + high, return_inverse=True)
    lowest = np.full(len(keys), np.inf)
    np.minimum.at(lowest, places, similarity)
    first, second = np.divmod(keys, count)
    whole = np.bincount(places, minlength=len(keys)) == sizes[first] + sizes[second]
    return NearPairs(first[whole], second[whole], lowest[whole])


def _groups(corpus: Corpus, roots: IntArray) -> Iterator[DuplicateGroup]:
    """Yield the groups of two or more, in the order of their first documents."""
    order = np.argsort(roots, kind="stable")
    ends = np.flatnonzero(np.diff(roots[order], append=-1)) + 1
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    several = ends - starts > 1
    for start, end in zip(starts[several].tolist(), ends[several].tolist(), strict=True):
        first, others = int(order[start]), order[start + 1 : end]
        likenesses = _likenesses(corpus, first, others)
        yield DuplicateGroup(
            corpus.ids[first],
            tuple(
                Duplicate(corpus.ids[place], likeness)
                for place, likeness in zip(others.tolist(), likenesses, strict=True)
            ),
        )


def _likenesses(corpus: Corpus, first: int, others: IntArray) -> list[float]:
    """Return how similar each of the other documents is to the first."""
    its = _passages(corpus, first)
    if not corpus.single:
        return [_whole_likeness(its, _passages(corpus, other)) for other in others.tolist()]
    likenesses = list[float]()
    for start in range(0, len(others), _READ):
        portion = corpus.read_places(others[start : start + _READ])
        likenesses += rounded(portion.astype(np.float64) @ its[0]).tolist()
    return likenesses


def _passages(corpus: Corpus, place: int) -> npt.NDArray[np.float64]:
    rows = corpus.read_rows(int(corpus.offsets[place]), int(corpus.offsets[place + 1]))
    return rows.astype(np.float64)


def _whole_likeness(its: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> float:
    products = rounded(its @ others.T)
    return float(min(products.max(axis=0).min(), products.max(axis=1).min()))
