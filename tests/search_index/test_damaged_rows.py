"""One bit of a row number, or of an index of SQLite's: refused, and never an answer or a vector."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import HashEncoder
from stores import raw

from simsearch.errors import CorruptIndex
from simsearch.records import Document
from simsearch.search_index import SearchIndex, check_index, repair_index


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An index of d0 to d99, of which d34 was deleted."""
    with SearchIndex.create(tmp_path / "i", encoder=HashEncoder()) as index:
        index.add([Document(f"d{n}", f"text number n{n}") for n in range(100)])
        index.delete(["d34"])
    return tmp_path / "i"


@pytest.mark.parametrize("row", [35, 98])
def test_a_living_row_that_is_said_to_be_deleted_is_refused_and_not_left_out(
    path: Path, row: int
) -> None:
    with SearchIndex.open(path, encoder=HashEncoder()) as reader:
        reader.search("text")
        with raw(path) as connection:
            connection.execute("UPDATE tombstones SET row = ? WHERE row = 34", (row,))
        with (
            pytest.raises(CorruptIndex, match=f"row {row} is deleted and living"),
            SearchIndex.open(path, encoder=HashEncoder()) as index,
        ):
            index.search(f"text number n{row}")
    assert repair_index(path, encoder=HashEncoder()).documents == 99  # row 34 is said to be lost
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        assert index.search(f"text number n{row}", k=1)[0].id == f"d{row}"
        assert (len(index), index.get("d34")) == (99, None)


def test_so_is_one_that_an_open_handle_is_told_of(path: Path) -> None:
    with (
        SearchIndex.open(path, encoder=HashEncoder()) as reader,
        SearchIndex.open(path, encoder=HashEncoder()) as writer,
    ):
        reader.search("text")
        writer.delete(["d50"])
        with raw(path) as connection:
            connection.execute("UPDATE tombstones SET row = 51 WHERE row = 50")
        with pytest.raises(CorruptIndex, match="row 51 is deleted and living"):
            reader.search("text")


def test_two_documents_of_one_id_are_found_and_the_later_one_is_kept(path: Path) -> None:
    """One letter in SQLite's index of ids is another, so an upsert takes the id for a new one."""
    database = path / "meta.db"
    content = database.read_bytes()
    # A record of the index: its header (a text of 3 bytes, a number of 1), the id, the row.
    assert content.count(b"\x03\x13\x01d50") == 1
    database.write_bytes(content.replace(b"\x03\x13\x01d50", b"\x03\x13\x01e50"))
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        assert index.upsert([Document("d50", "quite another text")]).added == 1
    report = check_index(path, encoder=HashEncoder())
    assert ("ids", "a later document has the id of the documents 50") in [
        (each.code, each.what) for each in report.findings
    ]
    assert repair_index(path, encoder=HashEncoder()).documents == 99
    assert check_index(path, encoder=HashEncoder()).findings == ()
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        assert (len(index), index.get("d50").text) == (99, "quite another text")
