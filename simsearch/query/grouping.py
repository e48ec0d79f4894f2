"""One hit for each value of a metadata field."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def first_of_each(metadata: Sequence[Mapping[str, Any]], field: str, k: int) -> list[int]:
    """Return the places of the first document of each of up to `k` values of a field, in order.

    A document without the field, or with null in it, is a group of its own.
    """
    chosen: list[int] = []
    seen: set[str] = set()
    for place, its in enumerate(metadata):
        value = its.get(field)
        name = value_key(value)
        if value is None or name not in seen:
            seen.add(name)
            chosen.append(place)
        if len(chosen) == k:
            break
    return chosen


def value_key(value: Any) -> str:
    """Return what two values of metadata share if they are the same, as filters tell them apart.

    By type, so that true is not 1; and 1 is 1.0.
    """
    return json.dumps(_whole(value), sort_keys=True)


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    return value
