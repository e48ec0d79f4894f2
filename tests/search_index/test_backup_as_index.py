"""A backup is an index that can be searched, and that nothing writes to."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import HashEncoder, OtherHashEncoder
from stores import fault, no_file_over, raw

from simsearch.errors import AlreadyExists, CorruptIndex, InvalidInput, SystemFailure
from simsearch.records import Document
from simsearch.search_index import (
    SearchIndex,
    backup_index,
    build_generation,
    build_index,
    check_index,
    compact_index,
    repair_index,
    restore_index,
)
from simsearch.storage import MANIFEST


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A backup of two documents, one of them deleted, so that a compaction would do something."""
    with SearchIndex.create(tmp_path / "index", encoder=HashEncoder()) as index:
        index.add([Document("a", "the cat"), Document("b", "the dog")])
        index.delete(["b"])
    backup_index(tmp_path / "index", tmp_path / "backup")
    return tmp_path / "backup"


def contents(directory: Path) -> dict[str, bytes]:
    return {
        file.relative_to(directory).as_posix(): file.read_bytes()
        for file in directory.rglob("*")
        if file.is_file()
    }


def test_it_is_searched_and_checked_and_stays_byte_for_byte_what_it_was(backup: Path) -> None:
    before = contents(backup)
    with SearchIndex.open(backup, encoder=HashEncoder()) as index:
        assert [hit.id for hit in index.search("the cat")] == ["a"]
    assert check_index(backup, encoder=HashEncoder()).worst is None
    assert contents(backup) == before


def _write(path: Path) -> None:
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        index.add([Document("c", "the cow")])


def _tune(path: Path) -> None:
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        index.optimize()


def _reindex(path: Path) -> None:
    with build_generation(path, encoder=OtherHashEncoder()):
        pytest.fail("a generation was begun")


@pytest.mark.parametrize("write", [_write, _tune, _reindex, compact_index])
def test_nothing_writes_to_it_and_the_way_out_is_told(
    backup: Path, tmp_path: Path, write: Callable[[Path], object]
) -> None:
    before = contents(tmp_path)
    with pytest.raises(InvalidInput, match=r"is a backup.*simsearch restore .*backup INDEX_DIR"):
        write(backup)
    assert contents(tmp_path) == before
    restore_index(backup, tmp_path / "restored")
    _write(tmp_path / "restored")
    with SearchIndex.open(tmp_path / "restored", encoder=HashEncoder()) as index:
        assert {document.id for document in index.iterate()} == {"a", "c"}


def test_what_a_lock_and_a_reader_left_in_it_is_no_damage(backup: Path, tmp_path: Path) -> None:
    (backup / "LOCK").write_text("pid 1 on elsewhere")
    (backup / "segments").mkdir()
    (backup / "segments" / "LOCK").touch()
    (backup / "meta.db-shm").write_bytes(bytes(32768))
    restore_index(backup, tmp_path / "restored")
    assert not (tmp_path / "restored" / "LOCK").exists()
    assert check_index(tmp_path / "restored", encoder=HashEncoder()).worst is None


def test_one_that_is_damaged_becomes_an_index_by_repair(backup: Path, tmp_path: Path) -> None:
    with raw(backup) as connection:
        connection.execute("UPDATE vector_blocks SET data = zeroblob(length(data))")
    damaged = (backup / "meta.db").read_bytes()
    with pytest.raises(CorruptIndex, match=r"'meta.db' is damaged.*`simsearch repair .*backup`"):
        restore_index(backup, tmp_path / "restored")
    repair_index(backup, encoder=HashEncoder(), dry_run=True)
    assert (backup / "MANIFEST.json").exists()
    assert repair_index(backup, encoder=HashEncoder()).encoded == 1
    assert not (backup / "MANIFEST.json").exists()
    assert (backup / "quarantine" / "1" / "meta.db").read_bytes() == damaged
    _write(backup)
    with SearchIndex.open(backup, encoder=HashEncoder()) as index:
        assert {document.id for document in index.iterate()} == {"a", "c"}
        assert index.search("the cat", k=1)[0].score == pytest.approx(1, abs=1e-6)


