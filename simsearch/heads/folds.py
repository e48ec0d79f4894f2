"""Which texts are left out of a training in turn, to tell how good a head is on others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def equal_texts(texts: Sequence[str]) -> IntArray:
    """Return a number for each text, (n,), the same where only case and white space differ."""
    numbers: dict[str, int] = {}
    folded = (" ".join(text.casefold().split()) for text in texts)
    return np.array([numbers.setdefault(each, len(numbers)) for each in folded], dtype=np.int64)


def stratified_folds(
    members: BoolArray, *, equal: IntArray | None = None, folds: int, seed: int
) -> IntArray:
    """Return the fold in which each row is left out, (n,); -1: never, it is the only of its class.

    Rows of the same classes are spread over the folds evenly, in an order drawn by `seed`. `equal`
    (n,) numbers the texts of the rows: equal ones are left out together, and count as one.
    """
    if equal is not None:
        numbers, first, back = np.unique(equal, return_index=True, return_inverse=True)
        # As many rows as there are texts, in the order in which they come first.
        rank = np.argsort(np.argsort(first))[back]
        joined = np.zeros((len(numbers), members.shape[1]), dtype=np.bool_)
        np.logical_or.at(joined, rank, members)
        return stratified_folds(joined, folds=folds, seed=seed)[rank]
    order = np.random.default_rng(seed).permutation(len(members))
    groups: dict[bytes, list[int]] = {}
    for row in order.tolist():
        groups.setdefault(members[row].tobytes(), []).append(row)
    result = np.full(len(members), -1, dtype=np.int64)
    counts = members.sum(axis=0)
    turn = 0
    for rows in groups.values():
        for row in rows:
            if (counts[members[row]] >= 2).all():
                result[row] = turn % folds
                turn += 1
    return result
