"""Vectors for tests of indexes: clustered as embeddings are, and their neighbours by numpy."""

from __future__ import annotations

import numpy as np
import pytest


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(n: int, dim: int, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((60, dim))
    return unit(centres[rng.integers(0, 60, n)] + 0.8 * rng.standard_normal((n, dim)))


def nearest(vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and similarities of the nearest, in float64; equal ones by row."""
    products = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    order = np.argsort(-products, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(products, order, axis=1)


def overlap(found: np.ndarray, expected: np.ndarray) -> float:
    """Return which part of the expected rows was found, over all queries."""
    shared = [len(set(a) & set(b)) for a, b in zip(found.tolist(), expected.tolist(), strict=True)]
    return sum(shared) / expected.size


@pytest.fixture(scope="session")
def rows() -> np.ndarray:
    """Return 3,000 clustered unit vectors of dim 32."""
    return clustered(3_000, 32)


@pytest.fixture(scope="session")
def queries() -> np.ndarray:
    """Return 200 queries from the same clusters, none of them a row."""
    return clustered(200, 32, seed=1)
