"""Which examples make a batch, and what a batch is: distinct texts, columns of them, a target."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers.base.sampler import (
    GroupByLabelBatchSampler,
    ProportionalBatchSampler,
    RoundRobinBatchSampler,
)
from torch import Tensor
from torch.utils.data import BatchSampler, ConcatDataset, RandomSampler

from simsearch.encoder.batching import IntArray
from simsearch.encoder.layout import Layout
from simsearch.encoder.tokenization import TextTokenizer, TokenizedText
from simsearch.errors import EncoderError, InvalidData
from simsearch.formats import Example
from simsearch.heads import HeadKind, pieces_of_words, split_words, tags_of_spans
from simsearch.records import (
    ClassifiedText,
    ClassPair,
    LabelledPair,
    LabelledText,
    Pair,
    ScoredPair,
    TaggedText,
    Triplet,
)
from simsearch.training.config import Sampling
from simsearch.training.examples import class_names, fold, texts_of
from simsearch.training.micro_batches import TokenizedInput, WordPieces
from simsearch.training.objectives import Objective

# Where the rows of each data set of a run go: its number, and the numbers of its examples.
Draw = tuple[int, tuple[int, ...]]


@dataclass(slots=True)
class DataSet:
    """Examples of one kind with their objective, and hard negatives of each, if it has any.

    The last ones may be others in other words: `added` are the positions of these others. `weight`
    is that of the gradient.
    """

    name: str
    examples: Sequence[Example]
    objective: Objective
    negatives: Sequence[Sequence[str]] | None = None
    added: Sequence[int] = ()
    weight: float = 1.0
    classes: tuple[str, ...] = field(init=False)
    # Of each anchor, folded, the texts that are known to answer it, folded.
    answers: dict[str, set[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.classes = class_names(self.examples)
        self.answers = defaultdict(set)
        for example in self.examples:
            if isinstance(example, Pair | Triplet):
                self.answers[fold(example.anchor)].add(fold(example.positive))
        first = len(self.examples) - len(self.added)
        for example, row in zip(self.examples[first:], self.added, strict=True):
            original = fold(texts_of(self.examples[row])[0])
            self.answers[fold(texts_of(example)[0])] |= {original, *self.answers[original]}

    def other_answer(self, row: int) -> str:
        """Return the positive of the nearest pair after this one that does not answer its anchor.

        Nor is it the anchor itself.

        Raises:
            InvalidData: there is none.
        """
        anchor = texts_of(self.examples[row])[0]
        own = self.answers[fold(anchor)] | {fold(anchor)}
        for step in range(1, len(self.examples)):
            other = self.examples[(row + step) % len(self.examples)]
            if isinstance(other, Pair) and fold(other.positive) not in own:
                return other.positive
        raise InvalidData(f"{anchor!r} has no text that could be a negative of it")


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts of a batch, each once; `columns` are positions in them, one tensor for each column.

    `target` is what the loss of the data set takes beside the columns. `rows` are the numbers of
    the examples, for messages. Texts with tags stand there once for each example, and their only
    column has the positions of all words.
    """

    dataset: int
    rows: tuple[int, ...]
    texts: Sequence[TokenizedInput]
    columns: Sequence[Tensor]
    target: Tensor


