"""Documents into an open index and out of it: a call is one commit, whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.encoder import EncodingCounts
from simsearch.errors import CorruptIndex, InvalidInput
from simsearch.formats import check_vectors
from simsearch.query import parse_filter
from simsearch.records import Document, whole_passage
from simsearch.search_index.binding import VectorSpace, fitted
from simsearch.search_index.checks import (
    askable_ids,
    checked_documents,
    refuse_known,
    same_document,
)
from simsearch.search_index.current_encoder import CurrentEncoder, Overtaken
from simsearch.search_index.donor import Donor
from simsearch.search_index.filtering import matching_ids
from simsearch.search_index.passages import LongTexts, encode_passages, long_texts_of, ranges_of
from simsearch.search_index.reports import WriteReport
from simsearch.storage import DocumentStore, PassageRows, text_hash

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Changes:
    """Places of documents of a call: which get vectors, and which other metadata and no more."""

    texts: list[int]
    metadata: list[int]


class DocumentWriter:
    """Writes documents into one open index. `SearchIndex` says what each method promises.

    Documents are encoded before the lock is taken; what was found then is looked at again under
    it, and a call that was overtaken begins anew.
    """

    def __init__(self, store: DocumentStore, encoder: CurrentEncoder) -> None:
        self._store = store
        self._encoder = encoder
        self.donor = Donor(None)

    def add(
        self,
        documents: Iterable[Document],
        embeddings: FloatArray | None,
        *,
        counts: EncodingCounts | None,
    ) -> WriteReport:
        """Add new documents; see `SearchIndex.add`."""
        self._store.refuse_read_only()
        batch = checked_documents(documents)
        if not batch and embeddings is None:
            return WriteReport()
        ids = [document.id for document in batch]
        refuse_known(self._store.known_ids(ids))
        while True:
            supplied = self._checked(embeddings, len(batch))
            with contextlib.suppress(Overtaken):
                rows, report, space = self._rows_of(batch, supplied, counts)
                with self._store.transaction():
                    self._encoder.check(space)
                    # Again, under the lock: somebody may have written while we encoded.
                    refuse_known(self._store.known_ids(ids))
                    self._store.insert(batch, rows)
                return report + WriteReport(added=len(batch))

    def upsert(
        self,
        documents: Iterable[Document],
        embeddings: FloatArray | None,
        *,
        counts: EncodingCounts | None,
    ) -> WriteReport:
        """Add documents, or replace those of their ids; see `SearchIndex.upsert`."""
        self._store.refuse_read_only()
        given = checked_documents(documents)
        if not given and embeddings is None:
            return WriteReport()
        while True:
            supplied = self._checked(embeddings, len(given))
            changes = self._changes(given, supplied)
            if not changes.texts and not changes.metadata:
                return WriteReport(unchanged=len(given))
            with contextlib.suppress(Overtaken):
                texts = [given[place] for place in changes.texts]
                metadata = [given[place] for place in changes.metadata]
                chosen = None if supplied is None else supplied[changes.texts]
                rows, report, space = self._rows_of(texts, chosen, counts)
                with self._store.transaction():
                    self._encoder.check(space)
                    # Again, under the lock: somebody may have written while we encoded.
                    if self._changes(given, supplied) != changes:
                        raise Overtaken
                    kept = self._store.update_metadata(metadata)
                    replaced = self._store.remove([document.id for document in texts])
                    self._store.insert(texts, rows)
                done = WriteReport(len(texts) - replaced, replaced + len(metadata))
                unchanged = len(given) - len(texts) - len(metadata)
                return report + done + WriteReport(unchanged=unchanged, passages=kept, reused=kept)

    def _checked(self, embeddings: FloatArray | None, rows: int) -> FloatArray | None:
        """Return supplied vectors (rows, dim), each of unit length, None where there are none."""
        if embeddings is None:
            return None
        return check_vectors(embeddings, rows=rows, dim=self._encoder.refuse_switched().dim)

    def _changes(self, documents: Sequence[Document], supplied: FloatArray | None) -> _Changes:
        """Return which documents differ from what is stored; `supplied` are vectors of theirs."""
        ids = [document.id for document in documents]
        with self._store.snapshot():
            stored = self._store.fetch_ids(ids)
            vectors = self._supplied_before(ids) if supplied is not None else {}
        texts, metadata = list[int](), list[int]()
        for place, new in enumerate(documents):
            old = stored.get(new.id)
            same = old is not None and (old.text, old.title) == (new.text, new.title)
            if same and supplied is not None:
                same = new.id in vectors and np.array_equal(vectors[new.id], supplied[place])
            if not same:
                texts.append(place)
            elif old is not None and not same_document(old, new):
                metadata.append(place)
        return _Changes(texts, metadata)

    def _supplied_before(self, ids: Sequence[str]) -> dict[str, FloatArray]:
        try:
            return self._store.supplied_vectors(ids)
        except CorruptIndex:  # to be given anew is what mends them
            return {}

    def replace_metadata(self, changes: Sequence[tuple[Document, Document]]) -> int:
        """Give documents other metadata; see `SearchIndex.replace_documents`."""
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

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents; see `SearchIndex.delete`."""
        if isinstance(ids, str):
            raise InvalidInput("delete takes several ids, got one string (pass [id])")
        with self._store.transaction():
            return self._store.remove(askable_ids(ids))

    def delete_where(self, where: str) -> int:
        """Delete the documents that a filter lets through; see `SearchIndex.delete_where`."""
        wanted = parse_filter(where)
        with self._store.transaction():
            return self._store.remove(matching_ids(self._store, wanted))

    def embeddings_of_texts(self, texts: Sequence[str]) -> dict[str, FloatArray]:
        """Return the vectors (dim,) that there are of texts; see the method of `SearchIndex`."""
        by_hash = {text_hash(text): text for text in texts}
        return {by_hash[key]: each for key, each in self._known_vectors(list(by_hash)).items()}

    def _rows_of(
        self,
        documents: Sequence[Document],
        supplied: FloatArray | None,
        counts: EncodingCounts | None,
    ) -> tuple[PassageRows, WriteReport, VectorSpace]:
        """Return the vector rows of documents, a report of what they took, and their space."""
        whole = [[whole_passage(document)] for document in documents]
        if supplied is not None:
            rows = PassageRows(ranges_of(whole), supplied, hashes=None)
            return rows, WriteReport(passages=len(supplied)), self._encoder.refuse_switched()
        space = self._encoder.space()
        if not documents:
            nothing = np.empty((0, space.dim), dtype=np.float32)
            return PassageRows([], nothing, []), WriteReport(), space
        split = whole
        if long_texts_of(self._store) is LongTexts.PASSAGES:
            split = self._encoder.load()[0].split_documents(documents)

        def encode(texts: Sequence[str]) -> FloatArray:
            encoder, now = self._encoder.load()  # not where nothing is new
            if now != space:
                raise Overtaken
            return fitted(encoder.encode_documents(texts, counts=counts), space.dim)

        rows, report = encode_passages(documents, split, encode=encode, known=self._known_vectors)
        return rows, report, space

    def _known_vectors(self, hashes: Sequence[bytes]) -> dict[bytes, FloatArray]:
        own = self._store.vectors_of_texts(hashes)
        return own | self.donor.vectors_of_texts([each for each in hashes if each not in own])
