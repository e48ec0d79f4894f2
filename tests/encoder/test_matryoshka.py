"""Shorter embeddings: the first components, of unit length again."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from simsearch.encoder import UnencodableText, truncate_embeddings
from simsearch.errors import InvalidInput


def rows(*values):
    return np.array(values, dtype=np.float32)


def test_a_row_keeps_the_direction_of_its_first_components():
    shorter = truncate_embeddings(rows([3, 4, 12], [0, -5, 12], [1, 1, 1]), 2)
    half = math.sqrt(0.5)
    np.testing.assert_allclose(shorter, rows([0.6, 0.8], [0, -1], [half, half]), atol=1e-7)
    assert shorter.dtype == np.float32


def test_a_row_that_has_nothing_in_its_first_components_is_refused_by_its_position():
    with pytest.raises(UnencodableText, match=r"for text 1 \(all of its first 2 comp.*are 0") as e:
        truncate_embeddings(rows([0, 1, 0], [0, 0, 1]), 2)
    assert (e.value.position, e.value.dim) == (1, 2)


def test_a_row_with_next_to_nothing_in_its_first_components_keeps_their_direction():
    shorter = truncate_embeddings(rows([3e-30, 4e-30, 1]), 2)
    np.testing.assert_allclose(shorter, rows([0.6, 0.8]), atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_refused(value):
    with pytest.raises(UnencodableText, match="no finite"):
        truncate_embeddings(rows([value, 1, 1]), 2)


def test_the_whole_width_changes_only_the_length():
    np.testing.assert_array_equal(truncate_embeddings(rows([3, 4]), 2), rows([0.6, 0.8]))
    np.testing.assert_array_equal(truncate_embeddings(rows([-7]), 1), rows([-1]))


def test_no_embeddings_are_none():
    assert truncate_embeddings(np.empty((0, 8), dtype=np.float32), 3).shape == (0, 3)


def test_what_was_given_is_left_as_it_is():
    given_rows = rows([3, 4, 12])
    shorter = truncate_embeddings(given_rows, 3)
    shorter[:] = 0
    np.testing.assert_array_equal(given_rows, rows([3, 4, 12]))


@pytest.mark.parametrize("dim", [0, -1, 4, 1000])
def test_a_dim_that_the_embeddings_do_not_have_is_refused(dim):
    with pytest.raises(InvalidInput, match=f"dim must be 1..3, .* got {dim}$"):
        truncate_embeddings(rows([3, 4, 12]), dim)


FLOATS = st.floats(-1, 1, width=32).filter(lambda value: value == 0 or abs(value) > 1e-6)


def rows_with_a_direction(dim):
    """Rows of 7 components; of the first `dim` of each, one at least is not 0."""
    shapes = st.tuples(st.integers(1, 6), st.just(7))
    drawn = arrays.arrays(np.float32, shapes, elements=FLOATS)
    return drawn.filter(lambda found: bool(found[:, :dim].any(axis=1).all()))


@given(data=st.data(), dim=st.integers(1, 7))
def test_every_row_is_the_oracles(data, dim):
    """Row by row in float64, which is how one would do it by hand."""
    embeddings = data.draw(rows_with_a_direction(dim))
    expected = []
    for row in embeddings.astype(np.float64):
        length = math.sqrt(sum(value * value for value in row[:dim]))
        expected.append([value / length for value in row[:dim]])
    shorter = truncate_embeddings(embeddings, dim)
    np.testing.assert_allclose(shorter, np.array(expected), rtol=1e-5, atol=1e-7)
    assert shorter.flags.c_contiguous
