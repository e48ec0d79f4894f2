"""Nothing wrong is ever answered: what is damaged is refused where it is read."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from stores import insert, raw, write

from simsearch.conditions import Comparator, Comparison
from simsearch.errors import CorruptIndex
from simsearch.records import Document
from simsearch.storage import DocumentStore, text_hash, verified


def change(directory, *statements):
    with raw(directory) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE documents SET text = 'text of B' WHERE id = 'b'",
        "UPDATE documents SET id = 'B' WHERE id = 'b'",
        "UPDATE documents SET title = '' WHERE id = 'b'",
        """UPDATE documents SET metadata = '{"n":2}' WHERE id = 'b'""",
        "UPDATE documents SET rows = 2 WHERE id = 'b'",
        "UPDATE documents SET first_row = 7 WHERE id = 'b'",
        "UPDATE documents SET supplied = 1 WHERE id = 'b'",
        "UPDATE documents SET crc32 = crc32 + 1 WHERE id = 'b'",
    ],
)
def test_a_changed_document_is_refused(store, directory, statement):
    write(store, "a", "b", "c")
    change(directory, statement)
    with pytest.raises(CorruptIndex, match=r"the document of row . is damaged"):
        list(store.stream())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE passages SET document = 0 WHERE row = 1",
        "UPDATE passages SET start = 1 WHERE row = 1",
        "UPDATE passages SET stop = 3 WHERE row = 1",
        "UPDATE passages SET text_hash = NULL WHERE row = 1",
        "UPDATE passages SET crc32 = 0 WHERE row = 1",
    ],
)
def test_a_changed_passage_is_refused(store, directory, statement):
    write(store, "a", "b")
    change(directory, statement)
    with pytest.raises(CorruptIndex, match="the passage of row 1 is damaged"):
        store.passages.at([0, 1])


def test_a_damaged_document_gets_no_metadata_and_no_checksum_that_hides_it(store, directory):
    write(store, "a", "b")
    change(directory, "UPDATE documents SET text = 'text of B' WHERE id = 'b'")
    both = [Document("a", "text of a", metadata={"n": 2}), Document("b", "b", metadata={"n": 2})]
    with pytest.raises(CorruptIndex, match="the document of row 1 is damaged"), store.transaction():
        store.update_metadata(both)
    assert store.fetch_ids(["a"])["a"].metadata != {"n": 2}
    with pytest.raises(CorruptIndex, match="the document of row 1 is damaged"):
        store.fetch_ids(["b"])


def test_blocks_that_changed_places_are_refused(store, directory):
    write(store, "a")
    write(store, "b", start=7)
    change(
        directory,
        "UPDATE vector_blocks SET first_row = 9 WHERE first_row = 0",
        "UPDATE vector_blocks SET first_row = 0 WHERE first_row = 1",
        "UPDATE vector_blocks SET first_row = 1 WHERE first_row = 9",
    )
    with store.snapshot(), pytest.raises(CorruptIndex, match="rows 0 to 0 are damaged"):
        store.read_vectors(np.array([0]), np.empty((1, 4), dtype=np.float32))


def test_a_damaged_index_of_sqlite_leads_to_no_wrong_vector(store, directory):
    write(store, "a", "b")
    change(
        directory,
        "PRAGMA writable_schema = ON",
        # What an index of SQLite says is wrong when the table changes behind its back.
        "DELETE FROM sqlite_schema WHERE name = 'passages_by_text'",
    )
    change(
        directory,
        "UPDATE passages SET text_hash = x'00' WHERE row = 1",
    )
    change(
        directory,
        "CREATE INDEX passages_by_text ON passages (text_hash) WHERE text_hash IS NOT NULL",
    )
    with pytest.raises(CorruptIndex):
        store.vectors_of_texts([b"\x00"])
    assert store.vectors_of_texts([text_hash("text of a")]).keys() == {text_hash("text of a")}


def test_a_text_that_such_an_index_finds_at_a_deleted_row_is_given_no_vector_of_it(
    store, directory
):
    write(store, "a", "b")
    change(
        directory,
        "CREATE TABLE kept AS SELECT * FROM sqlite_schema WHERE name = 'passages_by_text'",
        "PRAGMA writable_schema = ON",
        "DELETE FROM sqlite_schema WHERE name = 'passages_by_text'",
    )
    change(  # the index knows nothing of this
        directory,
        "DELETE FROM passages WHERE row = 1",
        "PRAGMA writable_schema = ON",
        "INSERT INTO sqlite_schema SELECT * FROM kept",
    )
    change(directory, "DROP TABLE kept")
    with pytest.raises(CorruptIndex, match="row 1 is found by a wrong text"):
        store.vectors_of_texts([text_hash("text of b")])
    assert store.vectors_of_texts([text_hash("text of a")]).keys() == {text_hash("text of a")}


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON documents BEGIN DELETE FROM documents; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE other (x)",
        "ALTER TABLE documents ADD COLUMN extra TEXT",
        "DROP INDEX tombstones_by_commit",
        "ANALYZE",
    ],
)
def test_a_database_with_anything_but_our_tables_is_not_opened(directory, statement):
    change(directory, statement)
    with pytest.raises(CorruptIndex, match="is not a store of simsearch"):
        DocumentStore.open(directory)


@pytest.mark.parametrize("key", ["dim", "encoder", "index_id", "constants_crc32"])
def test_changed_settings_are_refused(directory, key):
    change(directory, f"UPDATE meta SET value = value || '1' WHERE key = '{key}'")
    with pytest.raises(CorruptIndex, match="the settings of the index are damaged"):
        DocumentStore.open(directory)


@pytest.mark.parametrize("key", ["commit_number", "constants_crc32", "encoder"])
def test_lost_settings_are_refused(directory, key):
    change(directory, f"DELETE FROM meta WHERE key = '{key}'")
    with pytest.raises(CorruptIndex, match="setting"):
        DocumentStore.open(directory)


def while_it_is_open(store, directory, copied):
    """Copy a store whose last commits are in its log only, as a killed process leaves it."""
    write(store, "a")
    write(store, "b")
    return shutil.copytree(directory, copied)


def test_a_log_that_was_deleted_is_a_loss_that_is_named(store, directory, tmp_path):
    killed = while_it_is_open(store, directory, tmp_path / "killed")
    (killed / "meta.db-wal").unlink()
    (killed / "meta.db-shm").unlink()
    with pytest.raises(CorruptIndex, match=r"commits 1 to 2 are lost: the log .*simsearch repair"):
        DocumentStore.open(killed)


def test_a_log_with_a_flipped_bit_is_a_loss_that_is_named(store, directory, tmp_path):
    killed = while_it_is_open(store, directory, tmp_path / "killed")
    log = bytearray((killed / "meta.db-wal").read_bytes())
    log[-100] ^= 1  # in the last commit
    (killed / "meta.db-wal").write_bytes(log)
    (killed / "meta.db-shm").unlink()
    with pytest.raises(CorruptIndex, match="commit 2 is lost"):
        DocumentStore.open(killed)


def test_a_log_that_is_whole_needs_nothing_beside_it(store, directory, tmp_path):
    killed = while_it_is_open(store, directory, tmp_path / "killed")
    (killed / "meta.db-shm").unlink()
    found = DocumentStore.open(killed)
    assert found.fetch_ids(["a", "b"]).keys() == {"a", "b"}
    found.close()


@pytest.mark.parametrize("content", ["", "nonsense", "-" * 21, "9" * 40, f"{9:020d} 00000000\n"])
def test_a_witness_that_says_nothing_is_no_obstacle(store, directory, content):
    write(store, "a")
    (directory / "COMMITTED").write_text(content)
    again = DocumentStore.open(directory)
    assert again.count() == 1
    again.close()


@pytest.mark.parametrize("name", ["meta.db", "meta.db-wal", "meta.db-shm"])
def test_links_in_the_place_of_our_files_are_not_followed(store, directory, tmp_path, name):
    copied = while_it_is_open(store, directory, tmp_path / "copied")
    (copied / name).rename(copied / "elsewhere")
    (copied / name).symlink_to(copied / "elsewhere")
    with pytest.raises(CorruptIndex, match=r"is missing|is a link"):
        DocumentStore.open(copied)


def test_text_that_is_no_text_any_more_is_damage(store, directory):
    write(store, "a")
    change(directory, "UPDATE documents SET text = CAST(x'ff' AS TEXT)")
    with pytest.raises(CorruptIndex, match="a text is not UTF-8"):
        store.fetch_ids(["a"])


def test_files_are_for_their_owner_only(store, directory):
    write(store, "a")
    modes = {
        name: (directory / name).stat().st_mode & 0o777
        for name in ("meta.db", "meta.db-wal", "meta.db-shm", "COMMITTED", "LOCK")
    }
    assert modes == dict.fromkeys(modes, 0o600)


def is_short(value: int) -> Comparison:
    return Comparison("n", Comparator.EQUAL, value)


@pytest.mark.parametrize(
    "statement",
    [
        """UPDATE documents SET metadata = '{"n": 2}' WHERE id = 'b'""",
        "UPDATE documents SET text = 'another' WHERE id = 'c'",
        "UPDATE documents SET rows = 2 WHERE id = 'b'",
        "DELETE FROM documents WHERE id = 'b'",
    ],
)
@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.metadata.matching_rows(is_short(1)),
        lambda store: store.metadata.matching_ids(is_short(2)),
        lambda store: store.metadata.has_field("m"),
        lambda store: store.metadata.field_names(),
        lambda store: store.metadata.field_types("n"),
    ],
)
def test_no_filter_is_asked_of_damaged_documents(store, directory, statement, ask):
    write(store, "a", "b", "c")
    change(directory, statement)
    with pytest.raises(CorruptIndex, match=r"the documents? .*simsearch repair"):
        ask(store)


def test_a_document_is_verified_for_the_first_filter_alone(store, directory, monkeypatch):
    read = []
    monkeypatch.setattr(verified, "sound_document", lambda row: not read.append(row[2]))
    write(store, "a", "b")
    assert store.metadata.matching_ids(is_short(1)) == ["a", "b"]
    assert store.metadata.matching_ids(is_short(2)) == []
    assert read == ["a", "b"]
    write(store, "c")
    with store.transaction():
        store.remove(["a"])
    assert store.metadata.matching_ids(is_short(1)) == ["b", "c"]
    assert read == ["a", "b", "c"]


def test_a_document_under_a_row_number_that_was_taken_back_is_verified(store, directory):
    write(store, "a")

    def filtered_and_taken_back():
        with store.transaction():
            insert(store, "b")
            assert store.metadata.matching_ids(is_short(1)) == ["a", "b"]
            raise LookupError

    with pytest.raises(LookupError):
        filtered_and_taken_back()
    write(store, "c")
    change(directory, "UPDATE documents SET metadata = '{}' WHERE id = 'c'")
    with pytest.raises(CorruptIndex, match="the document of row 1 is damaged"):
        store.metadata.matching_ids(is_short(1))
