"""When a handle may be used, what a commit survives, and what happens after a failure."""

from __future__ import annotations

import os
import shutil
import signal

import pytest
from stores import DIM, fault, insert, raw, write

from simsearch import failpoints
from simsearch.errors import CorruptIndex, IndexLocked, InvalidInput, SystemFailure
from simsearch.files import install_directory
from simsearch.storage import DocumentStore, session
from simsearch.storage.locks import writer_lock


def ids(store):
    return [document.id for document in store.stream()]


def pragma(store, name):
    return store._session.connection.execute(f"PRAGMA {name}").fetchone()[0]


@pytest.mark.parametrize("kind", ["eio", "enospc", "raise"])
def test_after_a_failed_commit_the_handle_is_not_used_any_more(store, directory, kind):
    write(store, "a")
    expected = failpoints.InjectedFault if kind == "raise" else SystemFailure
    with fault(f"transaction.commit:{kind}"), pytest.raises(expected):
        write(store, "b")
    for use in (store.count, lambda: write(store, "c"), lambda: store.fetch_ids(["a"])):
        with pytest.raises(SystemFailure, match=r"a commit failed: .*open the index again"):
            use()
    store.close()
    again = DocumentStore.open(directory)
    assert ids(again) == ["a"]
    write(again, "c")
    assert ids(again) == ["a", "c"]
    again.close()


def test_a_full_disk_before_the_commit_leaves_the_handle_and_the_store_as_they_were(store):
    write(store, "a")
    with (
        fault("insert.block:enospc"),
        pytest.raises(SystemFailure, match="No space left on device"),
    ):
        write(store, "b")
    assert ids(store) == ["a"]
    write(store, "b")
    assert ids(store) == ["a", "b"]


def test_a_failed_checkpoint_takes_no_commit_back(store, directory, monkeypatch, caplog):
    monkeypatch.setattr(session, "_LOG_BYTES", 0)
    with fault("checkpoint:eio"):
        write(store, "a")
    assert "every commit is safe in the log" in caplog.text
    write(store, "b")
    assert ids(store) == ["a", "b"]


def test_a_checkpoint_says_how_far_it_went(store, directory):
    write(store, "a")
    done = store.checkpoint()
    assert done.complete
    assert done.pages == done.moved > 0
    reader = DocumentStore.open(directory)
    with reader.snapshot():
        assert reader.count() == 1
        write(store, "b")
        write(store, "c")
        held_back = store.checkpoint()
    # The pages of commits that the reader does not see stay in the log.
    assert not held_back.complete
    assert held_back.moved < held_back.pages
    reader.close()


def test_the_log_is_moved_into_the_database_when_it_is_large(store, directory, monkeypatch):
    monkeypatch.setattr(session, "_LOG_BYTES", 100_000)
    sizes = []
    for number in range(40):
        write(store, *(f"{number}-{n}" for n in range(100)))
        sizes.append((directory / "meta.db-wal").stat().st_size)
    assert max(sizes) < 400_000
    assert store.count() == 4000


def test_closing_leaves_no_log(store, directory):
    write(store, "a")
    store.close()
    assert not (directory / "meta.db-wal").exists()


def test_full_durability_syncs_every_commit_and_batch_only_the_durable_ones(directory):
    full = DocumentStore.open(directory)
    assert pragma(full, "synchronous") == 2
    full.close()
    batch = DocumentStore.open(directory, durability="batch")
    assert pragma(batch, "synchronous") == 1
    with batch.transaction(durable=True):
        insert(batch, "a")
        assert pragma(batch, "synchronous") == 2
    assert pragma(batch, "synchronous") == 1
    batch.close()


def test_only_a_commit_that_survives_a_power_loss_is_witnessed(directory):
    batch = DocumentStore.open(directory, durability="batch")
    write(batch, "a")
    assert not (directory / "COMMITTED").exists()
    with batch.transaction(durable=True):
        insert(batch, "b")
    assert (directory / "COMMITTED").read_text().startswith(f"{2:020d} ")
    batch.close()


