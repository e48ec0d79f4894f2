"""Derived files: listed by a commit, verified, and never needed."""

from __future__ import annotations

import pytest
from stores import fault, raw, write

from simsearch.errors import IndexLocked, SystemFailure
from simsearch.storage import DocumentStore, Inspection, SegmentOvertaken


def add(store, content=b"built", rows=(0, 2), **options):
    source = store.segments.source(*rows)
    with store.segments.draft() as draft:
        draft.write(content[:2])
        draft.write(content[2:])
        return store.segments.install(
            draft, rows=rows, source=source, description="flat", **options
        )


def faults(store):
    return [each.fault for each in store.segments.read()]


def test_a_segment_is_read_back_as_it_was_written(store, directory):
    write(store, "a", "b")
    segment = add(store)
    assert (segment.first_row, segment.end_row, segment.description) == (0, 2, "flat")
    assert segment.path.read_bytes() == b"built"
    again = DocumentStore.open(directory)
    assert again.segments.read() == [segment]
    again.close()
    assert segment.path.stat().st_mode & 0o777 == 0o600


def test_rows_that_are_added_or_deleted_leave_a_segment_as_it_is(store):
    write(store, "a", "b")
    segment = add(store)
    write(store, "c")
    with store.transaction():
        store.remove(["a"])
    assert store.segments.read() == [segment]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b"buil"), "is damaged"),
        (lambda path: path.write_bytes(b"build"), "is damaged"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), "is missing"),
    ],
)
def test_a_segment_that_is_not_what_was_written_has_a_fault(store, damage, reason):
    write(store, "a", "b")
    damage(add(store).path)
    assert faults(store) == [reason]


def test_a_segment_of_other_vectors_has_a_fault(store, directory):
    write(store, "a", "b")
    add(store)
    with raw(directory) as connection:
        connection.execute("UPDATE vector_blocks SET crc32 = 1")
    assert faults(store) == ["was built from other vectors"]


def test_of_two_segments_with_the_same_rows_one_has_a_fault(store, directory):
    write(store, "a", "b")
    add(store)
    with raw(directory) as connection:
        connection.execute(
            "INSERT INTO segments SELECT 'x' || substr(name, 2), first_row, end_row, bytes, sha256,"
            " source, description FROM segments"
        )
    for path in list((directory / "segments").iterdir()):
        (directory / "segments" / f"x{path.name[1:]}").write_bytes(path.read_bytes())
    assert faults(store) == [None, "has rows that another one has"]


@pytest.mark.parametrize("rows", [(0, 2), (1, 2)])
def test_a_segment_of_rows_that_another_one_has_is_not_listed(store, rows):
    write(store, "a", "b")
    first = add(store)
    with pytest.raises(SegmentOvertaken):
        add(store, rows=rows)
    assert store.segments.read() == [first]
    assert [each.name for each in store.segments.folder.iterdir()] == [first.path.name]


def test_a_segment_of_vectors_that_are_others_by_now_is_not_listed(store):
    write(store, "a", "b")
    with store.segments.draft() as draft, pytest.raises(SegmentOvertaken):
        store.segments.install(draft, rows=(0, 2), source="of before", description="")
    assert store.segments.read() == []


def test_what_was_written_is_not_read_again_to_be_verified(store, monkeypatch):
    write(store, "a", "b")
    segment = add(store)
    monkeypatch.setattr("simsearch.cache.hash_file", lambda path: "read")
    assert store.segments.read() == [segment]


def test_who_builds_removes_what_a_killed_process_left_and_nobody_else_builds(store):
    write(store, "a", "b")
    segment = add(store)
    (store.segments.folder / "killed.tmp").touch()
    with store.segments.building(), pytest.raises(IndexLocked), store.segments.building():
        pass
    names = {each.name for each in store.segments.folder.iterdir()}
    assert names == {segment.path.name, "LOCK"}


def test_segments_that_are_forgotten_are_not_read(store):
    write(store, "a", "b")
    store.segments.forget([add(store)])
    assert store.segments.read() == []


def test_a_new_segment_takes_the_place_of_old_ones_in_one_commit(store):
    write(store, "a", "b")
    old = [add(store, rows=(0, 1)), add(store, rows=(1, 2))]
    new = add(store, b"merged", retires=old)
    assert store.segments.read() == [new]
    assert [each.path.exists() for each in (*old, new)] == [False, False, True]


@pytest.mark.parametrize("place", ["write", "sync", "rename", "list"])
def test_a_full_disk_leaves_the_old_segments_and_no_file(store, directory, place):
    write(store, "a", "b")
    old = add(store)
    with fault(f"segment.{place}:enospc"), pytest.raises((SystemFailure, OSError)):
        add(store, b"merged", retires=[old])
    assert store.segments.read() == [old]
    assert list((directory / "segments").iterdir()) == [old.path]


def test_a_check_warns_of_a_damaged_segment_and_notes_unlisted_files(store, directory):
    write(store, "a", "b", "c")
    damaged, lost, _ = (add(store, rows=(row, row + 1)) for row in range(3))
    damaged.path.write_bytes(b"build")
    lost.path.unlink()
    (directory / "segments" / "killed.tmp").touch()
    with Inspection(directory) as inspection:
        inspection.read_segments(quick=True)
        inspection.read_segments(quick=False)
    wanted = {"segment", "unlisted"}
    its = [each for each in inspection.findings if each.code in wanted]
    found = sorted((each.code, each.path.rsplit("/")[-1]) for each in its)
    assert found == sorted(
        [("unlisted", "killed.tmp")] * 2
        + [("segment", lost.path.name)] * 2
        + [("segment", damaged.path.name)]
    )


def test_files_that_no_commit_lists_are_not_read(store, directory):
    write(store, "a", "b")
    segment = add(store)
    (directory / "segments" / f"{'0' * 32}.faiss").write_bytes(b"unlisted")
    assert store.segments.read() == [segment]
