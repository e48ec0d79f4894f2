"""The writer lock is that of the index that has the name, whoever took its place meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from conftest import HashEncoder

from simsearch.errors import IndexLocked, SystemFailure
from simsearch.files import draft_directory, install_directory
from simsearch.records import Document
from simsearch.search_index import SearchIndex, check_index, compact_index
from simsearch.storage.locks import writer_lock


def replaced(index: Path) -> None:
    """Let another directory take the place of an index, as a compaction does."""
    with draft_directory(index) as draft:
        (draft / "new").touch()
        install_directory(draft, index, replace=True)


def test_who_waited_while_the_index_was_replaced_locks_what_took_its_place(tmp_path: Path) -> None:
    index = tmp_path / "index"
    index.mkdir()
    (index / "old").touch()
    waiting, holds, done = threading.Event(), threading.Event(), threading.Event()

    def wait() -> None:
        waiting.set()
        with writer_lock(index / "LOCK"):
            holds.set()
            done.wait()

    waiter = threading.Thread(target=wait)
    with writer_lock(index / "LOCK"):
        waiter.start()
        waiting.wait()
        replaced(index)
    try:
        assert holds.wait(timeout=60)
        with pytest.raises(IndexLocked), writer_lock(index / "LOCK", budget=0):
            pytest.fail("two hold the lock of one index")
    finally:
        done.set()
        waiter.join()
    with writer_lock(index / "LOCK", budget=0):
        assert (index / "new").exists()


def test_the_lock_of_an_index_that_was_deleted_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(SystemFailure, match="gone was deleted"),
        writer_lock(tmp_path / "gone/LOCK"),
    ):
        pytest.fail("a lock of nothing")


def test_two_compactions_beside_a_writer_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "index"
    with SearchIndex.create(path, encoder=HashEncoder()) as index:
        index.add([Document(f"d{n}", f"text {n}") for n in range(200)])
    stop = threading.Event()

    def compact() -> None:
        while not stop.is_set():
            compact_index(path, purge=True)

    compacting = [threading.Thread(target=compact) for _ in range(2)]
    for each in compacting:
        each.start()
    acknowledged = []
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        for n in range(60):
            index.add([Document(f"new{n}", f"new text {n}")])
            acknowledged.append(f"new{n}")
    stop.set()
    for each in compacting:
        each.join()
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        assert index.known_ids(acknowledged) == set(acknowledged)
    assert check_index(path, encoder=HashEncoder()).worst is None
