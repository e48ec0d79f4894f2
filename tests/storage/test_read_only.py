"""A reader that may not write follows those who may."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import HashEncoder

from simsearch.records import Document
from simsearch.search_index import SearchIndex


def test_it_sees_commits_in_a_log_that_appeared_after_it_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "i"
    with SearchIndex.create(path, encoder=HashEncoder()) as index:
        index.add([Document("a", "the cat")])
    assert not (path / "meta.db-wal").exists()
    with monkeypatch.context() as patch:  # nobody is kept from writing who is root
        patch.setattr("simsearch.storage.session.writable", lambda _: False)
        patch.setattr("simsearch.storage.database.writable", lambda _: False)
        reader = SearchIndex.open(path, encoder=HashEncoder())
        assert [hit.id for hit in reader.search("dog")] == ["a"]
    with reader, SearchIndex.open(path, encoder=HashEncoder()) as writer:
        for count, name in enumerate(["b", "c"], start=2):
            writer.add([Document(name, f"the dog {name}")])
            assert len(reader) == count
            assert reader.search(f"the dog {name}", k=1)[0].id == name
        writer.close()
        assert len(reader) == 3
