from __future__ import annotations

import errno
import os
import shutil

import pytest

from simsearch import files
from simsearch.errors import AlreadyExists, SystemFailure


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_replace_text_leaves_the_new_text_and_no_draft(tmp_path):
    target = tmp_path / "note.txt"
    files.replace_text(target, "old")
    files.replace_text(target, "new\n")
    assert target.read_bytes() == b"new\n"
    assert names(tmp_path) == ["note.txt"]


def test_replace_file_keeps_the_old_file_when_writing_fails(tmp_path):
    target = tmp_path / "note.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="halfway"), files.replace_file(target) as stream:
        stream.write(b"new")
        raise RuntimeError("halfway")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["note.txt"]


def test_new_directory_appears_whole(tmp_path):
    with files.new_directory(tmp_path / "deep" / "model") as draft:
        (draft / "weights").write_text("1")
        assert not (tmp_path / "deep" / "model").exists()
    assert (tmp_path / "deep" / "model" / "weights").read_text() == "1"
    assert names(tmp_path / "deep") == ["model"]


def test_new_directory_does_not_appear_when_the_block_fails(tmp_path):
    with pytest.raises(RuntimeError), files.new_directory(tmp_path / "model") as draft:
        (draft / "weights").write_text("1")
        raise RuntimeError
    assert names(tmp_path) == []


def test_new_directory_refuses_what_is_there(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("old")
    with pytest.raises(AlreadyExists, match="--replace"):
        files.new_directory(tmp_path / "model").__enter__()
    assert (tmp_path / "model" / "weights").read_text() == "old"


def test_new_directory_takes_the_place_of_an_empty_directory(tmp_path):
    (tmp_path / "model").mkdir()
    with files.new_directory(tmp_path / "model") as draft:
        (draft / "weights").write_text("1")
    assert names(tmp_path / "model") == ["weights"]


def test_replacing_swaps_the_whole_directory(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "stale").write_text("old")
    with files.new_directory(tmp_path / "model", replace=True) as draft:
        (draft / "weights").write_text("new")
        assert names(tmp_path / "model") == ["stale"]
    assert names(tmp_path / "model") == ["weights"]
    assert names(tmp_path) == ["model"]


def test_replacing_works_where_the_kernel_cannot_exchange(tmp_path, monkeypatch):
    class OldLibc:
        """A C library without renameat2."""

    monkeypatch.setattr(files.ctypes, "CDLL", lambda *_, **__: OldLibc())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "stale").write_text("old")
    with files.new_directory(tmp_path / "model", replace=True) as draft:
        (draft / "weights").write_text("new")
    assert names(tmp_path / "model") == ["weights"]
    assert names(tmp_path) == ["model"]


def test_somebody_who_was_faster_is_not_overwritten(tmp_path):
    with (
        pytest.raises(AlreadyExists, match="meanwhile"),
        files.new_directory(tmp_path / "m") as draft,
    ):
        (draft / "weights").write_text("mine")
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "weights").write_text("theirs")
    assert (tmp_path / "m" / "weights").read_text() == "theirs"


def test_an_os_error_becomes_a_system_failure_with_path_and_reason(tmp_path):
    from simsearch.errors import SystemFailure

    with (
        pytest.raises(SystemFailure, match=r"nowhere.*No such file"),
        files.translated_os_errors(tmp_path),
    ):
        os.stat(tmp_path / "nowhere")


def test_a_device_or_a_missing_folder_is_no_target(tmp_path):
    from simsearch.errors import InvalidInput

    with pytest.raises(InvalidInput, match="not a regular file"):
        files.check_target(files.Path("/dev/null"))
    with pytest.raises(InvalidInput, match="there is no directory"):
        files.check_target(tmp_path / "nowhere" / "x.npy")
    files.check_target(tmp_path / "x.npy")


def test_a_link_to_a_file_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files.replace_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_the_draft_of_a_killed_process_is_removed_by_the_next_one_and_that_of_a_living_is_not(
    tmp_path,
):
    orphan = tmp_path / ".model.draft-123-0123abcd"
    orphan.mkdir()
    (orphan / "weights").write_bytes(b"1")
    others = [tmp_path / ".other.draft-123-0123abcd", tmp_path / ".model.draft-mine"]
    for other in others:
        other.mkdir()
    with files.draft_directory(tmp_path / "model") as first:
        assert not orphan.exists()
        with files.draft_directory(tmp_path / "model") as second:
            assert {*tmp_path.iterdir()} == {first, second, *others}
    assert {*tmp_path.iterdir()} == {*others}


def test_of_a_directory_that_cannot_be_copied_one_file_and_its_reason_are_named(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "a").write_text("x")

    def full(_, to):
        raise OSError(errno.ENOSPC, "No space left on device", str(to))

    with (
        pytest.raises(SystemFailure) as caught,
        files.translated_os_errors(source),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(shutil, "copy2", full)
        files.copy_tree(source, target, link=False)
    assert str(caught.value) == f"{target / 'a'}: No space left on device"


def test_a_copy_that_fails_as_a_whole_is_told_too(tmp_path):
    with pytest.raises(SystemFailure, match="nothing"), files.translated_os_errors(tmp_path):
        raise shutil.Error("nothing of it")
