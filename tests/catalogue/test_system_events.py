"""Catalogue, rows 91-110 as they concern an index: full disks, locks, read-only media, odd names.

Rows 91 and 92 (kills, loss of power) are tests/crash; 99-102 (killed holders of the lock, readers
during a compaction, forks, threads) are tests/storage/test_session.py and tests/search_index.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Run, Write, contents

from simsearch.records import Document
from simsearch.search_index import SearchIndex
from simsearch.storage import locks
from simsearch.storage.locks import writer_lock

SIMSEARCH = [sys.executable, "-m", "simsearch"]


def may_mount() -> bool:
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return done.returncode == 0


mounting = pytest.mark.skipif(not may_mount(), reason="only root may mount, in a space of its own")


def many(write: Write) -> Path:
    """Return a corpus of 2 MB, which is one commit."""
    lines = (f'{{"id":"n{n}","text":"card {n} {"my bank " * 250}"}}\n' for n in range(1000))
    return write("many.jsonl", "".join(lines))


def in_a_space_of_its_own(script: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    command = ["unshare", "-m", "sh", "-c", script, sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@mounting
def test_row_93_a_full_disk_is_one_line_and_the_index_as_it_was(
    index_dir: Path, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "small").mkdir()
    done = in_a_space_of_its_own(
        'size=$(( $(du -sm "$1" | cut -f1) + 1 ))m; '
        'mount -t tmpfs -o size=$size none "$2" && cp -a "$1" "$2/i" && '
        '"$0" -m simsearch add "$3" -i "$2/i"; echo "code $?"; '
        '"$0" -m simsearch check "$2/i"; "$0" -m simsearch info "$2/i" --json',
        index_dir,
        tmp_path / "small",
        many(write),
    )
    assert done.stdout.startswith("code 6\n"), done
    assert "/small/i is sound\n" in done.stdout
    assert '"documents": 3,' in done.stdout
    (line,) = done.stderr.splitlines()
    assert "disk is full" in line or "No space left" in line


@mounting
def test_row_97_read_only_media_are_searched_and_not_written_to(
    index_dir: Path, write: Write, tmp_path: Path
) -> None:
    done = in_a_space_of_its_own(
        'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && '
        '"$0" -m simsearch query "my cat" -i "$1" --json && '
        '"$0" -m simsearch check "$1" && '
        '"$0" -m simsearch add "$2" -i "$1"; echo "code $?"',
        index_dir,
        write("one.jsonl", '{"id":"new","text":"dog"}'),
    )
    assert '"id": "cat"' in done.stdout, done
    assert f"{index_dir} is sound\ncode 6\n" in done.stdout
    assert f"{index_dir} is read-only: it can be searched, not written to" in done.stderr


def test_row_95_a_commit_that_the_disk_refuses_is_one_line(
    index_dir: Path, write: Write, run: Run
) -> None:
    before = contents(index_dir)
    done = subprocess.run(
        [*SIMSEARCH, "add", write("a.jsonl", '{"id":"new","text":"dog"}'), "-i", index_dir],
        env={**os.environ, "SIMSEARCH_FAILPOINT": "transaction.commit:eio"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 6
    assert done.stderr == f"simsearch: error: {index_dir}/meta.db: Input/output error\n"
    assert contents(index_dir) == before


def test_row_96_a_limit_of_file_size_is_as_a_full_disk(index_dir: Path, write: Write) -> None:
    before = contents(index_dir)
    done = subprocess.run(
        [*SIMSEARCH, "add", many(write), "-i", index_dir],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 6, done
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"simsearch: error: {index_dir}")
    assert contents(index_dir) == before


def test_row_98_a_second_writer_is_told_who_holds_the_lock(
    run: Run, index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LOCK_BUDGET", 0.0)
    with writer_lock(index_dir / "LOCK"):
        for command in (["delete", "cat", "-i", index_dir], ["compact", index_dir]):
            message = run(*command).refusal(5)
            assert message.startswith(f"{index_dir} is locked by pid {os.getpid()} on ")
        assert run("query", "my cat", "-i", index_dir).code == 0


def test_row_99_what_a_killed_writer_left_in_the_lock_file_locks_nobody_out(
    run: Run, index_dir: Path
) -> None:
    (index_dir / "LOCK").write_text("pid 1 on nowhere since 1970-01-01")
    assert run("delete", "cat", "-i", index_dir).code == 0


def test_row_106_a_locale_without_umlauts_changes_nothing(index_dir: Path, write: Write) -> None:
    corpus = write("a.jsonl", '{"id":"größe","text":"my card"}')
    environment = {**os.environ, "LC_ALL": "C", "LANG": "C"}
    for command in (["add", corpus, "-i", index_dir], ["get", "größe", "-i", index_dir]):
        done = subprocess.run(
            [*SIMSEARCH, *command], env=environment, capture_output=True, check=False
        )
        assert done.returncode == 0, done
    assert "größe".encode() in done.stdout


@pytest.mark.parametrize(
    "name", ["with spaces", "with\nnewline", "with?#%41", "emoji 🐈", "n" * 200, "-i"]
)
def test_row_108_odd_names_of_directories_work(tmp_path, hash_encoder, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with SearchIndex.create(name, encoder=hash_encoder) as index:
        monkeypatch.chdir("/")  # the path was made absolute when it was opened
        index.add([Document("a", "text")])
        assert index.search("text")[0].id == "a"
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_row_109_files_are_for_their_owner_whatever_the_umask(tmp_path, hash_encoder):
    before = os.umask(0)
    try:
        with SearchIndex.create(tmp_path / "i", encoder=hash_encoder) as index:
            index.add([Document("a", "text")])
            modes = {each.name: each.stat().st_mode & 0o077 for each in (tmp_path / "i").iterdir()}
    finally:
        os.umask(before)
    assert (tmp_path / "i").stat().st_mode & 0o777 == 0o700
    assert modes.pop("FORMAT") == 0o066  # the directory keeps everybody out, and it is no secret
    modes.pop("encoder")
    assert modes == dict.fromkeys(modes, 0)
