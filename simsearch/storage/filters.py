"""A condition on metadata becomes parameterised SQL, and that is run.

SQL knows a third truth value; a condition does not. So every comparison ends in IS TRUE or is made
of IS, and what surrounds it is plain logic. Nothing of a filter is ever part of the SQL text: names
of fields and values are bound.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

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
    leaves,
)
from simsearch.errors import InvalidInput

IntArray = npt.NDArray[np.int64]

# A filter that takes longer was made to. A condition takes 1 to 3 microseconds for a document; the
# rest is for a machine that has other work.
SECONDS: Final = 2.0
SECONDS_A_CONDITION: Final = 20e-6
_OPERATIONS: Final = 10_000  # of SQLite's machine, between two looks at the clock

_TYPE_NAMES: Final = {
    "text": "string",
    "integer": "number",
    "real": "number",
    "true": "boolean",
    "false": "boolean",
    "array": "list",
}


# GLOB reads the last two as the first. None of them is a character of any text (the first stands
# for what could not be decoded), nor are those that the two are told apart by.
_ALIKE: Final = frozenset("\ufffd\ufffe\uffff")
_APART: Final = {0xFFFE: 0x10FFFE, 0xFFFF: 0x10FFFF}


class Sql:
    """An SQL expression as it grows: its text, and what is bound to the marks in it."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def expression(self, condition: Condition) -> str:
        """Return SQL that is 1 where the condition is true and 0 where it is not."""
        if isinstance(condition, Negation):
            return f"NOT ({self.expression(condition.part)})"
        if isinstance(condition, Conjunction | Disjunction):
            word = " AND " if isinstance(condition, Conjunction) else " OR "
            return word.join(f"({self.expression(part)})" for part in condition.parts)
        if isinstance(condition, Containment):
            return self._containment(condition)
        if isinstance(condition, Likeness):
            return self._likeness(condition)
        if isinstance(condition, Membership):
            return self._membership(condition)
        return self._comparison(condition)

    def _field(self, name: str) -> tuple[str, str]:
        """Return SQL for the type of a field and, bound when used, for its path."""
        return "json_type(metadata, ?)", path_of(name)

    def _comparison(self, asked: Comparison) -> str:
        type_, path = self._field(asked.field)
        if asked.value is None:
            self.values.append(path)
            return f"ifnull({type_}, 'null') IS 'null'"
        if isinstance(asked.value, bool):
            self.values += [path, str(asked.value).lower()]
            return f"{type_} IS ?"
        value = "json_extract(metadata, ?)"
        if not isinstance(asked.value, str):
            self.values += [path, path, asked.value]
            return f"({type_} IN ('integer', 'real') AND {value} {asked.comparator} ?) IS TRUE"
        # SQLite ends an extracted string at a NUL, and no filter holds one. So a string that was
        # cut is greater than what its beginning equals.
        equal = f"({value} = ? AND {_has_nul('metadata -> ?')} IS FALSE)"
        if asked.comparator in (Comparator.LESS, Comparator.GREATER_OR_EQUAL):
            self.values += [path, path, asked.value]
            return f"({type_} IS 'text' AND {value} {asked.comparator} ?) IS TRUE"
        if asked.comparator is Comparator.EQUAL:
            self.values += [path, path, asked.value, path]
            return f"({type_} IS 'text' AND {equal}) IS TRUE"
        # <= is < or equal; > is its complement among strings.
        self.values += [path, path, asked.value, path, asked.value, path]
        maybe_not = "" if asked.comparator is Comparator.LESS_OR_EQUAL else "NOT "
        return f"({type_} IS 'text' AND {maybe_not}({value} < ? OR {equal})) IS TRUE"

    def _membership(self, asked: Membership) -> str:
        type_, path = self._field(asked.field)
        value = "json_extract(metadata, ?)"
        parts = []
        strings, numbers, others = _by_type(asked.values)
        if strings:
            self.values += [path, path, *strings, path]
            nul = _has_nul("metadata -> ?")
            within = f"{value} IN ({_marks(strings)}) AND {nul} IS FALSE"
            parts.append(f"({type_} IS 'text' AND {within}) IS TRUE")
        if numbers:
            self.values += [path, path, *numbers]
            within = f"{value} IN ({_marks(numbers)})"
            parts.append(f"({type_} IN ('integer', 'real') AND {within}) IS TRUE")
        for other in others:
            parts.append(self._comparison(Comparison(asked.field, Comparator.EQUAL, other)))
        return " OR ".join(f"({part})" for part in parts)

    def _containment(self, asked: Containment) -> str:
        type_, path = self._field(asked.field)
        self.values += [path, path]
        if asked.value is None or isinstance(asked.value, bool):
            self.values.append("null" if asked.value is None else str(asked.value).lower())
            element = "type IS ?"
        elif isinstance(asked.value, str):
            self.values.append(asked.value)
            element = f"type IS 'text' AND value = ? AND {_has_nul('metadata -> fullkey')} IS FALSE"
        else:
            self.values.append(asked.value)
            element = "type IN ('integer', 'real') AND value = ?"
        elements = f"SELECT 1 FROM json_each(metadata, ?) WHERE {element}"
        return f"{type_} IS 'array' AND EXISTS ({elements})"

    def _likeness(self, asked: Likeness) -> str:
        type_, path = self._field(asked.field)
        value, pattern = "json_extract(metadata, ?)", glob_of(asked.pattern)
        if not _ALIKE.isdisjoint(pattern):
            pattern = pattern.translate(_APART)
            for one, other in _APART.items():
                value = f"replace({value}, char({one}), char({other}))"
        self.values += [path, path, pattern, path]
        like = f"{value} GLOB ? AND {_has_nul('metadata -> ?')} IS FALSE"
        return f"({type_} IS 'text' AND {like}) IS TRUE"


