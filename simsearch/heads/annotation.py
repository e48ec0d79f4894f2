"""All that several heads say of texts, from one pass of their encoder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from simsearch.encoder import Encoder, EncodingCounts
from simsearch.encoder.runtime import FloatArray
from simsearch.errors import InvalidInput
from simsearch.heads.classifier import Classification, Classifier, classifier_of
from simsearch.heads.head_file import HeadKind, read_head
from simsearch.heads.tagger import TaggedSpan, Tagger, tagger_of
from simsearch.heads.word_vectors import read_texts

Head: TypeAlias = Classifier | Tagger

_TEXTS_AT_ONCE = 256
_DIGITS = 6  # of a probability that is kept with a document


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """What is known of a text: `embedding` (dim,), and by the field of each head what it found."""

    text: str
    embedding: FloatArray
    classes: Mapping[str, Classification]
    spans: Mapping[str, Sequence[TaggedSpan]]
    several: frozenset[str] = frozenset()  # fields in which any number of labels may hold

    def metadata(self) -> dict[str, Any]:
        """Return the fields that a document gets.

        Of a classifier its label (where several may hold, a list), and under FIELD_probability
        that of the likeliest. Of a tagger the spans, as ranges of the text, and under FIELD.LABEL
        what is mentioned, each spelling once, for every label that something has.
        """
        fields: dict[str, Any] = {}
        for field, found in self.classes.items():
            several = field in self.several
            fields[field] = list(found.labels) if several else found.label
            fields[f"{field}_probability"] = round(found.probability, _DIGITS)
        for field, spans in self.spans.items():
            mentioned: dict[str, dict[str, None]] = {}
            for span in spans:
                mentioned.setdefault(span.label, {})[self.text[span.start : span.end]] = None
            fields[field] = [
                {"start": span.start, "end": span.end, "label": span.label} for span in spans
            ]
            fields |= {f"{field}.{label}": list(texts) for label, texts in mentioned.items()}
        return fields


class Annotator:
    """Heads of one encoder, asked together."""

    def __init__(
        self, heads: Sequence[Head], encoder: Encoder, *, min_in_scope: float | None = None
    ) -> None:
        """Put heads together.

        With `min_in_scope` classifiers that have a scope give no label to a text that is less
        probably of a known class.

        Raises:
            InvalidInput: there is none, two write to the same field, or none can reject a text.
            EncoderMismatch: a head belongs to another encoder.
        """
        if not heads:
            raise InvalidInput("there is no head to ask (--head HEAD_DIR)")
        for head in heads:
            head.encoder.check(encoder)
        fields = [field for head in heads for field in head.kind.fields(head.field)]
        twice = next((field for field in fields if fields.count(field) > 1), None)
        if twice is not None:
            raise InvalidInput(
                f"two heads write to the field {twice!r} (train one with another --field)"
            )
        self.encoder = encoder
        self.fields = frozenset(fields)
        self._classifiers = [head for head in heads if isinstance(head, Classifier)]
        self._taggers = [head for head in heads if isinstance(head, Tagger)]
        self._min_in_scope = min_in_scope
        if min_in_scope is not None and all(head.scope is None for head in self._classifiers):
            raise InvalidInput(
                "none of the heads has a scope: --min-in-scope needs one to reject texts"
            )

    def annotate(
        self,
        texts: Sequence[str],
        *,
        known: Mapping[str, FloatArray] | None = None,
        counts: EncodingCounts | None = None,
    ) -> Iterator[Annotation]:
        """Yield what is known of each text, in order; a few hundred are held at a time.

        The token vectors of all layers are computed only where a tagger asks for them. `known` are
        embeddings (dim,) of texts, which classifiers take as they are; a tagger reads every text.
        """
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            yield from self._part(texts[start : start + _TEXTS_AT_ONCE], known or {}, counts)

    @property
    def reads_every_text(self) -> bool:
        """Whether stored embeddings do not suffice: a tagger reads the vectors of words."""
        return bool(self._taggers)

    @property
    def classifies(self) -> bool:
        """Whether embeddings are asked for: of a text beyond the window, of its beginning."""
        return bool(self._classifiers)

    @property
    def span_labels(self) -> list[tuple[str, str]]:
        """Field and label of all that taggers look for."""
        return [(head.field, label) for head in self._taggers for label in head.labels]

    def owns(self, name: str) -> bool:
        """Whether a head writes to a metadata field of this name."""
        return name in self.fields or any(
            name.startswith(f"{head.field}.") for head in self._taggers
        )

    def written_before(self, metadata: Mapping[str, Any]) -> set[str]:
        """Return the fields of a document that go when its heads' fields are written anew.

        Beside those that the heads own these are what a head of the other kind left beside one of
        them: a tagger's FIELD.LABEL of every label in its spans, a classifier's probability.
        """
        gone = {name for name in metadata if self.owns(name)}
        for field in [head.field for head in self._classifiers]:
            gone |= {f"{field}.{label}" for label in _labels_of_spans(metadata, field)}
        for field in [head.field for head in self._taggers]:
            _, probability = HeadKind.CLASSIFIER.fields(field)
            if field in metadata and _is_of_classifier(metadata[field]):
                gone.add(probability)
        return gone

    def _part(
        self,
        texts: Sequence[str],
        known: Mapping[str, FloatArray],
        counts: EncodingCounts | None,
    ) -> Iterator[Annotation]:
        if self._taggers:
            readings = read_texts(self.encoder, texts, counts=counts)
            embeddings = np.stack([reading.embedding for reading in readings])
        else:
            readings = []
            new = [text for text in dict.fromkeys(texts) if text not in known]
            found = dict(known)
            if new:
                encoded = self.encoder.encode_documents(new, counts=counts)
                found |= zip(new, encoded, strict=True)
            embeddings = np.stack([found[text] for text in texts])
        classes = {
            head.field: head.classify(
                embeddings, min_in_scope=None if head.scope is None else self._min_in_scope
            )
            for head in self._classifiers
        }
        several = frozenset(head.field for head in self._classifiers if head.several_labels)
        spans = {head.field: head.tag(texts, readings) for head in self._taggers}
        for row, text in enumerate(texts):
            yield Annotation(
                text=text,
                embedding=embeddings[row],
                classes={field: found[row] for field, found in classes.items()},
                spans={field: found[row] for field, found in spans.items()},
                several=several,
            )


def load_head(path: str | os.PathLike[str]) -> Head:
    """Read a head of either kind; errors as `Classifier.load`."""
    content = read_head(Path(path))
    return classifier_of(content) if content.kind is HeadKind.CLASSIFIER else tagger_of(content)


def annotate(
    texts: Sequence[str],
    heads: Sequence[Head | str | os.PathLike[str]],
    *,
    encoder: Encoder | None = None,
    min_in_scope: float | None = None,
) -> list[Annotation]:
    """Return embedding, classes and spans of each text, in order, by one pass.

    `min_in_scope` as in `Annotator`. Heads may be given as directories. Without `encoder` that of
    the first head is loaded.

    Raises:
        InvalidInput: there is no head, two write to one field, or `texts` is one string.
        EncoderMismatch: they belong to different encoders.
    """
    if isinstance(texts, str):
        raise InvalidInput("annotate takes several texts, got one string (pass [text])")
    loaded = [head if isinstance(head, Classifier | Tagger) else load_head(head) for head in heads]
    if encoder is None and loaded:
        encoder = loaded[0].encoder.load()
    if encoder is None:
        raise InvalidInput("there is no head to ask")
    return list(Annotator(loaded, encoder, min_in_scope=min_in_scope).annotate(texts))


def _labels_of_spans(metadata: Mapping[str, Any], field: str) -> set[str]:
    """Return the labels of the spans that a tagger wrote; none of any other value."""
    value = metadata.get(field)
    if not isinstance(value, list):
        return set()
    keys = {"start", "end", "label"}
    return {str(each["label"]) for each in value if isinstance(each, dict) and each.keys() == keys}


def _is_of_classifier(value: Any) -> bool:
    """Return whether a field holds what a classifier writes, and no tagger: not an empty list."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(each, str) for each in value)
    return value is None or isinstance(value, str)
