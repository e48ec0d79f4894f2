"""A corpus on a plane: what is alike lies near, in the colour of a field or of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from simsearch.ann import kmeans
from simsearch.corpus.colouring import PALETTE, Groups, Scale, colouring_by_field
from simsearch.corpus.keywords import Background
from simsearch.corpus.layout import Projection, as_projection, places_on_plane
from simsearch.corpus.reading import Corpus, opened_corpus
from simsearch.errors import InvalidInput
from simsearch.files import check_target, replace_file, translated_os_errors
from simsearch.records import Document
from simsearch.search_index import SearchIndex, refuse_unknown_field

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

SAMPLE: Final = 10_000
MAX_SAMPLE: Final = 100_000
CLUSTERS: Final = 8
_NAMED_BY: Final = 50  # the most central texts of a cluster, whose words name it
_SHOWN: Final = 300  # characters of a text


@dataclass(frozen=True, slots=True)
class CorpusMap:
    """Some of `documents` documents of an index on a plane, in the order of the index.

    `places` (n, 2) are between -1 and 1; `texts` are as they are shown, in one line and cut.
    """

    title: str
    method: Projection
    documents: int
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    places: FloatArray
    colouring: Groups | Scale

    def __len__(self) -> int:
        return len(self.ids)


def map_documents(
    index: SearchIndex,
    *,
    method: Projection | str = Projection.PCA,
    color_by: str | None = None,
    clusters: int | None = None,
    sample: int = SAMPLE,
    seed: int = 0,
    where: str | None = None,
) -> CorpusMap:
    """Return up to `sample` documents, drawn evenly by `seed`, as places on a plane.

    Coloured by the metadata field `color_by`, or by clusters (k-means, 8 if nothing is said), which
    are named by their words. `method` pca takes the two directions in which the vectors differ
    most; tsne needs openTSNE. Documents of several passages are as the mean of them.

    Raises:
        InvalidInput: there is no document; no document has the field; a number is out of range;
            openTSNE is not installed.
        InvalidFilter: `where` is no filter, or names a field that no document has.
    """
    projection = as_projection(method)
    _check_range("sample", sample, MAX_SAMPLE)
    if clusters is not None:
        _check_range("clusters", clusters, len(PALETTE))
        if color_by is not None:
            raise InvalidInput("a map is coloured by a field or by clusters: give one of them")
    with opened_corpus(index, where) as corpus:
        if not len(corpus):
            raise InvalidInput(f"{index.path} has no document to draw")
        if color_by is not None:
            refuse_unknown_field(corpus.store, color_by)
        chosen = _sampled(corpus, sample, seed)
        vectors, documents = corpus.read_places(chosen), corpus.documents(chosen)
        total = len(corpus)
    if color_by is None:
        colouring: Groups | Scale = _by_cluster(vectors, documents, clusters or CLUSTERS, seed)
    else:
        colouring = colouring_by_field([document.metadata for document in documents], color_by)
    return CorpusMap(
        title=index.path.name,
        method=projection,
        documents=total,
        ids=tuple(document.id for document in documents),
        texts=tuple(_shown(document) for document in documents),
        places=places_on_plane(vectors, projection, seed=seed),
        colouring=colouring,
    )


def check_map_target(path: Path) -> None:
    """Refuse a path that no map can be written to.

    Raises:
        InvalidInput: it ends neither with .html nor with .png, or cannot become a file.
    """
    if path.suffix.lower() not in (".html", ".png"):
        raise InvalidInput(f"{path}: a map is written as .html or .png, got {path.suffix!r}")
    check_target(path)


def write_map(corpus_map: CorpusMap, path: Path) -> None:
    """Write a map as a page (.html) or a picture (.png); a file that is there is replaced whole.

    Raises:
        InvalidInput: as `check_map_target`.
        SystemFailure: it cannot be written.
    """
    check_map_target(path)
    if path.suffix.lower() == ".html":
        from simsearch.corpus.map_page import page_of

        content = page_of(corpus_map).encode("ascii")
    else:
        from simsearch.corpus.map_picture import picture_of

        content = picture_of(corpus_map)
    with translated_os_errors(path), replace_file(path) as file:
        file.write(content)


def _check_range(name: str, value: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidInput(f"{name} must be 1..{most:,}, got {value!r}")


def _sampled(corpus: Corpus, sample: int, seed: int) -> IntArray:
    if len(corpus) <= sample:
        return np.arange(len(corpus))
    return np.sort(np.random.default_rng(seed).choice(len(corpus), sample, replace=False))


def _by_cluster(
    vectors: FloatArray, documents: Sequence[Document], clusters: int, seed: int
) -> Groups:
    """Return clusters, the largest first, each named by the words that tell it from the others."""
    centroids = kmeans(vectors, min(clusters, len(vectors)), seed=seed)
    products = vectors @ centroids.T
    nearest = products.argmax(axis=1)
    sizes = np.bincount(nearest, minlength=len(centroids))
    background = Background(documents)
    names, members = list[str](), np.zeros(len(vectors), dtype=np.int64)
    for label in np.lexsort((np.arange(len(sizes)), -sizes)).tolist():
        places = np.flatnonzero(nearest == label)
        if not len(places):
            continue
        central = places[np.argsort(-products[places, label], kind="stable")][:_NAMED_BY]
        terms = background.telling_terms(
            [documents[place] for place in central.tolist()], 3, part=len(places) / len(vectors)
        )
        members[places] = len(names)
        names.append(", ".join(terms) or f"cluster {len(names) + 1}")
    return Groups("clusters", tuple(names), members, len(names))


def _shown(document: Document) -> str:
    text = " ".join(document.content[: 4 * _SHOWN].split())
    return text if len(text) <= _SHOWN else text[:_SHOWN].rstrip() + "…"
