"""Documents that get what heads find in them: in the pass that gives their vectors, or later."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from simsearch.encoder import EncodingCounts, StandIn
from simsearch.errors import InvalidData, InvalidInput
from simsearch.formats import is_field_name
from simsearch.heads import Annotation, Annotator
from simsearch.records import Document, Passage
from simsearch.search_index.index import SearchIndex
from simsearch.search_index.reports import WriteReport

FloatArray = npt.NDArray[np.float32]
# Gives the embeddings (dim,) that there are of some texts, by text.
KnownEmbeddings = Callable[[Sequence[str]], Mapping[str, FloatArray]]

_AT_ONCE = 1024


class AnnotatingEncoder(StandIn):
    """The encoder of some heads, for an index that is being filled.

    Documents go through `writing`, which annotates a batch and keeps its embeddings at hand; when
    the index asks for them a moment later, they are there. What it asks for besides, passages of
    long texts, is encoded then. With a tagger everything is computed in float32.
    """

    def __init__(self, annotator: Annotator) -> None:
        """Take over the heads of an annotator.

        Raises:
            InvalidInput: a label of theirs cannot be the name of a metadata field.
        """
        refuse_odd_labels(annotator)
        super().__init__(annotator.encoder)
        self._annotator = annotator
        self._embeddings: dict[str, FloatArray] = {}
        self._whole: int | None = None  # of the documents written, those of one passage
        self._taken = 0  # embeddings that the index was given, each text once

    @property
    def classifies(self) -> bool:
        """Whether one of the heads is a classifier."""
        return self._annotator.classifies

    def check(self, documents: Iterable[Document]) -> None:
        """Refuse documents that have a field of their own where a head would write.

        Raises:
            InvalidData: naming the first.
        """
        for document in documents:
            refuse_taken_fields(document, self._annotator, "rename it, or train")

    def writing(
        self, write: Callable[..., WriteReport], *, known: KnownEmbeddings | None = None
    ) -> Callable[..., WriteReport]:
        """Return `index.add` or `index.upsert` with the metadata of the heads put in before.

        A tagger reads title and text of every document, also of one that is in the index already.
        Where there is none, texts of which `known` gives the embedding are not encoded again.

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
            counts = EncodingCounts() if counts is None else counts
            before = counts.encoded
            contents = [document.content for document in documents]
            stored = {} if known is None or self._annotator.reads_every_text else known(contents)
            annotations = self._annotator.annotate(contents, known=stored, counts=counts)
            annotated = []
            self._whole, self._taken = None, 0
            try:
                for document, found in zip(documents, annotations, strict=True):
                    self._embeddings[found.text] = found.embedding
                    metadata = {**document.metadata, **found.metadata()}
                    annotated.append(replace(document, metadata=metadata))
                read = counts.encoded - before
                report = write(annotated, vectors, counts=counts)
                return self._told(report, read=read, more=counts.encoded - before - read)
            finally:
                self._embeddings.clear()

        return annotate_and_write

    def _told(self, report: WriteReport, *, read: int, more: int) -> WriteReport:
        """Return a report of a write that counts what was encoded before it, too.

        `read` texts were encoded for the heads, `more` passages for the index. A vector is reused
        if its text was not encoded now.
        """
        whole = report.passages if self._whole is None else self._whole
        computed = whole if self._annotator.reads_every_text else min(self._taken, read)
        return replace(
            report, encoded=read + more, reused=max(0, report.passages - computed - more)
        )

    def encode_documents(
        self, texts: Sequence[str], *, counts: EncodingCounts | None = None
    ) -> FloatArray:
        """Return the embeddings, (n, dim); those of the batch at hand are not computed again."""
        missing = [text for text in texts if text not in self._embeddings]
        self._taken += len(texts) - len(missing)
        if not missing:
            return np.stack([self._embeddings[text] for text in texts])
        encoded = self._encoder.encode_documents(missing, counts=counts)
        known = {**self._embeddings, **dict(zip(missing, encoded, strict=True))}
        return np.stack([known[text] for text in texts])

    def split_documents(self, documents: Sequence[Document]) -> list[list[Passage]]:
        """As `Encoder.split_documents`."""
        split = super().split_documents(documents)
        self._whole = sum(len(passages) == 1 for passages in split)
        return split


