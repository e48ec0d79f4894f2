from __future__ import annotations

import numpy as np
import pytest

from simsearch.ann import VectorIndex
from simsearch.errors import InvalidInput


@pytest.fixture
def vectors():
    rows = np.random.default_rng(0).standard_normal((500, 16)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def index(vectors):
    index = VectorIndex(16)
    index.add(np.arange(500), vectors)
    return index


@pytest.mark.parametrize("n_queries", [1, 3, 50])  # FAISS takes another path from 20 queries on
def test_search_agrees_with_exact_numpy_search(index, vectors, n_queries):
    queries = vectors[:n_queries] + 0.1
    products = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    expected = np.argsort(-products, axis=1)[:, :7]
    rows, similarities = index.search(queries, 7)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(similarities, np.take_along_axis(products, expected, 1), atol=1e-5)


def test_row_ids_are_the_given_ones(vectors):
    index = VectorIndex(16)
    index.add(np.array([70, 5]), vectors[:2])
    rows, _ = index.search(vectors[:1], 2)
    assert rows.tolist() == [[70, 5]]


def test_a_removed_row_is_never_found(index, vectors):
    assert index.remove(np.array([3, 9, 1000])) == 2
    rows, _ = index.search(vectors[[3, 9]], 500)
    assert len(index) == 498
    assert not {3, 9} & set(rows.ravel().tolist())


def test_k_beyond_the_size_returns_all_rows_and_no_padding(index, vectors):
    rows, similarities = index.search(vectors[:2], 10_000)
    assert rows.shape == similarities.shape == (2, 500)
    assert rows.min() == 0


def test_an_empty_index_answers_with_nothing():
    rows, similarities = VectorIndex(4).search(np.ones((3, 4), dtype=np.float32), 5)
    assert rows.shape == similarities.shape == (3, 0)


def test_equal_similarities_are_ordered_by_row_id():
    index = VectorIndex(2)
    index.add(np.array([9, 4, 7]), np.array([[1, 0], [1, 0], [1, 0]], dtype=np.float32))
    rows, _ = index.search(np.array([[1, 0]], dtype=np.float32), 3)
    assert rows.tolist() == [[4, 7, 9]]


@pytest.mark.parametrize("shape", [(1, 15), (1, 17), (16,), (1, 1, 16)])
def test_a_query_of_another_shape_is_refused_before_faiss_sees_it(index, shape):
    with pytest.raises(InvalidInput, match=r"expected vectors of shape \(n, 16\)"):
        index.search(np.ones(shape, dtype=np.float32), 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_refused(index, bad):
    row = np.full((1, 16), bad, dtype=np.float32)
    with pytest.raises(InvalidInput, match="finite"):
        index.add(np.array([501]), row)
    assert len(index) == 500


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(index, vectors, k):
    with pytest.raises(InvalidInput, match=f"at least 1, got {k}"):
        index.search(vectors[:1], k)


def test_as_many_row_ids_as_vectors_are_needed(index, vectors):
    with pytest.raises(InvalidInput, match="row ids for 2 vectors"):
        index.add(np.array([1000]), vectors[:2])


def test_vectors_may_be_written_into_the_memory_of_the_index(index, vectors):
    def write(target):
        assert target.shape == (2, 16)
        target[:] = -vectors[:2]

    index.add_from(np.array([900, 901]), write)
    assert len(index) == 502
    rows, similarities = index.search(-vectors[1:2], 1)
    assert (rows.tolist(), similarities[0, 0]) == ([[901]], pytest.approx(1))
    assert index.remove(np.array([900, 5])) == 2
    assert 900 not in index.search(-vectors[:1], 500)[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, None])
def test_a_write_that_fails_adds_nothing(index, vectors, bad):
    def write(target):
        target[:] = vectors[:2]
        if bad is None:
            raise OSError("the disk is gone")
        target[1, 3] = bad

    with pytest.raises((InvalidInput, OSError)):
        index.add_from(np.array([900, 901]), write)
    assert len(index) == 500
    np.testing.assert_array_equal(index.search(vectors[:3], 1)[0].ravel(), [0, 1, 2])
    index.add(np.array([900]), -vectors[:1])
    assert index.search(-vectors[:1], 1)[0].tolist() == [[900]]


def test_to_write_no_rows_is_no_change(index):
    index.add_from(np.empty(0, dtype=np.int64), lambda target: pytest.fail("nothing to write"))
    assert len(index) == 500


@pytest.mark.parametrize("n_queries", [1, 25])
@pytest.mark.parametrize("size", [1, 6, 250, 500])
def test_a_search_among_some_rows_agrees_with_exact_search_of_them(index, vectors, n_queries, size):
    among = np.sort(np.random.default_rng(size).choice(500, size, replace=False))
    queries = vectors[:n_queries] + 0.1
    products = queries.astype(np.float64) @ vectors[among].T.astype(np.float64)
    expected = among[np.argsort(-products, axis=1)[:, :7]]
    rows, similarities = index.search(queries, 7, among=among)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(similarities, -np.sort(-products, axis=1)[:, :7], atol=1e-5)


def test_a_search_among_no_rows_finds_none(index, vectors):
    rows, similarities = index.search(vectors[:2], 5, among=np.empty(0, dtype=np.int64))
    assert rows.shape == similarities.shape == (2, 0)


def test_a_row_that_is_not_there_cannot_be_searched(index, vectors):
    index.remove(np.array([3]))
    with pytest.raises(InvalidInput, match="is not in the index"):
        index.search(vectors[:1], 3, among=np.array([2, 3, 4]))


@pytest.mark.parametrize("among", [[4, 2], [2, 2]])
def test_rows_to_search_stand_once_and_ascend(index, vectors, among):
    with pytest.raises(InvalidInput, match="must be in the index, and ascending"):
        index.search(vectors[:1], 3, among=np.array(among))


def test_an_empty_index_has_no_rows_to_search_among():
    with pytest.raises(InvalidInput, match="not in the index"):
        VectorIndex(4).search(np.ones((1, 4), dtype=np.float32), 1, among=np.array([0]))


def test_vectors_are_those_of_the_rows_that_were_asked_for_in_their_order(vectors):
    index = VectorIndex(16)
    index.add(np.array([70, 5, 9]), vectors[:3])
    index.remove(np.array([5]))
    np.testing.assert_array_equal(index.vectors_at(np.array([9, 70, 9])), vectors[[2, 0, 2]])
    assert index.vectors_at(np.array([], dtype=np.int64)).shape == (0, 16)
    with pytest.raises(InvalidInput, match="not in the index"):
        index.vectors_at(np.array([5]))
    with pytest.raises(InvalidInput, match="not in the index"):
        VectorIndex(16).vectors_at(np.array([5]))
