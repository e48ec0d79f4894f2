"""Words that agree with a number, for what people read."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 row`, `1,000 rows`, `2 classes` where that is given."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
