"""Which documents go together, and what each group of them is about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from simsearch.ann import PairFinder, blocks, kmeans, rounded
from simsearch.corpus.communities import NONE, Stage, communities
from simsearch.corpus.duplicates import check_threshold
from simsearch.corpus.keywords import Background
from simsearch.corpus.reading import Corpus, opened_corpus
from simsearch.errors import InvalidInput
from simsearch.records import Document
from simsearch.search_index import SearchIndex

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

THRESHOLD: Final = 0.75
MIN_SIZE: Final = 5
_TAUGHT: Final = 131_072  # documents by which k-means finds its centroids: 200 MB in dim 384
_READ_FOR_TERMS: Final = 50  # texts of a cluster, the most central ones
_BACKGROUND: Final = 5_000  # texts of the corpus
_TERMS: Final = 5


@dataclass(frozen=True, slots=True)
class Cluster:
    """Documents that go together.

    `members` are their ids, the most central first; `representatives` the first of them.
    `cohesion` is the mean similarity of two members, 1 where there is one; `terms` are words that
    tell its texts from the others.
    """

    size: int
    cohesion: float
    terms: tuple[str, ...]
    representatives: tuple[Document, ...]
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """The clusters of `documents` documents, the largest first; `unclustered` are in none."""

    documents: int
    unclustered: int
    clusters: tuple[Cluster, ...]


def cluster_documents(
    index: SearchIndex,
    *,
    threshold: float = THRESHOLD,
    min_size: int = MIN_SIZE,
    clusters: int | None = None,
    seed: int = 0,
    where: str | None = None,
    representatives: int = 3,
    stage: Stage | None = None,
) -> ClusterReport:
    """Return what goes together: communities over a similarity, or so many clusters by k-means.

    A community is a document with `min_size` - 1 or more others that are as similar to it as
    `threshold`; one that is in no such neighbourhood is in none. With `clusters` every document is
    in one, the nearest of centroids that depend on `seed`. A document of several passages is as
    the mean of them. `stage` is called when a long stage begins, and returns what is told how far
    it is. Nothing is written, and searches by the same handle go on meanwhile.

    Raises:
        InvalidInput: `threshold` is not over 0 and at most 1; `min_size` is below 2; there are
            fewer documents than `clusters`, or these are below 1.
        InvalidFilter: `where` is no filter, or names a field that no document has.
    """
    check_threshold(threshold)
    _check_number("min_size", min_size, 2)
    _check_number("representatives", representatives, 1)
    if clusters is not None:
        _check_number("clusters", clusters, 1)
    begin = stage or (lambda _: lambda done, total: None)
    with opened_corpus(index, where) as corpus:
        if not len(corpus):
            return ClusterReport(0, 0, ())
        if clusters is None:
            finder = PairFinder(corpus.read_documents, len(corpus), threshold=threshold)
            labels = communities(finder, min_size=min_size, stage=begin)
        else:
            labels = nearest_centroids(corpus, clusters, seed=seed)
        described = tuple(_described(corpus, labels, representatives))
        return ClusterReport(len(corpus), int(np.count_nonzero(labels == NONE)), described)


def _check_number(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInput(f"{name} must be a whole number of {least} or more, got {value!r}")


def nearest_centroids(corpus: Corpus, clusters: int, *, seed: int) -> IntArray:
    """Return for each document which of so many centroids is nearest, (n,).

    Raises:
        InvalidInput: there are fewer documents.
    """
    if clusters > len(corpus):
        raise InvalidInput(f"{len(corpus):,} documents cannot make {clusters:,} clusters")
    count = min(len(corpus), max(_TAUGHT, clusters))
    chosen = np.sort(np.random.default_rng(seed).choice(len(corpus), count, replace=False))
    centroids = kmeans(corpus.read_places(chosen), clusters, seed=seed)
    labels = np.empty(len(corpus), dtype=np.int64)
    for start, stop in blocks(len(corpus)):
        labels[start:stop] = (corpus.read_documents(start, stop) @ centroids.T).argmax(axis=1)
    return labels


def _described(corpus: Corpus, labels: IntArray, representatives: int) -> Iterator[Cluster]:
    """Yield the clusters, the largest first; of equal ones that whose first document comes first.

    `labels` (n,) say in which a document is; numbers without a document are passed over.
    """
    sizes = np.bincount(labels[labels != NONE])
    if not len(sizes):
        return
    sums, centrality = _centres(corpus, labels, len(sizes))
    order = np.lexsort((np.arange(len(labels)), -centrality, labels))
    order = order[labels[order] != NONE]
    ends = np.cumsum(sizes)
    firsts = np.full(len(sizes), len(labels))
    np.minimum.at(firsts, labels[labels != NONE], np.flatnonzero(labels != NONE))
    background = Background(_spread_documents(corpus))
    for label in np.lexsort((firsts, -sizes)).tolist():
        size = int(sizes[label])
        if not size:
            continue
        members = order[ends[label] - size : ends[label]]
        central = corpus.documents(members[: max(_READ_FOR_TERMS, representatives)])
        yield Cluster(
            size=size,
            cohesion=_cohesion(sums[label], size),
            terms=background.telling_terms(
                central[:_READ_FOR_TERMS], _TERMS, part=size / len(corpus)
            ),
            representatives=tuple(central[:representatives]),
            members=tuple(corpus.ids[place] for place in members.tolist()),
        )


def _centres(
    corpus: Corpus, labels: IntArray, count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the sum of the vectors of each cluster (count, dim), and for each document how
    similar it is to the direction of that of its own (n,), 0 where it has none.
    """
    sums = np.zeros((count, corpus.vectors.rest.dim))
    for start, stop in blocks(len(corpus)):
        its = labels[start:stop]
        np.add.at(sums, its[its != NONE], corpus.read_documents(start, stop)[its != NONE])
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    directions = sums / np.maximum(lengths, 1e-12)
    centrality = np.zeros(len(corpus))
    for start, stop in blocks(len(corpus)):
        inside = np.flatnonzero(labels[start:stop] != NONE)
        rows = corpus.read_documents(start, stop)[inside]
        own = directions[labels[start + inside]]
        centrality[start + inside] = rounded(np.einsum("ij,ij->i", rows, own))
    return sums, centrality


def _cohesion(total: npt.NDArray[np.float64], size: int) -> float:
    """Return the mean similarity of two of `size` unit vectors, of which this is the sum (dim,)."""
    if size == 1:
        return 1.0
    return float(rounded(np.array((total @ total - size) / (size * (size - 1)))))


def _spread_documents(corpus: Corpus) -> list[Document]:
    count = min(len(corpus), _BACKGROUND)
    return corpus.documents(np.linspace(0, len(corpus) - 1, count).astype(np.int64))
