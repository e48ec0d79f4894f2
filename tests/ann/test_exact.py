from __future__ import annotations

import importlib

import numpy as np
import pytest
from ann.conftest import nearest

from simsearch.ann.exact import exact_neighbours, without
from simsearch.ann.order import best
from simsearch.errors import InvalidInput

exact = importlib.import_module("simsearch.ann.exact")


@pytest.mark.parametrize("block", [7, 1_000, 65_536])
@pytest.mark.parametrize("n_queries", [1, 50])
def test_the_neighbours_are_those_of_numpy_in_blocks_of_any_size(
    rows, queries, block, n_queries, monkeypatch
):
    monkeypatch.setattr(exact, "BLOCK", block)
    asked = queries[:n_queries]
    expected_rows, expected = nearest(rows, asked, 12)
    found, similarities = exact_neighbours(rows, asked, 12)
    np.testing.assert_array_equal(found, expected_rows)
    np.testing.assert_allclose(similarities, expected, atol=1e-6)


def test_the_row_that_is_to_be_skipped_is_no_neighbour(rows):
    asked = np.array([5, 70, 2_999])
    expected = nearest(rows, rows[asked], 6)[0][:, 1:]  # the first is the row itself
    found, _ = exact_neighbours(rows, rows[asked], 5, skip=asked)
    np.testing.assert_array_equal(found, expected)


def test_k_beyond_the_rows_gives_all_of_them(rows, queries):
    found, _ = exact_neighbours(rows[:4], queries[:2], 10)
    assert np.sort(found, axis=1).tolist() == [[0, 1, 2, 3]] * 2
    found, _ = exact_neighbours(rows[:4], rows[:1], 10, skip=np.array([0]))
    assert sorted(found[0].tolist()) == [1, 2, 3]


def test_no_queries_have_no_neighbours(rows):
    found, similarities = exact_neighbours(rows, np.empty((0, 32), np.float32), 5)
    assert found.shape == similarities.shape == (0, 0)


def test_equal_similarities_are_in_the_order_of_rows_and_none_comes_last():
    rows, similarities = best(
        np.array([[9, -1, 4, 7]]), np.array([[0.5, 0.9, 0.5, 0.7]], dtype=np.float32), 4
    )
    assert rows.tolist() == [[7, 4, 9, -1]]
    assert similarities[0, 0] == np.float32(0.7)


def test_a_row_that_was_not_found_anyway_costs_the_last_place():
    rows, _ = without(
        np.array([[1, 2, 3], [1, 2, 3]]), np.zeros((2, 3), np.float32), np.array([2, 8]), 2
    )
    assert rows.tolist() == [[1, 3], [1, 2]]


@pytest.mark.parametrize("shape", [(1, 31), (1, 33), (32,)])
def test_a_query_of_another_shape_is_refused(rows, shape):
    with pytest.raises(InvalidInput, match=r"expected vectors of shape \(n, 32\)"):
        exact_neighbours(rows, np.ones(shape, np.float32), 1)


def test_k_below_one_is_refused(rows):
    with pytest.raises(InvalidInput, match="k must be at least 1, got 0"):
        exact_neighbours(rows, rows[:1], 0)
