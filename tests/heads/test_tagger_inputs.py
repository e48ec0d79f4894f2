from __future__ import annotations

import numpy as np
import torch

from simsearch.heads.tagger_inputs import fit_inputs, halved


def vectors_of_few_directions(words: int = 200, *, directions: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(words, directions)) * [8, 4, 2]
    return (hidden @ rng.normal(size=(directions, 12)) + 5).astype(np.float16)


def fitted(vectors: np.ndarray, directions: int):
    torch.manual_seed(0)
    return fit_inputs(vectors, directions=directions, rng=np.random.default_rng(0))


def test_numbers_are_brought_to_mean_0_and_deviation_1():
    vectors = vectors_of_few_directions()
    inputs = fitted(vectors, 0).of(vectors)
    assert inputs.shape == (200, 12)
    np.testing.assert_allclose(inputs.mean(axis=0), np.zeros(12), atol=1e-3)
    np.testing.assert_allclose(inputs.std(axis=0), np.ones(12), rtol=1e-2)


def test_directions_are_the_principal_ones():
    vectors = vectors_of_few_directions()
    scaled = fitted(vectors, 0).of(vectors)
    _, sizes, right = np.linalg.svd(scaled.astype(np.float64), full_matrices=False)
    found = fitted(vectors, 3).of(vectors)
    expected = scaled @ right[:3].T
    expected /= expected.std(axis=0).mean()
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=2e-2)
    assert sizes[3] < sizes[2] / 20  # three directions are all there is


def test_a_map_of_the_inputs_is_folded_into_one_of_the_vectors():
    vectors = vectors_of_few_directions()
    rng = np.random.default_rng(1)
    for directions, width in ((0, 12), (3, 3)):
        inputs = fitted(vectors, directions)
        weight = rng.normal(size=(4, width)).astype(np.float32)
        bias = rng.normal(size=4).astype(np.float32)
        folded, offset = inputs.folded(weight, bias)
        assert folded.shape == (4, 12)
        np.testing.assert_allclose(
            vectors.astype(np.float32) @ folded.T + offset,
            inputs.of(vectors) @ weight.T + bias,
            atol=1e-2,
        )


def test_as_many_directions_as_numbers_are_the_numbers():
    vectors = vectors_of_few_directions()
    assert fitted(vectors, 12).directions is None


def test_there_are_no_more_directions_than_words():
    vectors = vectors_of_few_directions(4)
    assert fitted(vectors, 8).of(vectors).shape == (4, 4)


def test_a_number_that_is_always_the_same_says_nothing():
    vectors = vectors_of_few_directions()
    vectors[:, 4] = 7
    inputs = fitted(vectors, 3)
    assert np.isfinite(inputs.of(vectors)).all()
    assert np.abs(inputs.directions[:, 4]).max() < 1e-3


def test_halved_inputs_are_the_inputs_part_by_part():
    vectors = vectors_of_few_directions(5000)
    inputs = fitted(vectors, 3)
    np.testing.assert_array_equal(inputs.halved(vectors), inputs.of(vectors).astype(np.float16))


def test_what_half_precision_cannot_hold_becomes_the_largest_it_can():
    np.testing.assert_array_equal(
        halved(np.array([1e6, -1e6, 2.0], dtype=np.float32)), [65504, -65504, 2]
    )
