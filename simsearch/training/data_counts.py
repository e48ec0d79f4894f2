"""Counts over the rows of training data: duplicates, contradictions, leaks, false negatives.

Texts are compared as 64-bit hashes of what folding leaves of them (`examples.fold`): a row takes
some 200 bytes, however long its texts are. That two different ones of a million share a hash
happens once in tens of millions of such data sets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simsearch.formats import Example
from simsearch.records import (
    ClassifiedText,
    ClassPair,
    LabelledPair,
    LabelledText,
    ScoredPair,
    TaggedText,
    Triplet,
)
from simsearch.search_index import RetrievalTask
from simsearch.training.examples import class_names, fold, judged_texts

IntArray = npt.NDArray[np.int64]
KeyArray = npt.NDArray[np.uint64]
ValueArray = npt.NDArray[np.float64]
Rows = tuple[int, int]

_SCORE_TOLERANCE: Final = 0.1  # of the range of the scores
_ROUNDING: Final = 1 + 1e-9  # 0.8 - 0.7 is a little more than 0.1
_WITH_VALUE: Final = (LabelledPair, ClassPair, ScoredPair, LabelledText, ClassifiedText, TaggedText)
_NO_TEXT: Final = ("label", "labels", "score", "spans")  # fields of examples
# In these it does not matter which text stands first.
_SYMMETRICAL: Final = (LabelledPair, ScoredPair)


def text_columns(kind: type[Example]) -> tuple[str, ...]:
    """Return the names of the fields of examples that are texts, in order."""
    return tuple(field.name for field in fields(kind) if field.name not in _NO_TEXT)


class FoldedTexts:
    """The texts of examples as numbers, which are equal where the folded texts are.

    `raw` and `keys` are (rows, columns of text), before and after folding; `first` says where in
    them, flattened, each distinct text stands first, and `uses` how often it stands there.
    """

    def __init__(self, examples: Sequence[Example], kind: type[Example]) -> None:
        self.columns = text_columns(kind)
        self.raw = self._hashes(examples)
        self._distinct, self.first, inverse, self.uses = np.unique(
            self.raw, return_index=True, return_inverse=True, return_counts=True
        )
        # Each distinct text is folded once, which takes longer than all else.
        self._folded = self._fold(examples, self.first)
        self.keys = self._folded[inverse].reshape(self.raw.shape)

    def text(self, examples: Sequence[Example], position: int) -> str:
        """Return the text at a position of the flattened array."""
        row, column = divmod(position, len(self.columns))
        return str(getattr(examples[row], self.columns[column]))

    def keys_of(self, examples: Sequence[Example]) -> IntArray:
        """Return the keys of examples most of which are among those known, (rows, columns)."""
        raw = self._hashes(examples)
        flat = raw.ravel()
        place = np.minimum(np.searchsorted(self._distinct, flat), len(self._distinct) - 1)
        keys = self._folded[place]
        new = np.flatnonzero(self._distinct[place] != flat)
        keys[new] = self._fold(examples, new)
        return keys.reshape(raw.shape)

    def _hashes(self, examples: Sequence[Example]) -> IntArray:
        hashes = np.empty((len(examples), len(self.columns)), dtype=np.int64)
        for column, name in enumerate(self.columns):
            hashes[:, column] = _numbers(map(hash, map(attrgetter(name), examples)))
        return hashes

    def _fold(self, examples: Sequence[Example], positions: IntArray) -> IntArray:
        return _numbers(
            hash(fold(self.text(examples, position))) for position in positions.tolist()
        )


def row_values(examples: Sequence[Example]) -> ValueArray:
    """Return the number of each row's label, or labels, or entities; or its score; else 0."""
    if isinstance(examples[0], ScoredPair):
        scores = map(attrgetter("score"), examples)
        return np.fromiter(scores, dtype=np.float64, count=len(examples))
    if isinstance(examples[0], TaggedText | ClassifiedText):
        seen: dict[Any, int] = {}
        tagged = isinstance(examples[0], TaggedText)
        sets = map(frozenset, map(attrgetter("spans" if tagged else "labels"), examples))
        numbers = (seen.setdefault(each, len(seen)) for each in sets)
        return np.fromiter(numbers, dtype=np.float64, count=len(examples))
    number = {name: position for position, name in enumerate(class_names(examples))}
    if not number:
        return np.zeros(len(examples))
    labels = (number[str(label)] for label in map(attrgetter("label"), examples))
    return np.fromiter(labels, dtype=np.float64, count=len(examples))


def count_duplicates(texts: FoldedTexts, values: ValueArray) -> Rows:
    """Return how many rows are equal to an earlier one, and how many more if folded."""
    value = (values + 0.0).view(np.int64)  # -0.0 is 0.0
    exact = len(values) - len(np.unique(_mix(*texts.raw.T, value)))
    folded = len(values) - len(np.unique(_mix(*texts.keys.T, value)))
    return exact, folded - exact


