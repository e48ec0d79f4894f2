"""The words of a text, which a tagger gives tags to, and how they look.

A word is a run of letters and digits, a single Chinese, Japanese or Korean character, or any
other character that is not white space. The encoder's pieces differ from one to another; words
do not, so spans begin and end where a reader expects it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from simsearch.encoder.runtime import FloatArray, IntArray
from simsearch.records import Span

# Without U+3000, which is a space; with the ideographs beyond U+FFFF.
_CJK = (
    "\u2e80-\u2fff\u3001-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af"
    "\U00020000-\U0003ffff"
)
_SENTENCE_ENDS = frozenset(".!?。！？:：;；")

OUTSIDE = 0
"""The tag of a word in no span; of label n, 1 + 2n begins a span and 2 + 2n goes on with it."""


# Compiled when needed: a cold query imports this, and explains nothing.
@cache
def _word() -> re.Pattern[str]:
    return re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+|[^\w\s]|_")


@cache
def _ideograph() -> re.Pattern[str]:
    return re.compile(rf"[{_CJK}]")


def split_words(text: str) -> IntArray:
    """Return the half-open character range of each word, (w, 2), in order."""
    ranges = [found.span() for found in _word().finditer(text)]
    if not text.isascii():
        ranges = _with_marks(text, ranges)
    return np.array(ranges, dtype=np.int64).reshape(-1, 2)


def _with_marks(text: str, ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join what a combining mark holds together: it is a part of the letter before it."""
    joined: list[tuple[int, int]] = []
    after_mark = False
    for start, end in ranges:
        mark = unicodedata.category(text[start])[0] == "M"
        touches = bool(joined) and joined[-1][1] == start
        if touches and (mark or (after_mark and text[start].isalnum())):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
        after_mark = mark
    return joined


SHAPES = 18


def word_shapes(text: str, words: IntArray) -> FloatArray:
    """Return how each word is written in the original text, of 0 and 1, (w, SHAPES).

    An uncased encoder does not see it: capitals, digits, script, length, what it touches, and
    whether a sentence begins with it.
    """
    shapes = np.zeros((len(words), SHAPES), dtype=np.float32)
    before_end, before = -1, ""
    ranges = words.tolist()
    for number, (start, end) in enumerate(ranges):
        word = text[start:end]
        letters = word.isalpha()
        length = end - start
        begins = not before or before in _SENTENCE_ENDS
        following = ranges[number + 1][0] if number + 1 < len(ranges) else -1
        marks = (
            word.islower(),
            word[:1].isupper() and word[1:].islower(),
            length > 1 and word.isupper(),
            letters and not (word.islower() or word.isupper() or word.istitle()),
            word.isdigit(),
            not word.isdigit() and any(map(str.isdigit, word)),
            not word[:1].isalnum(),
            bool(_ideograph().match(word)),
            letters and not word.isascii(),
            length == 1,
            length in (2, 3),
            4 <= length <= 6,
            7 <= length <= 10,
            length > 10,
            start == before_end,
            end == following,
            begins,
            word[:1].isupper() and not begins,
        )
        shapes[number] = marks
        before_end, before = end, word
    return shapes


@dataclass(frozen=True, slots=True, eq=False)
class SpanTags:
    """The tag of each word, (w,), and which spans the words do not hold as they are.

    `widened` do not begin and end with a word; of `lost` ones others have every word.
    """

    tags: IntArray
    widened: int
    lost: tuple[Span, ...]


def tags_of_spans(spans: Sequence[Span], words: IntArray, labels: Sequence[str]) -> SpanTags:
    """Return spans as tags of words; one that is cut is widened, as far as no other has them."""
    tags = np.full(len(words), OUTSIDE, dtype=np.int64)
    number = {label: position for position, label in enumerate(labels)}
    widened = 0
    lost = []
    for span in spans:
        first = int(np.searchsorted(words[:, 1], span.start, side="right"))
        behind = int(np.searchsorted(words[:, 0], span.end, side="left"))
        while first < behind and tags[first] != OUTSIDE:
            first += 1
        if first >= behind:
            lost.append(span)
            continue
        widened += int(words[first, 0] != span.start or words[behind - 1, 1] != span.end)
        tags[first] = 1 + 2 * number[span.label]
        tags[first + 1 : behind] = 2 + 2 * number[span.label]
    return SpanTags(tags, widened, tuple(lost))


def spans_of_tags(tags: IntArray, words: IntArray, labels: Sequence[str]) -> list[Span]:
    """Return the spans of tags (w,) that are legal throughout, in order."""
    return [
        Span(int(words[first, 0]), int(words[behind - 1, 1]), labels[(int(tags[first]) - 1) // 2])
        for first, behind in tag_runs(tags)
    ]


def tag_runs(tags: IntArray) -> list[tuple[int, int]]:
    """Return first word and word behind the last of each span, in order."""
    inside = (tags > OUTSIDE) & (tags % 2 == 0)
    runs = []
    for first in np.flatnonzero(tags % 2 == 1).tolist():
        behind = first + 1
        while behind < len(tags) and inside[behind]:
            behind += 1
        runs.append((first, behind))
    return runs


def legal_transitions(labels: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which tag may begin a text, (tags,), and which may follow which, (tags, tags).

    A span goes on only where one of its label has begun (IOB2).
    """
    tags = 1 + 2 * labels
    begins = np.array([tag == OUTSIDE or tag % 2 == 1 for tag in range(tags)])
    follows = np.broadcast_to(begins, (tags, tags)).copy()
    for label in range(labels):
        inside = 2 + 2 * label
        follows[[inside - 1, inside], inside] = True
    return begins, follows
