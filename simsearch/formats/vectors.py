"""Vectors that somebody else computed: read without pickle, checked, made unit length."""

from __future__ import annotations

import tokenize
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simsearch.errors import InvalidData, InvalidInput, SystemFailure
from simsearch.formats.lines import Source, check_regular_file, is_stdin, source_name

_NPY_MAGIC: Final = b"\x93NUMPY"
# numpy evaluates the header as a Python literal. Nothing else is allocated while a file is
# mapped, so MemoryError too is the parser's, which ran out of its own stack.
_BAD_HEADER: Final = (
    ValueError,
    TypeError,
    OverflowError,
    EOFError,
    SyntaxError,
    RecursionError,
    MemoryError,
    tokenize.TokenError,
)
_BLOCK_ROWS: Final = 4096  # what is held in float64 at a time: 12 MiB at dimension 384


def read_vectors(path: Source) -> npt.NDArray[np.float32]:
    """Return the vectors of a .npy file, (n, dim), C-contiguous and in native byte order.

    Raises:
        InvalidData: it is not a .npy file of floating point numbers in two dimensions, or a
            number is too large for float32.
        NotFound, InvalidInput, SystemFailure: the file cannot be read.
    """
    name = source_name(path)
    if is_stdin(path):
        raise InvalidInput("vectors cannot be read from stdin (name a .npy file)")
    check_regular_file(path)
    try:
        with open(path, "rb") as file:
            if file.read(len(_NPY_MAGIC)) != _NPY_MAGIC:
                raise InvalidData(f"{name}: not a .npy file (save one array with numpy.save)")
        with np.errstate(over="ignore"):  # a shape that overflows is refused below
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise SystemFailure(f"{name}: {error.strerror or error}") from error
    except _BAD_HEADER as error:
        raise InvalidData(f"{name}: not a readable .npy file of numbers: {error}") from error
    _check_kind(stored, name)
    vectors = np.empty(stored.shape, dtype=np.float32)
    for start in range(0, len(stored), _BLOCK_ROWS):
        block = np.asarray(stored[start : start + _BLOCK_ROWS])
        with np.errstate(over="ignore"):  # looked for below, to name the row
            vectors[start : start + len(block)] = block
        overflowed = np.isfinite(block) & ~np.isfinite(vectors[start : start + len(block)])
        _refuse_rows(overflowed, start, f"{name}: ", "is too large for float32")
    return vectors


def check_vectors(
    vectors: npt.NDArray[Any], *, rows: int | None, dim: int, name: str = "vectors"
) -> npt.NDArray[np.float32]:
    """Return `vectors`, (n, dim), each scaled to unit length.

    `rows` is the number of documents they belong to, None if nobody knows; `name` is what
    messages call the vectors.

    Raises:
        InvalidData: the shape is not (rows, dim), or a row is zero or holds NaN or infinity.
    """
    _check_kind(vectors, name)
    if rows is not None and len(vectors) != rows:
        raise InvalidData(f"{name}: {len(vectors)} vectors for {rows} documents")
    if vectors.shape[1] != dim:
        raise InvalidData(f"{name}: expected dim {dim}, got {vectors.shape[1]}")
    unit = np.empty(vectors.shape, dtype=np.float32)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        unit[start : start + _BLOCK_ROWS] = _unit(vectors[start : start + _BLOCK_ROWS], start, name)
    return unit


def _unit(block: npt.NDArray[Any], start: int, name: str) -> npt.NDArray[np.float64]:
    wide = block.astype(np.float64)  # (b, dim)
    _refuse_rows(np.isnan(wide), start, f"{name}: ", "holds NaN")
    _refuse_rows(np.isinf(wide), start, f"{name}: ", "holds infinity")
    peaks = np.abs(wide).max(axis=1, keepdims=True)  # (b, 1)
    _refuse_rows(peaks == 0, start, f"{name}: ", "is zero and has no direction")
    # Scaled by the largest value first: the square of 1e200 is infinite, that of 1e-200 zero.
    wide /= peaks
    scaled: npt.NDArray[np.float64] = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return scaled


def _check_kind(vectors: npt.NDArray[Any], name: str) -> None:
    if vectors.dtype.kind != "f":
        raise InvalidData(
            f"{name}: expected floating point numbers, got {vectors.dtype} (save as float32)"
        )
    if vectors.ndim != 2:
        raise InvalidData(f"{name}: expected shape (n, dim), got {vectors.shape}")
    if 0 in vectors.shape:
        raise InvalidData(f"{name}: shape {vectors.shape} holds 0 vectors")


def _refuse_rows(bad: npt.NDArray[np.bool_], start: int, prefix: str, problem: str) -> None:
    if bad.any():
        rows, _ = np.nonzero(bad)
        raise InvalidData(f"{prefix}row {start + rows[0]} (counted from 0) {problem}")
