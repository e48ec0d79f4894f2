"""What was made for the last few callers, for those who ask again: bounded in number and bytes."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MOST: Final = 16
MOST_BYTES: Final = 128_000_000


class Recent(Generic[K, V]):
    """Values by their keys, those that were asked for last; `size` tells the bytes of one.

    There are `most` of them, of `most_bytes` together; the one that was asked for last is kept
    whatever its size.
    """

    def __init__(
        self, size: Callable[[V], int], *, most: int = MOST, most_bytes: int = MOST_BYTES
    ) -> None:
        self._size = size
        self._most = most
        self._most_bytes = most_bytes
        self._values: dict[K, V] = {}  # least recently used first

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of a key, which is made where it is not there."""
        value = self._values.pop(key) if key in self._values else make()
        self._values[key] = value
        while len(self) > 1 and (len(self) > self._most or self._bytes() > self._most_bytes):
            del self._values[next(iter(self._values))]
        return value

    def clear(self) -> None:
        """Forget all."""
        self._values.clear()

    def _bytes(self) -> int:
        return sum(map(self._size, self._values.values()))
