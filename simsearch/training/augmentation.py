"""More training examples from those at hand: a text is changed in a way that keeps its meaning.

Deletion and swap are two of the four operations of Wei & Zou (2019, EDA: easy data augmentation);
the other two need a dictionary of synonyms. Dropout views are those of Gao et al. (2021, SimCSE).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from simsearch.errors import InvalidInput
from simsearch.formats import Example
from simsearch.records import (
    ClassifiedText,
    LabelledText,
    Pair,
    TaggedText,
    Triplet,
    UnlabelledText,
)
from simsearch.training.config import Augmentation
from simsearch.training.examples import KIND_NAMES, fold, texts_of

_CHANGED: Final = 0.1  # share of the words that is dropped, or exchanged with the next one
_KEPT: Final = (6, 9)  # tenths of the words that a crop keeps, least and most
_LEAST_WORDS: Final = 3  # a shorter text has no word to spare

# Chinese and Japanese are written without spaces: there a character is a word, punctuation too.
_UNSPACED: Final = (
    "\u3001-\u30ff\u31f0-\u31ff"  # punctuation, Hiragana, Katakana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\uff00-\uffef"  # punctuation as wide as a character
)
_IS_UNSPACED: Final = re.compile(f"[{_UNSPACED}]")
_WORD: Final = re.compile(f"[{_UNSPACED}]|[^\\s{_UNSPACED}]+")


@dataclass(frozen=True, slots=True)
class MethodSummary:
    """What a method added: how many examples, and the changed text of a few, before and after."""

    method: Augmentation
    added: int
    samples: tuple[tuple[str, str], ...]


def augment(
    examples: Sequence[Example], methods: Sequence[Augmentation], *, seed: int
) -> list[tuple[int, Example]]:
    """Return what the methods add to the examples, in their order; the examples are not in it.

    Each added example comes with the position of the one that it was made of.

    Each method makes at most one example of an example, in which the first text is changed: the
    anchor, `sentence1`, or the text that has a class. All else stays. `deletion` drops a tenth of
    the words, `swap` exchanges a tenth with their neighbours, `crop` keeps a run of 60 to 90%;
    each changes one word at least. What has fewer than 3 words, or is the same text folded,
    is left out, and so are texts with entities. `dropout` makes of a pair the one of its anchor
    with itself, which a network that is training embeds under two dropout masks.

    What is made of an example depends on it and `seed` alone, not on the examples beside it. A
    method that is named twice counts once.

    Raises:
        InvalidInput: `dropout` is asked for examples that are no pairs.
    """
    return [(row, made) for row, _, made in _added(examples, methods, seed)]


def describe(
    examples: Sequence[Example], methods: Sequence[Augmentation], *, seed: int, samples: int = 3
) -> list[MethodSummary]:
    """Return for each method what `augment` adds, with the first few texts that it changes.

    Raises:
        InvalidInput: as `augment`.
    """
    changed: dict[Augmentation, list[tuple[str, str]]] = {method: [] for method in methods}
    for row, method, after in _added(examples, methods, seed):
        changed[method].append((texts_of(examples[row])[0], texts_of(after)[0]))
    return [
        MethodSummary(method, added=len(texts), samples=tuple(texts[:samples]))
        for method, texts in changed.items()
    ]


def _added(
    examples: Sequence[Example], methods: Sequence[Augmentation], seed: int
) -> Iterator[tuple[int, Augmentation, Example]]:
    """Yield the position of an example, the method, and what it makes of it, if anything."""
    if Augmentation.DROPOUT in methods:
        _refuse_dropout_of_others(examples)
    for row, example in enumerate(examples):
        for method in dict.fromkeys(methods):
            if method == Augmentation.DROPOUT:
                anchor = texts_of(example)[0]
                yield row, method, Pair(anchor, anchor)
            elif (made := _changed(example, method, seed)) is not None:
                yield row, method, made


def _refuse_dropout_of_others(examples: Sequence[Example]) -> None:
    others = {type(example) for example in examples} - {Pair}
    if others:
        raise InvalidInput(
            f"dropout views are made of pairs, got "
            f"{', '.join(sorted(KIND_NAMES[o] for o in others))} "
            "(choose other augmentations)"
        )


def _changed(example: Example, method: Augmentation, seed: int) -> Example | None:
    """Return the example with another first text; None if that would be the same, folded."""
    text = texts_of(example)[0]
    words = _WORD.findall(text)
    # Where words of a text have moved, its entities are elsewhere.
    if len(words) < _LEAST_WORDS or isinstance(example, TaggedText):
        return None
    # A string seeds the generator by its SHA-512: the same in every process.
    rng = random.Random("\0".join((str(seed), method, *texts_of(example))))
    changed = _join(_CHANGES[method](words, rng))
    return None if fold(changed) == fold(text) else _with_first_text(example, changed)


def _with_first_text(example: Example, text: str) -> Example | None:
    if isinstance(example, TaggedText):
        return None
    if isinstance(example, Pair | Triplet):
        return replace(example, anchor=text)
    if isinstance(example, LabelledText | ClassifiedText | UnlabelledText):
        return replace(example, text=text)
    return replace(example, sentence1=text)


def _delete(words: list[str], rng: random.Random) -> list[str]:
    """Drop each word with probability 0.1; of those words one at least, but not all."""
    dropped = {place for place in range(len(words)) if rng.random() < _CHANGED}
    if not dropped:
        dropped = {rng.randrange(len(words))}
    elif len(dropped) == len(words):
        dropped.remove(rng.randrange(len(words)))
    return [word for place, word in enumerate(words) if place not in dropped]


def _swap(words: list[str], rng: random.Random) -> list[str]:
    """Exchange neighbours: as many pairs as a tenth of the words, one at least, none twice."""
    pairs = max(1, round(len(words) * _CHANGED))
    # Places drawn among so many fewer and moved apart again by one each do not overlap.
    starts = sorted(rng.sample(range(len(words) - pairs), pairs))
    words = list(words)
    for shift, start in enumerate(starts):
        left = start + shift
        words[left], words[left + 1] = words[left + 1], words[left]
    return words


def _crop(words: list[str], rng: random.Random) -> list[str]:
    """Keep a run of 60 to 90% of the words."""
    least, most = _KEPT
    length = rng.randint(-(-len(words) * least // 10), len(words) * most // 10)
    start = rng.randrange(len(words) - length + 1)
    return words[start : start + length]


_CHANGES: Final[Mapping[Augmentation, Callable[[list[str], random.Random], list[str]]]] = {
    Augmentation.DELETION: _delete,
    Augmentation.SWAP: _swap,
    Augmentation.CROP: _crop,
}


def _join(words: Sequence[str]) -> str:
    """Return the text of words: a space between two, unless one is written without spaces."""
    text = words[0]
    for before, word in pairwise(words):
        spaced = not _IS_UNSPACED.match(before) and not _IS_UNSPACED.match(word)
        text += f" {word}" if spaced else word
    return text
