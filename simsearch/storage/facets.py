"""How many documents have each value of a metadata field."""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections import Counter
from typing import Any

from simsearch.conditions import Condition, leaves
from simsearch.records import Facet, FacetValue
from simsearch.storage.filters import Sql, deadline, path_of, seconds_for

_Key = tuple[
    int, str | int | float | bool
]  # values of two kinds are two, also where Python takes them for equal


def count_values(
    connection: sqlite3.Connection, name: str, k: int, condition: Condition | None
) -> Facet:
    """Return the `k` most frequent values of a field, of the documents that a condition is true of.

    Each element of a list is a value, once for each document. Values are told apart as a filter
    does: by type, and 1 is 1.0. Null is none, and so are objects and lists in a list. Equally
    frequent ones are in order: strings, booleans, numbers.

    Raises:
        InvalidInput: it took longer than it should for so many documents.
    """
    sql = Sql()
    true = "1" if condition is None else sql.expression(condition)
    conditions = 1 + (0 if condition is None else len(leaves(condition)))
    counts: Counter[_Key] = Counter()
    documents = having = 0
    with deadline(connection, seconds_for(connection, conditions)):
        # What the field holds is taken apart once for all documents that hold the same.
        for held, its in connection.execute(
            f"SELECT metadata -> ?, count(*) FROM documents WHERE {true} GROUP BY 1",
            (path_of(name), *sql.values),
        ):
            documents += its
            values = set() if held is None else _values(json.loads(held))
            having += its if values else 0
            for value in values:
                counts[value] += its
    ranked = heapq.nsmallest(k, counts, key=lambda value: (-counts[value], value))
    return Facet(
        field=name,
        values=tuple(FacetValue(value, counts[kind, value]) for kind, value in ranked),
        distinct=len(counts),
        documents=documents,
        missing=documents - having,
    )


def _values(held: Any) -> set[_Key]:
    """Return the values in what a field holds."""
    elements = held if isinstance(held, list) else [held]
    return {(_kind(each), each) for each in elements if isinstance(each, str | int | float)}


def _kind(value: str | int | float | bool) -> int:
    if isinstance(value, bool):
        return 1
    return 0 if isinstance(value, str) else 2
