"""Some of an index's rows, and what a search among them needs, made once for all searches."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from simsearch.errors import InvalidInput

IntArray = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Subset:
    """Positions (m,), ascending, of the `of` that there are.

    Raises:
        InvalidInput: they do not ascend, or one is not 0 to `of` - 1.
    """

    def __init__(self, positions: IntArray, of: int) -> None:
        if len(positions) and (
            positions[0] < 0 or positions[-1] >= of or (positions[1:] <= positions[:-1]).any()
        ):
            raise InvalidInput(
                f"expected ascending rows of 0 to {of - 1}, got {positions[0]} to {positions[-1]}"
            )
        self.positions = positions
        self.of = of

    @classmethod
    def where(cls, mask: Mask) -> Subset:
        """Return the positions at which `mask` (n,) is true."""
        return cls(np.flatnonzero(mask), len(mask))

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def nbytes(self) -> int:
        """Bytes of the positions, and of the mask, whether or not it was made yet."""
        return int(self.positions.nbytes) + self.of

    @property
    def whole(self) -> bool:
        """Whether no position is left out."""
        return len(self) == self.of

    @functools.cached_property
    def mask(self) -> Mask:
        """Which positions are in it, (of,)."""
        mask = np.zeros(self.of, dtype=bool)
        mask[self.positions] = True
        return mask
