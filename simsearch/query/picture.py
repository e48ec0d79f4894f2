"""Where in a filter something is wrong: its text, and a caret under the place."""

from __future__ import annotations

import unicodedata
from typing import Final

from simsearch.errors import InvalidFilter

_AROUND: Final = 40  # characters of a long filter that are shown on each side


def refusal(problem: str, text: str, at: int) -> InvalidFilter:
    """Return the error for a problem at character `at` of a filter."""
    return InvalidFilter(f"filter, column {at + 1}: {problem}", picture(text, at))


def picture(text: str, at: int) -> str:
    """Return the text around `at` and a caret below it, two lines."""
    start, stop = max(0, at - _AROUND), min(len(text), at + _AROUND)
    before, after = text[start:at], text[at:stop]
    lead = "..." if start else ""
    tail = "..." if stop < len(text) else ""
    indent = len(lead) + sum(_width(character) for character in before)
    shown = "".join(_shown(character) for character in before + after)
    return f"  {lead}{shown}{tail}\n  {' ' * indent}^"


def _shown(character: str) -> str:
    return character if character.isprintable() else " "


def _width(character: str) -> int:
    """Return how many columns of a terminal a character takes."""
    if not character.isprintable():
        return 1  # shown as a space
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
