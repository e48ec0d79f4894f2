"""SearchIndex: what a user holds. A directory of documents, their vectors and the encoder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from simsearch.ann import SegmentedIndex, Target, check_enough
from simsearch.encoder import Encoder, EncodingCounts, Precision, as_precision
from simsearch.errors import InvalidInput
from simsearch.formats import check_vectors
from simsearch.query import Fusion, SearchMode
from simsearch.records import Document, Hit
from simsearch.search_index.binding import TextEncoder, query_embeddings, refuse_other_encoder
from simsearch.search_index.building import BuildReport, Say, build_segments
from simsearch.search_index.candidates import Met
from simsearch.search_index.checks import as_durability, check_query
from simsearch.search_index.creating import create_directory
from simsearch.search_index.current_encoder import CurrentEncoder
from simsearch.search_index.directory import check_format, check_place
from simsearch.search_index.donor import Donor
from simsearch.search_index.explaining import explained
from simsearch.search_index.handle import IndexHandle, yes_no
from simsearch.search_index.info import index_info
from simsearch.search_index.passages import LongTexts, as_long_texts
from simsearch.search_index.reports import IndexInfo, WriteReport
from simsearch.search_index.reranking import Rerank, reranked
from simsearch.search_index.searching import Searcher
from simsearch.search_index.segment_record import target_to_text
from simsearch.search_index.writing import DocumentWriter
from simsearch.storage import DocumentStore, Durability

FloatArray = npt.NDArray[np.float32]


class SearchIndex(IndexHandle):
    """An index directory, open for reading and writing. Made by `create` or `open`.

    A call that writes is visible whole or not at all, and when it returns it survives kill -9.
    A search sees one commit, the latest, also when another process wrote it. One handle may be
    shared by threads. When the index is switched to another generation, a handle that uses the
    index's own copy of its encoder goes on with that of the new one; one to which an encoder was
    given refuses to, and so does one that is given vectors.
    """

    def __init__(
        self,
        path: Path,
        store: DocumentStore,
        encoder: TextEncoder | None,
        precision: Precision | None = None,
    ) -> None:
        super().__init__(path, store)
        self._encoder = CurrentEncoder(path, store, encoder, precision)
        self._writer = DocumentWriter(store, self._encoder)
        self._searcher = Searcher(store, self._encoder)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        encoder: TextEncoder | str | os.PathLike[str] | None = None,
        replace: bool = False,
        finished: bool = True,
        long_texts: LongTexts | str = LongTexts.TRUNCATE,
        dim: int | None = None,
        target: Target | None = None,
        lineage: Mapping[str, str] | None = None,
    ) -> SearchIndex:
        """Create an empty index for the vectors of `encoder`, loaded if it is given by name.

        `replace` swaps an existing index for the new one in one step. `finished` is false while
        a corpus is still being loaded, so that the load can be taken up again. `long_texts` says
        what becomes of a text beyond the encoder's window. `dim` keeps the first so many
        components of every embedding, renormalised; None keeps all. `target` is what approximate
        indexes of its rows have to be, if there come to be so many that one is worth it.
        `lineage` are the settings that make it a generation of another index
        (`generations.Lineage`).

        Raises:
            AlreadyExists: an index is at `path` and `replace` is false, or something else is,
                which is never replaced.
            InvalidInput: `dim` is not 2 to the encoder's.
        """
        path = Path(path).resolve()
        check_place(path, replace=replace)
        if encoder is None or isinstance(encoder, str | os.PathLike):
            encoder = Encoder.load(encoder)
        settings = {
            "finished": yes_no(finished),
            "long_texts": as_long_texts(long_texts),
            "target": target_to_text(target or Target()),
            **(lineage or {}),
        }
        create_directory(path, encoder, dim=dim, settings=settings, replace=replace)
        return cls(path, DocumentStore.open(path), encoder)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        encoder: TextEncoder | str | os.PathLike[str] | None = None,
        precision: Precision | str | None = None,
        durability: Durability | str = Durability.FULL,
    ) -> SearchIndex:
        """Open an index; texts are encoded by its own copy of the encoder, or the given one.

        `precision` is that in which its own copy encodes documents, or the one given by name (see
        `Encoder.load`). `durability` says what a write has survived when its call returns: `full`,
        kill -9 and power loss; `batch`, kill -9 only, until the next write in `full`.

        Raises:
            NotFound: there is no index at `path`.
            EncoderMismatch: `encoder` is not the one that built the index.
            CorruptIndex, IncompatibleIndex, SystemFailure: it cannot be read.
        """
        path = Path(path).resolve()
        numbers = None if precision is None else as_precision(precision)
        check_format(path)
        if isinstance(encoder, str | os.PathLike):
            encoder = Encoder.load(encoder, precision=numbers)
        elif encoder is not None and numbers is not None:
            raise InvalidInput("a loaded encoder has its precision already: give no other")
        store = DocumentStore.open(path, durability=as_durability(durability))
        try:
            if encoder is not None:
                refuse_other_encoder(store.settings.constants, encoder)
        except BaseException:
            store.close()
            raise
        return cls(path, store, encoder, numbers)

    @property
    def encoder(self) -> TextEncoder:
        """The encoder of the index, loaded when first needed.

        Raises:
            EncoderMismatch: another one was given, and the index was switched since.
        """
        return self._encoder.load()[0]

    def add(
        self,
        documents: Iterable[Document],
        embeddings: FloatArray | None = None,
        *,
        counts: EncodingCounts | None = None,
    ) -> WriteReport:
        """Add new documents in one commit, with their vectors if `embeddings` (n, dim) is given.

        Raises:
            DuplicateId: an id stands twice in `documents`, or is in the index.
            InvalidData: a document or a vector cannot be indexed; nothing was added.
        """
        return self._writer.add(documents, embeddings, counts=counts)

    def upsert(
        self,
        documents: Iterable[Document],
        embeddings: FloatArray | None = None,
        *,
        counts: EncodingCounts | None = None,
    ) -> WriteReport:
        """Add documents in one commit, replacing those whose id is in the index.

        A document that is there already, equal in every field, is left as it is and counted
        as unchanged, unless `embeddings` brings another vector for it. One whose metadata alone
        changes keeps its vectors, a supplied one too, and its place in the order of documents.

        Raises:
            DuplicateId: an id stands twice in `documents`.
            InvalidData: a document or a vector cannot be indexed; nothing was changed.
        """
        return self._writer.upsert(documents, embeddings, counts=counts)

    def replace_documents(self, changes: Sequence[tuple[Document, Document]]) -> int:
        """Give documents other metadata in one commit; return how many got it.

        Each is given as it was read and as it is to be. One that is not in the index any more as
        it was read stays as it is. Vectors stay, supplied ones too.

        Raises:
            InvalidInput: something other than the metadata is to change.
            InvalidData: the new metadata cannot be indexed; nothing was changed.
        """
        return self._writer.replace_metadata(changes)

    def refuse_other_encoder(self, encoder: TextEncoder) -> None:
        """Refuse an encoder that did not build this index.

        Raises:
            EncoderMismatch: its fingerprint is another one.
        """
        refuse_other_encoder(self._store.settings.constants, encoder)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents in one commit and return how many there were; unknown ids are no error.

        Raises:
            InvalidInput: `ids` is one string instead of several.
        """
        return self._writer.delete(ids)

    def delete_where(self, where: str) -> int:
        """Delete the documents that a filter lets through, in one commit; return how many.

        Raises:
            InvalidFilter: as `search`; nothing was deleted.
        """
        return self._writer.delete_where(where)

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        where: str | None = None,
        mode: SearchMode | str | None = None,
        diversity: float = 0.0,
        group_by: str | None = None,
        min_probability: float | None = None,
    ) -> list[Hit]:
        """Return the `k` best documents for `query`, best first; fewer if there are fewer.

        `where` is a filter on metadata (docs/filters.md), such as "lang = 'en' and year >= 2020":
        the hits are the best of the documents that it lets through, `k` if there are so many.
        `mode` dense ranks by the similarity of embeddings, lexical by shared words (a document
        without any is no hit), hybrid by both; None by what was measured best on this index
        (`tune_mode`), dense if nothing was. `diversity`, 0 to 1, gives room to hits that are unlike
        those before. `group_by` takes only the best document for each value of a metadata field.
        With `min_probability` those of them are left out that are less probably an answer:
        perhaps all, for no answer is one, too.

        Raises:
            InvalidInput: the query is empty, too long or not printable text; k is not 1..10000;
                `mode` or `diversity` is none; no document has the field to group by; a
                probability is asked for that is none, or of an index without a calibration, or of
                a lexical search, whose hits have none.
            InvalidFilter: `where` is no filter, or names a field that no document has.
        """
        return self.search_many(
            [query],
            k,
            where=where,
            mode=mode,
            diversity=diversity,
            group_by=group_by,
            min_probability=min_probability,
        )[0]

    def search_many(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        where: str | None = None,
        mode: SearchMode | str | None = None,
        fusion: Fusion | None = None,
        diversity: float = 0.0,
        group_by: str | None = None,
        min_probability: float | None = None,
    ) -> list[list[Hit]]:
        """Return the hits of each query, in order; arguments and errors as `search`.

        `fusion` is how a hybrid search makes one ranking of two; None: as this index does.
        """
        return self._searcher.search_many(
            queries,
            k,
            where=where,
            mode=mode,
            fusion=fusion,
            diversity=diversity,
            group_by=group_by,
            min_probability=min_probability,
        )

    def search_vectors(
        self, vectors: FloatArray, k: int = 10, *, where: str | None = None, exact: bool = False
    ) -> list[list[Hit]]:
        """Return the hits of each row of `vectors` (n, dim), which need not be normalised.

        `exact` compares every row, also where there is an approximate index.

        Raises:
            InvalidData: a row is not finite, zero, or of another dimension.
            InvalidFilter: as `search`.
            EncoderMismatch: the index was switched to another encoder since it was opened.
        """
        return self._searcher.search_vectors(vectors, k, where=where, exact=exact)

    def similar(
        self, document_id: str, k: int = 10, *, where: str | None = None, exact: bool = False
    ) -> list[Hit]:
        """Return the `k` documents nearest to one that is in the index, best first, without itself.

        By the stored vectors: nothing is encoded. Of documents of several passages the best pair
        of passages counts. Hits have no probability: that is of a query and its answer. `where`
        and `exact` as for `search_vectors`.

        Raises:
            NotFound: no document has that id.
            InvalidInput: k is not 1..10000, or the id is none.
            InvalidFilter: as `search`.
        """
        return self._searcher.similar(document_id, k, where=where, exact=exact)

    def rerank(
        self,
        queries: Sequence[str],
        found: Sequence[Sequence[Hit]],
        *,
        by: Rerank | str,
        fusion: Fusion | None = None,
    ) -> list[list[Hit]]:
        """Return the hits of each query in the order of a closer comparison, best first.

        `maxsim` compares token by token, `pair` by the pair scorer that was trained with the
        encoder. A new score is the mean of similarity and comparison; a hit keeps both as `parts`,
        and its probability, which is that of the similarity. `fusion` is that of the search, where
        one was given: after reciprocal rank fusion the comparison is one ranking more, as its
        scores can be no mean with a similarity.

        Raises:
            InvalidInput: `by` is none of these.
            EncoderError: the encoder has no token vectors, or no pair scorer that tells matches.
        """
        return reranked(self._store, lambda: self.encoder, queries, found, by=by, fusion=fusion)

    def explain(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """Return hits of a search for `query` with the words that they were found by.

        Of a similarity those that carry it, from one pass over query and hits; of a BM25 score the
        words that are in the query, too, in whatever form.

        Raises:
            EncoderError: a hit has a similarity, and the encoder no token vectors.
        """
        return explained(self._store, lambda: self.encoder, query, hits)

    def optimize(
        self,
        *,
        queries: Sequence[str] | None = None,
        query_vectors: FloatArray | None = None,
        anew: bool = False,
        say: Say | None = None,
    ) -> list[BuildReport]:
        """Build what makes searches quick, where it is worth it, and return what was built.

        Up to 50,000 rows are compared one by one; of more, an index is chosen by measuring, on
        `queries` or `query_vectors` (m, dim), 20 or more real ones, where they are given. It is
        smaller and quicker, and finds `target.recall` of the nearest. Rows that were added later
        get indexes of their own, which are merged as they become more. `anew` builds one of all
        rows. `say` is told what goes on.

        Raises:
            InvalidInput: there are fewer than 20 queries, or both are given.
            IndexLocked: another process is building.
        """
        if queries is not None and query_vectors is not None:
            raise InvalidInput("give queries or their vectors, not both")
        if queries is not None:
            query_vectors = self.encoded_queries(queries)
        elif query_vectors is not None:
            query_vectors = check_vectors(query_vectors, rows=None, dim=self._store.dim)
            check_enough(query_vectors)
        return build_segments(
            self._store,
            target=self.target,
            queries=query_vectors,
            anew=anew,
            say=say or (lambda _: None),
        )

    def info(self) -> IndexInfo:
        """Return what the index is and holds."""
        with self._store.snapshot():
            return index_info(self, self._store)

    def reuse_vectors_of(self, donor: Donor) -> None:
        """Take vectors that this index does not have from `donor` before encoding a text."""
        self._writer.donor = donor

    def embeddings_of_texts(self, texts: Sequence[str]) -> dict[str, FloatArray]:
        """Return the vectors (dim,) that the index has of texts, by text; others are absent.

        Only of what was encoded as it is: of documents of one passage, and of passages.
        """
        return self._writer.embeddings_of_texts(texts)

    def meet(self, queries: Sequence[str]) -> list[tuple[Met, dict[int, str]]]:
        """Return the candidates of a hybrid search of each query, and their ids by number."""
        return self._searcher.meet(queries)

    def live_rows(self) -> AbstractContextManager[tuple[SegmentedIndex, DocumentStore]]:
        """Give what is searched, and the store, in the snapshot that both belong to."""
        return self._searcher.live_rows()

    def encoded_queries(self, queries: Sequence[str]) -> FloatArray:
        """Return the vectors (n, dim) of queries by which an index is to be measured.

        Raises:
            InvalidInput: there are fewer than 20.
        """
        for query in queries:
            check_query(query)
        vectors = query_embeddings(self.encoder, queries, self._store.dim)
        check_enough(vectors)
        return vectors
