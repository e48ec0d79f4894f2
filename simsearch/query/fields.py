"""What a filter asks for and no document has: a field, or a type of value in it."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Final

from simsearch.conditions import Containment, Leaf, Likeness, Membership, Scalar
from simsearch.errors import InvalidFilter
from simsearch.query.grammar import Filter
from simsearch.query.picture import refusal

_SHOWN: Final = 12  # names of fields in a message
_NOT_METADATA: Final = ("id", "_id", "text", "title")


def unknown_field(wanted: Filter, name: str, known: Collection[str]) -> InvalidFilter:
    """Return the error for a field that no document has; `known` are those that some have."""
    advice = near_fields(name, known)
    if name in _NOT_METADATA:
        advice = f"a filter reads metadata, which {name} is not; {advice}"
    return refusal(f"no document has a field {name} ({advice})", wanted.text, wanted.places[name])


def near_fields(name: str, known: Collection[str]) -> str:
    """Return what to tell a user who asks for a field that is not among those there are."""
    folded = {each.casefold(): each for each in sorted(known)}
    near = [folded[each] for each in difflib.get_close_matches(name.casefold(), folded, n=3)]
    if near:
        return f"did you mean {' or '.join(near)}?"
    if known:
        more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
        return f"fields: {', '.join(sorted(known)[:_SHOWN])}{more}"
    return "the documents have no metadata"


def mismatch(leaf: Leaf, found: Collection[str]) -> str | None:
    """Return what to tell a user who compares a field with a type that it never has, or None.

    `found` are the JSON types of the field over all documents: string, number, boolean, null,
    list, object.
    """
    if isinstance(leaf, Containment):
        sought, hint = {"list"}, f"use =, or like '%{leaf.value}%'"
    elif isinstance(leaf, Likeness):
        sought, hint = {"string"}, "like is for strings"
    else:
        values = leaf.values if isinstance(leaf, Membership) else (leaf.value,)
        sought = {_type_of(value) for value in values}
        hint = _value_hint(values[0], found)
    if sought & set(found) or "null" in sought:
        return None
    if set(found) == {"object"}:
        hint = "no filter looks into an object"
    return (
        f"field {leaf.field} never holds a {' or '.join(sorted(sought))}, "
        f"but {' or '.join(sorted(found))} ({hint})"
    )


def _value_hint(value: Scalar, found: Collection[str]) -> str:
    if "list" in found:
        return "elements of a list are found by contains"
    if isinstance(value, str) and "number" in found:
        return "write a number without quotes"
    if not isinstance(value, str) and "string" in found:
        return "write a string in quotes; values from CSV are strings"
    return "a value equals only values of its own type"


def _type_of(value: Scalar) -> str:
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool):
        return "boolean"
    return "null" if value is None else "number"
