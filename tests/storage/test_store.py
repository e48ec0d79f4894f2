from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from simsearch.errors import CorruptIndex, DuplicateId, IndexLocked
from simsearch.records import Document
from simsearch.storage import DocumentStore
from simsearch.storage.locks import writer_lock

DIM = 4


def documents(*ids: str) -> list[Document]:
    return [Document(id=name, text=f"text of {name}", metadata={"n": len(name)}) for name in ids]


def vectors(count: int, start: float = 0.0) -> np.ndarray:
    return (np.arange(count * DIM, dtype=np.float32) + start).reshape(count, DIM)


@pytest.fixture
def directory(tmp_path):
    DocumentStore.create(tmp_path, dim=DIM, settings={"encoder": "none"})
    return tmp_path


@pytest.fixture
def store(directory):
    store = DocumentStore.open(directory)
    yield store
    store.close()


def write(store: DocumentStore, *ids: str, start: float = 0.0) -> None:
    with store.transaction():
        store.insert(documents(*ids), vectors(len(ids), start), supplied=False)


def all_changes(store: DocumentStore):
    with store.snapshot():
        return store.changes_since(-1, next_row=0)


def test_documents_come_back_equal(store):
    given = Document("é/1", "text\twith\nlines", title="Ünï", metadata={"a": [1, None, {"b": "ç"}]})
    with store.transaction():
        store.insert([given], vectors(1), supplied=True)
    assert store.fetch_ids(["é/1", "unknown"]) == {"é/1": given}


def test_vectors_come_back_bit_by_bit(store):
    write(store, "a", "b")
    write(store, "c", start=100)
    changes = all_changes(store)
    assert changes.rows.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(changes.vectors, np.vstack([vectors(2), vectors(1, 100)]))


def test_more_rows_than_a_block_holds_come_back_in_order(store):
    names = [f"id-{number}" for number in range(2500)]
    write(store, *names)
    changes = all_changes(store)
    np.testing.assert_array_equal(changes.vectors, vectors(2500))
    assert store.fetch_rows([2499])[2499].id == "id-2499"
    assert len(store.fetch_ids(names)) == 2500  # more than SQLite takes variables in one statement


def test_a_failed_transaction_leaves_nothing(store):
    write(store, "a")
    with pytest.raises(RuntimeError), store.transaction():
        store.insert(documents("b"), vectors(1), supplied=False)
        store.remove(["a"])
        raise RuntimeError
    assert store.count() == 1
    assert all_changes(store).rows.tolist() == [0]
    assert store.read_setting("commit_number") == "1"


def test_an_id_that_is_there_is_refused(store):
    write(store, "a")
    with pytest.raises(DuplicateId, match="already"):
        write(store, "b", "a")
    assert store.known_ids(["a", "b"]) == {"a"}


def test_row_numbers_are_never_given_out_twice(store):
    write(store, "a", "b")
    with store.transaction():
        assert store.remove(["b", "unknown"]) == 1
    write(store, "b")
    assert all_changes(store).rows.tolist() == [0, 2]


def test_changes_since_a_commit_are_just_what_came_after_it(store):
    write(store, "a", "b")
    with store.transaction():
        store.remove(["a"])
        store.insert(documents("c"), vectors(1, 50), supplied=False)
    with store.snapshot():
        changes = store.changes_since(1, next_row=2)
        assert store.changes_since(2, next_row=3) is None
    assert (changes.commit_number, changes.rows.tolist(), changes.removed.tolist()) == (2, [2], [0])


def test_a_row_added_and_removed_between_two_looks_is_not_seen(store):
    write(store, "a")
    write(store, "b")
    with store.transaction():
        store.remove(["b"])
    with store.snapshot():
        changes = store.changes_since(1, next_row=1)
    assert (changes.rows.tolist(), changes.removed.tolist()) == ([], [])


def test_a_snapshot_does_not_see_what_another_handle_commits(store, directory):
    write(store, "a")
    other = DocumentStore.open(directory)
    with store.snapshot():
        assert store.count() == 1
        write(other, "b")
        assert store.count() == 1
    assert store.count() == 2
    other.close()


def test_a_flipped_byte_in_the_vectors_is_found(store, directory):
    write(store, "a", "b")
    connection = sqlite3.connect(directory / "meta.db")
    (data,) = connection.execute("SELECT data FROM vector_blocks").fetchone()
    damaged = bytes([data[0] ^ 1]) + data[1:]
    connection.execute("UPDATE vector_blocks SET data = ?", (damaged,))
    connection.commit()
    connection.close()
    with pytest.raises(CorruptIndex, match="rows 0 to 1 are damaged"):
        all_changes(store)


def test_a_missing_block_is_found(store, directory):
    write(store, "a")
    write(store, "b")
    connection = sqlite3.connect(directory / "meta.db")
    connection.execute("DELETE FROM vector_blocks WHERE first_row = 1")
    connection.commit()
    connection.close()
    with pytest.raises(CorruptIndex, match="rows 1 to 1 are lost"):
        all_changes(store)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "meta.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(CorruptIndex, match="damaged or not a store"):
        DocumentStore.open(tmp_path)


def test_a_missing_database_is_refused(tmp_path):
    with pytest.raises(CorruptIndex, match="is missing"):
        DocumentStore.open(tmp_path)


def test_the_database_survives_power_loss_settings(store):
    connection = store._connection
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_second_writer_is_told_who_holds_the_lock(store, directory):
    with (
        writer_lock(directory / "LOCK"),
        pytest.raises(IndexLocked, match=r"locked by pid \d+ on \S+ since 20"),
        writer_lock(directory / "LOCK", budget=0.0),
    ):
        pass


def test_a_lock_file_left_behind_locks_nobody_out(store, directory):
    (directory / "LOCK").write_text("pid 1 on nowhere since long ago")
    write(store, "a")
    assert store.count() == 1
