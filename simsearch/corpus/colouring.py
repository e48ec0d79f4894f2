"""What the colour of a place on a map says: a group, or a number."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simsearch.query import value_key
from simsearch.wording import counted

IntArray = npt.NDArray[np.int64]

# Ten that are told apart on white and on black, also by most who do not see all colours.
PALETTE: Final = (
    "#4477dd", "#e07b1f", "#2f9e5b", "#cc4466", "#8f63c9",
    "#1fa3b5", "#b08a1e", "#d65bb0", "#7c8f2a", "#a06a4b",
)  # fmt: skip
GREY: Final = "#8c8f96"  # no group of its own
_LONGEST: Final = 80  # characters of a name
_NONE: Final = "(none)"
_WIDEST: Final = 1e300  # a quarter of the range that can be drawn with room beside it
# From low to high, even in lightness (a few points of matplotlib's viridis).
RAMP: Final = ("#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39")


@dataclass(frozen=True, slots=True)
class Groups:
    """`names` of groups, and which of them each of n documents belongs to: `members` (n,).

    The first `coloured` have a colour of their own, all others are grey.
    """

    title: str
    names: tuple[str, ...]
    members: IntArray
    coloured: int


@dataclass(frozen=True, slots=True)
class Scale:
    """A number for each document, `values` (n,), NaN where it has none, between `low` and `high`"""

    title: str
    values: npt.NDArray[np.float64]
    low: float
    high: float


def colouring_by_field(metadata: Sequence[Mapping[str, Any]], field: str) -> Groups | Scale:
    """Return the colours for the values of a metadata field, which a document may lack.

    More than ten different numbers are a scale; all else are groups, the largest first, of which
    ten have a colour.
    """
    values = [its.get(field) for its in metadata]
    scale = _scale(field, values)
    if scale is not None:
        return scale
    keys = [None if value is None else value_key(value) for value in values]
    counts = Counter(key for key in keys if key is not None)
    first: dict[str, Any] = {}
    for key, value in zip(keys, values, strict=True):
        if key is not None:
            first.setdefault(key, value)
    names = _names(first)
    ranked = sorted(counts, key=lambda key: (-counts[key], names[key]))
    shown, others = ranked[: len(PALETTE)], ranked[len(PALETTE) :]
    legend = [_cut(names[key]) for key in shown]
    place = {key: number for number, key in enumerate(shown)}
    if others:
        place |= dict.fromkeys(others, len(legend))
        legend.append(counted(len(others), "other value"))
    missing = len(legend)
    if None in keys:
        legend.append(_NONE)
    members = [missing if key is None else place[key] for key in keys]
    return Groups(field, tuple(legend), np.array(members, dtype=np.int64), len(shown))


def _scale(field: str, values: Sequence[Any]) -> Scale | None:
    """Return the numbers of a field; None if not all are, or few differ, or none can draw them."""
    present = [value for value in values if value is not None]
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in present):
        return None
    if len(set(present)) <= len(PALETTE):
        return None
    try:
        known = np.array([np.nan if value is None else float(value) for value in values])
    except OverflowError:  # a whole number beyond all floats
        return None
    low, high = float(np.nanmin(known)), float(np.nanmax(known))
    return Scale(field, known, low, high) if high / 4 - low / 4 < _WIDEST else None


def _names(values: Mapping[str, Any]) -> dict[str, str]:
    """Return what to call each value, by its key; no two the same.

    In JSON, but strings as they are, unless that is how a value is written in JSON.
    """
    written = {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}
    taken = {_NONE, *written.values()}
    return {
        key: value if isinstance(value, str) and value not in taken else written[key]
        for key, value in values.items()
    }


def _cut(name: str) -> str:
    line = " ".join(name[: 4 * _LONGEST].split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
