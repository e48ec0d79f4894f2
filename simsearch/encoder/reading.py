"""Whether an encoder reads anything in a text, asked of no encoder where the text has a word."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from simsearch.records import has_word

if TYPE_CHECKING:
    from simsearch.encoder.encoder import Encoder


def reading_of(encoder: str | None) -> Callable[[str], bool]:
    """Return what tells whether an encoder reads anything in a text that is not blank.

    It is loaded at the first text without a word, which few files have.
    """

    @functools.cache
    def loaded() -> Encoder:
        from simsearch.encoder.encoder import Encoder  # a second, which most files need not pay

        return Encoder.load(encoder)

    return lambda text: has_word(text) or loaded().reads(text)