def test_a_disk_that_refuses_the_copy_of_the_database_is_named_and_not_the_source(
    tmp_path: Path,
) -> None:
    with SearchIndex.create(tmp_path / "index", encoder=HashEncoder()) as index:
        vectors = np.random.default_rng(0).standard_normal((500, 256)).astype(np.float32)
        index.add([Document(str(n), "text") for n in range(500)], vectors)
    with no_file_over(65536), pytest.raises(SystemFailure) as caught:
        backup_index(tmp_path / "index", tmp_path / "copies" / "backup")
    assert str(caught.value).startswith(str(tmp_path / "copies"))
    assert list((tmp_path / "copies").iterdir()) == []
    assert check_index(tmp_path / "index", encoder=HashEncoder()).worst is None


def _as_directory(backup: Path) -> None:
    (backup / MANIFEST).unlink()
    (backup / MANIFEST).mkdir()


def _as_link(backup: Path) -> None:
    (backup / MANIFEST).rename(backup.parent / "elsewhere")
    (backup / MANIFEST).symlink_to(backup.parent / "elsewhere")


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda backup: (backup / "extra").touch(), "'extra' does not belong to it"),
        (lambda backup: (backup / "COMMITTED").unlink(), "'COMMITTED' is missing"),
        (lambda backup: (backup / MANIFEST).write_text("garbage"), "'MANIFEST.json' is damaged"),
        (lambda backup: (backup / MANIFEST).write_text("{}"), "'MANIFEST.json' is damaged"),
        (_as_directory, "'MANIFEST.json' is damaged"),
        (_as_link, "'MANIFEST.json' is damaged"),
    ],
)
def test_one_of_which_only_the_manifest_does_not_hold_is_told_and_becomes_an_index(
    backup: Path, tmp_path: Path, spoil: Callable[[Path], object], what: str
) -> None:
    spoil(backup)
    with pytest.raises(CorruptIndex, match=rf"{what}.*`simsearch repair .*backup`"):
        restore_index(backup, tmp_path / "restored")
    found = check_index(backup, encoder=HashEncoder()).findings
    assert [each.what for each in found if each.code == "backup" and what in each.what]
    report = repair_index(backup, encoder=HashEncoder())
    assert (report.documents, report.complete) == (1, True)
    _write(backup)
    with SearchIndex.open(backup, encoder=HashEncoder()) as index:
        assert {document.id for document in index.iterate()} == {"a", "c"}


def test_a_repair_that_fails_leaves_a_damaged_backup_as_it_was(backup: Path) -> None:
    with raw(backup) as connection:
        connection.execute("UPDATE vector_blocks SET data = zeroblob(length(data))")
    before = contents(backup)
    with fault("repair.install:eio"), pytest.raises(OSError, match="Input/output"):
        repair_index(backup, encoder=HashEncoder())
    after = contents(backup)
    assert {name: after[name] for name in before} == before
    assert repair_index(backup, encoder=HashEncoder()).encoded == 1
    manifest = backup / "quarantine" / "1" / MANIFEST
    assert manifest.read_bytes() == before[MANIFEST]


def test_no_replacement_takes_its_place(backup: Path, tmp_path: Path) -> None:
    before = contents(backup)
    shutil.copytree(backup, tmp_path / "second")
    with pytest.raises(AlreadyExists, match="is a backup, which is never replaced"):
        restore_index(tmp_path / "second", backup, replace=True)
    with (
        pytest.raises(AlreadyExists, match="is a backup, which is never replaced"),
        build_index(backup, encoder=HashEncoder(), replace=True),
    ):
        pytest.fail("an index was begun")
    assert contents(backup) == before


def test_a_dry_run_of_a_repair_leaves_nothing_in_it(backup: Path) -> None:
    before = contents(backup)
    repair_index(backup, encoder=HashEncoder(), dry_run=True)
    assert contents(backup) == before
