"""SearchIndex: what a user holds. A directory of documents, their vectors and the encoder."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from simsearch.ann import SegmentedIndex, Target, check_enough
from simsearch.encoder import Calibration, Encoder, EncodingCounts, Precision, as_precision
from simsearch.errors import CorruptIndex, InvalidInput
from simsearch.files import directory_bytes, draft_directory
from simsearch.formats import check_vectors
from simsearch.query import Filter, Fusion, SearchMode, parse_filter
from simsearch.records import Document, Facet, Hit, whole_passage
from simsearch.search_index.arranging import Arrangement, arranged, check_diversity
from simsearch.search_index.binding import (
    TextEncoder,
    VectorSpace,
    bind_encoder,
    fitted,
    own_precision,
    refuse_other_encoder,
)
from simsearch.search_index.building import BuildReport, Say, build_segments
from simsearch.search_index.candidates import CANDIDATES, Asked, Met, Reader
from simsearch.search_index.checks import (
    as_durability,
    askable_ids,
    check_dim,
    check_k,
    check_query,
    checked_documents,
    refuse_known,
    same_document,
)
from simsearch.search_index.current_encoder import CurrentEncoder, Overtaken
from simsearch.search_index.directory import (
    check_format,
    check_place,
    install_index,
    write_format,
)
from simsearch.search_index.donor import Donor
from simsearch.search_index.explaining import explained, token_encoder
from simsearch.search_index.filtering import FilteredRows, facet, matching_ids
from simsearch.search_index.generations import number_of, other_generations
from simsearch.search_index.live_rows import LiveRows
from simsearch.search_index.passages import (
    LongTexts,
    as_long_texts,
    encode_passages,
    ranges_of,
)
from simsearch.search_index.probability import (
    check_min_probability,
    keep_calibration,
    probable,
    required_calibration,
    stored_calibration,
)
from simsearch.search_index.reports import IndexInfo, WriteReport
from simsearch.search_index.reranking import (
    Rerank,
    RerankChoice,
    keep_rerank_choice,
    pair_scorer_of,
    rerank_choice,
    reranked,
)
from simsearch.search_index.search_mode import (
    ModeChoice,
    as_search_mode,
    keep_mode_choice,
    mode_choice,
)
from simsearch.search_index.segment_record import target_from_text, target_to_text
from simsearch.search_index.segments_info import search_info
from simsearch.storage import (
    FORMAT_VERSION,
    Checkpoint,
    DocumentStore,
    Durability,
    PassageRows,
    text_hash,
)
from simsearch.version import __version__

FloatArray = npt.NDArray[np.float32]


class SearchIndex:
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
        self._path = path
        self._store = store
        self._encoder = CurrentEncoder(path, store, encoder, precision)
        self._mutex = threading.RLock()
        self._rows = LiveRows(store)
        self._filtered = FilteredRows(store)
        self._donor = Donor(None)

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
        `lineage` are the settings
        that make it a generation of another index (`generations.Lineage`).

        Raises:
            AlreadyExists: an index is at `path` and `replace` is false, or something else is,
                which is never replaced.
            InvalidInput: `dim` is not 2 to the encoder's.
        """
        path = Path(path).resolve()
        check_place(path, replace=replace)
        if encoder is None or isinstance(encoder, str | os.PathLike):
            encoder = Encoder.load(encoder)
        dim = encoder.dim if dim is None else dim
        check_dim(dim, encoder.dim)
        created_by = f"simsearch/{__version__}"
        with draft_directory(path) as draft:
            settings = {
                **bind_encoder(encoder, draft, dim=dim),
                "created_by": created_by,
                "finished": _yes_no(finished),
                "long_texts": as_long_texts(long_texts),
                "target": target_to_text(target or Target()),
                **(lineage or {}),
            }
            DocumentStore.create(draft, dim=dim, settings=settings)
            write_format(draft, created_by=created_by)
            install_index(draft, path, replace=replace)
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
                refuse_other_encoder(store.constants, encoder)
        except BaseException:
            store.close()
            raise
        return cls(path, store, encoder, numbers)

    def close(self) -> None:
        """Close the index; a second call does nothing."""
        self._store.close()

    def __enter__(self) -> SearchIndex:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The directory."""
        return self._path

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self._store.dim

    @property
    def encoder(self) -> TextEncoder:
        """The encoder of the index, loaded when first needed.

        Raises:
            EncoderMismatch: another one was given, and the index was switched since.
        """
        return self._encoder.load()[0]

    @functools.cached_property
    def long_texts(self) -> LongTexts:
        """What becomes of a text beyond the encoder's window."""
        value = self._store.read_setting("long_texts")
        try:
            return LongTexts(value)
        except ValueError as error:
            raise CorruptIndex(f"{self._path}: no setting of long_texts is {value!r}") from error

    def reuse_vectors_of(self, donor: Donor) -> None:
        """Take vectors that this index does not have from `donor` before encoding a text."""
        self._donor = donor

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
        batch = checked_documents(documents)
        if not batch and embeddings is None:
            return WriteReport()
        known = self._store.known_ids([document.id for document in batch])
        refuse_known(known)
        while True:
            with contextlib.suppress(Overtaken):
                rows, report, space = self._rows_of(batch, embeddings, counts)
                with self._store.transaction():
                    self._encoder.check(space)
                    # Again, under the lock: somebody may have written while we encoded.
                    refuse_known(self._store.known_ids([document.id for document in batch]))
                    self._store.insert(batch, rows)
                return report + WriteReport(added=len(batch))

    def upsert(
        self,
        documents: Iterable[Document],
        embeddings: FloatArray | None = None,
        *,
        counts: EncodingCounts | None = None,
    ) -> WriteReport:
        """Add documents in one commit, replacing those whose id is in the index.

        A document that is there already, equal in every field, is left as it is and counted
        as unchanged, unless `embeddings` brings a vector for it.

        Raises:
            DuplicateId: an id stands twice in `documents`.
            InvalidData: a document or a vector cannot be indexed; nothing was changed.
        """
        given = checked_documents(documents)
        while True:
            batch = given if embeddings is not None else self._changed(given)
            if not batch:
                return WriteReport(unchanged=len(given))
            try:
                rows, report, space = self._rows_of(batch, embeddings, counts)
                with self._store.transaction():
                    self._encoder.check(space)
                    # Again, under the lock: somebody may have written while we encoded.
                    if embeddings is None and self._changed(given) != batch:
                        raise Overtaken
                    replaced = self._store.remove([document.id for document in batch])
                    self._store.insert(batch, rows)
            except Overtaken:
                continue
            return report + WriteReport(len(batch) - replaced, replaced, len(given) - len(batch))

    def _changed(self, documents: Sequence[Document]) -> list[Document]:
        """Return the documents that the index does not hold as they are."""
        stored = self._store.fetch_ids([document.id for document in documents])
        return [
            document
            for document in documents
            if document.id not in stored or not same_document(stored[document.id], document)
        ]

    def replace_documents(self, changes: Sequence[tuple[Document, Document]]) -> int:
        """Give documents other metadata in one commit; return how many got it.

        Each is given as it was read and as it is to be. One that is not in the index any more as
        it was read stays as it is. Vectors stay, supplied ones too.

        Raises:
            InvalidInput: something other than the metadata is to change.
            InvalidData: the new metadata cannot be indexed; nothing was changed.
        """
        wanted = checked_documents([new for _, new in changes])
        for old, new in zip((old for old, _ in changes), wanted, strict=True):
            if (old.id, old.text, old.title) != (new.id, new.text, new.title):
                raise InvalidInput(f"only metadata can be replaced, document {old.id!r} differs")
        if not wanted:
            return 0
        with self._store.transaction():
            stored = self._store.fetch_ids([document.id for document in wanted])
            still = [
                new
                for (old, _), new in zip(changes, wanted, strict=True)
                if old.id in stored and same_document(stored[old.id], old)
            ]
            self._store.update_metadata(still)
        return len(still)

    def embeddings_of_texts(self, texts: Sequence[str]) -> dict[str, FloatArray]:
        """Return the vectors (dim,) that the index has of texts, by text; others are absent.

        Only of what was encoded as it is: of documents of one passage, and of passages.
        """
        by_hash = {text_hash(text): text for text in texts}
        return {by_hash[key]: each for key, each in self._known_vectors(list(by_hash)).items()}

    def refuse_other_encoder(self, encoder: TextEncoder) -> None:
        """Refuse an encoder that did not build this index.

        Raises:
            EncoderMismatch: its fingerprint is another one.
        """
        refuse_other_encoder(self._store.constants, encoder)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents in one commit and return how many there were; unknown ids are no error.

        Raises:
            InvalidInput: `ids` is one string instead of several.
        """
        if isinstance(ids, str):
            raise InvalidInput("delete takes several ids, got one string (pass [id])")
        with self._store.transaction():
            return self._store.remove(askable_ids(ids))

    def delete_where(self, where: str) -> int:
        """Delete the documents that a filter lets through, in one commit; return how many.

        Raises:
            InvalidFilter: as `search`; nothing was deleted.
        """
        wanted = parse_filter(where)
        with self._store.transaction():
            return self._store.remove(matching_ids(self._store, wanted))

    def get(self, document_id: str) -> Document | None:
        """Return a document, None if there is none of that id."""
        return self._store.fetch_ids(askable_ids([document_id])).get(document_id)

    def iterate(self) -> Iterator[Document]:
        """Yield every document of one commit, in order, whatever is written meanwhile."""
        return self._store.stream()

    def known_ids(self, ids: Sequence[str]) -> set[str]:
        """Return those of `ids` that are in the index."""
        return self._store.known_ids(askable_ids(ids))

    def count(self, where: str | None = None) -> int:
        """Return the number of documents, of those alone that a filter lets through.

        Raises:
            InvalidFilter: as `search`.
        """
        if where is None:
            return self._store.count()
        wanted = parse_filter(where)
        with self._store.snapshot():
            return len(matching_ids(self._store, wanted))

    def facet(self, field: str, k: int = 20, *, where: str | None = None) -> Facet:
        """Return the `k` most frequent values of a metadata field, with their numbers of documents.

        Of a list each element counts. `where`: of the documents alone that a filter lets through.

        Raises:
            InvalidInput: no document has the field, or k is not 1..10000.
            InvalidFilter: as `search`.
        """
        check_k(k)
        return facet(self._store, field, k, None if where is None else parse_filter(where))

    def __len__(self) -> int:
        return self.count()

    def calibration(self) -> Calibration | None:
        """Return what a similarity says about the chance of an answer; None if nobody measured it.

        It came with the encoder, or was measured on this index.

        Raises:
            CorruptIndex: it is malformed.
        """
        return stored_calibration(self._store)

    def threshold(self, precision: float) -> float:
        """Return the probability from which on so large a share of the hits are answers.

        Raises:
            InvalidInput: the index has no calibration, or one that shows no such threshold.
        """
        with self._store.snapshot():
            calibration = required_calibration(self._store)
            return calibration.threshold(precision, among=self._store.count())

    def calibrate(self, calibration: Calibration) -> None:
        """Keep a calibration in the place of the one that there is, in one commit.

        Raises:
            EncoderMismatch: it is of another encoder, or of vectors of another dim.
        """
        with self._store.transaction(durable=True):
            keep_calibration(self._store, calibration)

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
        asked = None if mode is None else as_search_mode(mode)
        if asked is None or (asked is SearchMode.HYBRID and fusion is None):
            choice = self.mode_choice()
            asked, fusion = asked or choice.mode, fusion or choice.fusion
        arrangement = Arrangement(asked, fusion or Fusion(), check_diversity(diversity), group_by)
        if asked is SearchMode.LEXICAL:
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

    def _query_vectors(self, queries: Sequence[str]) -> tuple[FloatArray, VectorSpace]:
        if not self._encoder.loaded and not self._rows.read:
            self._warm_up()
        encoder, space = self._encoder.load()
        return fitted(encoder.encode_queries(queries), space.dim), space

    def meet(self, queries: Sequence[str]) -> list[tuple[Met, dict[int, str]]]:
        """Return the candidates of a hybrid search of each query, and their ids by number."""
        while True:
            vectors, space = self._query_vectors(queries)
            with (
                contextlib.suppress(Overtaken),
                self._mutex,
                self._store.snapshot(),
            ):
                self._encoder.check(space)
                self._refresh()
                reader = self._reader()
                met = reader.met(Asked(queries, vectors), CANDIDATES, SearchMode.HYBRID)
                return [(each, reader.ids(each)) for each in met]

    def mode_choice(self) -> ModeChoice:
        """Return how the index is searched where nobody says how, and why.

        Raises:
            CorruptIndex: it is not what was written.
        """
        with self._store.snapshot():
            return mode_choice(self._store)

    def keep_mode_choice(self, choice: ModeChoice) -> None:
        """Let the index be searched so from now on, where nobody says how."""
        with self._store.transaction(durable=True):
            keep_mode_choice(self._store, choice)

    def rerank(
        self, queries: Sequence[str], found: Sequence[Sequence[Hit]], *, by: Rerank | str
    ) -> list[list[Hit]]:
        """Return the hits of each query in the order of a closer comparison, best first.

        `maxsim` compares token by token, `pair` by the pair scorer that was trained with the
        encoder. A new score is the mean of similarity and comparison; a hit keeps both as `parts`,
        and its probability, which is that of the similarity.

        Raises:
            InvalidInput: `by` is none of these.
            EncoderError: the encoder has no token vectors, or no pair scorer that tells matches.
        """
        return reranked(
            self.encoder, pair_scorer_of(self._store), queries, found, by=by, dim=self._store.dim
        )

    def rerank_choice(self) -> RerankChoice:
        """Return how hits are to be reranked when nobody says how: `none`, or what measured better.

        Raises:
            CorruptIndex: the setting is malformed.
        """
        return rerank_choice(self._store)

    def keep_rerank_choice(self, choice: RerankChoice) -> None:
        """Keep how hits are to be reranked when nobody says how, in one commit."""
        with self._store.transaction(durable=True):
            keep_rerank_choice(self._store, choice)

    def explain(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """Return hits with the words that carry their similarity to `query`, from one pass.

        Raises:
            EncoderError: the encoder has no token vectors.
        """
        return explained(token_encoder(self.encoder), query, hits, dim=self._store.dim)

    def _warm_up(self) -> None:
        """Load the encoder while the vectors are read: a first query waits for both."""

        def read() -> None:
            with self._mutex, self._store.snapshot():
                self._refresh()

        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read)
            _ = self.encoder
            reading.result()

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
        check_k(k)
        wanted = None if where is None else parse_filter(where)
        arrangement = Arrangement(SearchMode.DENSE, Fusion())
        while True:
            space = self._encoder.refuse_switched()
            checked = check_vectors(vectors, rows=None, dim=space.dim)
            asked = Asked([""] * len(checked), checked)
            with contextlib.suppress(Overtaken):
                return self._search(asked, k, wanted, arrangement, space, exact=exact)

    def _reader(self, *, exact: bool = False) -> Reader:
        several_rows = self.long_texts is LongTexts.PASSAGES
        return Reader(self._rows.index, self._store, several_rows=several_rows, exact=exact)

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

    def _refresh(self) -> None:
        """Bring what is searched to the commit of the current snapshot; errors as LiveRows."""
        if self._rows.refresh():
            self._filtered.forget()

    def _rows_of(
        self,
        documents: Sequence[Document],
        embeddings: FloatArray | None,
        counts: EncodingCounts | None,
    ) -> tuple[PassageRows, WriteReport, VectorSpace]:
        """Return the vector rows of documents, a report of what they took, and their space."""
        whole = [[whole_passage(document)] for document in documents]
        if embeddings is not None:
            space = self._encoder.refuse_switched()
            vectors = check_vectors(embeddings, rows=len(documents), dim=space.dim)
            rows = PassageRows(ranges_of(whole), vectors, hashes=None)
            return rows, WriteReport(passages=len(vectors)), space
        space = self._encoder.space()
        if self.long_texts is LongTexts.PASSAGES:
            split = self.encoder.split_documents(documents)
        else:
            split = whole

        def encode(texts: Sequence[str]) -> FloatArray:
            encoder, now = self._encoder.load()  # not where nothing is new
            if now != space:
                raise Overtaken
            return fitted(encoder.encode_documents(texts, counts=counts), space.dim)

        rows, report = encode_passages(documents, split, encode=encode, known=self._known_vectors)
        return rows, report, space

    def _known_vectors(self, hashes: Sequence[bytes]) -> dict[bytes, FloatArray]:
        own = self._store.vectors_of_texts(hashes)
        return own | self._donor.vectors_of_texts([each for each in hashes if each not in own])

    @property
    def finished(self) -> bool:
        """False while a corpus is still being loaded."""
        value = self._store.read_setting("finished")
        if value not in (_yes_no(True), _yes_no(False)):
            raise CorruptIndex(f"{self._path}: no setting of finished is {value!r}")
        return value == _yes_no(True)

    def mark_finished(self) -> None:
        """Say that the corpus is loaded."""
        with self._store.transaction(durable=True):
            self._store.write_setting("finished", _yes_no(True))

    @property
    def target(self) -> Target:
        """What approximate indexes of the rows have to be."""
        text = self._store.find_setting("target")
        return Target() if text is None else target_from_text(text)

    def set_target(self, target: Target) -> None:
        """Set what indexes that are built from now on have to be."""
        with self._store.transaction(durable=True):
            self._store.write_setting("target", target_to_text(target))

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

    @contextlib.contextmanager
    def live_rows(self) -> Iterator[tuple[SegmentedIndex, DocumentStore]]:
        """Give what is searched, and the store, in the snapshot that both belong to."""
        with self._mutex, self._store.snapshot():
            self._refresh()
            yield self._rows.index, self._store

    def encoded_queries(self, queries: Sequence[str]) -> FloatArray:
        """Return the vectors (n, dim) of queries by which an index is to be measured.

        Raises:
            InvalidInput: there are fewer than 20.
        """
        for query in queries:
            check_query(query)
        vectors = fitted(self.encoder.encode_queries(queries), self._store.dim)
        check_enough(vectors)
        return vectors

    def checkpoint(self) -> Checkpoint:
        """Move the log of recent commits into the database, and say how far that went.

        It happens by itself when the log is large and on closing; no commit depends on it.
        """
        return self._store.checkpoint()

    def info(self) -> IndexInfo:
        """Return what the index is and holds."""
        with self._store.snapshot():
            setting = self._store.read_setting
            passages = self._store.count_passages()
            generation = number_of(self._store.constants)
            previous, building = other_generations(self._path, generation)
            choice = mode_choice(self._store)
            return IndexInfo(
                path=str(self._path),
                format=FORMAT_VERSION,
                finished=self.finished,
                documents=self._store.count(),
                passages=passages,
                dead_rows=int(setting("next_row")) - passages,
                long_texts=self.long_texts,
                dim=self._store.dim,
                encoder=setting("encoder"),
                precision=own_precision(self._path),
                fingerprint=setting("fingerprint"),
                commit_number=int(setting("commit_number")),
                created_by=setting("created_by"),
                bytes_on_disk=directory_bytes(self._path),
                target=self.target,
                search=search_info(self._store),
                generation=generation,
                previous=previous,
                building=building,
                mode=choice.mode,
                mode_reason=choice.reason,
            )


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"
