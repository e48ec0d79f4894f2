from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from stores import documents, insert, vectors, whole, write

from simsearch.errors import CorruptIndex, DuplicateId, IndexLocked
from simsearch.records import Document
from simsearch.storage import Changes, DocumentStore, PassageRows, StoredPassage, text_hash
from simsearch.storage.locks import writer_lock
from simsearch.storage.vector_blocks import VectorBlocks


def all_changes(store: DocumentStore):
    with store.snapshot():
        return store.changes_since(-1, next_row=0)


def read(store: DocumentStore, changes: Changes) -> np.ndarray:
    """Return the vectors of the rows that changes add."""
    target = np.empty((len(changes.rows), store.dim), dtype=np.float32)
    with store.snapshot():
        store.read_vectors(changes.rows, target)
    return target


def test_documents_come_back_equal(store):
    given = Document("é/1", "text\twith\nlines", title="Ünï", metadata={"a": [1, None, {"b": "ç"}]})
    with store.transaction():
        store.insert([given], whole([given], vectors(1)))
    assert store.fetch_ids(["é/1", "unknown"]) == {"é/1": given}


def test_vectors_come_back_bit_by_bit(store):
    write(store, "a", "b")
    write(store, "c", start=100)
    changes = all_changes(store)
    assert changes.rows.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(read(store, changes), np.vstack([vectors(2), vectors(1, 100)]))


def test_more_rows_than_a_block_holds_come_back_in_order(store):
    names = [f"id-{number}" for number in range(2500)]
    write(store, *names)
    changes = all_changes(store)
    np.testing.assert_array_equal(read(store, changes), vectors(2500))
    assert store.fetch_numbers([2499])[2499].id == "id-2499"
    assert store.passages.at([2499]) == {2499: StoredPassage(2499, 0, len("text of id-2499"))}
    assert len(store.fetch_ids(names)) == 2500  # more than SQLite takes variables in one statement


def test_the_living_rows_of_several_blocks_are_read_without_the_others(store):
    names = [f"id-{number}" for number in range(2500)]
    write(store, *names)
    with store.transaction():
        store.remove(names[:1500:2])  # every other one of the first block, and some of the second
    changes = all_changes(store)
    kept = [*range(1, 1500, 2), *range(1500, 2500)]
    assert changes.rows.tolist() == kept
    np.testing.assert_array_equal(read(store, changes), vectors(2500)[kept])


def test_a_failed_transaction_leaves_nothing(store):
    write(store, "a")
    with pytest.raises(RuntimeError), store.transaction():
        insert(store, "b")
        store.remove(["a"])
        raise RuntimeError
    assert store.count() == 1
    assert all_changes(store).rows.tolist() == [0]
    assert store.settings.read("commit_number") == "1"


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
        insert(store, "c", start=50)
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


def in_passages(*lengths: int) -> PassageRows:
    """As many documents as lengths, each of so many passages of 3 characters."""
    ranges = [[(3 * n, 3 * n + 3) for n in range(length)] for length in lengths]
    count = sum(lengths)
    return PassageRows(ranges, vectors(count), [text_hash(f"passage {n}") for n in range(count)])


def test_the_rows_of_a_document_lead_to_it_and_leave_with_it(store):
    with store.transaction():
        store.insert(documents("a", "b", "c"), in_passages(2, 3, 1))
    assert (store.count(), store.passages.count()) == (3, 6)
    assert store.passages.at([1, 3, 5]) == {
        1: StoredPassage(0, 3, 6),
        3: StoredPassage(2, 3, 6),
        5: StoredPassage(5, 0, 3),
    }
    assert {n: each.id for n, each in store.fetch_numbers([0, 2, 5]).items()} == {
        0: "a",
        2: "b",
        5: "c",
    }
    with store.transaction():
        assert store.remove(["b", "a", "b"]) == 2
    with store.snapshot():
        changes = store.changes_since(1, next_row=6)
    assert sorted(changes.removed.tolist()) == [0, 1, 2, 3, 4]
    assert (store.count(), store.passages.count()) == (1, 1)
    write(store, "b")
    np.testing.assert_array_equal(all_changes(store).rows, [5, 6])


def test_a_row_without_a_passage_or_a_document_is_damage(store, directory):
    write(store, "a", "b", "c")
    with sqlite3.connect(directory / "meta.db") as connection:
        connection.execute("DELETE FROM passages WHERE row = 1")
        connection.execute("DELETE FROM documents WHERE id = 'c'")
    connection.close()
    with pytest.raises(CorruptIndex, match="row 1 has a vector but no document"):
        store.passages.at([0, 1])
    with pytest.raises(CorruptIndex, match="row 2 has a vector but no document"):
        store.fetch_numbers([0, 2])


def test_a_vector_is_found_by_the_text_it_was_encoded_from(store):
    names = [f"id-{number}" for number in range(2500)]
    write(store, *names)
    write(store, "after", start=7)
    asked = [f"text of {name}" for name in ("after", "id-2499", "id-0", "id-1024", "unknown")]
    found = store.vectors_of_texts([text_hash(text) for text in asked])
    expected = np.vstack([vectors(1, 7), vectors(2500)[[2499, 0, 1024]]])
    assert found.keys() == {text_hash(text) for text in asked[:4]}
    np.testing.assert_array_equal([found[text_hash(text)] for text in asked[:4]], expected)
    # More than SQLite takes variables in one statement.
    every = store.vectors_of_texts([text_hash(f"text of {name}") for name in names])
    assert len(every) == 2500


def test_only_living_vectors_that_were_encoded_are_found(store):
    write(store, "gone", "stays")
    given = documents("given")
    with store.transaction():
        store.insert(given, PassageRows([[(0, 13)]], vectors(1), hashes=None))
        store.remove(["gone"])
    asked = {name: text_hash(f"text of {name}") for name in ("gone", "stays", "given")}
    assert store.vectors_of_texts(list(asked.values())).keys() == {asked["stays"]}


def test_each_block_is_read_once_for_all_texts_in_it(store, monkeypatch):
    names = [f"id-{number}" for number in range(2500)]
    write(store, *names)
    reads: list[int] = []
    honest = VectorBlocks._read_block

    def read(blocks, first, rows):
        reads.append(first)
        return honest(blocks, first, rows)

    monkeypatch.setattr(VectorBlocks, "_read_block", read)
    asked = [names[number] for number in (2000, 5, 1500, 1, 2499, 3)]
    assert len(store.vectors_of_texts([text_hash(f"text of {name}") for name in asked])) == 6
    assert reads == [0, 1024, 2048]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("UPDATE vector_blocks SET data = zeroblob(length(data))", "rows 0 to 1 are damaged"),
        ("UPDATE vector_blocks SET rows = 1", "the vector of row 1 is lost"),
        ("DELETE FROM vector_blocks", "the vector of row 1 is lost"),
    ],
)
def test_a_damaged_vector_is_not_handed_out(store, directory, damage, message):
    write(store, "a", "b")
    with sqlite3.connect(directory / "meta.db") as connection:
        connection.execute(damage)
    connection.close()
    with pytest.raises(CorruptIndex, match=message):
        store.vectors_of_texts([text_hash("text of b")])


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
        read(store, all_changes(store))


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
    connection = store._session.connection
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


def test_a_setting_under_the_checksum_is_not_written_as_one_that_changes(store, directory):
    with store.transaction(), pytest.raises(ValueError, match="'dim' stands under the checksum"):
        store.settings.write("dim", "3")
    DocumentStore.open(directory).close()  # it holds still
