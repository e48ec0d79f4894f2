"""Why a hit was found, for a person and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simsearch.cli.output import clean

if TYPE_CHECKING:
    from simsearch.records import Explanation, Hit, WordShare

_SHARE = 0.1  # of the words of a hit that are marked,
_LEAST, _MOST = 3, 12  # and how many at least and at most
_REASONS = 5
_SHOWN = 300  # characters around the words that are marked
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


def explanation_fields(hit: Hit) -> dict[str, Any] | None:
    """Return an explanation as JSON: contributions and `rest` add up to the similarity."""
    found = hit.explanation
    if found is None:
        return None
    return {
        "exact": found.exact,
        "rest": found.rest,
        "spans": [
            {
                "field": word.field,
                "start": word.start,
                "end": word.end,
                "text": _written(hit, word),
                "contribution": word.contribution,
                "loss": word.loss,
                "query": [
                    {"start": start, "end": end, "contribution": value}
                    for start, end, value in word.query
                ],
            }
            for word in found.words
        ],
    }


def strongest(explanation: Explanation) -> list[WordShare]:
    """Return the words without which the similarity would fall most, the first one first."""
    count = max(_LEAST, min(_MOST, round(_SHARE * len(explanation.words))))
    ranked = sorted(explanation.words, key=lambda word: -word.loss)
    return [word for word in ranked[:count] if word.loss > 0]


def highlighted(hit: Hit, explanation: Explanation, *, bold: bool) -> str:
    """Return the part of a hit's text around its strongest words, these in bold or *asterisks*.

    Where the title has such words it stands before, whole.
    """
    before, after = (_BOLD, _PLAIN) if bold else ("*", "*")
    marked = strongest(explanation)
    in_text = [word for word in marked if word.field == "text"]
    start, end = _window(len(hit.text), in_text)
    shown = _marked(hit.text, in_text, start, end, before, after)
    in_title = [word for word in marked if word.field == "title"]
    title = hit.title or ""
    if title:
        head = _marked(title, in_title, 0, len(title), before, after)
        shown = f"{head}: {shown}"
    return shown


def _window(length: int, words: list[WordShare]) -> tuple[int, int]:
    """Return the range of so many characters that loses most without its words."""
    best, place = -1.0, 0
    for first in words:
        inside = [word.loss for word in words if first.start <= word.start < first.start + _SHOWN]
        if sum(inside) > best:
            best, place = sum(inside), first.start
    place = max(0, min(place - 40, length - _SHOWN))
    return place, min(length, place + _SHOWN)


def _marked(
    text: str, words: list[WordShare], start: int, end: int, before: str, after: str
) -> str:
    pieces, place = [], start
    for word in sorted(words, key=lambda word: word.start):
        if word.start >= place and word.end <= end:
            pieces += [clean(text[place : word.start]), before]
            pieces += [clean(text[word.start : word.end]), after]
            place = word.end
    pieces.append(clean(text[place:end]))
    shown = " ".join("".join(pieces).split())
    return f"{'…' if start else ''}{shown}{'…' if end < len(text) else ''}"


def reasons(hit: Hit, explanation: Explanation, query: str) -> str:
    """Return the strongest words, what is lost without each, and the query's words they go with."""
    told = []
    for word in strongest(explanation)[:_REASONS]:
        partners = ", ".join(clean(query[start:end]) for start, end, _ in word.query[:2])
        told.append(f"{clean(_written(hit, word))} {word.loss:+.3f} ({partners})")
    return "; ".join(told) or "no word in particular"


def _written(hit: Hit, word: WordShare) -> str:
    return ((hit.title or "") if word.field == "title" else hit.text)[word.start : word.end]
