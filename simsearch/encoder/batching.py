"""Batches of texts of like length, so that little of the work is padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


def token_budget_batches(lengths: Sequence[int], budget: int) -> list[IntArray]:
    """Group texts by length so that rows x longest row stays within `budget` tokens.

    Returns positions into `lengths`, longest texts first (the largest allocation happens at once,
    not at the end); every position stands in exactly one batch. A text longer than the budget is
    a batch of its own.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batches, start = [], 0
    while start < len(order):
        rows = max(1, budget // max(1, lengths[order[start]]))
        batches.append(order[start : start + rows])
        start += rows
    return batches


def pad(rows: Sequence[IntArray], *, value: int = 0) -> IntArray:
    """Stack rows of different length, each (t_i,), into (b, max t) filled up with `value`."""
    padded = np.full((len(rows), max(map(len, rows))), value, dtype=np.int64)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded
