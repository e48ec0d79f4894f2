"""check, repair, compact, backup, restore: what they print, and their exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Run, Write, contents, stored
from stores import raw


def lose_vectors(index_dir: Path) -> None:
    with raw(index_dir) as connection:
        connection.execute("UPDATE vector_blocks SET crc32 = 0")


def test_a_sound_index_is_said_to_be_sound(run: Run, index_dir: Path) -> None:
    outcome = run("check", index_dir)
    assert (outcome.code, outcome.out, outcome.err) == (0, f"{index_dir} is sound\n", "")
    assert run("check", index_dir, "--quick", "--json").object == {
        "path": str(index_dir),
        "quick": True,
        "findings": [],
        "worst": None,
    }


def test_damage_is_one_line_a_finding_and_exits_4(run: Run, index_dir: Path) -> None:
    lose_vectors(index_dir)
    outcome = run("check", index_dir)
    assert outcome.code == 4
    assert outcome.out == (
        f"damage: vectors: {index_dir}/meta.db: the vectors of rows 0 to 2 are damaged or lost "
        f"(restore a backup, or run `simsearch repair {index_dir}`)\n"
    )
    (finding,) = run("check", index_dir, "--json").object["findings"]
    assert (finding["severity"], finding["code"]) == ("damage", "vectors")


def test_a_warning_exits_1_and_a_note_0(run: Run, index_dir: Path) -> None:
    (index_dir / "left.tmp").touch()
    assert run("check", index_dir).code == 0
    index_dir.chmod(0o755)
    (index_dir / "meta.db").chmod(0o644)
    outcome = run("check", index_dir, "--json")
    assert (outcome.code, outcome.object["worst"]) == (1, "warning")


def test_repair_encodes_again_and_keeps_the_original(run: Run, index_dir: Path) -> None:
    before = contents(index_dir)
    lose_vectors(index_dir)
    planned = run("repair", index_dir, "--dry-run")
    assert "would keep 3 documents, the vectors of 3 encoded again from their text" in planned.out
    assert run("query", "my cat", "-i", index_dir).code == 4
    done = run("repair", index_dir)
    assert done.code == 0
    assert f"the originals are in {index_dir}/quarantine/1" in done.out
    assert contents(index_dir) == before
    again = run("repair", index_dir, "--json")
    assert (again.code, again.object["findings"], again.object["complete"]) == (0, [], True)


def test_repair_exits_1_if_something_is_lost_for_good(run: Run, index_dir: Path) -> None:
    with raw(index_dir) as connection:
        connection.execute("UPDATE documents SET text = 'x' WHERE id = 'card'")
    outcome = run("repair", index_dir)
    assert outcome.code == 1
    assert "the documents of rows 0 are lost" in outcome.out
    assert stored(index_dir).keys() == {"parcel", "cat"}


def test_compact_says_what_it_gave_back(run: Run, index_dir: Path) -> None:
    run("delete", "card", "-i", index_dir)
    outcome = run("compact", index_dir, "--json")
    assert (outcome.code, outcome.object["removed_rows"]) == (0, 1)
    assert "removed 0 rows" in run("compact", index_dir, "--purge").out
    assert stored(index_dir).keys() == {"parcel", "cat"}


def test_a_backup_comes_back(run: Run, index_dir: Path, tmp_path: Path) -> None:
    before = contents(index_dir)
    outcome = run("backup", index_dir, tmp_path / "copy")
    assert outcome.code == 0
    assert outcome.out.startswith(f"backed up 3 documents of commit 1 into {tmp_path}/copy: ")
    run("delete", "card", "-i", index_dir)
    refused = run("restore", tmp_path / "copy", index_dir)
    assert "exists already" in refused.refusal(2)
    assert run("restore", tmp_path / "copy", index_dir, "--replace").code == 0
    assert contents(index_dir) == before
    assert run("restore", tmp_path / "copy", tmp_path / "new", "--json").object["documents"] == 3


def test_what_is_no_index_or_no_backup_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    for command in ("check", "repair", "compact"):
        assert "no simsearch index here" in run(command, tmp_path).refusal(2)
    assert "no simsearch index here" in run("backup", tmp_path, tmp_path / "b").refusal(2)
    assert "no backup here" in run("restore", tmp_path, tmp_path / "i").refusal(2)


@pytest.mark.parametrize("command", ["add", "upsert", "delete"])
def test_a_backup_is_not_written_to_whatever_is_in_it(
    run: Run, write: Write, index_dir: Path, tmp_path: Path, command: str
) -> None:
    corpus, backup = write("more.jsonl", '{"id": "card", "text": "more"}\n'), tmp_path / "backup"
    assert run("backup", index_dir, backup).code == 0
    given = "card" if command == "delete" else corpus
    refused = run(command, given, "-i", backup).refusal(2)
    assert "is a backup, which can be searched, not written to" in refused
    assert "simsearch restore" in refused
