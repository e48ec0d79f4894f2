"""What a filter asks of a document's metadata: a tree of records that know nothing.

`query` reads it from a text, `storage` turns it into SQL. A condition is true or false of a
document, never unknown: docs/filters.md says when.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

Scalar = str | int | float | bool | None


class Comparator(StrEnum):
    """How a value of a document stands to the value of a filter."""

    EQUAL = "="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


@dataclass(frozen=True, slots=True)
class Comparison:
    """The field has a value of the same type that stands so to `value`.

    Order is that of numbers, and of the code points of strings; booleans and null have none.
    """

    field: str
    comparator: Comparator
    value: Scalar


@dataclass(frozen=True, slots=True)
class Membership:
    """The field equals one of the values."""

    field: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Containment:
    """The field is a list, and one of its elements equals the value."""

    field: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class Likeness:
    """The field is a string without NUL of the form `pattern`.

    `%` in it stands for any text, `_` for one character; after a backslash every character stands
    for itself.
    """

    field: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Negation:
    """The part is false."""

    part: Condition


@dataclass(frozen=True, slots=True)
class Conjunction:
    """All parts are true; there are two or more."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Disjunction:
    """One of the parts is true; there are two or more."""

    parts: tuple[Condition, ...]


Leaf = Comparison | Membership | Containment | Likeness
Condition = Leaf | Negation | Conjunction | Disjunction


def leaves(condition: Condition) -> list[Leaf]:
    """Return the conditions on single fields, in the order in which they were written."""
    if isinstance(condition, Negation):
        return leaves(condition.part)
    if isinstance(condition, Conjunction | Disjunction):
        return [leaf for part in condition.parts for leaf in leaves(part)]
    return [condition]
