"""The order of what was found: one rule for every index."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_MANY: Final = 32  # lines from which on it pays to look for the best before they are sorted


def best(rows: IntArray, similarities: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
    """Return the `k` columns with the highest similarity of each line, best first.

    Equal similarities are ordered by row; a row of -1, which is none, comes last.
    """
    if len(rows) >= _MANY and 0 < 4 * k < rows.shape[1]:
        rows, similarities = _narrowed(rows, similarities, k)
    order = np.lexsort((rows, np.where(rows < 0, np.inf, -similarities)), axis=1)[:, :k]
    lines = np.arange(len(rows))[:, None]  # what take_along_axis does, in a third of its time
    return rows[lines, order], similarities[lines, order]


def _narrowed(rows: IntArray, similarities: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
    """Return the columns of each line that are as good as its `k`-th best, in any order.

    As many of every line as the one has that has most of them.
    """
    keys = np.where(rows < 0, -np.inf, similarities)
    kept = keys >= np.partition(keys, -k, axis=1)[:, -k, None]
    most = int(kept.sum(axis=1).max())
    columns = np.argpartition(~kept, most - 1, axis=1)[:, :most]
    lines = np.arange(len(rows))[:, None]
    return rows[lines, columns], similarities[lines, columns]
