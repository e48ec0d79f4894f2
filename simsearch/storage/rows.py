"""What goes into a store and comes out of it beside documents."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Ranges = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Changes:
    """What was committed since a given commit: rows to add, in ascending order, and to remove."""

    commit_number: int
    rows: IntArray
    removed: IntArray


@dataclass(frozen=True, slots=True)
class PassageRows:
    """The vector rows of documents, one for each passage.

    `ranges` are the half-open character ranges of each document's passages, `vectors` (n, dim)
    those of all of them in that order, `hashes` (`text_hash`) of what was encoded; None for
    vectors that were supplied.
    """

    ranges: Sequence[Ranges]
    vectors: FloatArray
    hashes: Sequence[bytes] | None


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """What a row is the vector of: a half-open character range in the text of a document."""

    document: int
    start: int
    stop: int


def read_metadata(text: str) -> dict[str, Any] | None:
    """Return the metadata of a document, None where that is no JSON of ours.

    A checksum does not tell: who hands over an index can compute one.
    """
    try:
        found = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number that is stored")
    return number


# Made once: json.loads makes one for every document.
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)


def rows_not_in(rows: IntArray, others: IntArray) -> IntArray:
    """Return those of `rows` (n,) that are not among `others` (m,), in order."""
    if not len(others):
        return rows
    # numpy's set functions import numpy.ma, which takes longer than to open an index.
    others = np.sort(others)
    places = np.minimum(np.searchsorted(others, rows), len(others) - 1)
    kept: IntArray = rows[others[places] != rows]
    return kept