@dataclass(frozen=True, slots=True)
class AnnotationReport:
    """What became of the documents of an index: of how many the metadata changed, or did not.

    `overtaken` were changed by somebody else meanwhile, and left as they are then. `encoded` texts
    went through the encoder; of `reused` ones the stored vector was enough.
    """

    changed: int = 0
    unchanged: int = 0
    overtaken: int = 0
    encoded: int = 0
    reused: int = 0

    def __add__(self, other: AnnotationReport) -> AnnotationReport:
        return AnnotationReport(
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.overtaken + other.overtaken,
            self.encoded + other.encoded,
            self.reused + other.reused,
        )


def annotate_index(
    index: SearchIndex,
    annotator: Annotator,
    *,
    replace_fields: bool = False,
    counts: EncodingCounts | None = None,
    progress: Callable[[int], None] | None = None,
) -> AnnotationReport:
    """Write what heads find into the documents of an index; their vectors stay as they are.

    Classifiers take the stored vectors, so nothing is encoded, but for documents of several
    passages, of supplied vectors, or in an index of a smaller dim. A tagger reads every text.
    A thousand documents are a commit. `replace_fields` lets what stands in the heads' fields go;
    `progress` is called with the documents done.

    Raises:
        InvalidData: a document has such a field, and it is not to be replaced.
        InvalidInput: a label cannot be the name of a metadata field.
        EncoderMismatch: the index is of another encoder.
    """
    refuse_odd_labels(annotator)
    index.refuse_other_encoder(annotator.encoder)
    if not replace_fields:
        for document in index.iterate():
            refuse_taken_fields(document, annotator, "--replace lets it go; or train")
    report, done = AnnotationReport(), 0
    for batch in _batches(index.iterate()):
        report += _annotate_batch(index, annotator, batch, counts or EncodingCounts())
        done += len(batch)
        if progress is not None:
            progress(done)
    return report


def _annotate_batch(
    index: SearchIndex, annotator: Annotator, batch: Sequence[Document], counts: EncodingCounts
) -> AnnotationReport:
    before = counts.encoded
    contents = [document.content for document in batch]
    known: Mapping[str, FloatArray] = {}
    if index.dim == annotator.encoder.dim and not annotator.reads_every_text:
        known = index.embeddings_of_texts(contents)
    found = annotator.annotate(contents, known=known, counts=counts)
    pairs = [
        (document, _with_annotation(document, annotator, each))
        for document, each in zip(batch, found, strict=True)
    ]
    changes = [(old, new) for old, new in pairs if old.metadata != new.metadata]
    written = index.replace_documents(changes)
    return AnnotationReport(
        changed=written,
        unchanged=len(batch) - len(changes),
        overtaken=len(changes) - written,
        encoded=counts.encoded - before,
        reused=sum(content in known for content in contents),
    )


def _with_annotation(document: Document, annotator: Annotator, found: Annotation) -> Document:
    gone = annotator.written_before(document.metadata)
    own = {name: value for name, value in document.metadata.items() if name not in gone}
    return replace(document, metadata={**own, **found.metadata()})


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    iterator = iter(documents)
    while batch := list(itertools.islice(iterator, _AT_ONCE)):
        yield batch


def refuse_taken_fields(document: Document, annotator: Annotator, advice: str) -> None:
    """Refuse a document that has a field of its own where a head would write.

    Raises:
        InvalidData: naming both.
    """
    taken = sorted(name for name in document.metadata if annotator.owns(name))
    if taken:
        raise InvalidData(
            f"document {document.id!r} has a field {taken[0]!r}, which a head writes ({advice} "
            "the head with another --field)"
        )


def refuse_odd_labels(annotator: Annotator) -> None:
    """Refuse a tagger of which a label cannot be the name of a metadata field.

    Raises:
        InvalidInput: naming it.
    """
    for field, label in annotator.span_labels:
        if not is_field_name(f"{field}.{label}"):
            raise InvalidInput(
                f"what is labelled {label!r} would go to the metadata field {field}.{label}, which "
                "is no name of 1 to 64 of A-Z a-z 0-9 _ . - (train the head on other labels)"
            )
