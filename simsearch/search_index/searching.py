"""A search of an open index: vectors of the queries, and hits that belong to one commit."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from simsearch.ann import SegmentedIndex
from simsearch.errors import InvalidInput
from simsearch.formats import check_vectors
from simsearch.query import Filter, Fusion, SearchMode, parse_filter
from simsearch.records import Hit
from simsearch.search_index.arranging import Arrangement, arranged, check_diversity
from simsearch.search_index.binding import VectorSpace, query_embeddings
from simsearch.search_index.candidates import CANDIDATES, Asked, Met, Reader
from simsearch.search_index.checks import check_k, check_query
from simsearch.search_index.current_encoder import CurrentEncoder, Overtaken
from simsearch.search_index.filtering import FilteredRows
from simsearch.search_index.live_rows import LiveRows
from simsearch.search_index.passages import LongTexts, long_texts_of
from simsearch.search_index.probability import check_min_probability, probable
from simsearch.search_index.search_mode import as_search_mode, mode_choice
from simsearch.search_index.similar import similar_documents
from simsearch.storage import DocumentStore

FloatArray = npt.NDArray[np.float32]


class Searcher:
    """Searches one open index. `SearchIndex` says what each method promises.

    A query that was encoded before the index was switched to another encoder is encoded again.
    """

    def __init__(self, store: DocumentStore, encoder: CurrentEncoder) -> None:
        self._store = store
        self._encoder = encoder
        self._mutex = threading.RLock()  # of what is searched, which follows the commits
        self._rows = LiveRows(store)
        self._filtered = FilteredRows(store)

    def search_many(
        self,
        queries: Sequence[str],
        k: int,
        *,
        where: str | None,
        mode: SearchMode | str | None,
        fusion: Fusion | None,
        diversity: float,
        group_by: str | None,
        min_probability: float | None,
    ) -> list[list[Hit]]:
        """Return the hits of each query; see `SearchIndex.search_many`."""
        check_k(k)
        if isinstance(queries, str):
            raise InvalidInput("search_many takes several queries, got one string (pass [query])")
        for query in queries:
            check_query(query)
        wanted = None if where is None else parse_filter(where)
        if min_probability is not None:
            check_min_probability(self._store, min_probability)
        if not queries:
            return []
        chosen, fusion = self._way(mode, fusion)
        arrangement = Arrangement(chosen, fusion, check_diversity(diversity), group_by)
        if chosen is SearchMode.LEXICAL:
            if min_probability is not None:
                raise InvalidInput(
                    "a lexical search measures no similarity, so its hits have no probability "
                    "(take mode dense or hybrid)"
                )
            return self._search(Asked(queries, None), k, wanted, arrangement)
        while True:
            vectors, space = self._query_vectors(queries)
            with contextlib.suppress(Overtaken):
                found = self._search(Asked(queries, vectors), k, wanted, arrangement, space)
                return found if min_probability is None else probable(found, min_probability)

    def _way(
        self, mode: SearchMode | str | None, fusion: Fusion | None
    ) -> tuple[SearchMode, Fusion]:
        """Return how to search: as was asked, else as was measured best on this index."""
        asked = None if mode is None else as_search_mode(mode)
        if asked is None or (asked is SearchMode.HYBRID and fusion is None):
            with self._store.snapshot():
                choice = mode_choice(self._store)
            asked, fusion = asked or choice.mode, fusion or choice.fusion
        return asked, fusion or Fusion()

    def search_vectors(
        self, vectors: FloatArray, k: int, *, where: str | None, exact: bool
    ) -> list[list[Hit]]:
        """Return the hits of each row of `vectors`; see `SearchIndex.search_vectors`."""
        check_k(k)
        wanted = None if where is None else parse_filter(where)
        arrangement = Arrangement(SearchMode.DENSE, Fusion())
        while True:
            space = self._encoder.refuse_switched()
            checked = check_vectors(vectors, rows=None, dim=space.dim)
            asked = Asked([""] * len(checked), checked)
            with contextlib.suppress(Overtaken):
                return self._search(asked, k, wanted, arrangement, space, exact=exact)

    def similar(self, document_id: str, k: int, *, where: str | None, exact: bool) -> list[Hit]:
        """Return the documents nearest to one of the index; see `SearchIndex.similar`."""
        check_k(k)
        wanted = None if where is None else parse_filter(where)
        with self.live_rows():
            among = None if wanted is None else self._filtered.rows(wanted)
            return similar_documents(self._reader(exact=exact), document_id, k, among=among)

    def meet(self, queries: Sequence[str]) -> list[tuple[Met, dict[int, str]]]:
        """Return the candidates of a hybrid search of each query, and their ids by number."""
        while True:
            vectors, space = self._query_vectors(queries)
            with contextlib.suppress(Overtaken), self.live_rows():
                self._encoder.check(space)
                reader = self._reader()
                met = reader.met(Asked(queries, vectors), CANDIDATES, SearchMode.HYBRID)
                return [(each, reader.ids(each)) for each in met]

    @contextlib.contextmanager
    def live_rows(self) -> Iterator[tuple[SegmentedIndex, DocumentStore]]:
        """Give what is searched, and the store, in the snapshot that both belong to."""
        with self._mutex, self._store.snapshot():
            self._refresh()
            yield self._rows.index, self._store

    def _search(
        self,
        asked: Asked,
        k: int,
        wanted: Filter | None,
        arrangement: Arrangement,
        space: VectorSpace | None = None,
        *,
        exact: bool = False,
    ) -> list[list[Hit]]:
        with self._mutex, self._store.snapshot():
            if space is not None:
                self._encoder.check(space)
            by_words = arrangement.mode is SearchMode.LEXICAL and not arrangement.diversity
            if wanted is not None or not by_words:  # words alone need no vectors
                self._refresh()
            if wanted is not None:
                asked = replace(asked, among=self._filtered.rows(wanted))
            return arranged(self._reader(exact=exact), asked, k, arrangement)

    def _reader(self, *, exact: bool = False) -> Reader:
        several_rows = long_texts_of(self._store) is LongTexts.PASSAGES
        return Reader(self._rows.index, self._store, several_rows=several_rows, exact=exact)

    def _refresh(self) -> None:
        """Bring what is searched to the commit of the current snapshot; errors as LiveRows."""
        if self._rows.refresh():
            self._filtered.forget()

    def _query_vectors(self, queries: Sequence[str]) -> tuple[FloatArray, VectorSpace]:
        if not self._encoder.loaded and not self._rows.read:
            self._warm_up()
        encoder, space = self._encoder.load()
        return query_embeddings(encoder, queries, space.dim), space

    def _warm_up(self) -> None:
        """Load the encoder while the vectors are read: a first query waits for both."""

        def read() -> None:
            with self._mutex, self._store.snapshot():
                self._refresh()

        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read)
            self._encoder.load()
            reading.result()
