"""The documents of an index and their vectors, as they are in one commit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.ann import SegmentedIndex
from simsearch.query import parse_filter
from simsearch.records import Document
from simsearch.search_index import FilteredRows, SearchIndex
from simsearch.storage import DocumentStore

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents in the order of the index, and the rows of their vectors.

    `numbers` (n,) and `ids` are theirs; `rows` (m,) are those of all, ascending, of which the
    document at place p has those at `offsets[p]` to `offsets[p + 1]`. Vectors are read where they
    lie, and only in the snapshot in which the corpus was opened.
    """

    store: DocumentStore
    vectors: SegmentedIndex
    numbers: IntArray
    ids: Sequence[str]
    rows: IntArray
    offsets: IntArray

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def single(self) -> bool:
        """Whether every document has one row."""
        return len(self.rows) == len(self)

    def owners(self) -> IntArray:
        """Return the place of the document that each row belongs to, (m,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def read_rows(self, start: int, stop: int) -> FloatArray:
        """Return the vectors of rows, by their places among all of them."""
        return self.vectors.vectors_at(self.rows[start:stop])

    def read_documents(self, start: int, stop: int) -> FloatArray:
        """Return one vector for each document from one place to another, (stop - start, dim).

        Of several passages it is the direction of their mean, or the first, if they cancel out.
        """
        begin, end = int(self.offsets[start]), int(self.offsets[stop])
        rows = self.read_rows(begin, end)
        if end - begin == stop - start:
            return rows
        first = self.offsets[start:stop] - begin
        sums = np.add.reduceat(rows, first, axis=0)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return np.where(lengths > 1e-6, sums / np.maximum(lengths, 1e-6), rows[first])

    def read_places(self, places: IntArray) -> FloatArray:
        """Return the vectors of documents at any places, one for each, (n, dim)."""
        if self.single:
            return self.vectors.vectors_at(self.rows[places])
        each = [self.read_documents(place, place + 1) for place in places.tolist()]
        return np.vstack([np.empty((0, self.vectors.rest.dim), dtype=np.float32), *each])

    def documents(self, places: Sequence[int] | IntArray) -> list[Document]:
        """Return the documents at these places."""
        numbers = self.numbers[np.asarray(places, dtype=np.int64)].tolist()
        found = self.store.fetch_numbers(numbers)
        return [found[number] for number in numbers]


@contextlib.contextmanager
def opened_corpus(index: SearchIndex, where: str | None = None) -> Iterator[Corpus]:
    """Give the documents of an index, of those alone that a filter lets through.

    They are read by a handle of their own, so that searches by `index` go on meanwhile.

    Raises:
        InvalidFilter: `where` is no filter, or names a field that no document has.
        CorruptIndex: documents or vectors are lost.
    """
    wanted = None if where is None else parse_filter(where)
    with SearchIndex.open(index.path) as own, own.live_rows() as (vectors, store):
        outline = store.outline()
        numbers = np.array([number for number, _, _ in outline], dtype=np.int64)
        counts = np.array([rows for _, rows, _ in outline], dtype=np.int64)
        ids = [document_id for _, _, document_id in outline]
        if wanted is not None:
            passing = FilteredRows(store).rows(wanted)
            # Of a document all rows pass, or none.
            chosen = np.isin(numbers, passing)
            numbers, counts = numbers[chosen], counts[chosen]
            ids = [ids[place] for place in np.flatnonzero(chosen).tolist()]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.repeat(numbers - offsets[:-1], counts) + np.arange(offsets[-1])
        yield Corpus(store, vectors, numbers, ids, rows, offsets)
