"""The text of a filter becomes tokens, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from simsearch.query.picture import refusal

KEYWORDS: Final = frozenset({"and", "or", "not", "in", "contains", "like", "true", "false", "null"})
OPERATORS: Final = frozenset({"=", "!=", "<", "<=", ">", ">="})
MAX_BYTES: Final = 16 * 1024


class Kind(StrEnum):
    """What a token is; the text of a keyword, an operator or a mark is the token itself."""

    KEYWORD = "keyword"
    OPERATOR = "operator"
    MARK = "mark"
    FIELD = "field"
    STRING = "string"
    NUMBER = "number"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """A part of a filter. `text` is what it means: a string without its quotes, for example."""

    kind: Kind
    text: str
    start: int
    stop: int


_NAME = r"[A-Za-z0-9_.-]{1,64}"
_RULES: Final = (
    ("space", r"[ \t\r\n]+"),
    ("number", r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![A-Za-z0-9_.-])"),
    ("word", r"[A-Za-z_][A-Za-z0-9_.-]*"),
    ("field", rf"`{_NAME}`"),
    ("string", r"'(?:[^']|'')*'" + "|" + r'"(?:[^"]|"")*"'),
    ("operator", r"[=!<>]+"),
    ("mark", r"[(),]"),
)
_TOKEN: Final = re.compile("|".join(f"(?P<{name}>{rule})" for name, rule in _RULES))
# What another language would write, and what is written here.
_OTHERS: Final = {"==": "=", "<>": "!=", "=<": "<=", "=>": ">=", "===": "=", "!==": "!="}


def read_tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a filter, and one of the kind `end` after them.

    Raises:
        InvalidFilter: it is too long, or something in it is no token.
    """
    _refuse_bad_text(text)
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _no_token(text, at)
        if found.lastgroup != "space":
            yield _token(text, found)
        at = found.end()
    yield Token(Kind.END, "the end", len(text), len(text))


def _refuse_bad_text(text: str) -> None:
    for at, character in enumerate(text):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise refusal(f"character U+{ord(character):04X} cannot stand in it", text, at)
    if (size := len(text.encode())) > MAX_BYTES:
        raise refusal(f"it is {size:,} bytes long, at most {MAX_BYTES:,} are accepted", text, 0)


def _token(text: str, found: re.Match[str]) -> Token:
    rule, word, place = found.lastgroup, found[0], found.span()
    if rule == "word":
        if word.lower() in KEYWORDS:
            return Token(Kind.KEYWORD, word.lower(), *place)
        if len(word) > 64:
            raise refusal("a field's name has at most 64 characters", text, place[0])
        return Token(Kind.FIELD, word, *place)
    if rule == "operator":
        if word not in OPERATORS:
            hint = f"write {_OTHERS[word]}" if word in _OTHERS else f"use {_listed(OPERATORS)}"
            raise refusal(f"no operator is {word[:16]} ({hint})", text, place[0])
        return Token(Kind.OPERATOR, word, *place)
    if rule == "string":
        quote = word[0]
        return Token(Kind.STRING, word[1:-1].replace(2 * quote, quote), *place)
    if rule == "field":
        return Token(Kind.FIELD, word[1:-1], *place)
    return Token(Kind.NUMBER if rule == "number" else Kind.MARK, word, *place)


def _no_token(text: str, at: int) -> Exception:
    character = text[at]
    if character in "'\"":
        return refusal(f"this string does not end (close it with {character})", text, at)
    if character == "`":
        return refusal("a name in backquotes is 1 to 64 of A-Z a-z 0-9 _ . - and ends", text, at)
    if character.isdigit() or character in "-.":
        return refusal(
            "neither a number nor a name (a name that begins like a number stands in backquotes)",
            text,
            at,
        )
    return refusal(f"unexpected {character!r} (strings stand in quotes)", text, at)


def _listed(words: frozenset[str]) -> str:
    return " ".join(sorted(words))
