"""Whether an encoder reads anything in a text, asked of no encoder where the text has a word."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

from simsearch.records import has_word


class Reader(Protocol):
    """What tells whether there is anything in a text that it reads; an encoder is one."""

    def reads(self, text: str) -> bool: ...


def reading_of(encoder: str | None) -> Callable[[str], bool]:
    """Return what tells whether an encoder reads anything in a text that is not blank.

    It is loaded at the first text without a word, which few files have.
    """

    def load() -> Reader:
        from simsearch.encoder.encoder import Encoder  # a second, which most files need not pay

        return Encoder.load(encoder)

    return reading_by(load)


def reading_by(load: Callable[[], Reader]) -> Callable[[str], bool]:
    """Return what `reading_of` does, for an encoder that `load` returns; it is called once."""
    loaded = functools.cache(load)
    return lambda text: has_word(text) or loaded().reads(text)