class Batches:
    """The batches of a run, in an order that the seed and the epoch decide."""

    def __init__(
        self,
        datasets: Sequence[DataSet],
        *,
        batch_size: int,
        sampling: Sampling,
        seed: int,
        layout: Layout,
    ) -> None:
        self._datasets = datasets
        self._seed = seed
        self._generator = torch.Generator()
        samplers = [self._sampler(dataset, batch_size) for dataset in datasets]
        in_turn = sampling is Sampling.ROUND_ROBIN
        made = RoundRobinBatchSampler if in_turn else ProportionalBatchSampler
        # Of the data sets nothing but their length is asked.
        lengths: list[Any] = [range(len(dataset.examples)) for dataset in datasets]
        self._sampler_of_all = made(
            ConcatDataset(lengths),
            batch_samplers=samplers,
            generator=self._generator,
            seed=seed,
        )
        self._prompts = {True: layout.query_prompt, False: layout.document_prompt}
        self._tokenizer = TextTokenizer.of(layout)
        self._prompt_lengths = {
            is_query: self._tokenizer.left_out(prompt) for is_query, prompt in self._prompts.items()
        }

    def _sampler(self, dataset: DataSet, batch_size: int) -> Any:
        if not dataset.objective.by_class:
            order = RandomSampler(range(len(dataset.examples)), generator=self._generator)
            return BatchSampler(order, batch_size, drop_last=False)
        labels = [row.label for row in dataset.examples if isinstance(row, LabelledText)]
        try:
            return GroupByLabelBatchSampler(
                Dataset.from_dict({"label": labels}),
                batch_size=batch_size,
                drop_last=False,
                valid_label_columns=["label"],
                generator=self._generator,
                seed=self._seed,
            )
        except ValueError as error:  # fewer than two classes with two texts, or an odd batch size
            raise InvalidData(f"{dataset.name or 'the data'}: {error}") from error

    def order(self, epoch: int) -> list[Draw]:
        """Return the rows of each batch of an epoch, counted from 0."""
        self._sampler_of_all.set_epoch(epoch)
        ends = np.cumsum([len(dataset.examples) for dataset in self._datasets])
        draws: list[Draw] = []
        for batch in self._sampler_of_all:
            number = int(np.searchsorted(ends, batch[0], side="right"))
            first = 0 if number == 0 else int(ends[number - 1])
            draws.append((number, tuple(row - first for row in batch)))
        return draws

    def batch(self, draw: Draw) -> Batch:
        """Return the batch of these rows, tokenized."""
        number, rows = draw
        dataset = self._datasets[number]
        examples = [dataset.examples[row] for row in rows]
        if dataset.objective.head is HeadKind.TAGGER:
            return self._tagged(draw, [e for e in examples if isinstance(e, TaggedText)], dataset)
        texts = _Texts(one_prompt=self._prompts[True] == self._prompts[False])
        if dataset.objective.in_batch:
            mined = [dataset.negatives[row] if dataset.negatives else () for row in rows]
            columns, target = _in_batch(examples, mined, dataset.answers, texts)
        else:
            columns, target = _columns(self._as_triplets(dataset, rows), dataset.classes, texts)
        return Batch(
            number, rows, self._tokenized(texts, rows), [torch.tensor(c) for c in columns], target
        )

    def _as_triplets(self, dataset: DataSet, rows: Sequence[int]) -> list[Example]:
        """Return pairs with each of their hard negatives; other examples as they are.

        A pair that has none takes the next pair's answer that is not one of its own.
        """
        triplets: list[Example] = []
        for row in rows:
            example = dataset.examples[row]
            if isinstance(example, Pair):
                negatives = dataset.negatives[row] if dataset.negatives else ()
                for negative in negatives or [dataset.other_answer(row)]:
                    triplets.append(Triplet(example.anchor, example.positive, negative))
            else:
                triplets.append(example)
        return triplets

    def _tagged(self, draw: Draw, examples: Sequence[TaggedText], dataset: DataSet) -> Batch:
        """Return the batch of texts with tags, without the words beyond the encoder's window."""
        number, rows = draw
        prompt = self._prompts[False]
        found = self._tokenizer.tokenize([prompt + each.text for each in examples], offsets=True)
        texts, tags = [], []
        for example, one in zip(examples, found, strict=True):
            if not len(one.ids):
                raise EncoderError(
                    f"the tokenizer leaves nothing of {example.text!r} (examples {rows})"
                )
            words = split_words(example.text)
            own = tags_of_spans(example.spans, words, dataset.classes).tags
            pieces = word_pieces(one, words, prompt=len(prompt))
            texts.append(TokenizedInput(one.ids, self._prompt_lengths[False], pieces))
            tags.append(own[: pieces.count])
        target = torch.from_numpy(np.concatenate(tags))
        return Batch(number, rows, texts, [torch.arange(len(target))], target)

    def _tokenized(self, texts: _Texts, rows: Sequence[int]) -> list[TokenizedInput]:
        keys = list(texts.position)
        found = self._tokenizer.tokenize([self._prompts[query] + text for text, query, _ in keys])
        for (text, _, __), one in zip(keys, found, strict=True):
            if not len(one.ids):
                raise EncoderError(f"the tokenizer leaves nothing of {text!r} (examples {rows})")
        return [
            TokenizedInput(one.ids, self._prompt_lengths[query])
            for (_, query, _), one in zip(keys, found, strict=True)
        ]


