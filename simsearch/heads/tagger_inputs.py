"""What a tagger sees of the vectors of all layers: each number at one size, then their directions.

The layers of an encoder say much of the same, and a few hundred texts cannot teach what thousands
of numbers mean: the principal directions (Halko, Martinsson & Tropp 2011) are fewer, and noise is
left behind. Both maps are linear, so a trained tagger carries them in its first one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.encoder.runtime import FloatArray

_SAMPLE = 20_000  # words that tell the size of the numbers
_DIRECTED = 2_000  # words that tell the directions; 6,000 tell no better ones
_LEAST = np.float32(1e-4)  # of a deviation: some numbers are always the same
_AT_ONCE = 4096

HalfArray = npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True, eq=False)
class TaggerInputs:
    """The map (vectors - mean) * scale, and then to `directions` (r, d); None: as they are."""

    mean: FloatArray  # (d,)
    scale: FloatArray  # (d,)
    directions: FloatArray | None = None

    def of(self, vectors: HalfArray | FloatArray) -> FloatArray:
        """Shape: (w, d) -> (w, r), or (w, d) without directions."""
        wide = np.asarray(vectors, dtype=np.float32)
        if self.directions is None:
            return (wide - self.mean) * self.scale
        weight = self.directions * self.scale
        return np.asarray(wide @ weight.T - weight @ self.mean, dtype=np.float32)

    def halved(self, vectors: HalfArray) -> HalfArray:
        """Return what `of` does, a part at a time: the vectors may lie in a file."""
        width = len(self.mean) if self.directions is None else len(self.directions)
        result = np.empty((len(vectors), width), dtype=np.float16)
        for start in range(0, len(vectors), _AT_ONCE):
            result[start : start + _AT_ONCE] = halved(self.of(vectors[start : start + _AT_ONCE]))
        return result

    def folded(self, weight: FloatArray, bias: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return a map of these inputs (h, r), (h,) as one of the vectors, (h, d), (h,)."""
        if self.directions is not None:
            weight = weight @ self.directions
        weight = weight * self.scale
        return weight, bias - weight @ self.mean


def fit_inputs(vectors: HalfArray, *, directions: int, rng: np.random.Generator) -> TaggerInputs:
    """Fit the map to vectors (w, d); `directions` 0, or as many as there are numbers: none.

    There are no more directions than words. Torch's random state decides how they are found.
    """
    mean, scale = _sizes(vectors, rng)
    inputs = TaggerInputs(mean, scale)
    if not 0 < directions < vectors.shape[1]:
        return inputs
    import torch

    sample = torch.from_numpy(inputs.of(vectors[_drawn(len(vectors), _DIRECTED, rng)]))
    found = torch.svd_lowrank(sample, q=min(directions, len(sample)), niter=1)[2].T.numpy()
    # One factor for all: what varies more says more, but a common size suits the learning rate.
    size = (sample.numpy() @ found.T).std(axis=0).mean() + _LEAST
    return TaggerInputs(mean, scale, (found / size).astype(np.float32))


def halved(vectors: FloatArray) -> HalfArray:
    """Return vectors in half precision, what is too large for it as the largest there is."""
    largest = float(np.finfo(np.float16).max)
    return np.clip(vectors, -largest, largest).astype(np.float16)


def _sizes(vectors: HalfArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Return mean and inverse deviation of each number, of a sample."""
    sample = np.asarray(vectors[_drawn(len(vectors), _SAMPLE, rng)], dtype=np.float32)
    return sample.mean(axis=0), 1 / (sample.std(axis=0) + _LEAST)


def _drawn(count: int, most: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    if count <= most:
        return np.arange(count)
    return np.sort(rng.choice(count, most, replace=False))
