"""The order of what was found."""

from __future__ import annotations

import numpy as np
import pytest

from simsearch.ann.order import best


@pytest.mark.parametrize("lines", [1, 31, 32, 60])
@pytest.mark.parametrize("columns", [1, 12, 41, 300])
def test_it_is_by_similarity_and_then_by_row_and_what_is_none_comes_last(
    lines: int, columns: int
) -> None:
    rng = np.random.default_rng(lines * columns)
    for share_of_none in (0.0, 0.5, 1.0):
        rows = np.array([rng.permutation(1000)[:columns] for _ in range(lines)])
        rows[rng.random(rows.shape) < share_of_none] = -1
        # Few values, so that many are equal.
        similarities = rng.integers(-3, 4, rows.shape).astype(np.float32)
        found, values = best(rows, similarities, 10)
        assert found.shape == values.shape == (lines, min(10, columns))
        for line in range(lines):
            pairs = zip(rows[line].tolist(), similarities[line].tolist(), strict=True)
            wanted = sorted(pairs, key=lambda pair: (pair[0] < 0, -pair[1], pair[0]))[:10]
            there = [row for row, _ in wanted if row >= 0]
            assert [row for row in found[line].tolist() if row >= 0] == there
            assert found[line, : len(there)].tolist() == there
            assert values[line, : len(there)].tolist() == [
                value for row, value in wanted if row >= 0
            ]
