"""k-means by FAISS, on directions: unit vectors, compared by cosine."""

from __future__ import annotations

from typing import Final

import faiss
import numpy as np
import numpy.typing as npt

from simsearch.ann.checks import checked_vectors
from simsearch.errors import InvalidInput

FloatArray = npt.NDArray[np.float32]

_ROUNDS: Final = 25
_RUNS: Final = 3  # from other beginnings, of which the best is kept


def kmeans(vectors: FloatArray, clusters: int, *, seed: int) -> FloatArray:
    """Return centroids of unit length (clusters, dim) for unit vectors (n, dim).

    Spherical k-means (Dhillon and Modha, 2001), begun by k-means++ (Arthur and Vassilvitskii,
    2007). The same seed gives the same centroids.

    Raises:
        InvalidInput: `clusters` is not 1 to n, or a value is not finite.
    """
    vectors = checked_vectors(vectors, vectors.shape[1])
    if not 1 <= clusters <= len(vectors):
        raise InvalidInput(f"clusters must be 1..{len(vectors)}, got {clusters}")
    found = faiss.Kmeans(
        vectors.shape[1],
        clusters,
        niter=_ROUNDS,
        nredo=_RUNS,
        seed=seed % 2**31,  # what FAISS takes
        spherical=True,
        init_method=faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS,
        # All vectors are used, however few or many: FAISS would warn, or draw some of them.
        min_points_per_centroid=1,
        max_points_per_centroid=len(vectors),
    )
    found.train(vectors)
    return np.asarray(found.centroids, dtype=np.float32)
