from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from simsearch.heads.chain import FORBIDDEN
from simsearch.heads.chain_loss import ChainLoss, chain_loss

LENGTHS = [3, 1, 4]
TAGS = np.array([1, 2, 0, 1, 0, 0, 1, 2])


def drawn(*shape: int, seed: int = 0, size: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=shape) * size).astype(np.float32)


def loss_of(scores: np.ndarray, begin: np.ndarray, follow: np.ndarray) -> ChainLoss:
    return chain_loss(scores, TAGS, LENGTHS, begin=begin, follow=follow)


def enumerated(scores: Tensor, begin: Tensor, follow: Tensor) -> Tensor:
    """The loss by its definition: all sequences of tags are written down and summed."""
    total = scores.new_zeros(())
    start = 0
    for length in LENGTHS:
        rows, right = scores[start : start + length], tuple(TAGS[start : start + length].tolist())
        paths = list(itertools.product(range(len(begin)), repeat=length))
        sums = [
            begin[path[0]]
            + sum(rows[word, tag] for word, tag in enumerate(path))
            + sum(follow[pair] for pair in itertools.pairwise(path))
            for path in paths
        ]
        total = total + torch.stack(sums).logsumexp(0) - sums[paths.index(right)]
        start += length
    return total


def test_loss_and_gradients_are_those_of_all_sequences_written_down():
    arrays = (drawn(8, 3), drawn(3, seed=1), drawn(3, 3, seed=2))
    tensors = [torch.from_numpy(each.astype(np.float64)).requires_grad_() for each in arrays]
    expected = enumerated(*tensors)
    torch.autograd.backward(expected)
    found = loss_of(*arrays)
    assert found.loss == pytest.approx(expected.item(), rel=1e-6)
    for gradient, tensor in zip((found.scores, found.begin, found.follow), tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), atol=1e-6)


def test_what_is_forbidden_is_not_expected_at_all():
    begin, follow = np.zeros(3, dtype=np.float32), np.zeros((3, 3), dtype=np.float32)
    begin[2] = follow[0, 2] = FORBIDDEN
    found = loss_of(drawn(8, 3), begin, follow)
    assert (found.begin[2], found.follow[0, 2]) == (0.0, 0.0)
    assert np.isfinite(found.loss)


def test_scores_far_apart_still_give_numbers():
    found = loss_of(drawn(8, 3, size=1e4), drawn(3, seed=1), drawn(3, 3, seed=2))
    assert np.isfinite([found.loss, *found.scores.ravel(), *found.follow.ravel()]).all()


def test_a_gradient_by_words_adds_up_to_nothing():
    found = loss_of(drawn(8, 3), drawn(3, seed=1), drawn(3, 3, seed=2))
    np.testing.assert_allclose(found.scores.sum(axis=1), 0, atol=1e-9)
    assert found.begin.sum() == pytest.approx(0, abs=1e-9)
    assert found.follow.sum() == pytest.approx(0, abs=1e-9)


def test_of_single_words_nothing_follows():
    scores, begin = drawn(2, 3), np.zeros(3, dtype=np.float32)
    found = chain_loss(
        scores, np.array([0, 2]), [1, 1], begin=begin, follow=np.ones((3, 3), dtype=np.float32)
    )
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert found.loss == pytest.approx(-np.log(shares[0, 0] * shares[1, 2]), rel=1e-6)
    np.testing.assert_array_equal(found.follow, np.zeros((3, 3)))
