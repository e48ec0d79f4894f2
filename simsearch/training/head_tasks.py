"""Held-out texts with classes or entities: how good a head is that is fitted to an encoder.

The head is the one that is kept in the end, fitted on the training side to each encoder anew. So
the base is scored with the best head on it as it is, and the tuned encoder with one of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from simsearch.encoder import Encoder
from simsearch.errors import InvalidData
from simsearch.evaluation import (
    Difference,
    SpanScores,
    compare_spans,
    paired_bootstrap,
    score_spans,
)
from simsearch.formats import Example
from simsearch.heads import (
    ClassifierConfig,
    HeadKind,
    TaggerConfig,
    tag_texts,
    train_classifier,
    train_tagger,
)
from simsearch.records import ClassifiedText, LabelledText, TaggedText
from simsearch.search_index import Embedder
from simsearch.training.held_out import HeldOut, Scores
from simsearch.training.watched import WatchedEncoder
from simsearch.wording import counted

_COUNTS = "span counts"


class HeldOutTextClasses:
    """Texts with a class each: the share of them whose class a classifier finds.

    Where several may hold at once (`several_labels`), whose classes it finds all, and no other.
    """

    deciding_metric = "accuracy"
    metrics: Sequence[str] = ("accuracy",)

    def __init__(
        self,
        texts: Sequence[ClassifiedText],
        *,
        training: Sequence[ClassifiedText],
        several_labels: bool,
        config: ClassifierConfig,
    ) -> None:
        self._texts = texts
        self._training = training
        self._several_labels = several_labels
        # What tells that a text is of no class is measured on classes that are left out, and a
        # tuned encoder has seen all of them.
        self._config = replace(config, scope=False)
        self.size = len(texts)
        classes = len({label for each in texts for label in each.labels})
        self.description = f"{counted(len(texts), 'text')} of {classes} classes"

    def score(self, encoder: Embedder) -> Scores:
        """Fit a classifier and return its accuracy, and for each text whether it was right."""
        whole = _whole(encoder)
        head = train_classifier(
            self._training,
            whole,
            several_labels=self._several_labels,
            config=self._config,
            calibration=self._texts,
        ).head
        found = head.classify(whole.encode_documents([each.text for each in self._texts]))
        right = np.array(
            [
                set(one.labels) == set(text.labels)
                for one, text in zip(found, self._texts, strict=True)
            ],
            dtype=np.float64,
        )
        return Scores({"accuracy": float(right.mean())}, {"accuracy": right}, head=head)

    def compare(self, before: Scores, after: Scores) -> dict[str, Difference]:
        """Return the difference of accuracy, by paired bootstrap over the texts."""
        return {"accuracy": paired_bootstrap(before.units["accuracy"], after.units["accuracy"])}


class HeldOutTags:
    """Texts with entities: strict span F1 of a tagger."""

    deciding_metric = "span_f1"
    metrics: Sequence[str] = ("span_f1",)

    def __init__(
        self,
        texts: Sequence[TaggedText],
        *,
        training: Sequence[TaggedText],
        config: TaggerConfig,
    ) -> None:
        self._texts = list(texts)
        self._training = list(training)
        self._config = config
        self.size = len(texts)
        spans = sum(len(each.spans) for each in texts)
        self.description = (
            f"{counted(len(texts), 'text')} with {counted(spans, 'entity', 'entities')}"
        )

    def score(self, encoder: Embedder) -> Scores:
        """Train a tagger and return its span F1, and what it found in each text."""
        whole = _whole(encoder)
        head = train_tagger(
            self._training, whole, config=self._config, calibration=self._texts
        ).head
        tagged = tag_texts(head, whole, [each.text for each in self._texts])
        found = [[span.span for span in spans] for spans in tagged]
        scores = score_spans([each.spans for each in self._texts], found)
        counts = scores.counts.astype(np.float64)
        return Scores({"span_f1": scores.f1}, {_COUNTS: counts}, head=head)

    def compare(self, before: Scores, after: Scores) -> dict[str, Difference]:
        """Return the difference of span F1, by texts resampled and swapped."""
        return {"span_f1": compare_spans(_spans_of(before), _spans_of(after))}


def make_head_held_out(
    examples: Sequence[Example],
    *,
    training: Sequence[Example],
    config: ClassifierConfig | TaggerConfig,
) -> HeldOut:
    """Return the held-out data of a head.

    Raises:
        InvalidData: the examples are not those of such a head.
    """
    if isinstance(config, TaggerConfig):
        tagged = [each for each in examples if isinstance(each, TaggedText)]
        _refuse_others(len(tagged), len(examples), "entities (objective tags)")
        return HeldOutTags(
            tagged,
            training=[each for each in training if isinstance(each, TaggedText)],
            config=config,
        )
    several = any(isinstance(each, ClassifiedText) for each in training)
    labelled = _classified(examples, several)
    _refuse_others(
        len(labelled),
        len(examples),
        "classes (text, labels)" if several else "a class (text, label)",
    )
    return HeldOutTextClasses(
        labelled, training=_classified(training, several), several_labels=several, config=config
    )


def _classified(examples: Sequence[Example], several: bool) -> list[ClassifiedText]:
    """Return the texts that have a class each, or those of which several may hold."""
    if several:
        return [each for each in examples if isinstance(each, ClassifiedText)]
    return [
        ClassifiedText(each.text, (each.label,))
        for each in examples
        if isinstance(each, LabelledText)
    ]


def head_config(kind: HeadKind, field: str, seed: int) -> ClassifierConfig | TaggerConfig:
    """Return the settings of a head that writes to `field`, "" for the default one.

    Raises:
        InvalidInput: `field` is no name of a field.
    """
    if kind is HeadKind.TAGGER:
        tagger = TaggerConfig(seed=seed)
        return replace(tagger, field=field) if field else tagger
    classifier = ClassifierConfig(seed=seed)
    return replace(classifier, field=field) if field else classifier


def _refuse_others(fitting: int, count: int, what: str) -> None:
    if fitting < count:
        raise InvalidData(
            f"{count - fitting:,} of {count:,} held-out examples are no texts with {what}"
        )


def _spans_of(scores: Scores) -> SpanScores:
    counts = scores.units[_COUNTS].astype(np.int64)
    return SpanScores(0.0, 0.0, scores.metrics["span_f1"], {}, counts)


def _whole(encoder: Embedder) -> Encoder:
    """Return the encoder itself: a head reads more of it than embeddings."""
    if isinstance(encoder, WatchedEncoder):
        return encoder.encoder
    if isinstance(encoder, Encoder):
        return encoder
    raise TypeError(f"heads are fitted to an exported encoder, got {type(encoder).__name__}")
