"""Where a long text is cut into passages that fit the encoder's window.

A passage ends at the last end of a sentence that fits, if that leaves it at least half full, else
between two words, else between two tokens. The next one begins a little before, so that what is
said across a cut is found whole in one of the two.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np

from simsearch.encoder.runtime import IntArray
from simsearch.encoder.tokenization import TextTokenizer
from simsearch.records import Document, Passage, whole_passage

# After one of these, with the quotes and brackets that close behind it, a sentence is over; the
# marks of Chinese and Japanese need no space after them. An empty line ends one, too.
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*\s+|[。！？][」』”’）]*|\n\s*\n|\n(?=\s*[-*•\d])")
_WORD_END = re.compile(r"\s+")


# Tokens left free in every passage: a piece may have one or two more than its share of the whole.
_SEAM = 4


def split_documents(
    tokenizer: TextTokenizer, documents: Sequence[Document], *, prompt: str
) -> list[list[Passage]]:
    """Return the passages of each document; of one that fits the window it is one.

    A passage is encoded with the prompt and the document's title before it, for which it leaves
    room. Neighbours share up to an eighth of it.
    """
    whole = tokenizer.tokenize([prompt + document.content for document in documents])
    room = tokenizer.max_length - tokenizer.special_tokens - _SEAM
    room = max(2, room - len(tokenizer.offsets([prompt])[0]))
    return [
        _passages(tokenizer, document, room) if row.truncated else [whole_passage(document)]
        for document, row in zip(documents, whole, strict=True)
    ]


def _passages(tokenizer: TextTokenizer, document: Document, room: int) -> list[Passage]:
    title = document.title or ""
    of_title, of_text = tokenizer.offsets([title, document.text])
    half = room // 2
    passages = []
    if len(of_title) > half:  # as much of it as leaves the other half to the text
        parts = split_text(title, of_title, window=room, overlap=room // 8)
        passages = [Passage(0, 0, title[slice(*part)]) for part in parts]
        title = title[slice(*split_text(title, of_title, window=half, overlap=0)[0])]
    window = room - min(len(of_title), half)
    before = f"{title} " if title else ""
    for start, stop in split_text(document.text, of_text, window=window, overlap=window // 8):
        passages.append(Passage(start, stop, before + document.text[start:stop]))
    return passages


def split_text(text: str, offsets: IntArray, *, window: int, overlap: int) -> list[tuple[int, int]]:
    """Return the half-open character ranges of the passages of a text, in order.

    `offsets` (t, 2) are the character ranges of its tokens, `window` is how many tokens fit into
    a passage, and `overlap` the most that two neighbours share. Together they hold every character
    but white space: where a tokenizer has tokens for it, a long stretch of it is no passage.
    """
    if len(offsets) <= window:
        return [(0, len(text))]
    # A character of several tokens is the range of each of them, and some tokenizers give the
    # space before a word to its first token; only in odd texts do the ranges run back.
    starts = np.maximum.accumulate(offsets[:, 0]).tolist()
    ends = np.maximum.accumulate(offsets[:, 1]).tolist()
    sentences = _after(_SENTENCE_END, text)
    words = _after(_WORD_END, text)
    passages: list[tuple[int, int]] = []
    first = begin = end = 0  # the first token of a passage, and its first and last character
    while first + window < len(starts):
        most = starts[first + window]
        least = max(starts[first + window // 2], begin + 1)
        cut = _last_cut(sentences, least, most) or _last_cut(words, least, most)
        end = cut or max(most, begin + 1)
        passages.append((begin, end))
        after = bisect_right(ends, end, lo=first)  # the first token that was not whole in it
        further = bisect_right(starts, begin, lo=first + 1)
        if max(after, further) == len(starts):  # one character has more tokens than the window
            break
        earliest = starts[max(first + 1, after - overlap)]
        back = _first_cut(sentences, earliest, end) or _first_cut(words, earliest, end) or end
        first = max(further, min(after, bisect_right(ends, back, lo=first)))
        begin = min(starts[first], end)
        first = bisect_left(starts, begin)
    else:
        passages.append((begin, len(text)))
    passages[-1] = (passages[-1][0], len(text))
    return [place for place in passages if not text[slice(*place)].isspace()] or [(0, len(text))]


def _after(pattern: re.Pattern[str], text: str) -> list[int]:
    return [found.end() for found in pattern.finditer(text)]


def _last_cut(cuts: Sequence[int], least: int, most: int) -> int | None:
    """Return the last cut in least..most."""
    position = bisect_right(cuts, most) - 1
    return cuts[position] if position >= 0 and cuts[position] >= least else None


def _first_cut(cuts: Sequence[int], least: int, most: int) -> int | None:
    """Return the first cut in least..most."""
    position = bisect_left(cuts, least)
    return cuts[position] if position < len(cuts) and cuts[position] <= most else None