def word_pieces(text: TokenizedText, words: IntArray, *, prompt: int) -> WordPieces:
    """Return the pieces of the words (w, 2) that lie within the window, whole.

    `prompt` is how many characters stand before the text.
    """
    if text.offsets is None:
        raise EncoderError("the tokenizer gave no character ranges")
    offsets = np.maximum(text.offsets - prompt, 0)
    tokens = np.flatnonzero(offsets[:, 1] > offsets[:, 0])
    pieces = offsets[tokens]
    if text.truncated and len(pieces):
        words = words[words[:, 1] <= pieces[:, 1].max()]
    if not len(pieces):
        return WordPieces(tokens, tokens, len(words))
    first, behind = pieces_of_words(pieces, words)
    sizes = np.maximum(behind - first, 0)
    numbers = np.repeat(np.arange(len(words)), sizes)
    within = np.arange(len(numbers)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return WordPieces(tokens[first[numbers] + within], numbers, len(words))


class _Texts:
    """The distinct texts of a batch: text, whether it is a query, and which copy of it.

    A text that stands twice in one example is embedded twice, with another dropout each time
    (Gao et al. 2021, SimCSE); everywhere else equal texts are embedded once. Where queries have
    the prompt of documents they are no other texts.
    """

    def __init__(self, *, one_prompt: bool) -> None:
        self.position: dict[tuple[str, bool, int], int] = {}
        self._one_prompt = one_prompt

    def add(self, text: str, *, query: bool = False, copy: int = 0) -> int:
        """Return the position of a text."""
        key = (text, query and not self._one_prompt, copy)
        return self.position.setdefault(key, len(self.position))


def _in_batch(
    examples: Sequence[Example],
    mined: Sequence[Iterable[str]],
    answers: Mapping[str, set[str]],
    texts: _Texts,
) -> tuple[list[list[int]], Tensor]:
    """Return anchors and candidates, and which candidates do not count for which anchor (b, n).

    Left out are, of another example's candidates, what is known to answer the anchor or is the
    anchor itself, and every candidate that stands here already.
    """
    pairs = [_as_pair(example) for example in examples]
    anchors = [texts.add(anchor, query=True) for anchor, _ in pairs]
    candidates = [texts.add(positive, copy=int(anchor == positive)) for anchor, positive in pairs]
    given = [example.negative for example in examples if isinstance(example, Triplet)]
    negatives = list(dict.fromkeys([*given, *(text for own in mined for text in own)]))
    candidates += [texts.add(text) for text in negatives]
    names = [fold(text) for text in (*(positive for _, positive in pairs), *negatives)]
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        places[name].append(place)
    left_out = torch.zeros(len(pairs), len(candidates), dtype=torch.bool)
    for copies in places.values():
        left_out[:, copies[1:]] = True
    for row, (anchor, _) in enumerate(pairs):
        name = fold(anchor)
        for answer in (*answers.get(name, ()), name):
            left_out[row, places.get(answer, [])] = True
        left_out[row, row] = False
    return [anchors, candidates], left_out


def _as_pair(example: Example) -> tuple[str, str]:
    if isinstance(example, Pair | Triplet):
        return example.anchor, example.positive
    (text,) = texts_of(example)
    return text, text


def _columns(
    examples: Sequence[Example], classes: Sequence[str], texts: _Texts
) -> tuple[list[list[int]], Tensor]:
    """Return a column for each text of an example, and their labels (b,).

    Where several classes may hold these are (b, classes).
    """
    rows = [
        [
            texts.add(
                text,
                query=column == 0 and isinstance(example, Triplet),
                copy=texts_of(example)[:column].count(text),
            )
            for column, text in enumerate(texts_of(example))
        ]
        for example in examples
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    number = {name: position for position, name in enumerate(classes)}
    return columns, torch.tensor([_label(example, number) for example in examples])


def _label(example: Example, number: Mapping[str, int]) -> float | int | list[float]:
    match example:
        case ScoredPair():
            return example.score
        case LabelledPair():
            return example.label
        case ClassPair() | LabelledText():
            return number[example.label]
        case ClassifiedText():
            return [float(name in example.labels) for name in number]
    return 0
