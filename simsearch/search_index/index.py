"""SearchIndex: what a user holds. A directory of documents, their vectors and the encoder."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from simsearch.ann import VectorIndex
from simsearch.cache import file_sha256
from simsearch.encoder import Encoder, EncodingCounts, UnencodableText
from simsearch.errors import CorruptIndex, EncoderError, EncoderMismatch, InvalidInput
from simsearch.files import draft_directory
from simsearch.formats import check_vectors
from simsearch.records import Document, Hit
from simsearch.search_index.checks import (
    askable_ids,
    check_k,
    check_query,
    checked_documents,
    refuse_known,
)
from simsearch.search_index.directory import (
    FORMAT_VERSION,
    check_format,
    check_place,
    install_index,
    write_format,
)
from simsearch.storage import DocumentStore
from simsearch.version import __version__

FloatArray = npt.NDArray[np.float32]

_PAGE = 1000  # documents read at a time by iterate()


class TextEncoder(Protocol):
    """What an index needs of an encoder; `Encoder` is one."""

    @property
    def name(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    def encode_queries(self, texts: Sequence[str]) -> FloatArray: ...
    def encode_documents(
        self, texts: Sequence[str], *, counts: EncodingCounts | None = None
    ) -> FloatArray: ...
    def save_export(self, directory: Path) -> None:
        """Write what `SearchIndex.open` needs to answer queries without the model."""
        ...


@dataclass(frozen=True, slots=True)
class WriteReport:
    """What a write did, in documents."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0

    def __add__(self, other: WriteReport) -> WriteReport:
        return WriteReport(
            self.added + other.added,
            self.replaced + other.replaced,
            self.unchanged + other.unchanged,
        )


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an index is; `dead_rows` are those of documents that were deleted or replaced."""

    path: str
    format: int
    finished: bool
    documents: int
    dead_rows: int
    dim: int
    encoder: str
    fingerprint: str
    commit_number: int
    created_by: str
    bytes_on_disk: int


class SearchIndex:
    """An index directory, open for reading and writing. Made by `create` or `open`.

    A call that writes is visible whole or not at all, and when it returns it survives kill -9.
    A search sees one commit, the latest, also when another process wrote it. One handle may be
    shared by threads.
    """

    def __init__(self, path: Path, store: DocumentStore, encoder: TextEncoder | None) -> None:
        self._path = path
        self._store = store
        self._encoder = encoder
        self._mutex = threading.RLock()
        self._vectors = VectorIndex(store.dim)
        self._commit_number = -1  # of what is in _vectors
        self._next_row = 0

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        encoder: TextEncoder | str | os.PathLike[str] | None = None,
        replace: bool = False,
        finished: bool = True,
    ) -> SearchIndex:
        """Create an empty index for the vectors of `encoder`, loaded if it is given by name.

        `replace` swaps an existing index for the new one in one step. `finished` is false while
        a corpus is still being loaded, so that the load can be taken up again.

        Raises:
            AlreadyExists: an index is at `path` and `replace` is false, or something else is,
                which is never replaced.
        """
        path = Path(path).resolve()
        check_place(path, replace=replace)
        if encoder is None or isinstance(encoder, str | os.PathLike):
            encoder = Encoder.load(encoder)
        created_by = f"simsearch/{__version__}"
        with draft_directory(path) as draft:
            encoder.save_export(draft / "encoder")
            settings = {
                "encoder": encoder.name,
                "encoder_sha256": _description_sha256(draft),
                "fingerprint": encoder.fingerprint,
                "created_by": created_by,
                "finished": _yes_no(finished),
            }
            DocumentStore.create(draft, dim=encoder.dim, settings=settings)
            write_format(draft, created_by=created_by)
            install_index(draft, path, replace=replace)
        return cls(path, DocumentStore.open(path), encoder)

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, encoder: TextEncoder | None = None
    ) -> SearchIndex:
        """Open an index; texts are encoded by its own copy of the encoder, or the given one.

        Raises:
            NotFound: there is no index at `path`.
            EncoderMismatch: `encoder` is not the one that built the index.
            CorruptIndex, IncompatibleIndex, SystemFailure: it cannot be read.
        """
        path = Path(path).resolve()
        check_format(path)
        store = DocumentStore.open(path)
        try:
            if encoder is not None:
                _refuse_other_encoder(store, encoder)
        except BaseException:
            store.close()
            raise
        return cls(path, store, encoder)

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
        """The encoder of the index, loaded when first needed."""
        with self._mutex:
            if self._encoder is None:
                self._encoder = self._load_own_encoder()
            return self._encoder

    def _load_own_encoder(self) -> Encoder:
        # The database names the description, which names graph and tokenizer: a file of the copy
        # that was damaged or swapped cannot answer queries wrongly.
        expected = self._store.read_setting("encoder_sha256")
        if not expected or _description_sha256(self._path) != expected:
            raise CorruptIndex(
                f"{self._path / 'encoder'} is missing or damaged (open the index with "
                "encoder=, or index the corpus again)"
            )
        try:
            encoder = Encoder.load(self._path / "encoder")
        except EncoderError as error:
            raise CorruptIndex(f"the index's copy of its encoder: {error}") from error
        _refuse_other_encoder(self._store, encoder)
        return encoder

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
        known = self._store.known_ids([document.id for document in batch])
        refuse_known(known)
        vectors = self._vectors_of(batch, embeddings, counts)
        with self._store.transaction():
            # Again, under the lock: somebody may have written while we encoded.
            refuse_known(self._store.known_ids([document.id for document in batch]))
            self._store.insert(batch, vectors, supplied=embeddings is not None)
        return WriteReport(added=len(batch))

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
        batch = checked_documents(documents)
        given = len(batch)
        if embeddings is None:
            stored = self._store.fetch_ids([document.id for document in batch])
            batch = [
                document
                for document in batch
                if document.id not in stored or not _same(stored[document.id], document)
            ]
        if not batch:
            return WriteReport(unchanged=given)
        vectors = self._vectors_of(batch, embeddings, counts)
        with self._store.transaction():
            replaced = self._store.remove([document.id for document in batch])
            self._store.insert(batch, vectors, supplied=embeddings is not None)
        return WriteReport(len(batch) - replaced, replaced, given - len(batch))

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents in one commit and return how many there were; unknown ids are no error.

        Raises:
            InvalidInput: `ids` is one string instead of several.
        """
        if isinstance(ids, str):
            raise InvalidInput("delete takes several ids, got one string (pass [id])")
        with self._store.transaction():
            return self._store.remove(askable_ids(ids))

    def get(self, document_id: str) -> Document | None:
        """Return a document, None if there is none of that id."""
        return self._store.fetch_ids(askable_ids([document_id])).get(document_id)

    def iterate(self) -> Iterator[Document]:
        """Yield every document, in the order in which they were written."""
        last = -1
        while page := self._store.documents_after(last, _PAGE):
            yield from (document for _, document in page)
            last = page[-1][0]

    def known_ids(self, ids: Sequence[str]) -> set[str]:
        """Return those of `ids` that are in the index."""
        return self._store.known_ids(askable_ids(ids))

    def count(self) -> int:
        """Return the number of documents."""
        return self._store.count()

    def __len__(self) -> int:
        return self.count()

    def search(self, query: str, k: int = 10) -> list[Hit]:
        """Return the `k` documents nearest to `query`, best first; fewer if there are fewer.

        Raises:
            InvalidInput: the query is empty, too long or not printable text; k is not 1..10000.
        """
        return self.search_many([query], k=k)[0]

    def search_many(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        """Return the hits of each query, in order; errors as `search`."""
        check_k(k)
        if isinstance(queries, str):
            raise InvalidInput("search_many takes several queries, got one string (pass [query])")
        for query in queries:
            check_query(query)
        if not queries:
            return []
        return self._search(self.encoder.encode_queries(queries), k)

    def search_vectors(self, vectors: FloatArray, k: int = 10) -> list[list[Hit]]:
        """Return the hits of each row of `vectors` (n, dim), which need not be normalised.

        Raises:
            InvalidData: a row is not finite, zero, or of another dimension.
        """
        check_k(k)
        return self._search(check_vectors(vectors, rows=None, dim=self._store.dim), k)

    def _search(self, vectors: FloatArray, k: int) -> list[list[Hit]]:
        with self._mutex, self._store.snapshot():
            self._refresh()
            rows, similarities = self._vectors.search(vectors, k)
            found = np.unique(rows).tolist()
            documents = self._store.fetch_rows(found)
        if len(documents) < len(found):
            lost = next(row for row in found if row not in documents)
            raise CorruptIndex(f"{self._path}: row {lost} has a vector but no document")
        return [
            [_hit(documents[row], score) for row, score in zip(row_list, score_list, strict=True)]
            for row_list, score_list in zip(rows.tolist(), similarities.tolist(), strict=True)
        ]

    def _refresh(self) -> None:
        """Bring the vectors in memory to the commit of the current snapshot."""
        changes = self._store.changes_since(self._commit_number, next_row=self._next_row)
        if changes is None:
            return
        self._vectors.remove(changes.removed)
        self._vectors.add(changes.rows, changes.vectors)
        self._commit_number = changes.commit_number
        self._next_row = int(self._store.read_setting("next_row"))

    def _vectors_of(
        self,
        documents: Sequence[Document],
        embeddings: FloatArray | None,
        counts: EncodingCounts | None,
    ) -> FloatArray:
        if embeddings is not None:
            return check_vectors(embeddings, rows=len(documents), dim=self._store.dim)
        texts = [document.content for document in documents]
        try:
            return self.encoder.encode_documents(texts, counts=counts)
        except UnencodableText as error:
            bad = documents[error.position].id
            raise EncoderError(f"document {bad!r}: the encoder gives no finite vector") from error

    @property
    def finished(self) -> bool:
        """False while a corpus is still being loaded."""
        return self._store.read_setting("finished") == _yes_no(True)

    def mark_finished(self) -> None:
        """Say that the corpus is loaded."""
        with self._store.transaction():
            self._store.write_setting("finished", _yes_no(True))

    def info(self) -> IndexInfo:
        """Return what the index is and holds."""
        with self._store.snapshot():
            setting = self._store.read_setting
            documents = self._store.count()
            return IndexInfo(
                path=str(self._path),
                format=FORMAT_VERSION,
                finished=self.finished,
                documents=documents,
                dead_rows=int(setting("next_row")) - documents,
                dim=self._store.dim,
                encoder=setting("encoder"),
                fingerprint=setting("fingerprint"),
                commit_number=int(setting("commit_number")),
                created_by=setting("created_by"),
                bytes_on_disk=sum(
                    file.stat().st_size for file in self._path.rglob("*") if file.is_file()
                ),
            )


def _refuse_other_encoder(store: DocumentStore, encoder: TextEncoder) -> None:
    stored, given = store.read_setting("fingerprint"), encoder.fingerprint
    if stored != given:
        raise EncoderMismatch(
            f"the index was built with encoder {store.read_setting('encoder')} "
            f"({stored[:12]}, dim {store.dim}), got {encoder.name} ({given[:12]}, "
            f"dim {encoder.dim}); use the original encoder, or index the corpus again"
        )


def _same(stored: Document, given: Document) -> bool:
    # Equal is not enough for metadata: to Python, true equals 1.
    return stored == given and json.dumps(dict(stored.metadata), sort_keys=True) == json.dumps(
        dict(given.metadata), sort_keys=True
    )


def _description_sha256(directory: Path) -> str:
    """Return the hash of the encoder copy's description, "" where there is none."""
    try:
        return file_sha256(directory / "encoder" / "encoder.json")
    except OSError:
        return ""


def _hit(document: Document, score: float) -> Hit:
    return Hit(
        id=document.id,
        score=max(-1.0, min(1.0, score)),  # rounding of unit vectors gives 1.0000002
        text=document.text,
        title=document.title,
        metadata=document.metadata,
    )


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"
