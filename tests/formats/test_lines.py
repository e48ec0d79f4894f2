"""Bytes become lines, or one message that says why not."""

from __future__ import annotations

import gzip
import os
import random
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from simsearch.errors import InvalidData, InvalidInput, NotFound, SystemFailure
from simsearch.formats import ReadOptions, read_lines

Write = Callable[[str, str | bytes], Path]


def noise(lines: int) -> bytes:
    """Lines of 60 hex digits, which gzip cannot shrink to nothing."""
    source = random.Random(5)
    return b"".join(b"%060x\n" % source.getrandbits(240) for _ in range(lines))


def test_lines_are_numbered_from_one(write: Write) -> None:
    assert list(read_lines(write("a.txt", "x\n\ny\n"))) == [(1, "x"), (2, ""), (3, "y")]


def test_the_last_line_needs_no_newline(write: Write) -> None:
    assert list(read_lines(write("a.txt", "x\ny"))) == [(1, "x"), (2, "y")]


def test_a_file_of_no_bytes_has_no_lines(write: Write) -> None:
    assert list(read_lines(write("a.txt", b""))) == []


def test_crlf_ends_a_line_and_is_not_part_of_it(write: Write) -> None:
    assert list(read_lines(write("a.txt", b"x\r\ny\r\n"))) == [(1, "x"), (2, "y")]


