"""ReadOptions refuses settings that cannot be used."""

from __future__ import annotations

from typing import Any

import pytest

from simsearch.errors import InvalidInput
from simsearch.formats import Duplicates, ReadOptions


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoding": "utf-99"}, "unknown encoding 'utf-99'"),
        ({"encoding": "rot13"}, "unknown encoding 'rot13'"),
        ({"encoding": "a\0b"}, "unknown encoding"),
        ({"delimiter": ""}, "--delimiter must be one character or 'tab', got ''"),
        ({"delimiter": ";;"}, "got ';;'"),
        ({"delimiter": '"'}, "--delimiter must be one character"),
        ({"delimiter": "\n"}, "--delimiter must be one character"),
        ({"max_record": 0}, "--max-record must be at least 1, got 0"),
        ({"max_expansion": -1}, "--max-expansion must be at least 1, got -1"),
        ({"duplicates": "last"}, "duplicates must be a Duplicates, got 'last'"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        ReadOptions(**settings)
    assert caught.value.exit_code == 2


def test_the_names_of_duplicates_are_those_of_the_command_line() -> None:
    assert [str(each) for each in Duplicates] == ["error", "last"]


@pytest.mark.parametrize("name", ["tab", "\\t", "\t"])
def test_the_tab_has_names(name: str) -> None:
    assert ReadOptions(delimiter=name).delimiter_character == "\t"


def test_a_delimiter_stands_for_itself() -> None:
    assert ReadOptions(delimiter=";").delimiter_character == ";"


def test_what_differs_from_the_default_is_told() -> None:
    assert ReadOptions().changed() == {}
    assert ReadOptions(encoding="latin-1", delimiter=";", duplicates=Duplicates.LAST).changed() == {
        "encoding": "latin-1",
        "delimiter": ";",
        "duplicates": "last",
    }
