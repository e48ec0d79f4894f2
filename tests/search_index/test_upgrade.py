"""Indexes of older formats, as their code wrote them, are upgraded and answer as they did."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from stores import raw

from simsearch.ann import Target
from simsearch.errors import AlreadyExists, CorruptIndex, IncompatibleIndex, IndexLocked, NotFound
from simsearch.records import Document
from simsearch.search_index import (
    LongTexts,
    SearchIndex,
    UpgradeReport,
    check_index,
    roll_back,
    upgrade,
    upgrade_index,
)
from simsearch.storage import DocumentStore, locks

FORMATS = Path(__file__).parent / "formats"
VERSIONS = ("v1", "v2", "v3", "v4")
RECORDED = {
    name: json.loads((FORMATS / f"{name}.json").read_text(encoding="utf-8")) for name in VERSIONS
}


@pytest.fixture
def old(tmp_path):
    """Return a copy of an index that the code of format 1 wrote."""
    return shutil.copytree(FORMATS / "v1", tmp_path / "support")


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def older(tmp_path, version):
    """Return a copy of an index of each older format."""
    return shutil.copytree(FORMATS / version, tmp_path / "support")


@pytest.fixture
def encoder(hash_encoder):
    hash_encoder.dim = 16  # as it was when the index was written
    return hash_encoder


def tree(path):
    """Return the files below a directory, but for those that come and go with who reads."""
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name not in ("LOCK", "meta.db-shm", "meta.db-wal")
    }


def hits_of(path, encoder, recorded):
    """Return five hits of each query; which of equal ones, older versions left to chance.

    The same goes for the passage of a document in which nothing is like the query.
    """
    found = {}
    with SearchIndex.open(path, encoder=encoder) as index:
        for query, hits in recorded["hits"].items():
            place = {name: number for number, (name, _, _) in enumerate(hits)}
            every = index.search(query, k=index.count())
            every.sort(key=lambda hit: (-round(hit.score, 5), place.get(hit.id, len(place))))
            found[query] = [
                [hit.id, hit.score, hit.passage if hit.score > 0 else None]
                for hit in every[: len(hits)]
            ]
    return found


def recorded_hits(recorded):
    return {
        query: [
            [
                name,
                pytest.approx(score, abs=1e-6),
                tuple(passage) if passage and score > 0 else None,
            ]
            for name, score, passage in hits
        ]
        for query, hits in recorded["hits"].items()
    }


def test_an_old_index_is_not_opened_and_the_command_is_named(older, encoder, version):
    number = version.removeprefix("v")
    message = rf"support has format {number}, .* reads format 5 \(run `simsearch upgrade {older}`"
    with pytest.raises(IncompatibleIndex, match=message):
        SearchIndex.open(older, encoder=encoder)


def test_an_upgraded_index_holds_and_finds_what_it_did(older, encoder, version):
    recorded = RECORDED[version]
    upgrade_index(older)
    with SearchIndex.open(older, encoder=encoder) as index:
        assert [
            {"id": each.id, "text": each.text, "title": each.title, "metadata": each.metadata}
            for each in index.iterate()
        ] == recorded["documents"]
        info = index.info()
        assert (info.format, info.documents) == (5, 12)
        assert (info.commit_number, info.dead_rows, info.passages) == (
            recorded["commit_number"],
            recorded["dead_rows"],
            recorded["passages"],
        )
    assert hits_of(older, encoder, recorded) == recorded_hits(recorded)
    assert tree(older / "encoder") == tree(FORMATS / version / "encoder")


def test_long_texts_are_cut_in_an_index_that_knew_nothing_else(older, encoder, version):
    upgrade_index(older)
    expected = {
        "v1": LongTexts.TRUNCATE,
        "v2": LongTexts.PASSAGES,
        "v3": LongTexts.PASSAGES,
        "v4": LongTexts.PASSAGES,
    }
    with SearchIndex.open(older, encoder=encoder) as index:
        assert index.long_texts is expected[version]


def test_an_upgraded_index_reuses_its_vectors_but_for_supplied_ones(old, encoder):
    upgrade_index(old)
    with SearchIndex.open(old, encoder=encoder) as index:
        copies = [Document(f"{each.id}-2", each.text, each.title) for each in index.iterate()]
        report = index.add(copies)
    # "given-1" has the text of "cat", whose vector was encoded.
    assert encoder.encoded == ["a vector from elsewhere"]
    assert (report.added, report.encoded, report.reused) == (12, 1, 11)


def test_an_upgraded_index_can_be_written_to(old, encoder):
    upgrade_index(old)
    with SearchIndex.open(old, encoder=encoder) as index:
        index.search("cat")
        index.delete(["cat"])
        index.upsert([Document("bill", "the bill was paid"), Document("cat", "a new cat")])
        assert index.search("a new cat", k=1)[0].text == "a new cat"
        assert (len(index), index.info().dead_rows) == (12, 4)


def test_an_upgraded_index_finds_words_and_is_sound(older, encoder):
    upgrade_index(older)
    store = DocumentStore.open(older)
    with store.snapshot():
        words = [store.lexical.search(query, 1)[0][0] for query in ("swallowed", "Groesse größe")]
        found = store.fetch_numbers(words)
    store.close()
    assert [found[number].id for number in words] == ["card", "ünï/1"]
    lexical = [
        each for each in check_index(older, encoder=encoder).findings if "lexical" in each.code
    ]
    assert lexical == []


def test_the_old_index_is_kept_beside_byte_for_byte(old, tmp_path):
    before = tree(old)
    assert upgrade_index(old) == UpgradeReport(tmp_path / "support.format-1", 0, None)
    after = tree(tmp_path / "support.format-1")
    assert {name: after[name] for name in before} == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["support", "support.format-1"]


def test_the_backup_is_a_copy_where_there_are_no_hard_links(old, tmp_path, encoder, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    before = tree(old)
    backup = upgrade_index(old).backup
    assert {name: tree(backup)[name] for name in before} == before
    assert hits_of(old, encoder, RECORDED["v1"]) == recorded_hits(RECORDED["v1"])


def test_what_is_only_in_the_log_is_upgraded_and_backed_up_too(old, encoder):
    """An index whose process was killed has commits in its -wal file."""
    connection = sqlite3.connect(old / "meta.db")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("UPDATE documents SET text = 'changed' WHERE id = 'dog'")
    connection.commit()
    killed = shutil.copytree(old, old.with_name("killed"))
    connection.close()
    assert (killed / "meta.db-wal").stat().st_size > 0
    backup = upgrade_index(killed).backup
    with SearchIndex.open(killed, encoder=encoder) as index:
        assert index.get("dog").text == "changed"
    kept = sqlite3.connect(backup / "meta.db")
    assert kept.execute("SELECT text FROM documents WHERE id = 'dog'").fetchone() == ("changed",)
    kept.close()


def test_segments_are_counted_left_behind_and_built_anew(tmp_path, encoder):
    old = shutil.copytree(FORMATS / "v4", tmp_path / "support")
    list_segments(old, 2)
    assert upgrade_index(old) == UpgradeReport(tmp_path / "support.format-4", 2, None)
    assert not (old / "segments").exists()
    assert [each.name for each in (tmp_path / "support.format-4" / "segments").iterdir()] == ["s0"]
    with SearchIndex.open(old, encoder=encoder) as index:
        assert index.info().search.segments == ()
        index.set_target(Target(recall=1.0, exact_below=2))
        index.optimize()
        assert [each.fault for each in index.info().search.segments] == [None]
    assert hits_of(old, encoder, RECORDED["v4"]) == recorded_hits(RECORDED["v4"])


def test_the_generation_before_is_left_behind_and_can_be_made_an_index(tmp_path, encoder):
    old = shutil.copytree(FORMATS / "v4", tmp_path / "support")
    shutil.copytree(FORMATS / "v4", old / "previous")
    previous = tmp_path / "support.format-4" / "previous"
    assert upgrade_index(old) == UpgradeReport(tmp_path / "support.format-4", 0, previous)
    with pytest.raises(NotFound, match="no generation before this one"):
        roll_back(old, encoder=encoder)
    upgrade_index(previous)
    assert hits_of(previous, encoder, RECORDED["v4"]) == recorded_hits(RECORDED["v4"])


def list_segments(path, count):
    """Let an index of format 4 list segments, and have a file of one of them."""
    (path / "segments").mkdir()
    (path / "segments" / "s0").write_bytes(b"built")
    with raw(path) as connection:
        for number in range(count):
            listed = (f"s{number}", number, 1, 5, "0" * 64, "0" * 64, "")
            connection.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)", listed)


def test_an_index_of_today_is_left_as_it_is(old, tmp_path):
    upgrade_index(old)
    before, beside = tree(old), sorted(tmp_path.iterdir())
    assert upgrade_index(old) is None
    assert (tree(old), sorted(tmp_path.iterdir())) == (before, beside)


def a_file(path):
    path.write_text("somebody's")


def a_copy_by_hand(path):
    shutil.copytree(path.with_name("support"), path)


@pytest.mark.parametrize("make", [a_file, a_copy_by_hand])
def test_what_has_the_name_of_the_backup_is_not_written_over(old, tmp_path, make):
    make(tmp_path / "support.format-1")
    before = tree(tmp_path)
    with pytest.raises(AlreadyExists, match=r"support.format-1 is there already, .*rename or del"):
        upgrade_index(old)
    assert tree(tmp_path).items() >= before.items()
    assert len(list(tmp_path.iterdir())) == 2


class Killed(BaseException):
    """Stands for kill -9 between two steps."""


@pytest.mark.parametrize("step", ["_write_upgraded", "_keep", "install_directory"])
def test_an_upgrade_cut_short_leaves_the_old_index_and_can_be_run_again(
    old, tmp_path, encoder, monkeypatch, step
):
    def die(*_, **__):
        raise Killed

    before = tree(old)
    with monkeypatch.context() as patch:
        patch.setattr(upgrade, step, die)
        with pytest.raises(Killed):
            upgrade_index(old)
    assert tree(old).items() >= before.items()
    with pytest.raises(IncompatibleIndex):
        SearchIndex.open(old)
    assert upgrade_index(old).backup == tmp_path / "support.format-1"
    assert hits_of(old, encoder, RECORDED["v1"]) == recorded_hits(RECORDED["v1"])


def test_an_index_that_somebody_writes_to_is_not_upgraded(old, tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "LOCK_BUDGET", 0.0)
    with locks.writer_lock(old / "LOCK"), pytest.raises(IndexLocked):
        upgrade_index(old)
    assert list(tmp_path.iterdir()) == [old]


def test_what_is_no_index_or_a_newer_one_is_refused(old, tmp_path):
    with pytest.raises(NotFound, match="no simsearch index here"):
        upgrade_index(tmp_path)
    (old / "FORMAT").write_text("simsearch-index 9 simsearch/9.9\n")
    with raw(old) as connection:
        connection.execute("ALTER TABLE documents RENAME TO texts")
    with pytest.raises(IncompatibleIndex, match="has format 9"):
        upgrade_index(old)


def lose_the_database(path):
    (path / "meta.db").unlink()


def write_garbage(path):
    (path / "meta.db").write_bytes(b"not a database at all" * 500)


def lose_a_table(path):
    with sqlite3.connect(path / "meta.db") as connection:
        connection.execute("DROP TABLE vector_blocks")
    connection.close()


@pytest.mark.parametrize("damage", [lose_the_database, write_garbage, lose_a_table])
def test_a_damaged_old_index_is_left_as_it_is(old, tmp_path, damage):
    damage(old)
    before = tree(old)
    with pytest.raises(CorruptIndex):
        upgrade_index(old)
    assert tree(old).items() >= before.items()
    assert list(tmp_path.iterdir()) == [old]


def test_damaged_vectors_stay_recognisable(old, encoder):
    with sqlite3.connect(old / "meta.db") as connection:
        connection.execute("UPDATE vector_blocks SET data = zeroblob(length(data))")
    connection.close()
    upgrade_index(old)
    with SearchIndex.open(old, encoder=encoder) as index:
        with pytest.raises(CorruptIndex, match="damaged"):
            index.search("cat")
        assert len(index) == 12
