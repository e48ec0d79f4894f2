"""Catalogue, rows 91-110 as they concern an index: kills, full disks, locks, clocks, odd names.

Kills at every step are tests/crash, and so is row 92, the loss of power; row 103 (Ctrl-C) is
test_training.py.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from command_line import Run, Write, contents
from stores import fault

from simsearch.ann import Target
from simsearch.errors import IndexLocked
from simsearch.records import Document
from simsearch.search_index import SearchIndex, check_index, compact_index
from simsearch.storage import locks, mounts
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


def test_row_91_a_killed_add_has_added_nothing_and_can_be_repeated(
    index_dir: Path, write: Write, run: Run
) -> None:
    before, corpus = contents(index_dir), write("a.jsonl", '{"id":"new","text":"dog"}')
    done = subprocess.run(
        [*SIMSEARCH, "add", corpus, "-i", index_dir],
        env={**os.environ, "SIMSEARCH_FAILPOINT": "transaction.commit:kill"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert contents(index_dir) == before
    assert run("add", corpus, "-i", index_dir).code == 0
    assert run("get", "new", "-i", index_dir).code == 0


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


@pytest.mark.parametrize("step", ["segment.write", "segment.sync", "segment.list"])
def test_row_94_a_disk_that_fills_up_while_a_segment_is_built_leaves_the_search_as_it_was(
    run: Run, index_dir: Path, step: str
) -> None:
    with SearchIndex.open(index_dir) as index:
        index.set_target(Target(recall=1.0, exact_below=2))
        index.optimize()
    (segment,) = files = list((index_dir / "segments").glob("*.faiss"))
    before = run("query", "my cat", "-i", index_dir, "--json").objects
    with fault(f"{step}:enospc"):
        message = run("tune", index_dir, "--rebuild", "--quiet").refusal(6)
    assert "No space left on device" in message
    assert list((index_dir / "segments").glob("*.*")) == files
    assert segment.stat().st_size > 0
    assert run("query", "my cat", "-i", index_dir, "--json").objects == before
    assert run("check", index_dir).code == 0
    assert run("tune", index_dir, "--rebuild").code == 0


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


def test_row_100_a_reader_keeps_its_commit_while_the_index_is_compacted(tmp_path, hash_encoder):
    documents = [Document(f"d{n}", f"text {n}") for n in range(3000)]
    with SearchIndex.create(tmp_path / "i", encoder=hash_encoder) as index:
        index.add(documents)
        reading = index.iterate()
        seen = [next(reading)]
        index.delete([f"d{n}" for n in range(2000)])
        compact_index(tmp_path / "i", purge=True)
        assert seen + list(reading) == documents
        assert list(index.iterate()) == documents[2000:]
        assert "d2500" in [hit.id for hit in index.search("text 2500", k=5)]


def test_row_101_a_fork_is_told_to_open_the_index_itself(tmp_path, hash_encoder):
    with SearchIndex.create(tmp_path / "i", encoder=hash_encoder) as index:
        index.add([Document("a", "text")])
        child = os.fork()
        if not child:
            try:
                index.search("text")
            except IndexLocked as error:
                os._exit(42 if "open the index in each process" in str(error) else 1)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
        assert [hit.id for hit in index.search("text")] == ["a"]


def test_row_102_threads_share_a_handle(tmp_path, hash_encoder):
    def work(number: int) -> str:
        index.add([Document(f"d{number}", f"word{number}")])
        return index.search(f"word{number}", k=1)[0].id

    with SearchIndex.create(tmp_path / "i", encoder=hash_encoder) as index:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(work, range(40)))
        assert found == [f"d{number}" for number in range(40)]
        assert len(index) == 40


def test_row_105_commits_are_ordered_by_their_number_whatever_the_clock_says(
    tmp_path, hash_encoder, monkeypatch
):
    path = tmp_path / "i"
    SearchIndex.create(path, encoder=hash_encoder).close()
    with SearchIndex.open(path, encoder=hash_encoder) as reader:
        for number, now in enumerate([4e9, 0.0, 1e9, 1.0]):
            monkeypatch.setattr(time, "time", lambda now=now: now)
            monkeypatch.setattr(locks, "_now", lambda now=now: time.ctime(now))
            with SearchIndex.open(path, encoder=hash_encoder) as writer:
                writer.upsert([Document("a", f"text {number}"), Document(f"d{number}", "more")])
            for file in path.iterdir():
                os.utime(file, (now, now))
            assert reader.search("text", k=1)[0].text == f"text {number}"
            assert (len(reader), reader.info().commit_number) == (number + 2, number + 1)
    assert check_index(path, encoder=hash_encoder).findings == ()


def test_row_106_a_locale_without_umlauts_changes_nothing(index_dir: Path, write: Write) -> None:
    corpus = write("a.jsonl", '{"id":"größe","text":"my card"}')
    environment = {**os.environ, "LC_ALL": "C", "LANG": "C"}
    for command in (["add", corpus, "-i", index_dir], ["get", "größe", "-i", index_dir]):
        done = subprocess.run(
            [*SIMSEARCH, *command], env=environment, capture_output=True, check=False
        )
        assert done.returncode == 0, done
    assert "größe".encode() in done.stdout


@pytest.mark.parametrize("elsewhere", ["/nonexistent", "/proc/self/fdinfo", "/dev/shm"])
def test_row_107_without_a_home_or_a_temporary_place_an_index_is_written_and_read(
    index_dir: Path, elsewhere: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    environment |= {"TMPDIR": elsewhere, "SIMSEARCH_CACHE": "/proc/self/fdinfo/cache"}
    beside = sorted(index_dir.parent.iterdir())
    for command in (["add", "-", "-i", index_dir], ["query", "my dog", "-i", index_dir]):
        done = subprocess.run(
            [*SIMSEARCH, *command],
            env=environment,
            input=b'{"id":"new","text":"my dog"}\n',
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done
    assert b"new" in done.stdout
    assert sorted(index_dir.parent.iterdir()) == beside


def test_row_107_a_cache_that_cannot_be_written_to_is_one_line(
    tiny_encoder_dir: Path, write: Write, tmp_path: Path
) -> None:
    corpus = write("a.jsonl", '{"id":"new","text":"my dog"}')
    done = subprocess.run(
        [*SIMSEARCH, "index", corpus, "-i", tmp_path / "new", "--encoder", tiny_encoder_dir],
        env={**os.environ, "SIMSEARCH_CACHE": "/proc/self/fdinfo/cache"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 6, done
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert line.startswith("simsearch: error: /proc/self/fdinfo/cache")
    assert not (tmp_path / "new").exists()


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


@pytest.fixture
def mounted_as(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that says of which type the file system of the tests is."""

    def say(kind: str) -> None:
        device = tmp_path.stat().st_dev
        table = tmp_path / "mountinfo"
        table.write_text(
            "22 1 0:0 / /proc rw - proc proc rw\n"
            f"29 1 {os.major(device)}:{os.minor(device)} / / rw,noatime shared:1 - {kind} a:/b rw\n"
        )
        monkeypatch.setattr(mounts, "MOUNTS", table)

    return say


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_row_110_on_a_network_file_system_is_read_and_not_written(
    run: Run, index_dir: Path, mounted_as, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    mounted_as(kind)
    for command in (["delete", "cat", "-i", index_dir], ["compact", index_dir]):
        message = run(*command).refusal(5)
        assert message.startswith(f"{index_dir} is on a network file system ({kind})")
        assert message.endswith("set SIMSEARCH_ALLOW_NETWORK_FS=1)")
    assert run("query", "my cat", "-i", index_dir).code == 0
    monkeypatch.setenv("SIMSEARCH_ALLOW_NETWORK_FS", "1")
    assert run("delete", "cat", "-i", index_dir).code == 0


@pytest.mark.parametrize("kind", ["ext4", "tmpfs", "fuse.ntfs-3g", "overlay"])
def test_row_110_other_file_systems_are_written_to(
    run: Run, index_dir: Path, mounted_as, kind: str
) -> None:
    mounted_as(kind)
    assert run("delete", "cat", "-i", index_dir).code == 0
