"""Training examples: folded, split without leaks."""

from __future__ import annotations

import functools
import random
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import field as own_field
from typing import TYPE_CHECKING, Final

from simsearch.errors import InvalidData
from simsearch.formats import Example
from simsearch.records import (
    ClassifiedText,
    ClassPair,
    LabelledPair,
    LabelledText,
    Pair,
    ScoredPair,
    TaggedText,
    Triplet,
    UnlabelledText,
)
from simsearch.search_index import RetrievalTask
from simsearch.training.config import AUTO

if TYPE_CHECKING:
    from simsearch.heads import ClassifierConfig, TaggerConfig

# What people call a number of them.
KIND_NAMES: Final[dict[type[Example], str]] = {
    Pair: "pairs",
    Triplet: "triplets",
    LabelledPair: "labelled pairs",
    ClassPair: "pairs with a class",
    ScoredPair: "scored pairs",
    LabelledText: "labelled texts",
    ClassifiedText: "texts with several classes",
    UnlabelledText: "texts alone",
    TaggedText: "texts with entities",
}
_WITH_CLASS = ClassPair | LabelledPair
_DRAWS = 10  # of a split, until both sides have two classes


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Examples of one kind, and texts that held-out queries search among beside the answers.

    Of several data sets in a run each has a name, its own objective, and the weight of its
    gradient: by default 1, and 0.1 of texts with classes or entities beside other data. `field`
    names the head that is kept of such texts, and the metadata field that it writes to; "" is what
    such heads write to by default. `head` are other settings of it, its field among them.
    `negatives` are texts that are known not to answer an anchor, by the anchor, folded: hard
    negatives of its pairs before any that are mined. `places` say FILE:LINE of each example; there
    are none of examples that come from no file.
    """

    examples: Sequence[Example]
    distractors: Sequence[str] = field(default=())
    name: str = ""
    objective: str = AUTO
    weight: float | None = None
    field: str = ""
    head: ClassifierConfig | TaggerConfig | None = None
    negatives: Mapping[str, Sequence[str]] = own_field(default_factory=dict)
    places: Sequence[str] = ()

    def place(self, row: int) -> str:
        """Return where the example at a position stands, for a message."""
        if self.places:
            return self.places[row]
        return f"row {row + 1} of {self.name}" if self.name else f"row {row + 1}"

    @property
    def kind(self) -> type[Example]:
        """The record class of the examples.

        Raises:
            InvalidData: there are none, or of several kinds.
        """
        kinds = {type(example) for example in self.examples}
        if len(kinds) != 1:
            names = ", ".join(sorted(KIND_NAMES[kind] for kind in kinds)) or "none"
            raise InvalidData(f"the training data must be examples of one kind, got {names}")
        return kinds.pop()


def texts_of(example: Example) -> tuple[str, ...]:
    """Return the texts of an example, in column order."""
    if isinstance(example, Triplet):
        return (example.anchor, example.positive, example.negative)
    if isinstance(example, Pair):
        return (example.anchor, example.positive)
    if isinstance(example, LabelledText | ClassifiedText | UnlabelledText | TaggedText):
        return (example.text,)
    return (example.sentence1, example.sentence2)


def judged_texts(example: Example) -> tuple[str, ...]:
    """Return the texts that an example asks and answers with, which may not be trained on.

    All of them, but for a triplet's negative: that is only one more text to search among.
    """
    if isinstance(example, Triplet):
        return (example.anchor, example.positive)
    return texts_of(example)


def class_names(examples: Iterable[Example]) -> tuple[str, ...]:
    """Return the names of the classes that examples have, in order; none where they have none."""
    names: set[str] = set()
    for example in examples:
        if isinstance(example, TaggedText):
            names.update(span.label for span in example.spans)
        elif isinstance(example, ClassifiedText):
            names.update(example.labels)
        elif isinstance(example, LabelledText | _WITH_CLASS):
            names.add(str(example.label))
    return tuple(sorted(names))


def as_one_kind(examples: Sequence[Example]) -> Sequence[Example]:
    """Return pairs of classes of which some are called 0 and 1 as what they all are."""
    if not any(isinstance(example, ClassPair) for example in examples):
        return examples
    return with_classes(examples)


def with_classes(examples: Sequence[Example]) -> Sequence[Example]:
    """Return examples with what is labelled 0 or 1 as pairs of the classes of these names."""
    return [
        ClassPair(example.sentence1, example.sentence2, str(example.label))
        if isinstance(example, LabelledPair)
        else example
        for example in examples
    ]


def fold(text: str) -> str:
    """Return a text without what does not make it another text: case, space, punctuation.

    Nor without accents and vowel signs, which do. A text of nothing else is returned as it is.
    """
    composed = unicodedata.normalize("NFC", text.casefold())
    return _not_word().sub(" ", composed).strip() or text


@functools.cache
def _not_word() -> re.Pattern[str]:
    """What is no letter, digit or combining mark; to `re` a mark is no part of a word."""
    marks = "".join(
        chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code))[0] == "M"
    )
    return re.compile(rf"(?:[^\w{marks}]|_)+")


def split_examples(
    examples: Sequence[Example],
    *,
    share: float,
    limit: int,
    seed: int,
    keep_classes: bool = False,
) -> tuple[list[Example], list[Example]]:
    """Split into a training and a held-out side that ask and answer with no text in common, folded.

    Examples that share a text, directly or through others, form a component, and a component
    goes to one side whole. Components are drawn at random until the held-out side has
    `share` of the examples, at most `limit`; one that does not fit any more stays in training.
    The negative of a triplet connects nothing; of such leaks `without_leaks` rids the training
    side. Where examples have classes, both sides get two of them, if there is a draw in ten that
    gives them. With `keep_classes` no component is held out that has the last examples of a class:
    who learns names of classes has to see each.

    Raises:
        InvalidData: no component fits; everything is connected.
    """
    wanted = max(1, min(limit, round(len(examples) * share)))
    components = connected_components(examples)
    rng = random.Random(seed)
    needed = min(2, len(class_names(examples)))
    sides: tuple[list[Example], list[Example]] = [], []
    for _ in range(_DRAWS):
        rng.shuffle(components)
        sides = _sides(examples, components, wanted, keep_classes)
        if all(sides) and min(len(class_names(side)) for side in sides) >= needed:
            break
    if not all(sides):
        largest = max(map(len, components))
        connected = f": {largest:,} of them are connected by shared texts" if largest > 1 else ""
        raise InvalidData(
            f"cannot hold out {wanted:,} of {len(examples):,} examples{connected} (bring more, "
            "or evaluation data of its own with --eval)"
        )
    return sides


def _sides(
    examples: Sequence[Example],
    components: Sequence[Sequence[int]],
    wanted: int,
    keep_classes: bool,
) -> tuple[list[Example], list[Example]]:
    """Return what trains, and at most `wanted` examples that judge: the first components."""
    held_out: set[int] = set()
    left = Counter(name for each in examples for name in class_names([each]) if keep_classes)
    for component in components:
        if len(held_out) + len(component) > wanted:
            continue
        own = Counter(
            name for row in component for name in class_names([examples[row]]) if keep_classes
        )
        if any(left[name] == count for name, count in own.items()):
            continue
        left -= own
        held_out.update(component)
    judging = [examples[row] for row in sorted(held_out)]
    return [example for row, example in enumerate(examples) if row not in held_out], judging


def connected_components(examples: Sequence[Example]) -> list[list[int]]:
    """Return the positions of examples that share texts, in groups, by first appearance."""
    parent = list(range(len(examples)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first_with: dict[str, int] = {}
    for row, example in enumerate(examples):
        for text in judged_texts(example):
            other = first_with.setdefault(fold(text), row)
            parent[root(row)] = root(other)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for row in range(len(examples)):
        groups[root(row)].append(row)
    return list(groups.values())


def without_leaks(
    examples: Sequence[Example], *judging: Sequence[Example] | RetrievalTask
) -> list[Example]:
    """Return training examples without those that what judges asks about.

    Of a retrieval task the queries may not be trained on (its corpus may: searching it is the
    task); of held-out examples no text that is asked or answered with.
    """
    seen: set[str] = set()
    for side in judging:
        if isinstance(side, RetrievalTask):
            seen.update(map(fold, side.queries.values()))
        else:
            seen.update(fold(text) for example in side for text in judged_texts(example))
    return [row for row in examples if seen.isdisjoint(map(fold, texts_of(row)))]


def without_duplicates(examples: Sequence[Example]) -> tuple[list[Example], int]:
    """Drop examples that are equal to an earlier one; return the rest and how many were dropped."""
    distinct = list(dict.fromkeys(examples))
    return distinct, len(examples) - len(distinct)
