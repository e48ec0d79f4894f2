"""What tests of heads share: texts whose class a bag of words tells, and a trained classifier."""

from __future__ import annotations

import numpy as np

from simsearch.heads import Classifier, ClassifierConfig, ClassifierTraining, train_classifier
from simsearch.records import ClassifiedText, Span, TaggedText

TOPICS = {
    "animal": ["cat", "dog", "bird", "sat", "sings"],
    "money": ["cash", "bank", "money", "pay", "bill"],
    "order": ["order", "parcel", "late", "lost", "arrived"],
    "phone": ["phone", "screen", "broken", "password", "reset"],
    "colour": ["red", "blue", "green", "my", "the"],
}


def labelled_texts(count: int, *, seed: int = 0, topics=tuple(TOPICS)) -> list[ClassifiedText]:
    """Return texts of four words, three of their topic and one of any, in turn over the topics."""
    rng = np.random.default_rng(seed)
    everything = [word for words in TOPICS.values() for word in words]
    texts = []
    for number in range(count):
        topic = topics[number % len(topics)]
        words = [*rng.choice(TOPICS[topic], 3), rng.choice(everything)]
        texts.append(ClassifiedText(" ".join(words), (topic,)))
    return texts


def trained(encoder, count: int = 200, **settings) -> ClassifierTraining:
    return train_classifier(
        labelled_texts(count), encoder, config=ClassifierConfig(**settings) if settings else None
    )


def same_classifier(first: Classifier, second: Classifier) -> bool:
    """Whether two classifiers are equal to the last bit."""
    return (
        (first.encoder, first.labels, first.several_labels, first.field)
        == (second.encoder, second.labels, second.several_labels, second.field)
        and np.array_equal(first.weight, second.weight)
        and np.array_equal(first.bias, second.bias)
    )


ENTITIES = {"ANIMAL": ["cat", "dog", "bird"], "PLACE": ["bank", "machine"]}


def tagged_texts(count: int, *, seed: int = 0) -> list[TaggedText]:
    """Return texts in which an article and an animal or a place are a span, and others are not."""
    rng = np.random.default_rng(seed)
    others = ["my", "sat", "late", "money", "was", "lost", "red", "phone", "the"]
    texts = []
    for _ in range(count):
        words, spans, length = [], [], 0
        for _ in range(int(rng.integers(2, 5))):
            label = str(rng.choice(["ANIMAL", "PLACE", ""]))
            part = str(rng.choice(others))
            if label:
                part = f"the {rng.choice(ENTITIES[label])}"
                spans.append(Span(length, length + len(part), label))
            words.append(part)
            length += len(part) + 1
        texts.append(TaggedText(" ".join(words), tuple(spans)))
    return texts
