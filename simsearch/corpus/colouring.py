"""What the colour of a place on a map says: a group, or a number."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

# Ten that are told apart on white and on black, also by most who do not see all colours.
PALETTE: Final = (
    "#4477dd", "#e07b1f", "#2f9e5b", "#cc4466", "#8f63c9",
    "#1fa3b5", "#b08a1e", "#d65bb0", "#7c8f2a", "#a06a4b",
)  # fmt: skip
GREY: Final = "#8c8f96"  # no group of its own
_LONGEST: Final = 80  # characters of a name
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
    present = [value for value in values if value is not None]
    numbers = all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in present
    )
    if numbers and len(set(present)) > len(PALETTE):
        known = np.array([np.nan if value is None else float(value) for value in values])
        return Scale(field, known, float(np.nanmin(known)), float(np.nanmax(known)))
    names = [None if value is None else _name(value) for value in values]
    counts = Counter(name for name in names if name is not None)
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    shown, others = ranked[: len(PALETTE)], ranked[len(PALETTE) :]
    legend = [_cut(name) for name in shown]
    place = {name: number for number, name in enumerate(shown)}
    if others:
        place |= dict.fromkeys(others, len(legend))
        legend.append(f"{len(others):,} other values")
    missing = len(legend)
    if None in names:
        legend.append("(none)")
    members = [missing if name is None else place[name] for name in names]
    return Groups(field, tuple(legend), np.array(members, dtype=np.int64), len(shown))


def _cut(name: str) -> str:
    line = " ".join(name[: 4 * _LONGEST].split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _name(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