@pytest.mark.parametrize("char", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_other_separators_stay_inside_the_line(write: Write, char: str) -> None:
    assert list(read_lines(write("a.txt", f"x{char}y\nz"))) == [(1, f"x{char}y"), (2, "z")]


def test_a_carriage_return_at_the_end_of_the_file_is_text(write: Write) -> None:
    assert list(read_lines(write("a.txt", b"x\r"))) == [(1, "x\r")]


def test_lines_that_cross_the_chunks_of_reading_are_whole(write: Write) -> None:
    # Odd lengths of 3-byte characters: newlines and characters fall on every chunk border.
    expected = ["語" * (n % 97) + str(n) for n in range(3000)]
    path = write("a.txt", "\r\n".join(expected))
    assert [line for _, line in read_lines(path)] == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_of_utf8_is_dropped_once(write: Write, encoding: str) -> None:
    path = write("a.txt", "\ufeff\ufeffx\n")
    assert list(read_lines(path, ReadOptions(encoding=encoding))) == [(1, "\ufeffx")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_only_a_byte_order_mark_is_an_empty_file(write: Write, encoding: str) -> None:
    path = write("a.txt", b"\xef\xbb\xbf")
    assert list(read_lines(path, ReadOptions(encoding=encoding))) == []


@pytest.mark.parametrize(
    ("codec", "mark", "name"),
    [
        ("utf-16-le", b"\xff\xfe", "UTF-16"),
        ("utf-16-be", b"\xfe\xff", "UTF-16"),
        ("utf-32-le", b"\xff\xfe\x00\x00", "UTF-32"),
        ("utf-32-be", b"\x00\x00\xfe\xff", "UTF-32"),
    ],
)
class TestWideEncodings:
    TEXT = "x\u0a0d\u2028y\r\nz 語😀\n"  # U+0A0D holds the bytes of both newline characters

    def test_are_recognised_by_their_mark(
        self, write: Write, codec: str, mark: bytes, name: str
    ) -> None:
        path = write("a.txt", mark + self.TEXT.encode(codec))
        expected = rf"a\.txt: looks like {name} \(use --encoding {name.lower()}\)"
        with pytest.raises(InvalidData, match=expected) as caught:
            list(read_lines(path))
        assert caught.value.exit_code == 3

    def test_are_read_when_named(self, write: Write, codec: str, mark: bytes, name: str) -> None:
        path = write("a.txt", mark + self.TEXT.encode(codec))
        lines = list(read_lines(path, ReadOptions(encoding=name.lower())))
        assert lines == [(1, "x\u0a0d\u2028y"), (2, "z 語😀")]

    def test_are_read_with_their_byte_order_named(
        self, write: Write, codec: str, mark: bytes, name: str
    ) -> None:
        path = write("a.txt", mark + self.TEXT.encode(codec))
        lines = list(read_lines(path, ReadOptions(encoding=codec)))
        assert lines == [(1, "x\u0a0d\u2028y"), (2, "z 語😀")]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-32"])
def test_a_mark_contradicts_another_encoding(write: Write, encoding: str) -> None:
    path = write("a.txt", "abc".encode("utf-16"))
    with pytest.raises(InvalidData, match="looks like UTF-16"):
        list(read_lines(path, ReadOptions(encoding=encoding)))


def test_utf16_without_a_mark_asks_for_the_byte_order(write: Write) -> None:
    path = write("a.txt", "abc".encode("utf-16-be"))
    with pytest.raises(InvalidData, match=r"does not start with BOM.*utf-16-le"):
        list(read_lines(path, ReadOptions(encoding="utf-16")))


def test_utf16_that_ends_inside_a_character_is_refused(write: Write) -> None:
    path = write("a.txt", b"\xff\xfea\x00b")
    with pytest.raises(InvalidData, match=r"a\.txt:1: byte 0x62 at offset 4 is not utf-16"):
        list(read_lines(path, ReadOptions(encoding="utf-16")))


def test_a_bad_byte_is_named_with_line_and_offset(write: Write) -> None:
    path = write("a.txt", b"one\ntwo\ncaf\xe9\n")
    message = r"a\.txt:3: byte 0xe9 at offset 11 is not utf-8 \(use --encoding, e\.g\. latin-1\)$"
    with pytest.raises(InvalidData, match=message) as caught:
        list(read_lines(path))
    assert caught.value.exit_code == 3


def test_the_lines_before_a_bad_byte_come_first(write: Write) -> None:
    lines = read_lines(write("a.txt", b"one\ntwo\ncaf\xe9\n"))
    assert [next(lines), next(lines)] == [(1, "one"), (2, "two")]
    with pytest.raises(InvalidData, match=":3: byte 0xe9"):
        next(lines)


def test_the_offset_of_a_bad_byte_counts_the_mark_and_all_chunks(write: Write) -> None:
    good = "語é\n".encode() * 20_000
    path = write("a.txt", b"\xef\xbb\xbf" + good + b"\xff")
    with pytest.raises(InvalidData, match=rf":20001: byte 0xff at offset {3 + len(good)} is"):
        list(read_lines(path))


def test_a_character_cut_at_the_end_of_the_file_is_refused(write: Write) -> None:
    with pytest.raises(InvalidData, match=":2: byte 0xe8 at offset 2 is not utf-8"):
        list(read_lines(write("a.txt", b"a\n\xe8\xaa")))


def test_latin_1_is_read_when_named(write: Write) -> None:
    path = write("a.txt", b"caf\xe9\n")
    assert list(read_lines(path, ReadOptions(encoding="latin-1"))) == [(1, "café")]


def test_gzip_is_recognised_by_content_and_not_by_name(write: Write) -> None:
    assert list(read_lines(write("a.txt", gzip.compress(b"x\ny\n")))) == [(1, "x"), (2, "y")]
    assert list(read_lines(write("b.txt.gz", b"x\n"))) == [(1, "x")]


def test_gzip_of_several_members_with_padding_is_one_text(write: Write) -> None:
    members = gzip.compress(b"x\n") + gzip.compress(b"") + b"\0" * 300 + gzip.compress(b"y\nz")
    path = write("a.gz", members + b"\0" * 40_000)
    assert list(read_lines(path)) == [(1, "x"), (2, "y"), (3, "z")]


def test_gzip_of_nothing_has_no_lines(write: Write) -> None:
    assert list(read_lines(write("a.gz", gzip.compress(b"")))) == []


def test_truncated_gzip_says_how_far_it_came(write: Write) -> None:
    whole = gzip.compress(noise(3000))
    lines = read_lines(write("a.gz", whole[: len(whole) // 2]))
    read: list[int] = []
    with pytest.raises(InvalidData, match=r"a\.gz: compressed data ends early after") as caught:
        read.extend(number for number, _ in lines)
    assert str(caught.value).endswith(f"after {len(read)} lines")
    assert 1300 < len(read) < 1600
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("kept", [2, 5, 12, -1, -8])
def test_gzip_cut_anywhere_is_refused(write: Write, kept: int) -> None:
    path = write("a.gz", gzip.compress(b"x\ny\n")[:kept])
    with pytest.raises(InvalidData, match=r"compressed data ends early after [02] lines"):
        list(read_lines(path))


def test_gzip_with_a_wrong_checksum_is_refused(write: Write) -> None:
    damaged = bytearray(gzip.compress(b"x\ny\n"))
    damaged[-8] ^= 1
    with pytest.raises(InvalidData, match=r"a\.gz: compressed data is damaged after 0 lines"):
        list(read_lines(write("a.gz", bytes(damaged))))


def test_damaged_gzip_says_how_far_it_came(write: Write) -> None:
    damaged = bytearray(gzip.compress(noise(3000)))
    damaged[-8] ^= 1
    with pytest.raises(InvalidData, match=r"damaged after 2[0-9]{3} lines \("):
        list(read_lines(write("a.gz", bytes(damaged))))


def test_what_follows_gzip_and_is_none_is_refused(write: Write) -> None:
    with pytest.raises(InvalidData, match="compressed data is damaged"):
        list(read_lines(write("a.gz", gzip.compress(b"x\n") + b"garbage")))


def test_a_decompression_bomb_is_stopped_and_the_option_named(write: Write) -> None:
    path = write("a.gz", gzip.compress((b"a" * 4000 + b"\n") * 8000))
    with pytest.raises(InvalidData, match=r"a\.gz: .*more than 100 times \(--max-expansion"):
        list(read_lines(path))


def test_a_bomb_that_is_wanted_is_read(write: Write) -> None:
    path = write("a.gz", gzip.compress((b"a" * 4000 + b"\n") * 8000))
    assert sum(1 for _ in read_lines(path, ReadOptions(max_expansion=2000))) == 8000


def test_a_small_file_may_be_as_repetitive_as_it_likes(write: Write) -> None:
    content = (b"a" * 999 + b"\n") * 10_000
    path = write("a.gz", gzip.compress(content))
    assert path.stat().st_size * 100 < len(content)
    assert sum(1 for _ in read_lines(path)) == 10_000


def test_a_line_of_ten_megabytes_is_refused_in_little_memory(write: Write) -> None:
    path = write("a.txt", b"short\n" + b"x" * 10_000_000)
    lines = read_lines(path)
    assert next(lines) == (1, "short")
    tracemalloc.start()
    with pytest.raises(InvalidData, match=r"a\.txt:2: longer than 1048576 .*--max-record"):
        next(lines)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


def test_a_line_of_ten_megabytes_is_refused_before_it_is_read_whole(
    fill_stdin: Callable[[bytes], None],
) -> None:
    fill_stdin(b"x" * 10_000_000)
    with pytest.raises(InvalidData, match="stdin:1: longer than 1048576"):
        next(read_lines("-"))
    assert sys.stdin.buffer.tell() < 1_100_000


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_limit_of_a_line_is_exact_and_leaves_out_its_end(write: Write, end: str) -> None:
    options = ReadOptions(max_record=5)
    assert list(read_lines(write("a.txt", "語語語語語" + end), options)) == [(1, "語語語語語")]
    with pytest.raises(InvalidData, match=":1: longer than 5 characters"):
        list(read_lines(write("b.txt", "語語語語語語" + end), options))


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"none\.txt: no such file") as caught:
        list(read_lines(tmp_path / "none.txt"))
    assert caught.value.exit_code == 2


def test_a_path_through_a_file_is_not_found(write: Write) -> None:
    with pytest.raises(NotFound, match="no such file"):
        list(read_lines(write("a.txt", "x") / "b.txt"))


def test_a_directory_asks_for_the_files_in_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"is a directory \(name the files in it\)") as caught:
        list(read_lines(tmp_path))
    assert caught.value.exit_code == 2


def test_a_fifo_is_refused_and_never_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match=r"pipe: is a FIFO, not a file \(use - for stdin\)"):
        list(read_lines(tmp_path / "pipe"))


def test_a_device_is_refused() -> None:
    with pytest.raises(InvalidInput, match="/dev/zero: is a device"):
        list(read_lines("/dev/zero"))


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket may have 108 bytes only
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(InvalidInput, match="s: is a socket"):
            list(read_lines("s"))


def test_a_name_with_nul_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not a file name"):
        list(read_lines("a\0b"))


def test_a_loop_of_links_is_a_failure_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SystemFailure, match="loop: Too many levels of symbolic links") as caught:
        list(read_lines(tmp_path / "loop"))
    assert caught.value.exit_code == 6


def test_a_file_that_may_not_be_opened_is_a_failure_of_the_system(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write("a.txt", "x")
    monkeypatch.setattr("builtins.open", refuse)  # root, who runs tests, may open anything
    with pytest.raises(SystemFailure, match=r"a\.txt: Permission denied") as caught:
        list(read_lines(path))
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("magic", "kind"),
    [
        (b"PAR1\x15\x04", "parquet"),
        (b"PK\x03\x04\x14", "zip or xlsx"),
        (b"%PDF-1.7", "PDF"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"\x93NUMPY\x01\x00", "a numpy array"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
    ],
)
def test_binary_formats_are_recognised_compressed_or_not(
    write: Write, magic: bytes, kind: str
) -> None:
    content = magic + b"\x00\x01\x02" * 20
    for path in (write("a.jsonl", content), write("b.jsonl", gzip.compress(content))):
        with pytest.raises(InvalidData, match=rf"looks like {kind}, not JSONL or CSV \(.+\)"):
            list(read_lines(path))


def test_gzip_inside_gzip_is_named(write: Write) -> None:
    path = write("a.gz", gzip.compress(gzip.compress(b"x\n")))
    with pytest.raises(InvalidData, match="looks like gzip inside gzip"):
        list(read_lines(path))


def test_a_dash_is_stdin(fill_stdin: Callable[[bytes], None]) -> None:
    fill_stdin(b"x\ny\n")
    assert list(read_lines("-")) == [(1, "x"), (2, "y")]


def test_gzip_on_stdin_is_read(fill_stdin: Callable[[bytes], None]) -> None:
    fill_stdin(gzip.compress(b"x\ny\n"))
    assert list(read_lines(Path("-"))) == [(1, "x"), (2, "y")]


def test_messages_about_a_dash_say_stdin(fill_stdin: Callable[[bytes], None]) -> None:
    fill_stdin(b"x\n\xff")
    with pytest.raises(InvalidData, match=r"^stdin:2: byte 0xff at offset 2"):
        list(read_lines("-"))


def test_a_pipe_that_gives_single_bytes_is_read_whole() -> None:
    program = "from simsearch.formats import read_lines; print(list(read_lines('-')))"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as child:
        assert child.stdin is not None
        for byte in gzip.compress(b"x\ny\n"):
            child.stdin.write(bytes([byte]))
            child.stdin.flush()
        out, _ = child.communicate(timeout=300)
    assert out == b"[(1, 'x'), (2, 'y')]\n"


def test_a_closed_stdin_is_named(fill_stdin: Callable[[bytes], None]) -> None:
    fill_stdin(b"x\n")
    sys.stdin.close()
    with pytest.raises(InvalidData, match="stdin is closed") as caught:
        list(read_lines("-"))
    assert caught.value.exit_code == 3


def test_no_stdin_at_all_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InvalidData, match="stdin is closed"):
        list(read_lines("-"))
