"""What a filter means, in plain Python: the oracle of its tests. It shares no code with the SQL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from simsearch.conditions import (
    Comparison,
    Condition,
    Conjunction,
    Containment,
    Disjunction,
    Likeness,
    Membership,
    Negation,
)


def kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return {str: "string", list: "list", dict: "object"}[type(value)]


def equal(left: Any, right: Any) -> bool:
    return kind(left) == kind(right) and left == right


def stands(comparator: str, left: Any, right: Any) -> bool:
    if comparator == "=":
        return equal(left, right)
    if kind(left) != kind(right):
        return False
    return {
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }[comparator]


def like(pattern: str, value: str) -> bool:
    parts = re.findall(r"\\.|.", pattern, flags=re.DOTALL)
    wild = {"%": ".*", "_": "."}
    regex = "".join(wild.get(part) or re.escape(part[-1]) for part in parts)
    return "\0" not in value and re.fullmatch(regex, value, flags=re.DOTALL) is not None


def holds(condition: Condition, metadata: Mapping[str, Any]) -> bool:
    """Whether a condition is true of a document's metadata."""
    match condition:
        case Negation(part):
            return not holds(part, metadata)
        case Conjunction(parts):
            return all(holds(part, metadata) for part in parts)
        case Disjunction(parts):
            return any(holds(part, metadata) for part in parts)
        case Comparison(field, comparator, value):
            return stands(str(comparator), metadata.get(field), value)
        case Membership(field, values):
            return any(equal(metadata.get(field), value) for value in values)
        case Containment(field, value):
            found = metadata.get(field)
            return isinstance(found, list) and any(equal(each, value) for each in found)
        case Likeness(field, pattern):
            found = metadata.get(field)
            return isinstance(found, str) and like(pattern, found)
    raise AssertionError(condition)
