"""One hit for each value of a metadata field."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def first_of_each(metadata: Sequence[Mapping[str, Any]], field: str, k: int) -> list[int]:
    """Return the places of the first document of each of up to `k` values of a field, in order.

    A document without the field, or with null in it, is a group of its own. Values are the same
    if their JSON is: true is not 1.
    """
    chosen: list[int] = []
    seen: set[str] = set()
    for place, its in enumerate(metadata):
        value = its.get(field)
        name = json.dumps(value, sort_keys=True)
        if value is None or name not in seen:
            seen.add(name)
            chosen.append(place)
        if len(chosen) == k:
            break
    return chosen
