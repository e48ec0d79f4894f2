"""How many documents have each value of a metadata field."""

from __future__ import annotations

import json
import sqlite3
from typing import Final

from simsearch.conditions import Condition, leaves
from simsearch.records import Facet, FacetValue
from simsearch.storage.filters import Sql, deadline, path_of, seconds_for

# Of a field that is an object json_each would give the members.
_VALUES: Final = (
    "json_each(metadata, ?) WHERE json_type(metadata, ?) IS NOT 'object' "
    "AND type IN ('text', 'true', 'false', 'integer', 'real')"
)
# A string as JSON: SQLite ends an extracted one at a NUL.
_VALUE: Final = (
    "CASE type WHEN 'text' THEN documents.metadata -> fullkey "
    "WHEN 'true' THEN type WHEN 'false' THEN type ELSE value END"
)
_KIND: Final = "CASE type WHEN 'text' THEN 0 WHEN 'true' THEN 1 WHEN 'false' THEN 1 ELSE 2 END"


def count_values(
    connection: sqlite3.Connection, name: str, k: int, condition: Condition | None
) -> Facet:
    """Return the `k` most frequent values of a field, of the documents that a condition is true of.

    Each element of a list is a value, once for each document. Values are told apart as a filter
    does: by type, and 1 is 1.0. Null is none, and so are objects and lists in a list.

    Raises:
        InvalidInput: it took longer than it should for so many documents.
    """
    sql = Sql()
    true = "1" if condition is None else sql.expression(condition)
    path = path_of(name)
    conditions = 2 + (0 if condition is None else len(leaves(condition)))
    with deadline(connection, seconds_for(connection, conditions)):
        documents, having = connection.execute(
            f"SELECT count(*), coalesce(sum(EXISTS (SELECT 1 FROM {_VALUES})), 0) "
            f"FROM documents WHERE {true}",
            (path, path, *sql.values),
        ).fetchone()
        found = connection.execute(
            "SELECT kind, value, count(*) AS its, count(*) OVER () FROM ("
            f"SELECT DISTINCT first_row, {_KIND} AS kind, {_VALUE} AS value "
            f"FROM (SELECT first_row, metadata FROM documents WHERE {true}) AS documents, {_VALUES}"
            ") GROUP BY kind, value ORDER BY its DESC, kind, value LIMIT ?",
            (*sql.values, path, path, k),
        ).fetchall()
    values = tuple(FacetValue(_read(kind, value), count) for kind, value, count, _ in found)
    distinct = found[0][3] if found else 0
    return Facet(name, values, distinct, documents, documents - having)


def _read(kind: int, value: str | float) -> str | float:
    if kind == 0:
        return str(json.loads(str(value)))
    return value == "true" if kind == 1 else value
