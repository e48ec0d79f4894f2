"""Tagger: word vectors of all layers in, spans out. Numpy alone.

A map of all layers side by side and of the words' shapes, blocks of depthwise-separable
convolution over neighbouring words, one more map to the tags, and a chain over these. The texts
of a batch lie one behind another with a gap between, so no padding is computed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from simsearch.encoder import Encoder
from simsearch.encoder.runtime import FloatArray
from simsearch.errors import EncoderError, InvalidInput
from simsearch.heads.chain import Chain
from simsearch.heads.head_file import EncoderReference, HeadContent, HeadKind, read_head, write_head
from simsearch.heads.word_vectors import TextReading, read_texts
from simsearch.heads.words import SHAPES, spans_of_tags, word_shapes
from simsearch.records import Span

_NORM_EPSILON = 1e-5  # torch's
WORDS_AT_ONCE = 4096  # of the chain, which goes over all texts word by word
_WORDS_IN_CACHE = 512  # of the blocks, whose rows should stay there
_MOST_BLOCKS = 16
_TEXTS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class TaggedSpan:
    """A span that a tagger found, and the probability of exactly this span."""

    start: int
    end: int
    label: str
    probability: float

    @property
    def span(self) -> Span:
        """The span alone."""
        return Span(self.start, self.end, self.label)


@dataclass(frozen=True, slots=True, eq=False)
class ConvolutionBlock:
    """x + mix(relu(depthwise(norm(x)))): each channel over the words, then the channels."""

    norm_weight: FloatArray  # (d,)
    norm_bias: FloatArray  # (d,)
    depthwise: FloatArray  # (d, k), k odd
    depthwise_bias: FloatArray  # (d,)
    mix: FloatArray  # (d, d)
    mix_bias: FloatArray  # (d,)

    def apply(self, rows: FloatArray, real: FloatArray) -> FloatArray:
        """Shape: (n, d), and (n, 1) with 0 in gaps -> (n, d). Gaps are as wide as k // 2."""
        normed = layer_norm(rows, self.norm_weight, self.norm_bias) * real
        width = self.depthwise.shape[1]
        reach = width // 2
        padded = np.pad(normed, ((reach, reach), (0, 0)))
        mixed = np.broadcast_to(self.depthwise_bias, rows.shape).copy()
        term = np.empty_like(rows)
        for place in range(width):
            np.multiply(padded[place : place + len(rows)], self.depthwise[:, place], out=term)
            mixed += term
        np.maximum(mixed, 0, out=mixed)
        result: FloatArray = mixed @ self.mix.T
        result += self.mix_bias
        result += rows
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Tagger:
    """A tagging head.

    `project` (d, layers x hidden) and `shape` (d, SHAPES) make the rows, `output` (tags, d) the
    scores of tags. `field` is the metadata field that its spans go to when documents are indexed.
    """

    kind: ClassVar = HeadKind.TAGGER

    encoder: EncoderReference
    labels: tuple[str, ...]
    project: FloatArray
    project_bias: FloatArray
    shape: FloatArray
    blocks: tuple[ConvolutionBlock, ...]
    norm_weight: FloatArray
    norm_bias: FloatArray
    output: FloatArray
    output_bias: FloatArray
    chain: Chain
    field: str = "entities"

    def tag(self, texts: Sequence[str], readings: Sequence[TextReading]) -> list[list[TaggedSpan]]:
        """Return the spans of each text, in order; they are ranges of its characters.

        `readings` are those of `read_texts`, by the encoder of this head.
        """
        results: list[list[TaggedSpan]] = [[] for _ in texts]
        filled = [row for row, reading in enumerate(readings) if len(reading.words)]
        # Texts of like length together: the chain goes over the longest of a batch.
        filled.sort(key=lambda row: len(readings[row].words))
        lengths = [len(readings[row].words) for row in filled]
        for numbers in word_parts(lengths, most=WORDS_AT_ONCE):
            part = [filled[number] for number in numbers]
            shapes = [word_shapes(texts[row], readings[row].words) for row in part]
            emissions = self.emissions([readings[row].vectors for row in part], shapes)
            best = self.chain.best(emissions)
            chances = self.chain.span_probabilities(emissions, best)
            for row, tags, values in zip(part, best, chances, strict=True):
                spans = spans_of_tags(tags, readings[row].words, self.labels)
                results[row] = [
                    TaggedSpan(span.start, span.end, span.label, value)
                    for span, value in zip(spans, values, strict=True)
                ]
        return results

    def softened(self, temperature: float) -> Tagger:
        """Return the tagger that finds the same spans, with the probabilities of `temperature`."""
        factor = np.float32(temperature)
        return replace(
            self,
            output=self.output / factor,
            output_bias=self.output_bias / factor,
            chain=self.chain.softened(temperature),
        )

    def emissions(
        self, vectors: Sequence[FloatArray], shapes: Sequence[FloatArray]
    ) -> list[FloatArray]:
        """Return the scores of the tags of each word, before the chain.

        Shape: (w_i, layers x hidden) and (w_i, SHAPES) -> (w_i, tags), for each text.
        """
        scores: list[FloatArray] = []
        for part in word_parts([len(each) for each in vectors], most=_WORDS_IN_CACHE):
            scores += self._part_emissions(
                [vectors[text] for text in part], [shapes[text] for text in part]
            )
        return scores

    def _part_emissions(
        self, vectors: Sequence[FloatArray], shapes: Sequence[FloatArray]
    ) -> list[FloatArray]:
        places, total = flat_places([len(each) for each in vectors], gap=self._gap)
        taken = np.concatenate([np.arange(start, stop) for start, stop in places])
        # One product for all: the weights are read once, which is more than the texts.
        joined = np.concatenate(list(vectors), dtype=np.float32)
        rows = joined @ self.project.T
        rows += self.project_bias
        rows += np.concatenate(list(shapes)) @ self.shape.T
        np.maximum(rows, 0, out=rows)
        spread = np.zeros((total, rows.shape[1]), dtype=np.float32)
        spread[taken] = rows
        real = np.zeros((total, 1), dtype=np.float32)
        real[taken] = 1
        for block in self.blocks:
            spread = block.apply(spread, real)
        normed = layer_norm(spread, self.norm_weight, self.norm_bias)
        scores = normed @ self.output.T + self.output_bias
        return [scores[start:stop] for start, stop in places]

    @property
    def _gap(self) -> int:
        return max((block.depthwise.shape[1] // 2 for block in self.blocks), default=0)

    def save(self, path: str | os.PathLike[str], *, replace: bool = False) -> None:
        """Write the tagger to a directory, whole or not at all; errors as `Classifier.save`."""
        tensors = {
            "project": self.project,
            "project_bias": self.project_bias,
            "shape": self.shape,
            "norm_weight": self.norm_weight,
            "norm_bias": self.norm_bias,
            "output": self.output,
            "output_bias": self.output_bias,
            "begin": self.chain.begin,
            "follow": self.chain.follow,
        }
        for number, block in enumerate(self.blocks):
            for name in BLOCK_TENSORS:
                tensors[f"blocks.{number}.{name}"] = getattr(block, name)
        settings = {
            "labels": list(self.labels),
            "inputs": self.project.shape[1],
            "hidden": self.project.shape[0],
            "kernels": [block.depthwise.shape[1] for block in self.blocks],
            "shapes": SHAPES,
            "field": self.field,
        }
        write_head(Path(path), self.kind, self.encoder, settings, tensors, replace=replace)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tagger:
        """Read a tagger; errors as `Classifier.load`."""
        return tagger_of(read_head(Path(path)))


def tag_texts(tagger: Tagger, encoder: Encoder, texts: Sequence[str]) -> list[list[TaggedSpan]]:
    """Return the spans of each text, in order; a few hundred texts are held at a time.

    Raises:
        EncoderMismatch: the encoder is not the tagger's.
        InvalidData: a text is empty or blank.
        InvalidInput: `texts` is one string.
    """
    if isinstance(texts, str):
        raise InvalidInput("tag_texts takes several texts, got one string (pass [text])")
    tagger.encoder.check(encoder)
    results: list[list[TaggedSpan]] = []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        part = texts[start : start + _TEXTS_AT_ONCE]
        results += tagger.tag(part, read_texts(encoder, part))
    return results


BLOCK_TENSORS = (
    "norm_weight",
    "norm_bias",
    "depthwise",
    "depthwise_bias",
    "mix",
    "mix_bias",
)


def tagger_of(content: HeadContent) -> Tagger:
    """Return the tagger that a head's directory holds; errors as `Tagger.load`."""
    if content.kind is not HeadKind.TAGGER:
        raise InvalidInput(f"{content.path} is a {content.kind}, expected a tagger")
    labels = content.names("labels")
    tags = 1 + 2 * len(labels)
    inputs, hidden = content.setting("inputs", int), content.setting("hidden", int)
    kernels = content.setting("kernels", list)
    if (
        len(kernels) > _MOST_BLOCKS
        or not all(type(width) is int and 1 <= width <= 101 and width % 2 for width in kernels)
        or content.setting("shapes", int) != SHAPES
    ):
        raise EncoderError(f"{content.path}: its blocks or shapes are those of another version")
    tensor = content.tensor
    sizes = {"mix": lambda width: (hidden, hidden), "depthwise": lambda width: (hidden, width)}
    blocks = [
        ConvolutionBlock(
            **{
                name: tensor(
                    f"blocks.{number}.{name}",
                    *sizes.get(name, lambda width: (hidden,))(width),
                )
                for name in BLOCK_TENSORS
            }
        )
        for number, width in enumerate(kernels)
    ]
    return Tagger(
        encoder=content.encoder,
        labels=labels,
        project=tensor("project", hidden, inputs),
        project_bias=tensor("project_bias", hidden),
        shape=tensor("shape", hidden, SHAPES),
        blocks=tuple(blocks),
        norm_weight=tensor("norm_weight", hidden),
        norm_bias=tensor("norm_bias", hidden),
        output=tensor("output", tags, hidden),
        output_bias=tensor("output_bias", tags),
        # Said once more what is legal: a file is another's word.
        chain=Chain.of(tensor("begin", tags), tensor("follow", tags, tags)),
        field=content.field(),
    )


def layer_norm(rows: FloatArray, weight: FloatArray, bias: FloatArray) -> FloatArray:
    """Return the rows at mean 0 and variance 1, times `weight`, plus `bias` (Ba et al. 2016)."""
    centred: FloatArray = rows - rows.mean(axis=1, keepdims=True)
    variance = np.einsum("nd,nd->n", centred, centred)[:, None] / rows.shape[1]
    centred /= np.sqrt(variance + np.float32(_NORM_EPSILON))
    centred *= weight
    centred += bias
    return centred


def flat_places(lengths: Sequence[int], *, gap: int) -> tuple[list[tuple[int, int]], int]:
    """Return where each text begins and ends, one behind another with gaps, and the length."""
    places = []
    start = 0
    for length in lengths:
        places.append((start, start + length))
        start += length + gap
    return places, max(0, start - gap)


def word_parts(lengths: Sequence[int], *, most: int) -> list[list[int]]:
    """Return the positions of texts in order, in parts of `most` words, or of one longer text."""
    parts: list[list[int]] = []
    words = 0
    for position, length in enumerate(lengths):
        if not parts or words + length > most:
            parts.append([])
            words = 0
        parts[-1].append(position)
        words += length
    return parts
