"""All pairs of rows over a similarity, without ever holding a matrix of all rows by all rows.

Vectors are turned so that a few components hold most of their length, and each is shortened to
those and one more number: the length of the rest. By Cauchy and Schwarz the product of two
shortened vectors is never below that of the whole ones, so a block of pairs costs the product of
short rows, and only what may be over the threshold is compared whole. (The bound is that of
Teflioudi, Gemulla and Mykytiuk, "LEMP: fast retrieval of large entries in a matrix product",
2015.) What is found does not depend on the bound, on blocks or on how many threads multiply:
whether a pair is over the threshold is decided by its product in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from simsearch.ann.axes import principal_axes

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
# Rows from a first one to an end, (m, dim), unit length.
ReadRows = Callable[[int, int], FloatArray]
Advance = Callable[[int, int], None]

_SLACK: Final = 1e-4  # far above what products in float32 are wrong by
_BLOCK: Final = 2_048
_SAMPLE: Final = 8_192  # rows by which axes are found, of which an eighth is compared
_LENGTHS: Final = (16, 32, 64, 128)
# To fetch and compare one pair costs as much as so many components of a product of matrices.
_PAIR: Final = 100
_CROWDED: Final = 0.01  # part of a block's pairs from which on the block is multiplied whole
_COMPARED: Final = 8_192  # pairs that are compared whole at a time: 25 MB in dim 384


@dataclass(frozen=True, slots=True)
class NearPairs:
    """Pairs of rows, and how similar they are, all (m,); within an array in any order."""

    first: IntArray
    second: IntArray
    similarity: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.first)


class PairFinder:
    """The rows (n, dim) of an index, ready to be compared with each other.

    `read` gives them; it is called again and again, so they may lie on a disk. Beside the blocks
    in work, memory holds at most 129 numbers a row.
    """

    def __init__(self, read: ReadRows, count: int, *, threshold: float) -> None:
        self._read = read
        self.count = count
        self._threshold = threshold
        self._basis, self._length = _shortening(_spread(read, count), threshold)
        self._short: FloatArray | None = None
        if self._length:
            self._short = np.empty((count, self._length + 1), dtype=np.float32)
            for start, stop in blocks(count):
                self._short[start:stop] = self._shortened(read(start, stop))

    def _shortened(self, rows: FloatArray) -> FloatArray:
        turned = rows @ self._basis
        rest = np.linalg.norm(turned[:, self._length :], axis=1, keepdims=True)
        return np.hstack([turned[:, : self._length], rest])

    def all_pairs(self, advance: Advance | None = None) -> Iterator[NearPairs]:
        """Yield every pair over the threshold once, `first` below `second`, a block at a time."""
        spans = list(blocks(self.count))
        total = len(spans) * (len(spans) + 1) // 2
        done = 0
        for at, span in enumerate(spans):
            for other in spans[at:]:
                yield self._between(span, other)
                done += 1
                if advance is not None:
                    advance(done, total)

    def neighbours(self, rows: IntArray) -> Iterator[NearPairs]:
        """Yield for `rows` (m,) every pair of one of them and any row over the threshold.

        `first` is one of the rows, and its pair with itself is among them.
        """
        whole = np.vstack([self._read(row, row + 1) for row in rows.tolist()])
        short = whole if self._short is None else self._short[rows]
        for start, stop in blocks(self.count):
            found = self._over(short, whole, (start, stop))
            yield NearPairs(rows[found.first], found.second + start, found.similarity)

    def _between(self, span: tuple[int, int], other: tuple[int, int]) -> NearPairs:
        whole = self._read(*span)
        short = whole if self._short is None else self._short[span[0] : span[1]]
        found = self._over(short, whole, other, upper=span == other)
        return NearPairs(found.first + span[0], found.second + other[0], found.similarity)

    def _over(
        self,
        short: FloatArray,
        whole: FloatArray,
        other: tuple[int, int],
        *,
        upper: bool = False,
    ) -> NearPairs:
        """Return the pairs over the threshold of given rows and those of a block.

        Rows are named by where they stand in the two. `upper`: they are the same rows.
        """
        others = None
        if self._short is None:
            others = self._read(*other)
            products = short @ others.T
        else:
            products = short @ self._short[other[0] : other[1]].T
        first, second = _places_over(products, self._threshold - _SLACK, upper=upper)
        if not len(first):
            return NearPairs(first, second, np.empty(0))
        others = self._read(*other) if others is None else others
        if self._short is not None and len(first) > _CROWDED * products.size:
            products = whole @ others.T
            first, second = _places_over(products, self._threshold - _SLACK, upper=upper)
        similarity = _compared(whole, others, first, second)
        kept = similarity >= self._threshold
        return NearPairs(first[kept], second[kept], similarity[kept])


def blocks(count: int, size: int = _BLOCK) -> Iterator[tuple[int, int]]:
    """Yield the ranges that rows are read in."""
    return ((start, min(start + size, count)) for start in range(0, count, size))


def _places_over(products: FloatArray, least: float, *, upper: bool) -> tuple[IntArray, IntArray]:
    first, second = np.divmod(np.flatnonzero(products >= least), products.shape[1])
    if upper:
        above = first < second
        first, second = first[above], second[above]
    return first, second


def _compared(
    rows: FloatArray, others: FloatArray, first: IntArray, second: IntArray
) -> npt.NDArray[np.float64]:
    """Return the inner products of pairs of rows in float64, rounded."""
    products = np.empty(len(first))
    for start, stop in blocks(len(first), _COMPARED):
        products[start:stop] = np.einsum(
            "ij,ij->i", rows[first[start:stop]], others[second[start:stop]], dtype=np.float64
        )
    return rounded(products)


def rounded(similarities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return similarities in six digits, at most 1.

    Unit vectors in float32 are 1 to some 1e-7, and so are their products: that of a text with its
    copy may be 0.9999999, and is to count as 1.
    """
    return np.minimum(np.round(similarities, 6), 1.0)


def _spread(read: ReadRows, count: int) -> FloatArray:
    """Return up to _SAMPLE rows, in short runs that are spread over all of them."""
    run = 64
    runs = _SAMPLE // run
    if count <= _SAMPLE:
        return read(0, count)
    starts = np.linspace(0, count - run, runs).astype(np.int64).tolist()
    return np.vstack([read(start, start + run) for start in starts])


def _shortening(sample: FloatArray, threshold: float) -> tuple[FloatArray, int]:
    """Return a basis (dim, dim), and how many components of it to keep; 0: to compare whole rows.

    That which is the least work: shorter rows are quicker to multiply, and let more pairs through
    that have to be compared whole.
    """
    dim = sample.shape[1]
    if len(sample) < 2:
        return np.eye(dim, dtype=np.float32), 0
    basis, _ = principal_axes(sample, centred=False)
    turned = sample[:: max(1, len(sample) // 1_024)] @ basis
    best, work = 0, float(dim)
    for length in _LENGTHS:
        if length > dim // 2:
            break
        rest = np.linalg.norm(turned[:, length:], axis=1)
        bound = turned[:, :length] @ turned[:, :length].T + np.outer(rest, rest)
        passing = (np.count_nonzero(bound >= threshold - _SLACK) - len(turned)) / bound.size
        needed = length + 1 + (_PAIR * dim * passing if passing <= _CROWDED else dim)
        if needed < work:
            best, work = length, needed
    return basis, best
