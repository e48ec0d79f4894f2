"""A cosine is divided among words: by hand, and against the sum that it is."""

from __future__ import annotations

import numpy as np
import pytest

from simsearch.query import (
    contributions,
    likeness,
    maxsim,
    token_sum,
    unit_rows,
    words_of_tokens,
)
from simsearch.query.explanation import TokenSum


def unit(vector: np.ndarray) -> np.ndarray:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def read(
    seed: int, word: list[int], *, weights: list[float] | None = None, dim: int = 6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return random token vectors, the embedding that these weights make, and the words."""
    vectors = np.random.default_rng(seed).normal(size=(len(word), 8)).astype(np.float32)
    total = np.array(weights or [1.0] * len(word)) @ vectors
    return vectors, unit(total[:dim]), np.array(word)


def summed(seed: int, word: list[int], **options) -> TokenSum:
    vectors, embedding, numbers = read(seed, word, **options)
    pooled = np.ones(len(word), dtype=bool)
    found = token_sum(vectors, pooled, embedding, word=numbers, words=max(word) + 1)
    assert found is not None
    return found


def test_a_mean_of_tokens_adds_up_to_the_embedding_also_of_its_first_components():
    vectors, embedding, word = read(0, [-1, 0, 0, 1, -1])
    found = token_sum(vectors, np.ones(5, dtype=bool), embedding, word=word, words=2)
    np.testing.assert_allclose(found.terms.sum(axis=0), embedding, atol=1e-6)
    np.testing.assert_allclose(found.by_word()[0], found.terms[1] + found.terms[2], atol=1e-12)
    np.testing.assert_allclose(found.by_word()[1], found.terms[3], atol=1e-12)


def test_tokens_that_are_not_pooled_contribute_nothing():
    vectors, _, word = read(1, [0, 1, 2])
    pooled = np.array([False, True, True])
    embedding = unit(vectors[1, :6] + vectors[2, :6])
    found = token_sum(vectors, pooled, embedding, word=word, words=3)
    np.testing.assert_array_equal(found.terms[0], np.zeros(6))
    np.testing.assert_allclose(found.terms.sum(axis=0), embedding, atol=1e-6)


def test_weights_that_grow_with_the_position_are_found():
    vectors, embedding, word = read(2, [0, 1, 2], weights=[1, 2, 3])
    found = token_sum(vectors, np.ones(3, dtype=bool), embedding, word=word, words=3)
    np.testing.assert_allclose(found.terms.sum(axis=0), embedding, atol=1e-6)
    ratio = found.terms[2] / vectors[2, :6] / (found.terms[0] / vectors[0, :6])
    np.testing.assert_allclose(ratio, 3, rtol=1e-6)


def test_an_embedding_of_one_token_is_no_sum():
    vectors, _, word = read(3, [-1, 0, 1])
    first = unit(vectors[0, :6])
    assert token_sum(vectors, np.ones(3, dtype=bool), first, word=word, words=2) is None
    wider = np.ones(9, dtype=np.float32) / 3
    assert token_sum(vectors, np.ones(3, dtype=bool), wider, word=word, words=2) is None


def test_the_contributions_add_up_to_the_cosine_and_a_pair_is_its_inner_product():
    query, text = summed(4, [-1, 0, 1, -1]), summed(5, [-1, 0, 0, 1, 2, -1])
    found = contributions(query, text)
    own = query.terms.sum(axis=0) @ text.terms.sum(axis=0)
    assert found.cosine == pytest.approx(own)
    assert found.words.sum() + found.rest == pytest.approx(own)
    assert found.pairs.shape == (2, 3)
    assert found.pairs[1, 0] == pytest.approx(query.terms[2] @ (text.terms[1] + text.terms[2]))
    special = query.terms[0] + query.terms[3]
    assert found.words[1] == pytest.approx(found.pairs[:, 1].sum() + special @ text.terms[3])


def test_a_loss_is_the_fall_of_the_cosine_without_the_word():
    query, text = summed(6, [0, 1]), summed(7, [0, 1, 2])
    without = text.terms[0] + text.terms[2]
    expected = query.terms.sum(axis=0) @ without / np.linalg.norm(without)
    found = contributions(query, text)
    assert found.losses[1] == pytest.approx(found.cosine - expected)


def test_of_a_single_word_all_is_lost():
    found = contributions(summed(8, [0, 1]), summed(9, [0]))
    assert found.losses[0] == pytest.approx(found.cosine)


def test_words_that_share_a_direction_with_the_query_come_first():
    query = TokenSum(np.array([[1.0, 0.0]]), np.array([0]), 1)
    text = TokenSum(np.array([[0.6, 0.0], [0.0, 0.8]]), np.array([0, 1]), 2)
    found = contributions(query, text)
    np.testing.assert_allclose(found.words, [0.6, 0.0])
    np.testing.assert_allclose(found.losses, [0.6, 0.6 - 1.0])


def test_a_token_belongs_to_the_word_it_begins_in_also_behind_a_space():
    # "un|believ|able  cat!" with special tokens, and one whose piece begins with the space.
    words = np.array([[0, 12], [14, 17], [17, 18]])
    offsets = np.array([[0, 0], [0, 2], [2, 8], [8, 12], [13, 17], [17, 18], [12, 13], [0, 0]])
    assert words_of_tokens(offsets, words).tolist() == [-1, 0, 0, 0, 1, 2, -1, -1]
    assert words_of_tokens(offsets, words[:0]).tolist() == [-1] * 8


def test_likeness_divides_a_cosine_by_the_best_pair_of_each_word():
    query = np.array([[1, 0], [0, 1]], dtype=np.float32)
    text = np.array([[1, 0], [3, 4], [-1, 0], [9, 9]], dtype=np.float32)
    found = likeness(
        query, np.array([0, 1]), text, np.array([0, 1, 2, -1]), shape=(2, 3), cosine=0.9
    )
    # The best cosines are 1, 0.8 and 0 (not the -1 that the third has with one of them).
    np.testing.assert_allclose(found.words, [0.5, 0.4, 0.0], atol=1e-7)
    np.testing.assert_allclose(found.pairs[:, 1], [0.3, 0.4], atol=1e-7)
    assert (found.rest, found.cosine) == (pytest.approx(0, abs=1e-9), 0.9)


def test_likeness_of_a_text_without_words_is_all_rest():
    query = np.ones((1, 2), dtype=np.float32)
    found = likeness(query, np.array([0]), query, np.array([-1]), shape=(1, 0), cosine=0.7)
    assert (found.words.size, found.rest) == (0, 0.7)


def test_late_interaction_is_the_mean_of_the_best_cosines():
    query = unit_rows(np.array([[2, 0], [0, 3]], dtype=np.float32))
    text = unit_rows(np.array([[1, 0], [3, 4]], dtype=np.float32))
    assert maxsim(query, text) == pytest.approx((1 + 0.8) / 2)
    assert maxsim(query, text[:1]) == pytest.approx((1 + 0) / 2)  # each token of the query counts
    assert maxsim(text[:1], query) == pytest.approx(1)
    assert maxsim(query, text[:0]) == maxsim(query[:0], text) == 0.0


def test_a_row_of_zeros_stays():
    np.testing.assert_array_equal(unit_rows(np.zeros((1, 3), dtype=np.float32)), np.zeros((1, 3)))
