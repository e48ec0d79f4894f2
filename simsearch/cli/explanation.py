"""Why a hit was found, for a person and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from simsearch.cli.output import clean
from simsearch.records import has_word

if TYPE_CHECKING:
    from simsearch.records import Explanation, Hit, WordShare

Place = tuple[str, int, int]  # a field of a hit, and a half-open range of it

_SHARE = 0.1  # of the words of a hit that are marked,
_LEAST, _MOST = 3, 12  # and how many at least and at most
_REASONS = 5
_SHOWN = 300  # characters around the words that are marked
_WORTH = 2**60  # what 1, the worth of all marks of a kind, is as a whole number
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


def explanation_fields(hit: Hit) -> dict[str, Any] | None:
    """Return an explanation as JSON.

    The contributions of `spans` and `rest` add up to the hit's `dense`, those of `terms` to its
    `lexical`; what these add to its score are its `parts`.
    """
    found = hit.explanation
    if found is None:
        return None
    return {
        "exact": found.exact,
        "rest": found.rest,
        "spans": [
            {
                **_span(hit, (word.field, word.start, word.end)),
                "contribution": word.contribution,
                "loss": word.loss,
                "query": [
                    {"start": start, "end": end, "contribution": value}
                    for start, end, value in word.query
                ],
            }
            for word in found.words
        ],
        "terms": [
            {
                "term": each.term,
                "contribution": each.contribution,
                "query": [{"start": start, "end": end} for start, end in each.query],
                "spans": [_span(hit, place) for place in each.places],
            }
            for each in found.terms
        ],
    }


def _span(hit: Hit, place: Place) -> dict[str, Any]:
    field, start, end = place
    return {"field": field, "start": start, "end": end, "text": _written(hit, place)}


def strongest(hit: Hit, explanation: Explanation) -> list[WordShare]:
    """Return the words without which the similarity would fall most, the first one first.

    A full stop has a share in a similarity, but is no reason for a person.
    """
    words = [
        word
        for word in explanation.words
        if has_word(_written(hit, (word.field, word.start, word.end)))
    ]
    count = max(_LEAST, min(_MOST, round(_SHARE * len(words))))
    ranked = sorted(words, key=lambda word: -word.loss)
    return [word for word in ranked[:count] if word.loss > 0]


def highlighted(hit: Hit, explanation: Explanation, *, bold: bool) -> str:
    """Return the part of a hit's text around its reasons, these in bold or between *asterisks*.

    Marked are the strongest words, and those that are in the query, too. Where the title has some
    it stands before, whole.
    """
    marks = _marks(hit, explanation)
    before, after = (_BOLD, _PLAIN) if bold else ("*", "*")
    in_text = {
        (start, end): weight for (field, start, end), weight in marks.items() if field == "text"
    }
    start, end = _window(len(hit.text), in_text)
    shown = _marked(hit.text, in_text, start, end, before, after)
    title = hit.title or ""
    if title:
        in_title = [(start, end) for field, start, end in marks if field == "title"]
        head = _marked(title, in_title, 0, len(title), before, after)
        shown = f"{head}: {shown}"
    return shown


def _marks(hit: Hit, explanation: Explanation) -> dict[Place, float]:
    """Return the places that are marked, with what each is worth: 1 in all for each of the two."""
    marks: dict[Place, float] = {}
    words = strongest(hit, explanation)
    whole = sum(word.loss for word in words)
    for word in words:
        marks[word.field, word.start, word.end] = word.loss / whole
    whole = sum(term.contribution for term in explanation.terms)
    for term in explanation.terms:
        for place in term.places:
            share = term.contribution / whole / len(term.places)
            marks[place] = marks.get(place, 0.0) + share
    return marks


def _window(length: int, marks: Mapping[tuple[int, int], float]) -> tuple[int, int]:
    """Return the range of so many characters whose marks are worth most."""
    # Whole numbers: a sum that slides over them is exact, so that of equal windows the first wins.
    ordered = [(start, round(_WORTH * marks[start, end])) for start, end in sorted(marks)]
    best, place, worth, ahead = -1, 0, 0, 0
    for first, own in ordered:
        while ahead < len(ordered) and ordered[ahead][0] < first + _SHOWN:
            worth += ordered[ahead][1]
            ahead += 1
        if worth > best:
            best, place = worth, first
        worth -= own
    place = max(0, min(place - 40, length - _SHOWN))
    return place, min(length, place + _SHOWN)


def _marked(
    text: str, marks: Iterable[tuple[int, int]], start: int, end: int, before: str, after: str
) -> str:
    pieces, place = [], start
    for first, last in _joined(marks):
        if first >= place and last <= end:
            pieces += [clean(text[place:first]), before, clean(text[first:last]), after]
            place = last
    pieces.append(clean(text[place:end]))
    shown = " ".join("".join(pieces).split())
    return f"{'…' if start else ''}{shown}{'…' if end < len(text) else ''}"


def _joined(marks: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges in order, those that overlap (pairs of characters do) as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(marks):
        if joined and start < joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def reasons(hit: Hit, explanation: Explanation, query: str) -> list[str]:
    """Return a line for each part of a hit's score: its name, what it adds, and by which words."""
    by = {
        "dense": _of_similarity(hit, explanation, query),
        "lexical": _of_terms(hit, explanation, query),
    }
    width = max(map(len, hit.parts), default=0)
    return [
        f"{name:{width}} {value:+.4f}  {by.get(name, '')}".rstrip()
        for name, value in hit.parts.items()
    ]


def _of_similarity(hit: Hit, explanation: Explanation, query: str) -> str:
    """Return the strongest words, what is lost without each, and the query's words they go with."""
    told = []
    for word in strongest(hit, explanation)[:_REASONS]:
        asked = [query[start:end] for start, end, _ in word.query]
        partners = ", ".join([clean(each) for each in asked if has_word(each)][:2])
        written = _written(hit, (word.field, word.start, word.end))
        told.append(f"{clean(written)} {word.loss:+.3f}" + (f" ({partners})" if partners else ""))
    return "; ".join(told) or "no word in particular"


def _of_terms(hit: Hit, explanation: Explanation, query: str) -> str:
    """Return the words of the query that a hit holds, and what each adds to its BM25 score."""
    told = []
    for term in explanation.terms[:_REASONS]:
        asked = clean(query[slice(*term.query[0])])
        held = dict.fromkeys(clean(_written(hit, place)) for place in term.places)
        told.append(f"{', '.join(list(held)[:2]) or asked} {term.contribution:+.3f} ({asked})")
    return "; ".join(told) or "no word that was looked for"


def _written(hit: Hit, place: Place) -> str:
    field, start, end = place
    return ((hit.title or "") if field == "title" else hit.text)[start:end]