def test_a_handle_of_the_parent_is_refused_in_a_fork(store, directory):
    write(store, "a")
    child = os.fork()
    if not child:  # pragma: no cover - its exit code is what is seen of it
        try:
            store.count()
        except IndexLocked as error:
            store.close()
            mine = DocumentStore.open(directory)
            os._exit(0 if "is a fork" in str(error) and mine.count() == 1 else 2)
        finally:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    write(store, "b")
    assert ids(store) == ["a", "b"]


def test_a_handle_follows_a_store_that_was_rewritten_under_its_name(store, directory, tmp_path):
    write(store, "a", "b")
    copied = shutil.copytree(directory, tmp_path / "copy")
    identity = store.identity
    other = DocumentStore.open(copied)
    with other.transaction():
        other.remove(["b"])
    other.close()
    install_directory(copied, directory, replace=True)
    assert ids(store) == ["a"]
    assert store.identity != identity
    write(store, "c")
    assert ids(store) == ["a", "c"]


def test_a_handle_does_not_follow_another_store_nor_a_hole(store, directory, tmp_path):
    write(store, "a")
    other = tmp_path / "other"
    other.mkdir()
    DocumentStore.create(other, dim=DIM, settings={"encoder": "none"})
    install_directory(other, directory, replace=True)
    for _ in range(2):
        with pytest.raises(SystemFailure, match="replaced by another index"):
            store.count()
        with pytest.raises(SystemFailure, match="replaced by another index"):
            write(store, "b")
    (directory / "meta.db").unlink()
    with pytest.raises(SystemFailure, match="was deleted since it was opened"):
        store.count()


def test_a_handle_of_an_index_that_was_replaced_by_a_damaged_one_says_so(
    store, directory, tmp_path
):
    write(store, "a")
    damaged = shutil.copytree(directory, tmp_path / "damaged")
    with raw(damaged) as connection:
        connection.execute("UPDATE meta SET value = 'x' WHERE key = 'encoder'")
    install_directory(damaged, directory, replace=True)
    for _ in range(2):
        with pytest.raises(CorruptIndex, match="the settings of the index are damaged"):
            store.count()


def test_closing_a_handle_of_the_old_file_does_not_take_the_log_of_the_new(directory, tmp_path):
    old = DocumentStore.open(directory)
    write(old, "a")
    copied = shutil.copytree(directory, tmp_path / "copy")
    install_directory(copied, directory, replace=True)
    new = DocumentStore.open(directory)
    write(new, "b")
    before = (directory / "meta.db-wal").stat().st_ino
    old.close()
    assert (directory / "meta.db-wal").stat().st_ino == before
    assert ids(new) == ["a", "b"]
    new.close()


def test_two_handles_of_one_process_see_each_others_commits(store, directory):
    other = DocumentStore.open(directory)
    write(store, "a")
    write(other, "b")
    write(store, "c")
    assert ids(store) == ids(other) == ["a", "b", "c"]
    other.close()
    write(store, "d")  # the locks of this handle outlive the other's
    assert ids(store) == ["a", "b", "c", "d"]


def test_a_writer_that_was_killed_holding_the_lock_locks_nobody_out(store, directory):
    ready, tell = os.pipe()
    child = os.fork()
    if not child:  # pragma: no cover - killed
        with writer_lock(directory / "LOCK"):
            os.write(tell, b"x")
            signal.pause()
    os.read(ready, 1)
    with pytest.raises(IndexLocked), writer_lock(directory / "LOCK", budget=0.0):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    write(store, "a")
    assert ids(store) == ["a"]
    os.close(ready)
    os.close(tell)


def test_an_exception_in_the_block_rolls_back_and_frees_the_lock(store):
    with pytest.raises(KeyboardInterrupt), store.transaction():
        insert(store, "a")
        raise KeyboardInterrupt
    write(store, "b")
    assert ids(store) == ["b"]


def test_a_closed_store_says_so(store):
    store.close()
    with pytest.raises(InvalidInput, match="is closed"):
        store.count()