def find_contradictions(
    kind: type[Example], keys: IntArray, values: ValueArray
) -> tuple[int, Rows | None]:
    """Return how many there are, and two rows of one, from 1."""
    if kind is Triplet:
        return _positive_and_negative(keys)
    if kind not in _WITH_VALUE:
        return 0, None
    if kind in _SYMMETRICAL:
        keys = np.sort(keys, axis=1)
    spread = _SCORE_TOLERANCE * np.ptp(values) * _ROUNDING if kind is ScoredPair else 0
    return _apart(_mix(*keys.T), values, float(spread))


def _apart(keys: KeyArray, values: ValueArray, most: float) -> tuple[int, Rows | None]:
    """Return how many keys have values more than `most` apart, and the rows of one that has."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    low = np.minimum.reduceat(values[order], starts)
    high = np.maximum.reduceat(values[order], starts)
    found = np.flatnonzero(high - low > most)
    if not len(found):
        return 0, None
    first = order[starts[found]].min()
    rows = np.flatnonzero(keys == keys[first])
    two = rows[values[rows].argmin()], rows[values[rows].argmax()]
    return len(found), (int(min(two)) + 1, int(max(two)) + 1)


def _positive_and_negative(keys: IntArray) -> tuple[int, Rows | None]:
    positive = _mix(keys[:, 0], keys[:, 1])
    negative = _mix(keys[:, 0], keys[:, 2])
    both = np.intersect1d(positive, negative)
    if not len(both):
        return 0, None
    first = np.flatnonzero(np.isin(positive, both))[0]
    second = np.flatnonzero(negative == positive[first])[0]
    return len(both), (int(min(first, second)) + 1, int(max(first, second)) + 1)


def asked_keys(held_out: Sequence[Example] | RetrievalTask) -> IntArray:
    """Return the keys of the texts that may not be trained on."""
    if isinstance(held_out, RetrievalTask):
        return _numbers(hash(fold(query)) for query in held_out.queries.values())
    return _numbers(hash(fold(text)) for example in held_out for text in judged_texts(example))


def count_shared(keys: IntArray, others: IntArray) -> int:
    """Return how many distinct texts are among both."""
    return len(np.intersect1d(keys, others))


def count_classes(examples: Sequence[Example]) -> dict[str, int]:
    """Return the number of rows (of entities: of spans) of each label, in order of the labels."""
    names = class_names(examples)
    if not names:
        return {}
    if isinstance(examples[0], TaggedText):
        spans = [span for each in examples if isinstance(each, TaggedText) for span in each.spans]
        return {name: sum(span.label == name for span in spans) for name in names}
    if isinstance(examples[0], ClassifiedText):
        held = Counter(
            label for each in examples if isinstance(each, ClassifiedText) for label in each.labels
        )
        return {name: held[name] for name in names}
    rows = np.bincount(row_values(examples).astype(np.int64))
    return dict(zip(names, rows.tolist(), strict=True))


def false_negative_share(anchors: IntArray, positives: IntArray, batch_size: int) -> float:
    """Return the expected share of rows in a random batch that meet another right answer in it.

    A right answer is the positive of another row that is known, from any row, to belong to the
    anchor; equal texts are equal numbers, both arrays (n,). If m of the other n - 1 rows
    hold one, none of them is among the b - 1 companions of the row with the hypergeometric
    probability C(n - 1 - m, b - 1) / C(n - 1, b - 1), for batches drawn without replacement
    (b at most n); the share is the mean of 1 - that over all rows. It is exact for a full batch.
    """
    rows = len(anchors)
    if rows < 2:
        return 0.0
    _, anchor = np.unique(anchors, return_inverse=True)
    _, answer, uses = np.unique(positives, return_inverse=True, return_counts=True)
    known = np.unique(anchor * len(uses) + answer)  # each (anchor, answer) once
    holding = np.bincount(known // len(uses), weights=uses[known % len(uses)])
    others = holding[anchor].astype(np.int64) - 1  # without the row itself; (n,)
    companions = min(batch_size, rows) - 1
    drawn_before = np.arange(others.max())
    left = rows - 1 - drawn_before
    # C(n - 1 - m, b - 1) / C(n - 1, b - 1) as a product of m factors, for every m.
    factors = np.maximum(left - companions, 0) / left
    misses = np.concatenate([[1.0], np.cumprod(factors)])
    return float(np.mean(1 - misses[others]))


def _numbers(values: Iterable[int]) -> IntArray:
    return np.fromiter(values, dtype=np.int64)


def _mix(*columns: npt.NDArray[Any]) -> KeyArray:
    """Return one number for each row of several, (n,): equal where all of them are."""
    mixed = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        # The multiplier is that of Knuth's 64-bit generator; it is odd, so nothing is lost.
        mixed = (mixed ^ column.view(np.uint64)) * np.uint64(6364136223846793005)
        mixed ^= mixed >> np.uint64(32)
    return mixed
