"""Fusion of two rankings, diversity and groups, against numbers made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from simsearch.query import (
    Candidates,
    Fusion,
    FusionWay,
    best_first,
    diverse_order,
    first_of_each,
    fused,
)


def candidates(dense, lexical):
    return Candidates(np.arange(len(dense)), np.array(dense, float), np.array(lexical, float))


def test_a_convex_combination_brings_both_scores_to_0_to_1_and_weighs_them():
    dense, lexical = fused(candidates([0.9, 0.5, 0.1], [0, 4, 8]), Fusion(weight=0.75))
    assert dense.tolist() == pytest.approx([0.75, 0.375, 0.0])
    assert lexical.tolist() == pytest.approx([0.0, 0.125, 0.25])


def test_a_shared_word_counts_even_for_the_worst_of_those_that_share_one():
    _, lexical = fused(candidates([0.5, 0.5], [3, 6]), Fusion(weight=0.5))
    assert lexical.tolist() == pytest.approx([0.25, 0.5])


def test_candidates_that_are_all_equal_are_equally_good_and_without_words_nothing_is_added():
    dense, lexical = fused(candidates([0.3, 0.3], [0, 0]), Fusion(weight=0.6))
    assert (dense.tolist(), lexical.tolist()) == ([0.6, 0.6], [0.0, 0.0])


def test_without_candidates_nothing_is_fused():
    dense, lexical = fused(candidates([], []), Fusion())
    assert len(dense) == len(lexical) == 0
    assert best_first(dense + lexical, np.arange(0), 5) == []


def test_reciprocal_ranks_are_added_and_what_was_not_found_by_words_has_none():
    dense, lexical = fused(candidates([0.9, 0.5, 0.7], [0, 4, 2]), Fusion(FusionWay.RECIPROCAL))
    assert dense.tolist() == pytest.approx([1 / 61, 1 / 63, 1 / 62])
    assert lexical.tolist() == pytest.approx([0, 1 / 61, 1 / 62])


def test_equal_scores_are_in_the_order_of_numbers():
    assert best_first(np.array([1.0, 2.0, 2.0, 0.0]), np.array([7, 9, 3, 1]), 3) == [2, 1, 0]


TWINS = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
SCORES = np.array([1.0, 0.9, 0.5, 0.0])


def test_without_diversity_the_best_are_taken():
    assert diverse_order(SCORES, TWINS, 3, diversity=0) == [0, 1, 2]


def test_with_diversity_a_twin_gives_way():
    # 0.5 * 0.9 - 0.5 * 1 < 0.5 * 0.5 - 0
    assert diverse_order(SCORES, TWINS, 4, diversity=0.5) == [0, 2, 3, 1]


def test_a_likeness_is_that_to_the_likest_of_those_chosen():
    vectors = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]], dtype=np.float32)
    # After 0 comes 3 (likeness 0); then 1 and 2 are 0.8 like one of the two: the score decides.
    scores = np.array([1.0, 0.4, 0.3, 0.9])
    assert diverse_order(scores, vectors, 4, diversity=0.5) == [0, 3, 1, 2]


def test_the_first_of_each_value_is_taken_and_a_missing_one_is_a_group_of_its_own():
    metadata = [{"a": 1}, {"a": 1}, {}, {"a": True}, {"a": None}, {"a": [1]}, {"a": [1]}]
    assert first_of_each(metadata, "a", 10) == [0, 2, 3, 4, 5]
    assert first_of_each(metadata, "a", 2) == [0, 2]


def test_values_are_the_same_as_for_filters_by_type_and_numbers_by_value():
    values = [1, 1.0, "1", True, [1, {"b": 2.0}], [1.0, {"b": 2}], 1e308, 0.5, -0.0, 0]
    kept = first_of_each([{"a": value} for value in values], "a", 20)
    assert kept == [0, 2, 3, 4, 6, 7, 8]
