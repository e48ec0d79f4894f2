"""The Row that every file format becomes, and the way a bad one is set aside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from simsearch.errors import InvalidData

OnReject: TypeAlias = Callable[[InvalidData], None]

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Row:
    """The named values of one record.

    `where` is FILE:LINE of its first line. `header` is FILE:LINE of the names, in formats
    that have them in one place (CSV); there all values are strings.
    """

    fields: Mapping[str, Any]
    where: str
    header: str | None = None

    @property
    def names_at(self) -> str:
        """Where the names of the fields are to be put right."""
        return self.header or self.where


def convert(
    items: Iterable[Item], function: Callable[[Item], Result], on_reject: OnReject | None
) -> Iterator[Result]:
    """Yield `function` of each item; one that it refuses is reported, or raised.

    Errors of `items` itself are those of the whole file and are always raised.
    """
    for item in items:
        try:
            result = function(item)
        except InvalidData as error:
            if on_reject is None:
                raise
            on_reject(error)
        else:
            yield result


def check_header(rows: Iterable[Row], check: Callable[[Row], object]) -> Iterator[Row]:
    """Yield the rows; wrong names in a header are an error of the file, not of each row."""
    checked = False
    for row in rows:
        if row.header is not None and not checked:
            check(row)
            checked = True
        yield row
