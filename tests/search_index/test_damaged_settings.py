"""Settings of an index that are not what was written: refused, found by `check`, and mended."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import HashEncoder
from stores import raw

from simsearch.errors import CorruptIndex, InvalidInput
from simsearch.records import Document
from simsearch.search_index import (
    SearchIndex,
    backup_index,
    check_index,
    compact_index,
    repair_index,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An index of d0 to d29, of which d4 was deleted."""
    with SearchIndex.create(tmp_path / "i", encoder=HashEncoder()) as index:
        index.add([Document(f"d{n}", f"text number {n}") for n in range(30)])
        index.delete(["d4"])
    return tmp_path / "i"


def set_to(path: Path, key: str, value: str) -> None:
    with raw(path) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))


def found(path: Path) -> list[str]:
    return [each.what for each in check_index(path, encoder=HashEncoder()).findings]


@pytest.mark.parametrize("value", ["2;7", "29<", "", "-3", "٣"])
@pytest.mark.parametrize("key", ["next_row", "living_rows", "commit_number"])
def test_a_number_that_is_none_is_refused_in_one_line_and_mended(
    path: Path, key: str, value: str
) -> None:
    set_to(path, key, value)
    with (
        pytest.raises(CorruptIndex, match=f"the setting '{key}' is no number"),
        SearchIndex.open(path, encoder=HashEncoder()) as index,
    ):
        index.search("text")
        index.delete(["d5"])
    assert f"the setting {key!r} is lost" in found(path)
    assert repair_index(path, encoder=HashEncoder()).documents == 29
    assert found(path) == []
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        assert {each.id for each in index.iterate()} == {f"d{n}" for n in range(30)} - {"d4"}


@pytest.mark.parametrize("end", ["29", "31", "70", "290"])
def test_an_end_of_rows_that_is_another_is_found_not_backed_up_and_mended(
    path: Path, tmp_path: Path, end: str
) -> None:
    set_to(path, "next_row", end)
    assert "the setting 'next_row' is not the end of the rows, 30" in found(path)
    with pytest.raises(CorruptIndex, match="'next_row' is not the end of the rows"):
        backup_index(path, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    assert repair_index(path, encoder=HashEncoder()).complete
    assert found(path) == []
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        index.add([Document("new", "a new text")])
        assert index.search("a new text", k=1)[0].id == "new"
        assert len(index) == 30


def test_where_nobody_knows_whether_an_index_is_finished_indexing_says_so(path: Path) -> None:
    set_to(path, "finished", "yas")
    assert repair_index(path, encoder=HashEncoder()).complete
    assert not (path / "quarantine" / "2").exists()
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        assert (index.finished, len(index)) == (False, 29)
    with pytest.raises(InvalidInput, match="is unfinished"):
        compact_index(path)
