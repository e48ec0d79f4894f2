"""Which things belong together, where only pairs are known: union-find (Tarjan, 1975)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


class Forest:
    """`count` things, each alone until pairs join them."""

    def __init__(self, count: int) -> None:
        self._parents = np.arange(count)

    def join(self, first: IntArray, second: IntArray) -> None:
        """Let the two things of each pair, (m,), belong together."""
        # Most pairs of a large group join what is together already.
        apart = self._parents[first] != self._parents[second]
        for one, other in zip(first[apart].tolist(), second[apart].tolist(), strict=True):
            low, high = sorted((self._root(one), self._root(other)))
            self._parents[high] = low
            self._parents[one] = self._parents[other] = low

    def _root(self, thing: int) -> int:
        parents = self._parents
        while (above := int(parents[thing])) != thing:
            parents[thing] = parents[above]  # so that the next walk is half as long
            thing = above
        return thing

    def roots(self) -> IntArray:
        """Return for each thing the lowest one that it belongs together with, (count,)."""
        roots = self._parents
        while (roots[roots] != roots).any():
            roots = roots[roots]
        return roots
