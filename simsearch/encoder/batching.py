"""Texts in chunks that bound memory, and in batches of like length, with little padding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
Item = TypeVar("Item")

# Of one chunk. Where a tokenizer has to read long texts whole it takes some 200 bytes for each
# character, until the chunk is tokenized (docs/log.md, 2026-11-23).
_CHARACTERS = 1 << 21


def text_chunks(
    items: Iterable[Item], length: Callable[[Item], int], *, most: int
) -> Iterator[list[Item]]:
    """Yield the items in order, in lists of at most `most`, fewer where they are long.

    A list ends with the item that brings the sum of their lengths, in characters, to 2 million.
    """
    chunk: list[Item] = []
    characters = 0
    for item in items:
        chunk.append(item)
        characters += length(item)
        if len(chunk) == most or characters >= _CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


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
