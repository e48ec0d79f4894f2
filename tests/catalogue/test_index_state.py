"""Catalogue, rows 80-90: indexes that are none, are another's, damaged or hostile."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from command_line import Run, Write, contents
from stores import raw

from simsearch.ann import Target
from simsearch.errors import EncoderMismatch, SystemFailure
from simsearch.records import Document
from simsearch.search_index import SearchIndex, repair_index

FORMATS = Path(__file__).parents[1] / "search_index" / "formats"


def query(run: Run, index_dir: Path) -> str:
    """Ask, and return why there is no answer."""
    return run("query", "my cat", "-i", index_dir).refusal(4)


def test_row_80_a_directory_that_is_no_index_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for command in (["query", "cat", "-i"], ["info"], ["check"]):
        message = run(*command, tmp_path / "photos").refusal(2)
        assert message == f"{tmp_path}/photos: no simsearch index here (FORMAT missing)"


def test_row_81_another_encoder_of_the_same_dim_is_refused_by_both_names(tmp_path, hash_encoder):
    SearchIndex.create(tmp_path / "i", encoder=hash_encoder).close()
    hash_encoder.fingerprint, hash_encoder.name = "hash-2", "other"
    for use in (SearchIndex.open, repair_index):
        with pytest.raises(
            EncoderMismatch, match=r"encoder hash \(hash-1.*got other \(hash-2.*simsearch reindex"
        ):
            use(tmp_path / "i", encoder=hash_encoder)
    assert EncoderMismatch.exit_code == 8


def refused_format(run: Run, index_dir: Path, version: int) -> str:
    """Return the one next step that every command names."""
    steps = set()
    for command in (["query", "cat", "-i"], ["info"], ["check"], ["compact"], ["repair"]):
        message = run(*command, index_dir).refusal(8)
        assert f"has format {version}, this simsearch reads format 5" in message
        steps.add(message.partition("format 5 ")[2])
    (step,) = steps
    return step


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_row_82_an_older_format_says_how_to_upgrade(run: Run, tmp_path: Path, version: int) -> None:
    old = shutil.copytree(FORMATS / f"v{version}", tmp_path / "old")
    expected = f"(run `simsearch upgrade {old}`, which keeps a backup)"
    assert refused_format(run, old, version) == expected
    assert run("upgrade", old).code == 0


def test_row_82_a_newer_format_says_who_reads_it(run: Run, index_dir: Path) -> None:
    (index_dir / "FORMAT").write_text("simsearch-index 6 simsearch/x\n")
    with raw(index_dir) as connection:
        connection.execute("CREATE TABLE more (row INTEGER PRIMARY KEY)")
    expected = "(use the version that wrote it, or index the corpus again)"
    assert refused_format(run, index_dir, 6) == expected


@pytest.mark.parametrize("marker", [b"", b"junk\n", bytes(33), b"simsearch-index 1 simsearch/x\n"])
def test_row_82_a_wrong_marker_is_mended_by_the_command_that_check_names(
    run: Run, index_dir: Path, marker: bytes
) -> None:
    before, written = contents(index_dir), (index_dir / "FORMAT").read_bytes()
    (index_dir / "FORMAT").write_bytes(marker)
    assert f"(run `simsearch repair {index_dir}`)" in query(run, index_dir)
    outcome = run("check", index_dir)
    assert (outcome.code, outcome.out.count("`")) == (4, 2)
    assert f"`simsearch repair {index_dir}`" in outcome.out
    assert run("repair", index_dir).code == 0
    assert contents(index_dir) == before
    assert (index_dir / "FORMAT").read_bytes() == written


def test_row_82_a_marker_that_is_gone_is_written_anew(run: Run, index_dir: Path) -> None:
    (index_dir / "FORMAT").unlink()
    assert f"(run `simsearch repair {index_dir}`)" in query(run, index_dir)
    assert run("check", index_dir).code == 4
    assert run("repair", index_dir).code == 0
    assert run("query", "my cat", "-i", index_dir).code == 0


@pytest.mark.parametrize("version", [1, 2, 3, 4])
@pytest.mark.parametrize("marker", [b"", b"simsearch-index 5 simsearch/x\n"])
def test_row_82_an_older_index_with_a_wrong_marker_is_upgraded(
    run: Run, tmp_path: Path, version: int, marker: bytes
) -> None:
    old = shutil.copytree(FORMATS / f"v{version}", tmp_path / "old")
    (old / "FORMAT").write_bytes(marker)
    expected = f"(run `simsearch upgrade {old}`, which keeps a backup)"
    assert expected in run("check", old).refusal(8)
    assert expected in run("repair", old).refusal(8)
    assert run("upgrade", old).code == 0
    assert run("info", old).code == 0


def test_row_83_a_flipped_bit_in_the_vectors_names_the_rows(run: Run, index_dir: Path) -> None:
    with raw(index_dir) as connection:
        (data,) = connection.execute("SELECT data FROM vector_blocks").fetchone()
        flipped = bytes([*data[:50], data[50] ^ 1, *data[51:]])
        connection.execute("UPDATE vector_blocks SET data = ?", (flipped,))
    message = query(run, index_dir)
    assert "the vectors of rows 0 to 2 are damaged" in message
    assert f"simsearch repair {index_dir}" in message


def zero_all(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def zero_the_header(file: Path) -> None:
    file.write_bytes(bytes(100) + file.read_bytes()[100:])


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("change", [zero_the_header, flip, Path.unlink])
def test_row_84_a_damaged_segment_is_ignored_with_a_warning_and_built_again(
    run: Run, index_dir: Path, change
) -> None:
    before = run("query", "my cat", "-i", index_dir, "--json").objects
    with SearchIndex.open(index_dir) as index:
        index.set_target(Target(recall=1.0, exact_below=2))
        index.optimize()
    (segment,) = (index_dir / "segments").glob("*.faiss")
    change(segment)
    done = run("query", "my cat", "-i", index_dir, "--json")
    assert (done.code, done.objects) == (0, before)
    assert "its rows are compared one by one until `simsearch tune" in done.err
    assert run("repair", index_dir).out.endswith("built 1 segment anew\n")
    assert run("query", "my cat", "-i", index_dir, "--json").err == ""


@pytest.mark.parametrize("change", [zero_all, zero_the_header, cut, Path.unlink])
def test_row_85_a_damaged_database_is_refused(run: Run, index_dir: Path, change) -> None:
    change(index_dir / "meta.db")
    assert "meta.db" in query(run, index_dir)
    assert run("check", index_dir).code == 4
    assert run("add", index_dir / "FORMAT", "-i", index_dir).code == 4


def test_row_86_a_log_that_is_gone_is_noticed(
    run: Run, index_dir: Path, tmp_path: Path, write: Write
) -> None:
    with SearchIndex.open(index_dir) as index:
        index.delete(["cat"])
        killed = shutil.copytree(index_dir, tmp_path / "killed")
    (killed / "meta.db-wal").unlink()
    assert "commit 2 is lost: the log meta.db-wal was deleted" in query(run, killed)
    outcome = run("repair", killed)
    assert outcome.code == 1
    assert run("query", "my cat", "-i", killed).code == 0


def test_row_87_lost_vectors_are_listed_and_encoded_again(run: Run, index_dir: Path) -> None:
    before = contents(index_dir)
    with raw(index_dir) as connection:
        connection.execute("DELETE FROM vector_blocks")
    assert "rows 0 to 2 are lost" in query(run, index_dir)
    assert run("repair", index_dir).code == 0
    assert contents(index_dir) == before


def test_row_88_files_that_nobody_listed_are_ignored_and_told_of(run: Run, index_dir: Path) -> None:
    (index_dir / "meta.db.tmp").write_bytes(b"half")
    (index_dir / "segment").mkdir()
    assert run("query", "my cat", "-i", index_dir).code == 0
    outcome = run("check", index_dir)
    assert outcome.code == 0
    assert [line.split(":")[:2] for line in outcome.out.splitlines()] == [
        ["note", " unlisted"],
        ["note", " unlisted"],
    ]


def test_row_89_an_index_deleted_under_a_handle_is_a_clean_error(tmp_path, hash_encoder):
    with SearchIndex.create(tmp_path / "i", encoder=hash_encoder) as index:
        index.add([Document("a", "text")])
        shutil.rmtree(tmp_path / "i")
        with pytest.raises(SystemFailure, match="was deleted since it was opened"):
            index.search("text")
        with pytest.raises(SystemFailure):
            index.add([Document("b", "text")])
        assert not (tmp_path / "i").exists()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER DELETE ON passages BEGIN DELETE FROM documents; END",
        "CREATE VIEW v AS SELECT load_extension('x')",
        "UPDATE vector_blocks SET rows = 1 << 40",
        "UPDATE meta SET value = '99999999999999999' WHERE key = 'next_row'",
        "UPDATE meta SET value = '-1' WHERE key = 'next_row'",
        "UPDATE meta SET value = '9999999' WHERE key = 'dim'",
        "INSERT INTO tombstones SELECT row, 1 FROM passages",
        "UPDATE vector_blocks SET data = zeroblob(100000000)",
    ],
)
def test_row_90_a_hostile_database_is_refused(run: Run, index_dir: Path, statement: str) -> None:
    with raw(index_dir) as connection:
        connection.execute(statement)
    query(run, index_dir)
    assert run("check", index_dir).code == 4


@pytest.mark.parametrize("name", ["meta.db", "encoder/encoder.json"])
def test_row_90_a_link_leads_nowhere(run: Run, index_dir: Path, tmp_path: Path, name: str) -> None:
    (index_dir / name).rename(tmp_path / "elsewhere")
    (index_dir / name).symlink_to(tmp_path / "elsewhere")
    query(run, index_dir)


def test_row_90_a_folder_of_segments_that_is_a_link_is_refused_and_not_emptied(
    run: Run, index_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"precious")
    (index_dir / "segments").symlink_to(tmp_path / "photos")
    for command in (["query", "cat", "-i"], ["optimize"], ["repair"], ["compact"]):
        message = run(*command, index_dir).refusal(4)
        assert f"{index_dir}/segments is a link, which simsearch never makes (put wh" in message
    assert [each.name for each in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


@pytest.mark.parametrize("name", ["../../precious", "s/../../../precious", "", "x\0y", "n" * 300])
def test_row_90_the_name_of_a_segment_leads_out_of_its_folder_nowhere(
    run: Run, index_dir: Path, tmp_path: Path, name: str
) -> None:
    precious = index_dir.parent / "precious.faiss"
    precious.write_bytes(b"of somebody else")
    with raw(index_dir) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM passages").fetchone()
        listed = (name, 0, rows, 16, sha256(b"of somebody else").hexdigest(), "0" * 64, "")
        connection.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)", listed)
    assert run("query", "my cat", "-i", index_dir).code == 0
    assert run("check", index_dir).code == 1
    assert run("tune", index_dir, "--rebuild").code == 0
    assert run("repair", index_dir).code == 0
    assert run("check", index_dir).code == 0
    assert precious.read_bytes() == b"of somebody else"