def path_of(name: str) -> str:
    """Return where a field stands in the metadata of a document, as SQLite writes it."""
    # Names are made of A-Z a-z 0-9 _ . - (formats), so the quotes of the label hold.
    return f'$."{name}"'


def _has_nul(json: str) -> str:
    """Return SQL that says whether the JSON of a string holds an escaped NUL."""
    # Without its escaped backslashes, of which one could stand before a plain u0000.
    return rf"instr(replace({json}, '\\', ''), '\u0000') > 0"


def glob_of(pattern: str) -> str:
    """Return a pattern with % and _ as GLOB has it, which tells large letters from small ones."""
    parts, escaped = [], False
    for character in pattern:
        if character == "\\" and not escaped:
            escaped = True
            continue
        if character in "%_" and not escaped:
            parts.append("*" if character == "%" else "?")
        else:
            parts.append(f"[{character}]" if character in "*?[" else character)
        escaped = False
    return "".join(parts)


def _by_type(values: tuple[Scalar, ...]) -> tuple[list[Scalar], list[Scalar], list[Scalar]]:
    strings = [value for value in values if isinstance(value, str)]
    others: list[Scalar] = [
        value for value in (True, False, None) if any(value is each for each in values)
    ]
    numbers = [
        value for value in values if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return list(dict.fromkeys(strings)), list(dict.fromkeys(numbers)), others


def _marks(values: list[Scalar]) -> str:
    return ",".join("?" * len(values))


def matching_rows(
    connection: sqlite3.Connection,
    condition: Condition,
    *,
    seconds: float | None = None,
    clock: Callable[[], float] = time.thread_time,
) -> IntArray:
    """Return the vector rows (n,) of the documents of which the condition is true, ascending.

    Raises:
        InvalidInput: it took longer than `seconds`, or than it should for so many documents.
    """
    found = _select(connection, "first_row, rows", condition, seconds, clock)
    ranges = np.array(found, dtype=np.int64).reshape(-1, 2)
    return _rows_of_ranges(ranges[:, 0], ranges[:, 1])


def matching_ids(connection: sqlite3.Connection, condition: Condition) -> list[str]:
    """Return the ids of the documents of which the condition is true; errors as above."""
    return [id_ for (id_,) in _select(connection, "id", condition, None, time.thread_time)]


def _select(
    connection: sqlite3.Connection,
    columns: str,
    condition: Condition,
    seconds: float | None,
    clock: Callable[[], float],
) -> list[Any]:
    if seconds is None:
        seconds = seconds_for(connection, len(leaves(condition)))
    sql = Sql()
    asked = f"SELECT {columns} FROM documents WHERE {sql.expression(condition)} ORDER BY first_row"
    with deadline(connection, seconds, clock):
        return connection.execute(asked, sql.values).fetchall()


def seconds_for(connection: sqlite3.Connection, conditions: int) -> float:
    """Return how long so many conditions may take on all documents."""
    (documents,) = connection.execute("SELECT count(*) FROM documents").fetchone()
    return SECONDS + SECONDS_A_CONDITION * float(documents) * conditions


def _rows_of_ranges(first: IntArray, counts: IntArray) -> IntArray:
    """Return first, first + 1, ... of every range, one range after the other."""
    before = np.cumsum(counts) - counts
    return np.repeat(first - before, counts) + np.arange(counts.sum(), dtype=np.int64)


def has_field(connection: sqlite3.Connection, name: str) -> bool:
    """Whether a document has a metadata field of this name."""
    found = connection.execute(
        "SELECT 1 FROM documents WHERE json_type(metadata, ?) IS NOT NULL LIMIT 1",
        (path_of(name),),
    ).fetchone()
    return found is not None


def count_groups(connection: sqlite3.Connection, name: str) -> int:
    """Return into how many groups at most a field divides all documents, by the JSON of its values.

    1 and 1.0 are one group, and counted as two. A document without the field, or with null in it,
    is a group of its own.
    """
    (distinct, without) = connection.execute(
        "SELECT count(DISTINCT nullif(value, 'null')), sum(coalesce(value, 'null') = 'null') "
        "FROM (SELECT metadata -> ? AS value FROM documents)",
        (path_of(name),),
    ).fetchone()
    return int(distinct) + int(without or 0)


def field_names(connection: sqlite3.Connection) -> list[str]:
    """Return the names of all metadata fields, sorted; this reads every document."""
    found = connection.execute(
        "SELECT DISTINCT key FROM documents, json_each(documents.metadata) ORDER BY key"
    )
    return [name for (name,) in found]


def field_types(connection: sqlite3.Connection, name: str) -> set[str]:
    """Return the types that a field has: string, number, boolean, null, list, object."""
    found = connection.execute(
        "SELECT DISTINCT json_type(metadata, ?) FROM documents", (path_of(name),)
    )
    return {_TYPE_NAMES.get(type_, type_) for (type_,) in found if type_ is not None}


@contextlib.contextmanager
def deadline(
    connection: sqlite3.Connection, seconds: float, clock: Callable[[], float] = time.thread_time
) -> Iterator[None]:
    """Give up what runs inside the block after so many seconds.

    Of processor time: on a machine with much other work a filter takes long that costs little.

    Raises:
        InvalidInput: it was given up.
    """
    end = clock() + seconds
    connection.set_progress_handler(lambda: int(clock() > end), _OPERATIONS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        raise InvalidInput(
            f"the filter took more than {seconds:.0f} s of processor time, and was given up (ask "
            "for less at a time)"
        ) from error
    finally:
        connection.set_progress_handler(None, 0)
