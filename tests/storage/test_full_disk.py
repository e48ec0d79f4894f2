"""A disk without room is no reason not to read."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import HashEncoder
from stores import no_file_over

from simsearch.errors import SystemFailure
from simsearch.files import translated_os_errors
from simsearch.records import Document
from simsearch.search_index import SearchIndex, check_index, repair_index


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with SearchIndex.create(tmp_path / "i", encoder=HashEncoder()) as index:
        index.add([Document("a", "the cat"), Document("b", "the dog")])
    return tmp_path / "i"


def test_an_index_is_searched_and_checked_and_not_written_to(path: Path) -> None:
    with no_file_over(1000):
        with SearchIndex.open(path, encoder=HashEncoder()) as index:
            assert [hit.id for hit in index.search("the cat", k=1)] == ["a"]
            assert [document.id for document in index.iterate()] == ["a", "b"]
            with pytest.raises(SystemFailure, match="if its disk is full, free some of it"):
                index.add([Document("c", "the cow")])
        assert check_index(path, encoder=HashEncoder(), quick=True).worst is None
        assert repair_index(path, encoder=HashEncoder(), dry_run=True).documents == 2


def test_a_handle_of_that_time_sees_what_is_written_when_there_is_room_again(path: Path) -> None:
    with no_file_over(1000):
        reader = SearchIndex.open(path, encoder=HashEncoder())
    with reader, SearchIndex.open(path, encoder=HashEncoder()) as writer:
        for count, name in enumerate(["c", "d"], start=3):
            writer.add([Document(name, f"the cow {name}")])
            assert len(reader) == count
            assert reader.search(f"the cow {name}", k=1)[0].id == name


def test_of_two_files_the_one_that_was_written_is_named() -> None:
    with pytest.raises(SystemFailure) as caught, translated_os_errors(Path("elsewhere")):
        raise OSError(28, "No space left on device", "source", None, "target")
    assert str(caught.value) == "target: No space left on device"
    with pytest.raises(SystemFailure) as caught, translated_os_errors(Path("elsewhere")):
        raise OSError(5, "Input/output error", "source", None, "target")
    assert str(caught.value) == "source: Input/output error"
