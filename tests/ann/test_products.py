"""Exact search finds what FAISS finds one by one, bit by bit, and equal rows in their order."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from simsearch.ann import VectorIndex, products
from simsearch.ann.exact import neighbours_in
from simsearch.ann.products import nearest_rows
from simsearch.ann.subset import Subset


def unit(count, dim, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def one_by_one(vectors, queries, k):
    """Return what FAISS finds, ties in the order of rows."""
    similarities, rows = [], []
    for query in queries:
        found, its_rows = faiss.knn(
            query[None], vectors, len(vectors), metric=faiss.METRIC_INNER_PRODUCT
        )
        order = np.lexsort((its_rows[0], -found[0]))[:k]
        rows.append(its_rows[0][order])
        similarities.append(found[0][order])
    return np.array(rows), np.array(similarities)


@pytest.mark.parametrize("dim", [2, 33, 384])
@pytest.mark.parametrize("count", [1, 10, 999, 3001])
def test_rows_and_similarities_are_those_of_single_queries(count, dim, monkeypatch):
    monkeypatch.setattr(products, "_ROWS", 1000)
    monkeypatch.setattr(products, "_QUERIES", 20)
    vectors, queries = unit(count, dim), unit(50, dim, seed=1)
    k = min(10, count)
    rows, similarities = nearest_rows(vectors, queries, k)
    expected_rows, expected = one_by_one(vectors, queries, k)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(similarities, expected)


@pytest.mark.parametrize("k", [1, 7, 100, 500])
def test_equal_rows_are_in_order_wherever_they_stand(k, monkeypatch):
    monkeypatch.setattr(products, "_ROWS", 500)
    monkeypatch.setattr(products, "_SPARE", 2003)
    vectors, queries = unit(2003, 64), unit(37, 64, seed=1)
    vectors[::7] = vectors[0]
    queries[:5] = vectors[0]
    rows, similarities = nearest_rows(vectors, queries, k)
    expected_rows, expected = one_by_one(vectors, queries, k)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(similarities, expected)
    equal = np.arange(0, 2003, 7)[:k]
    np.testing.assert_array_equal(rows[0][: len(equal)], equal)


def test_a_bound_that_rounding_has_raised_leaves_nothing_out(monkeypatch):
    def raised(found, k):
        """The exact bound, and the error of a product that is as wrong as one can be."""
        return np.sort(found, axis=1)[:, -k] + np.float32(2 * 64 * 2.0**-24)

    monkeypatch.setattr(products, "_lower_bounds", raised)
    vectors, queries = unit(2003, 64), unit(37, 64, seed=1)
    rows, similarities = nearest_rows(vectors, queries, 10)
    expected_rows, expected = one_by_one(vectors, queries, 10)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(similarities, expected)


def test_the_lengths_of_vectors_do_not_matter():
    lengths = np.random.default_rng(2).lognormal(sigma=3, size=(2000, 1)).astype(np.float32)
    vectors, queries = unit(2000, 48) * lengths, unit(30, 48, seed=1) * lengths[:30]
    rows, similarities = nearest_rows(vectors, queries, 20)
    expected_rows, expected = one_by_one(vectors, queries, 20)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(similarities, expected)


def test_where_all_rows_are_equal_the_first_are_found():
    vectors, queries = np.repeat(unit(1, 16), 3000, axis=0), unit(9, 16, seed=1)
    rows, similarities = nearest_rows(vectors, queries, 5)
    assert rows.tolist() == [[0, 1, 2, 3, 4]] * 9
    expected = np.tile((queries @ vectors[0])[:, None], 5)
    np.testing.assert_allclose(similarities, expected, atol=1e-6)


@pytest.mark.parametrize("count", [1, 3, 7, 8, 30])
@pytest.mark.parametrize("share", [0.05, 0.4, 0.9, 0.999, 1.0])
def test_equal_rows_are_in_order_for_one_query_as_for_many_whatever_passes(count, share):
    rng = np.random.default_rng(count)
    vectors = unit(60, 32)[rng.integers(0, 60, 4000)]  # each about 67 times
    queries = unit(count, 32, seed=1)
    mask = rng.random(4000) < share
    passing = np.flatnonzero(mask)
    for k in (1, 10, 80):
        rows, similarities = neighbours_in(vectors, Subset.where(mask), queries, k)
        its_rows, expected = one_by_one(vectors[passing], queries, k)
        np.testing.assert_array_equal(rows, passing[its_rows])
        np.testing.assert_array_equal(similarities, expected)


def test_what_leaves_out_the_nearest_is_no_slower_a_way_and_finds_the_same():
    vectors, queries = unit(4000, 32), unit(5, 32, seed=1)
    for query in queries:
        mask = np.ones(4000, dtype=bool)
        mask[np.argsort(-(vectors @ query))[:900]] = False
        passing = np.flatnonzero(mask)
        its_rows, expected = one_by_one(vectors[passing], query[None], 10)
        for by_chance in (True, False):
            found = neighbours_in(vectors, Subset.where(mask), query[None], 10, by_chance=by_chance)
            np.testing.assert_array_equal(found[0], passing[its_rows])
            np.testing.assert_array_equal(found[1], expected)


def test_a_lower_bound_is_never_above_the_value():
    found = np.random.default_rng(0).normal(size=(40, 1000)).astype(np.float32)
    for k in (1, 3, 10, 63, 500, 1000):
        bounds = products._lower_bounds(found, k)
        assert (bounds <= np.sort(found, axis=1)[:, -k]).all()
    assert np.isneginf(products._lower_bounds(found[:, :5], 6)).all()


def test_an_index_finds_the_same_for_many_as_for_one():
    index = VectorIndex(dim=32)
    ids = np.arange(3000) * 3 + 5
    index.add(ids, unit(3000, 32))
    queries = unit(64, 32, seed=1)
    rows, similarities = index.search(queries, 10)
    alone = [index.search(query[None], 10) for query in queries]
    np.testing.assert_array_equal(rows, np.concatenate([each for each, _ in alone]))
    np.testing.assert_array_equal(similarities, np.concatenate([each for _, each in alone]))
