"""Documents into an open index and out of it: a call is one commit, whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from simsearch.encoder import EncodingCounts
from simsearch.errors import InvalidInput
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
        batch = checked_documents(documents)
        if not batch and embeddings is None:
            return WriteReport()
        ids = [document.id for document in batch]
        refuse_known(self._store.known_ids(ids))
        while True:
            with contextlib.suppress(Overtaken):
                rows, report, space = self._rows_of(batch, embeddings, counts)
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
        given = checked_documents(documents)
        while True:
            changes = self._changes(given, anew=embeddings is not None)
            texts, metadata = changes
            if not texts and not metadata:
                return WriteReport(unchanged=len(given))
            with contextlib.suppress(Overtaken):
                rows, report, space = self._rows_of(texts, embeddings, counts)
                with self._store.transaction():
                    self._encoder.check(space)
                    # Again, under the lock: somebody may have written while we encoded.
                    if self._changes(given, anew=embeddings is not None) != changes:
                        raise Overtaken
                    kept = self._store.update_metadata(metadata)
                    replaced = self._store.remove([document.id for document in texts])
                    self._store.insert(texts, rows)
                done = WriteReport(len(texts) - replaced, replaced + len(metadata))
                unchanged = len(given) - len(texts) - len(metadata)
                return report + done + WriteReport(unchanged=unchanged, passages=kept, reused=kept)

    def _changes(
        self, documents: Sequence[Document], *, anew: bool
    ) -> tuple[list[Document], list[Document]]:
        """Return which get vectors (`anew`: all), and which get other metadata and nothing else."""
        if anew:
            return list(documents), []
        stored = self._store.fetch_ids([document.id for document in documents])
        texts, metadata = list[Document](), list[Document]()
        for new in documents:
            old = stored.get(new.id)
            if old is None or (old.text, old.title) != (new.text, new.title):
                texts.append(new)
            elif not same_document(old, new):
                metadata.append(new)
        return texts, metadata

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
