"""Documents that get what heads find in them, in the pass that gives their vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from simsearch.encoder import EncodingCounts
from simsearch.errors import InvalidData
from simsearch.heads import Annotator
from simsearch.records import Document, Passage
from simsearch.search_index.reports import WriteReport

FloatArray = npt.NDArray[np.float32]


class AnnotatingEncoder:
    """The encoder of some heads, for an index that is being filled.

    Documents go through `writing`, which annotates a batch and keeps its embeddings at hand; when
    the index asks for them a moment later, they are there. What it asks for besides, passages of
    long texts, is encoded then. With a tagger everything is computed in float32.
    """

    def __init__(self, annotator: Annotator) -> None:
        self._annotator = annotator
        self._encoder = annotator.encoder
        self._embeddings: dict[str, FloatArray] = {}

    def check(self, documents: Iterable[Document]) -> None:
        """Refuse documents that have a field of their own where a head would write.

        Raises:
            InvalidData: naming the first.
        """
        for document in documents:
            if taken := self._annotator.fields & document.metadata.keys():
                raise InvalidData(
                    f"document {document.id!r} has a field {min(taken)!r}, which a head writes "
                    "(rename it, or train the head with another --field)"
                )

    def writing(self, write: Callable[..., WriteReport]) -> Callable[..., WriteReport]:
        """Return `index.add` or `index.upsert` with the metadata of the heads put in before.

        The heads read title and text of every document, also of one that is in the index already.

        Raises:
            InvalidData: (when called) a document has such a field already.
        """

        def annotate_and_write(
            documents: Sequence[Document],
            vectors: FloatArray | None = None,
            *,
            counts: EncodingCounts | None = None,
        ) -> WriteReport:
            self.check(documents)
            contents = [document.content for document in documents]
            annotations = self._annotator.annotate(contents, counts=counts)
            annotated = []
            try:
                for document, found in zip(documents, annotations, strict=True):
                    self._embeddings[found.text] = found.embedding
                    metadata = {**document.metadata, **found.metadata()}
                    annotated.append(replace(document, metadata=metadata))
                return write(annotated, vectors, counts=counts)
            finally:
                self._embeddings.clear()

        return annotate_and_write

    @property
    def name(self) -> str:
        """As the encoder's own."""
        return self._encoder.name

    @property
    def fingerprint(self) -> str:
        """As the encoder's own."""
        return self._encoder.fingerprint

    @property
    def dim(self) -> int:
        """As the encoder's own."""
        return self._encoder.dim

    @property
    def trained_dims(self) -> tuple[int, ...]:
        """As the encoder's own."""
        return self._encoder.trained_dims

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        """As the encoder's own."""
        return self._encoder.encode_queries(texts)

    def encode_documents(
        self, texts: Sequence[str], *, counts: EncodingCounts | None = None
    ) -> FloatArray:
        """Return the embeddings, (n, dim); those of the batch at hand are not computed again."""
        missing = [text for text in texts if text not in self._embeddings]
        if not missing:
            return np.stack([self._embeddings[text] for text in texts])
        encoded = self._encoder.encode_documents(missing, counts=counts)
        known = {**self._embeddings, **dict(zip(missing, encoded, strict=True))}
        return np.stack([known[text] for text in texts])

    def split_documents(self, documents: Sequence[Document]) -> list[list[Passage]]:
        """As the encoder's own."""
        return self._encoder.split_documents(documents)

    def save_export(self, directory: Path) -> None:
        """As the encoder's own."""
        self._encoder.save_export(directory)
