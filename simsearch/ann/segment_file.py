"""The file of a segment: row numbers, their vectors, and an index of them where one is worth it.

Numbers (n,) as int64, then vectors (n, dim) as float32, then FAISS's own bytes; each part begins at
a multiple of 64. How many there are is known by who listed the file. Everything is used where it
lies, mapped into memory: opening a million rows reads none of them.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from simsearch.ann.built_index import BuiltIndex
from simsearch.ann.index_file import IndexRecord, read_index, write_index
from simsearch.errors import CorruptIndex, SystemFailure

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_ALIGNMENT: Final = 64
_PIECE: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """A segment that is mapped: ascending rows (n,), vectors (n, dim), an index or none."""

    rows: IntArray
    vectors: FloatArray
    index: BuiltIndex | None


def write_vectors(
    rows: IntArray, vectors: Iterable[FloatArray], write: Callable[[bytes], int]
) -> None:
    """Write the first two parts: ascending rows (n,), and their vectors, a portion at a time."""
    size = 0
    for start in range(0, len(rows), _PIECE):
        size += write(np.ascontiguousarray(rows[start : start + _PIECE], dtype="<i8").tobytes())
    size += write(_padding(size))
    for portion in vectors:
        size += write(np.ascontiguousarray(portion, dtype="<f4").tobytes())
    write(_padding(size))


def append_index(index: BuiltIndex, write: Callable[[bytes], int]) -> None:
    """Write the third part behind the other two."""
    write_index(index, write)


def map_segment(path: Path, *, rows: int, dim: int, record: IndexRecord | None) -> SegmentFile:
    """Map a file of so many rows, with the index that `record` tells of, or without.

    It must be known to be the file that was written, and never be written to again.

    Raises:
        CorruptIndex: it has not the size that it should have, or another index.
        SystemFailure: it cannot be read.
    """
    vectors_at = _aligned(8 * rows)
    index_at = _aligned(vectors_at + 4 * dim * rows)
    memory = _mapped(path)
    if len(memory) < index_at or (record is None and len(memory) > index_at):
        raise CorruptIndex(f"{path} has {len(memory):,} bytes, expected {index_at:,} or more")
    numbers = memory[: 8 * rows].view("<i8")
    vectors = memory[vectors_at : vectors_at + 4 * dim * rows].view("<f4").reshape(rows, dim)
    index = None
    if record is not None:
        index = read_index(memory[index_at:], record, vectors=vectors, path=path)
    return SegmentFile(numbers, vectors, index)


def _mapped(path: Path) -> npt.NDArray[np.uint8]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            memory = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) if size else b""
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SystemFailure(f"{path}: {error.strerror}") from error
    return np.frombuffer(memory, dtype=np.uint8)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _padding(size: int) -> bytes:
    return bytes(_aligned(size) - size)
