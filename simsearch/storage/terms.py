"""Texts become the terms by which a lexical search finds them.

A term is a word in lower case without accents; FTS5's Porter stemmer shortens the English ones.
Scripts that are written without spaces between words become overlapping pairs of characters, so
that every query of two characters finds its texts. Neither a stop list nor a language is needed:
what is frequent counts little (lexical.py).
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

# Chinese, Japanese and Korean, and four scripts of South East Asia.
_PAIRED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029"
    "\u3031-\u3035\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u318e\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
# Indic vowel signs are no letters to a regular expression, and no accents either; the two dandas
# in these blocks are full stops.
_INDIC: Final = "\u0900-\u0963\u0966-\u0dff"
# Accents, and the points of Hebrew and Arabic; what chooses the form of a character before it, and
# what says where a line may break within a word.
_DROPPED: Final = dict.fromkeys(
    [
        *(0x00AD, 0x200B, 0x2060, 0xFEFF),
        *range(0x180B, 0x1810),
        *range(0xFE00, 0xFE10),
        *range(0xE0100, 0xE01F0),
        *range(0x0300, 0x0370),
        *range(0x0591, 0x05BE),
        *(0x05BF, 0x05C1, 0x05C2, 0x05C4, 0x05C5, 0x05C7),
        *range(0x0610, 0x061B),
        *range(0x064B, 0x0660),
        0x0670,
    ]
)

# Vowels and last consonants of Korean syllables that are written letter by letter.
_SYLLABLE_ENDS: Final = frozenset(map(chr, range(0x1160, 0x1200)))

# What a text's terms depend on: the rules above, and Python's tables of characters.
TERMS_VERSION: Final = f"2 unicode {unicodedata.unidata_version}"


def document_terms(text: str) -> list[str]:
    """Return the terms of a document, in order, as often as they occur.

    A run of paired script ends with its last character alone, so that `term*` finds a character
    wherever it stands.
    """
    terms: list[str] = []
    for run in _runs(text):
        if _is_paired(run):
            terms += [run[at : at + 2] for at in range(len(run))]
        else:
            terms.append(run)
    return terms


def query_terms(text: str) -> list[str]:
    """Return the terms to look for, each once, in order.

    A character of a paired script that stands alone ends with `*`: any term that begins with it.
    """
    terms: list[str] = []
    for run in _runs(text):
        if not _is_paired(run):
            terms.append(run)
        elif len(run) == 1:
            terms.append(f"{run}*")
        else:
            terms += [run[at : at + 2] for at in range(len(run) - 1)]
    return list(dict.fromkeys(terms))


@dataclass(frozen=True, slots=True)
class PlacedTerm:
    """A term, and its half-open range in the text as it was written.

    `first` is where its first character ends, if it is a pair of characters; else it is `end`.
    """

    term: str
    start: int
    end: int
    first: int


def placed_document_terms(text: str) -> list[PlacedTerm]:
    """Return the terms of a document with their places: those of `document_terms`, in order."""
    placed: list[PlacedTerm] = []
    for run, places in _placed_runs(text):
        if _is_paired(run):
            placed += [_placed(run[at : at + 2], places[at : at + 2]) for at in range(len(run))]
        else:
            placed.append(_placed(run, places))
    return placed


def placed_query_terms(text: str) -> dict[str, list[tuple[int, int]]]:
    """Return the terms to look for, as `query_terms`, and every place of each in the query."""
    found: dict[str, list[tuple[int, int]]] = {}
    for run, places in _placed_runs(text):
        if not _is_paired(run):
            its = [_placed(run, places)]
        elif len(run) == 1:
            its = [_placed(f"{run}*", places)]
        else:
            its = [_placed(run[at : at + 2], places[at : at + 2]) for at in range(len(run) - 1)]
        for each in its:
            found.setdefault(each.term, []).append((each.start, each.end))
    return found


def _placed(term: str, places: Sequence[tuple[int, int]]) -> PlacedTerm:
    paired = _is_paired(term)
    return PlacedTerm(term, places[0][0], places[-1][1], places[0 if paired else -1][1])


def _placed_runs(text: str) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Yield the runs of a text with the range that each of their characters was made of.

    Nothing of a run is made of two pieces with white space between, so each piece is folded by
    itself.
    """
    for piece in re.finditer(r"\S+", text):
        places = list(itertools.pairwise(piece.start() + at for at in _boundaries(piece[0])))
        folded = [_folded(text[slice(*place)]) for place in places]
        if "".join(folded) != _folded(piece[0]):  # letters of other scripts were composed
            places, folded = [piece.span()], [_folded(piece[0])]
        of_each = [place for place, own in zip(places, folded, strict=True) for _ in own]
        for run in _run().finditer("".join(folded)):
            yield run[0], of_each[run.start() : run.end()]


def _boundaries(text: str) -> list[int]:
    """Return where letters begin, with their marks, and Korean syllables; and the length.

    What is dropped belongs to the letter before it.
    """
    starts = [0]
    for at in range(1, len(text)):
        first = unicodedata.normalize("NFKD", text[at])[0]
        mark = unicodedata.combining(first) or ord(first) in _DROPPED
        if not mark and first not in _SYLLABLE_ENDS:
            starts.append(at)
    return [*starts, len(text)]


# Compiled when needed: that takes 10 ms, and a dense search, cold, has no use for them.
@cache
def _run() -> re.Pattern[str]:
    return re.compile(rf"[{_PAIRED}]+|(?:[{_INDIC}]|[^\W_{_PAIRED}])+")


@cache
def _first_paired() -> re.Pattern[str]:
    return re.compile(f"[{_PAIRED}]")


def _runs(text: str) -> list[str]:
    return _run().findall(_folded(text))


def _folded(text: str) -> str:
    if not text.isascii():
        # Decomposed, so that accents come off; composed again, for Korean syllables.
        letters = unicodedata.normalize("NFKD", text).translate(_DROPPED)
        text = unicodedata.normalize("NFC", letters)
    return text.casefold()


def _is_paired(run: str) -> bool:
    return _first_paired().match(run) is not None
