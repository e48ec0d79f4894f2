"""CSV and TSV: the `csv` module in strict mode, told where each record began."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from simsearch.errors import InvalidData
from simsearch.formats.checks import quoted
from simsearch.formats.lines import too_long, without_end
from simsearch.formats.options import ReadOptions
from simsearch.formats.row import OnReject, Row, convert

MAX_RECORD_LINES: Final = 1000

_OTHER_DELIMITERS: Final = (";", "\t", ",", "|")


def read_table(
    lines: Iterable[tuple[int, str]],
    name: str,
    *,
    delimiter: str,
    options: ReadOptions,
    on_reject: OnReject | None,
) -> Iterator[Row]:
    """Yield a row for each record below the header; `lines` have their ends.

    Raises:
        InvalidData: the header is wrong, a quote is not closed, or there are no rows.
    """
    # This limit is of the whole process, so it is only ever raised; ours is in _Records.
    csv.field_size_limit(max(csv.field_size_limit(), min(options.max_record, sys.maxsize)))
    records = _Records(
        lines,
        name,
        delimiter=options.delimiter_character or delimiter,
        limit=options.max_record,
    )
    at, header = next(records.read(on_reject=None), ("", []))
    if not header:
        raise InvalidData(f"{name} holds 0 data rows")
    _check_header(header, at, delimiter_is_given=options.delimiter is not None)

    def parse(record: tuple[str, list[str]]) -> Row:
        where, values = record
        if len(values) != len(header):
            raise InvalidData(f"{where}: expected {len(header)} fields, got {len(values)}")
        return Row(dict(zip(header, values, strict=True)), where, header=at)

    yield from convert(records.read(on_reject=on_reject), parse, on_reject)
    if records.count == 1:
        raise InvalidData(f"{name} holds 0 data rows, only a header")


class _Records:
    """The records of a table, one by one, each with FILE:LINE of its first line."""

    def __init__(
        self, lines: Iterable[tuple[int, str]], name: str, *, delimiter: str, limit: int
    ) -> None:
        self.count = 0
        self._limit = limit
        self._lines = iter(lines)
        self._name = name
        self._reader = csv.reader(self._feed(), delimiter=delimiter, strict=True)
        self._span = 0
        self._length = 0
        self._where = name

    def read(self, *, on_reject: OnReject | None) -> Iterator[tuple[str, list[str]]]:
        """Yield the records that are left; blank lines are none."""
        while True:
            self._span = self._length = 0
            try:
                values = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                self.count += 1
                problem = self._explained(error)
                # Where a record over several lines should have ended nobody knows.
                if on_reject is None or self._span > 1:
                    raise problem from error
                on_reject(problem)
                continue
            if values:
                self.count += 1
                yield self._where, values

    def _feed(self) -> Iterator[str]:
        for number, line in self._lines:
            if self._span == 0:
                self._where = f"{self._name}:{number}"
            self._span += 1
            self._length += len(without_end(line))
            if self._span > MAX_RECORD_LINES:
                raise self._unclosed(f"a record has more than {MAX_RECORD_LINES} lines")
            if self._length > self._limit:
                if self._span > 1:
                    raise self._unclosed(f"longer than {self._limit} characters, --max-record")
                raise too_long(self._where, self._limit)
            yield line

    def _explained(self, error: csv.Error) -> InvalidData:
        message = str(error)
        if "unexpected end" in message:
            return self._unclosed("the file ends inside it")
        if "expected after" in message:
            return InvalidData(
                f'{self._where}: text after a closing quote (write "" for a quote in a field)'
            )
        if "new-line" in message:
            return InvalidData(
                f"{self._where}: a carriage return outside quotes (quote the field, "
                "or end the lines with a newline)"
            )
        return InvalidData(f"{self._where}: {message}")

    def _unclosed(self, evidence: str) -> InvalidData:
        return InvalidData(f"{self._where}: a quote is opened and not closed ({evidence})")


def _check_header(header: Sequence[str], where: str, *, delimiter_is_given: bool) -> None:
    if len(header) == 1 and not delimiter_is_given:
        for other in _OTHER_DELIMITERS:
            if other in header[0]:
                option = "tab" if other == "\t" else f"'{other}'"
                raise InvalidData(
                    f"{where}: one field only, {quoted(header[0])} (use --delimiter {option})"
                )
    columns: dict[str, int] = {}
    for column, name in enumerate(header, start=1):
        if not name.strip():
            raise InvalidData(f"{where}: column {column} has no name")
        if name in columns:
            raise InvalidData(
                f"{where}: field {quoted(name)} stands in columns {columns[name]} and {column}"
            )
        columns[name] = column
