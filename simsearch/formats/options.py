"""How files are read: the one record of settings that every reader of this package takes."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

from simsearch.errors import InvalidInput


class Duplicates(StrEnum):
    """What happens when one id stands in the input twice."""

    ERROR = "error"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Settings of the readers; each can be set by an option of the command line.

    `max_record` is the longest line of JSONL or record of CSV, in characters. `max_expansion`
    is how many times its own size a gzip file may grow. A field that is named explicitly
    (`id_field`, `text_field`, `title_field`) has to be there in every row.

    Raises:
        InvalidInput: a setting cannot be used, such as an unknown encoding.
    """

    encoding: str = "utf-8"
    delimiter: str | None = None
    id_field: str | None = None
    text_field: str | None = None
    title_field: str | None = None
    max_record: int = 1 << 20
    max_expansion: int = 100
    replace_invalid: bool = False
    duplicates: Duplicates = Duplicates.ERROR

    def __post_init__(self) -> None:
        _check_encoding(self.encoding)
        _check_delimiter(self.delimiter)
        # A plain string would pass for a member in no comparison with `is`.
        if not isinstance(self.duplicates, Duplicates):
            raise InvalidInput(f"duplicates must be a Duplicates, got {self.duplicates!r}")
        for option, value in (
            ("--max-record", self.max_record),
            ("--max-expansion", self.max_expansion),
        ):
            if value < 1:
                raise InvalidInput(f"{option} must be at least 1, got {value}")

    def changed(self) -> dict[str, Any]:
        """Return the settings that are not the default, by name."""
        default = ReadOptions()
        return {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if getattr(self, each.name) != getattr(default, each.name)
        }

    @property
    def delimiter_character(self) -> str | None:
        """`delimiter` with the names of the tab resolved."""
        return "\t" if self.delimiter in _TAB_NAMES else self.delimiter


_TAB_NAMES: Final = ("tab", "\\t")


def _check_encoding(name: str) -> None:
    try:
        "a".encode(name)  # refuses what is a codec but not of text, such as rot13
        codecs.getincrementaldecoder(name)
    except (LookupError, ValueError) as error:
        raise InvalidInput(f"unknown encoding {name!r} (e.g. utf-8, utf-16, latin-1)") from error


def _check_delimiter(delimiter: str | None) -> None:
    if delimiter is None or delimiter in _TAB_NAMES:
        return
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise InvalidInput(f"--delimiter must be one character or 'tab', got {delimiter!r}")


DEFAULT_OPTIONS: Final = ReadOptions()
