"""The words of training texts as a tagger is trained on them: vectors, shapes, tags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np

from simsearch.encoder import Encoder, EncodingCounts
from simsearch.encoder.runtime import FloatArray, IntArray
from simsearch.errors import InvalidData
from simsearch.heads.tagger_inputs import HalfArray, halved
from simsearch.heads.word_vectors import read_texts
from simsearch.heads.words import tags_of_spans, word_shapes
from simsearch.records import Span, TaggedText

READ_AT_ONCE = 256  # texts whose vectors are in memory before they are written away

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingWords:
    """All words of the training texts, one behind another; `ends` (texts,) of their rows.

    `vectors` (w, layers x hidden) lie in a file, in half precision: a hundred thousand words of a
    small encoder are half a gigabyte.
    """

    vectors: HalfArray
    shapes: FloatArray
    tags: IntArray
    ends: IntArray
    layers: int
    cut: int
    lost: Sequence[Span]


def read_words(
    texts: Sequence[TaggedText],
    labels: Sequence[str],
    encoder: Encoder,
    file: IO[bytes],
    counts: EncodingCounts | None,
    progress: Progress | None,
) -> TrainingWords:
    """Read the texts, their vectors into `file`; `progress` is called with texts read, and all.

    Raises:
        InvalidData: there is no word.
    """
    shapes, tags, ends = [], [], []
    cut = words = width = 0
    lost: list[Span] = []
    for start in range(0, len(texts), READ_AT_ONCE):
        part = texts[start : start + READ_AT_ONCE]
        readings = read_texts(encoder, [text.text for text in part], counts=counts)
        for text, reading in zip(part, readings, strict=True):
            own = tags_of_spans(text.spans, reading.words, labels)
            cut += own.widened
            lost += own.lost
            words += len(own.tags)
            width = reading.vectors.shape[1]
            shapes.append(word_shapes(text.text, reading.words))
            tags.append(own.tags)
            ends.append(words)
            file.write(halved(reading.vectors).tobytes())
        if progress is not None:
            progress(start + len(part), len(texts))
    file.flush()
    if not words:
        raise InvalidData("the texts hold no word")
    _, first = next(iter(encoder.read_layers([texts[0].text])))
    return TrainingWords(
        vectors=np.memmap(file, dtype=np.float16, mode="r", shape=(words, width)),
        shapes=np.concatenate(shapes),
        tags=np.concatenate(tags),
        ends=np.array(ends),
        layers=len(first.layers),
        cut=cut,
        lost=lost,
    )
