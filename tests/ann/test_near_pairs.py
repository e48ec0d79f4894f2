"""All pairs over a similarity, against the whole matrix in float64."""

from __future__ import annotations

import numpy as np
import pytest

from simsearch.ann import near_pairs, principal_axes
from simsearch.ann.near_pairs import PairFinder


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(count, dim, *, seed=0, spread=0.6):
    """Rows around twenty directions, of which the first components hold the most."""
    rng = np.random.default_rng(seed)
    scale = np.linspace(1, 0.05, dim)
    centres = rng.standard_normal((20, dim)) * scale
    noise = spread * rng.standard_normal((count, dim)) * scale
    return unit(centres[rng.integers(0, 20, count)] + noise)


def finder(rows, threshold):
    return PairFinder(lambda start, stop: rows[start:stop], len(rows), threshold=threshold)


def found_by(rows, threshold):
    pairs = {}
    for part in finder(rows, threshold).all_pairs():
        for first, second, similarity in zip(
            part.first.tolist(), part.second.tolist(), part.similarity.tolist(), strict=True
        ):
            assert (first, second) not in pairs
            pairs[first, second] = similarity
    return pairs


def oracle(rows, threshold):
    products = np.minimum(np.round(rows.astype(np.float64) @ rows.T.astype(np.float64), 6), 1)
    first, second = np.nonzero(np.triu(products >= threshold, 1))
    return {(a, b): products[a, b] for a, b in zip(first.tolist(), second.tolist(), strict=True)}


@pytest.mark.parametrize("threshold", [0.99, 0.9, 0.7, 0.3])
@pytest.mark.parametrize("block", [37, 256, 2_048])
def test_every_pair_over_the_threshold_is_found_once(monkeypatch, threshold, block):
    monkeypatch.setattr(near_pairs, "_BLOCK", block)
    monkeypatch.setattr(near_pairs.blocks, "__defaults__", (block,))
    rows = np.vstack([clustered(500, 64), clustered(100, 64, spread=0.1)])
    expected = oracle(rows, threshold)
    assert len(expected) > 10
    assert found_by(rows, threshold) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("length", [0, 16, 32])
def test_what_is_found_does_not_depend_on_how_rows_are_shortened(monkeypatch, length):
    rows = clustered(500, 64)
    basis, _ = principal_axes(rows, centred=False)
    monkeypatch.setattr(near_pairs, "_shortening", lambda *_: (basis, length))
    assert found_by(rows, 0.85) == pytest.approx(oracle(rows, 0.85), abs=1e-9)


def test_rows_are_shortened_where_that_is_less_work():
    assert finder(clustered(2_000, 384, spread=0.9), 0.95)._length > 0


def test_noise_without_directions_is_compared_whole_or_shortened_with_the_same_result():
    rows = unit(np.random.default_rng(1).standard_normal((400, 48)))
    assert found_by(rows, 0.4) == pytest.approx(oracle(rows, 0.4), abs=1e-9)


def test_copies_have_the_similarity_one():
    rows = clustered(50, 64)
    rows[49] = rows[7]
    assert found_by(rows, 1.0) == {(7, 49): 1.0}


def test_a_pair_at_the_threshold_counts_and_one_below_it_does_not():
    rows = np.zeros((3, 16), dtype=np.float32)
    rows[0, 0] = 1
    rows[1, :2] = 0.8, 0.6  # 0.8 to the first
    rows[2, :3] = 0.799998, 0, np.sqrt(1 - 0.799998**2)
    assert found_by(rows, 0.8) == {(0, 1): 0.8}


def test_neighbours_are_those_of_the_whole_matrix():
    rows = clustered(900, 64)
    wanted = np.array([3, 500, 899])
    products = np.round(rows.astype(np.float64) @ rows.T.astype(np.float64), 6)
    got = {row: set() for row in wanted.tolist()}
    for part in finder(rows, 0.8).neighbours(wanted):
        for first, second in zip(part.first.tolist(), part.second.tolist(), strict=True):
            got[first].add(second)
    for row in wanted.tolist():
        assert got[row] == set(np.flatnonzero(products[row] >= 0.8).tolist())


@pytest.mark.parametrize("count", [1, 2])
def test_one_row_has_no_pair_and_two_have_one(count):
    assert (
        found_by(clustered(count, 32) * 0 + 0.25 * np.float32(np.sqrt(0.5)), 0.4)
        == {
            1: {},
            2: {(0, 1): 1.0},
        }[count]
    )


def test_progress_ends_with_all_blocks_compared(monkeypatch):
    monkeypatch.setattr(near_pairs.blocks, "__defaults__", (100,))
    told = []
    list(finder(clustered(250, 32), 0.9).all_pairs(lambda done, total: told.append((done, total))))
    assert told == [(done, 6) for done in range(1, 7)]


def test_axes_are_those_of_a_singular_value_decomposition():
    rows = clustered(300, 24).astype(np.float64)
    axes, shares = principal_axes(rows.astype(np.float32), centred=True)
    _, values, turned = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(shares, values**2 / (values**2).sum(), atol=1e-5)
    np.testing.assert_allclose(np.abs((axes[:, :5] * turned[:5].T).sum(axis=0)), 1, atol=1e-4)
    assert (axes[np.abs(axes).argmax(axis=0), np.arange(24)] > 0).all()
