"""Numbers as people read them."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 row`, `1,000 rows`, `2 classes` where that is given."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def milliseconds(seconds: float) -> str:
    """Return a time of milliseconds, or of a fraction of one: `1.52 ms`, `0.0043 ms`."""
    value = 1000 * seconds
    return f"{value:,.2f} ms" if value >= 0.1 else f"{value:.2g} ms"
