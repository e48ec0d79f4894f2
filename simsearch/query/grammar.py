"""Tokens become a condition.

    filter     = and { "or" and }
    and        = not { "and" not }
    not        = "not" not | "(" filter ")" | condition
    condition  = field ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
               | field [ "not" ] "in" "(" value { "," value } ")"
               | field [ "not" ] "contains" value
               | field [ "not" ] "like" string
    value      = string | number | "true" | "false" | "null"

docs/filters.md has it in words. The limits keep a filter from taking the parser, or SQLite's, to
its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from simsearch.conditions import (
    Comparator,
    Comparison,
    Condition,
    Conjunction,
    Containment,
    Disjunction,
    Likeness,
    Membership,
    Negation,
    Scalar,
)
from simsearch.errors import InvalidInput
from simsearch.query.picture import refusal
from simsearch.query.tokens import Kind, Token, read_tokens

MAX_DEPTH: Final = 32
MAX_NODES: Final = 256
MAX_VALUES: Final = 1_000
MAX_WILDCARDS: Final = 8

_CONSTANTS: Final[Mapping[str, Scalar]] = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was read: its text, what it means, and where each field first stands."""

    text: str
    condition: Condition
    places: Mapping[str, int]


def parse_filter(text: str) -> Filter:
    """Read a filter.

    Raises:
        InvalidFilter: it is not in the grammar, or over a limit; the message has a caret under
            the place.
        InvalidInput: `text` is not a string, or blank.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"a filter must be a string, got {type(text).__name__}")
    if not text.strip():
        raise InvalidInput("the filter is empty (leave it out to search everything)")
    parser = _Parser(text)
    condition = parser.disjunction(0)
    parser.expect_end()
    return Filter(text, condition, parser.places)


class _Parser:
    """Reads tokens from left to right, never going back; one method for each rule."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = read_tokens(text)
        self._next = next(self._tokens)
        self._nodes = 0
        self.places: dict[str, int] = {}

    def disjunction(self, depth: int) -> Condition:
        parts = self._series("or", lambda: self._conjunction(depth))
        return parts[0] if len(parts) == 1 else self._counted(Disjunction(tuple(parts)))

    def _conjunction(self, depth: int) -> Condition:
        parts = self._series("and", lambda: self._negation(depth))
        return parts[0] if len(parts) == 1 else self._counted(Conjunction(tuple(parts)))

    def _series(self, word: str, part: Callable[[], Condition]) -> list[Condition]:
        parts = [part()]
        while self._take(Kind.KEYWORD, word):
            parts.append(part())
        return parts

    def _negation(self, depth: int) -> Condition:
        if depth > MAX_DEPTH:
            self._refuse(f"nested more than {MAX_DEPTH} deep")
        if self._take(Kind.KEYWORD, "not"):
            return self._counted(Negation(self._negation(depth + 1)))
        if self._take(Kind.MARK, "("):
            inner = self.disjunction(depth + 1)
            self._expect(Kind.MARK, ")")
            return inner
        return self._condition()

    def _condition(self) -> Condition:
        name = self._next
        if name.kind is not Kind.FIELD:
            hint = "a name that is a keyword stands in backquotes"
            if name.kind is Kind.STRING:
                hint = f"without quotes, or in backquotes: `{name.text[:64]}`"
            self._expected(f"the name of a field ({hint})")
        self.places.setdefault(name.text, name.start)
        self._advance()
        if self._next.kind is Kind.OPERATOR:
            return self._comparison(name.text)
        negated = self._take(Kind.KEYWORD, "not")
        found: Condition
        if self._take(Kind.KEYWORD, "in"):
            found = Membership(name.text, self._values())
        elif self._take(Kind.KEYWORD, "contains"):
            found = Containment(name.text, self._value())
        elif self._take(Kind.KEYWORD, "like"):
            found = Likeness(name.text, self._pattern())
        else:
            words = "in, contains or like"
            self._expected(words if negated else f"= != < <= > >= {words}")
        found = self._counted(found)
        return self._counted(Negation(found)) if negated else found

    def _comparison(self, field: str) -> Condition:
        operator = self._next
        self._advance()
        value = self._value()
        if operator.text == "!=":
            return self._counted(Negation(Comparison(field, Comparator.EQUAL, value)))
        comparator = Comparator(operator.text)
        if comparator is not Comparator.EQUAL and (value is None or isinstance(value, bool)):
            self._refuse("true, false and null have no order (use = or !=)", operator)
        return self._counted(Comparison(field, comparator, value))

    def _values(self) -> tuple[Scalar, ...]:
        opening = self._expect(Kind.MARK, "(")
        values = [self._value()]
        while self._take(Kind.MARK, ","):
            values.append(self._value())
        self._expect(Kind.MARK, ")")
        if len(values) > MAX_VALUES:
            self._refuse(f"{len(values):,} values, at most {MAX_VALUES:,} are accepted", opening)
        return tuple(values)

    def _value(self) -> Scalar:
        token = self._next
        value: Scalar
        if token.kind is Kind.STRING:
            value = token.text
        elif token.kind is Kind.NUMBER:
            value = self._number(token)
        elif token.kind is Kind.KEYWORD and token.text in _CONSTANTS:
            value = _CONSTANTS[token.text]
        else:
            hint = " (a string stands in quotes)" if token.kind is Kind.FIELD else ""
            self._expected(f"a string, a number, true, false or null{hint}")
        self._advance()
        return value

    def _number(self, token: Token) -> int | float:
        if not token.text.lstrip("-").isdigit():
            value = float(token.text)
            if not math.isfinite(value):
                self._refuse("number out of range", token)
            return value
        # Python refuses to read integers of thousands of digits; no document holds one either.
        if len(token.text) > 20 or not -(2**63) <= int(token.text) < 2**63:
            self._refuse("number out of range (whole numbers have 64 bits)", token)
        return int(token.text)

    def _pattern(self) -> str:
        token = self._next
        if token.kind is not Kind.STRING:
            self._expected("a pattern in quotes, such as 'abc%'")
        wildcards, escaped = 0, False
        for character in token.text:
            wildcards += character in "%_" and not escaped
            escaped = character == "\\" and not escaped
        if escaped:
            self._refuse("the pattern ends with a lone backslash (write two)", token)
        if wildcards > MAX_WILDCARDS:
            self._refuse(f"{wildcards} wildcards, at most {MAX_WILDCARDS} are accepted", token)
        self._advance()
        return token.text

    def expect_end(self) -> None:
        if self._next.kind is not Kind.END:
            self._expected("and, or, or the end")

    def _counted(self, node: Condition) -> Condition:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._refuse(f"more than {MAX_NODES} conditions (use in for many values of one field)")
        return node

    def _advance(self) -> None:
        self._next = next(self._tokens)

    def _take(self, kind: Kind, text: str) -> bool:
        found = self._next.kind is kind and self._next.text == text
        if found:
            self._advance()
        return found

    def _expect(self, kind: Kind, text: str) -> Token:
        token = self._next
        if not self._take(kind, text):
            self._expected(text)
        return token

    def _expected(self, what: str) -> NoReturn:
        token = self._next
        got = "the end" if token.kind is Kind.END else self._text[token.start : token.stop][:32]
        self._refuse(f"expected {what}, got {got}", token)

    def _refuse(self, problem: str, token: Token | None = None) -> NoReturn:
        raise refusal(problem, self._text, (token or self._next).start)
