"""check, repair, compact, backup and restore of an index."""

from __future__ import annotations

import os
import random
import shutil
import threading

import numpy as np
import pytest
from conftest import HashEncoder, OtherHashEncoder
from stores import fault, raw

from simsearch.encoder import Encoder
from simsearch.errors import (
    AlreadyExists,
    CorruptIndex,
    EncoderMismatch,
    IndexLocked,
    InvalidInput,
    NotFound,
    SystemFailure,
)
from simsearch.files import draft_directory
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
from simsearch.storage import DocumentStore, Severity, locks
from simsearch.storage.locks import writer_lock

SECRET = "the vault opens at midnight"


def documents(count, start=0):
    return [
        Document(f"d{n}", f"text number {n} of the corpus", metadata={"n": n})
        for n in range(start, start + count)
    ]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An index of 2,000 documents, of which some were deleted, replaced and supplied."""
    path = tmp_path_factory.mktemp("built") / "index"
    with SearchIndex.create(path, encoder=HashEncoder()) as index:
        index.add(documents(2000))
        index.add([Document("secret", SECRET)])
        index.delete(["secret", *(f"d{n}" for n in range(0, 600, 2))])
        index.upsert([Document("d1", "another text")])
        index.add([Document("given", "a vector from elsewhere")], np.eye(1, 256, dtype=np.float32))
    return path


@pytest.fixture
def path(built, tmp_path):
    return shutil.copytree(built, tmp_path / "index")


def codes(report):
    return [(each.severity.value, each.code) for each in report.findings]


def contents(path, encoder):
    with SearchIndex.open(path, encoder=encoder) as index:
        found = index.search_many(["text number 77", "another text", "elsewhere"], k=20)
        return list(index.iterate()), [[(hit.id, hit.score) for hit in hits] for hits in found]


def tree(path):
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name not in ("LOCK", "meta.db-shm", "meta.db-wal")
    }


def damage(path, *statements):
    with raw(path) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize("quick", [True, False])
def test_a_sound_index_has_no_findings_and_is_not_changed(path, hash_encoder, quick):
    before = tree(path)
    report = check_index(path, quick=quick, encoder=hash_encoder)
    assert (report.findings, report.worst) == ((), None)
    assert tree(path) == before


def test_what_a_killed_process_leaves_is_a_note(path, hash_encoder):
    (path / "meta.db.tmp").write_text("half")
    (path.parent / ".index.draft-1-2").mkdir()
    with writer_lock(path / "LOCK"):
        report = check_index(path, encoder=hash_encoder)
    assert codes(report) == [("note", "unlisted"), ("note", "draft"), ("note", "locked")]
    assert report.worst is Severity.NOTE


def test_what_is_left_beside_an_index_is_a_note(path, hash_encoder):
    for name in (".index.new", "..index.new.draft-1-2", "..index.reindex.draft-3-4"):
        (path.parent / name).mkdir()
    (path.parent / ".index.new" / "meta.db").touch()
    report = check_index(path, encoder=hash_encoder)
    assert codes(report) == [("note", "draft"), ("note", "draft"), ("note", "replacement")]


def test_what_a_living_process_builds_is_not_said_to_be_left(path, hash_encoder):
    with (
        draft_directory(path),
        build_index(path, encoder=hash_encoder, replace=True) as index,
        build_generation(path, encoder=OtherHashEncoder(), switch=False, encode_supplied=True),
    ):
        index.add(documents(3))
        report = check_index(path, encoder=hash_encoder)
    assert codes(report) == [("note", "generation"), ("note", "replacement")]
    assert all("is being built by" in each.what for each in report.findings)
    assert [each.remedy for each in report.findings] == ["", ""]


def test_an_index_that_everybody_may_read_is_warned_of(path, hash_encoder):
    path.chmod(0o755)
    (path / "meta.db").chmod(0o644)
    assert codes(check_index(path, encoder=hash_encoder)) == [("warning", "permissions")]


def test_ids_that_look_the_same_are_warned_of(path, hash_encoder):
    with SearchIndex.open(path, encoder=hash_encoder) as index:
        index.add([Document("caf\u00e9", "one"), Document("cafe\u0301", "two")])
    report = check_index(path, encoder=hash_encoder)
    assert codes(report) == [("warning", "ids")]


DAMAGES = {
    "a text": ("UPDATE documents SET text = 'x' WHERE id = 'd701'", "documents"),
    "a document": ("DELETE FROM documents WHERE id = 'd701'", "documents"),
    "a passage": ("UPDATE passages SET stop = 2 WHERE row = 701", "passages"),
    "a lost passage": ("DELETE FROM passages WHERE row = 701", "passages"),
    "a passage of nobody": ("INSERT INTO passages VALUES (0, 0, 0, 1, NULL, 1)", "rows"),
    "vectors": ("UPDATE vector_blocks SET data = zeroblob(length(data))", "vectors"),
    "a block": ("DELETE FROM vector_blocks WHERE first_row = 1024", "vectors"),
    "a tombstone": ("DELETE FROM tombstones WHERE row = 0", "documents"),
    "a wrong tombstone": ("INSERT INTO tombstones VALUES (701, 1)", "rows"),
    "the count of rows": ("UPDATE meta SET value = 7 WHERE key = 'living_rows'", "rows"),
    "finished": ("UPDATE meta SET value = 'yet' WHERE key = 'finished'", "setting"),
    "a setting": ("UPDATE meta SET value = 'yet' WHERE key = 'fingerprint'", "database"),
    "a trigger": ("CREATE TRIGGER t AFTER INSERT ON meta BEGIN SELECT 1; END", "database"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_named(path, hash_encoder, name):
    statement, code = DAMAGES[name]
    damage(path, statement)
    report = check_index(path, encoder=hash_encoder)
    assert report.worst is Severity.DAMAGE
    assert ("damage", code) in codes(report)


def test_the_rows_that_are_lost_are_named(path, hash_encoder):
    damage(path, "UPDATE vector_blocks SET crc32 = 0 WHERE first_row = 1024")
    (finding,) = check_index(path, encoder=hash_encoder).findings
    assert finding.what == "the vectors of rows 1024 to 1999 are damaged or lost"
    assert finding.remedy == f"restore a backup, or run `simsearch repair {path}`"


def test_vectors_that_another_encoder_made_are_found(path, hash_encoder):
    hash_encoder.encode_documents = lambda texts, **_: np.tile(
        np.full(256, 1 / 16, dtype=np.float32), (len(texts), 1)
    )
    report = check_index(path, encoder=hash_encoder)
    assert codes(report) == [("damage", "encoding")]


def test_a_marker_of_something_else_is_found_and_repaired(path, hash_encoder):
    before = contents(path, hash_encoder)
    (path / "FORMAT").write_text("garbage\n")
    assert codes(check_index(path, encoder=hash_encoder))[0] == ("damage", "format")
    repair_index(path, encoder=hash_encoder)
    assert contents(path, hash_encoder) == before
    assert (path / "quarantine" / "1" / "FORMAT").read_text() == "garbage\n"


def test_lost_vectors_are_encoded_again_from_the_stored_text(path, hash_encoder):
    before = contents(path, hash_encoder)
    damage(path, "UPDATE vector_blocks SET data = zeroblob(length(data)) WHERE first_row = 0")
    original = (path / "meta.db").read_bytes()
    hash_encoder.encoded.clear()
    report = repair_index(path, encoder=hash_encoder)
    assert (report.documents, report.encoded, report.lost) == (1701, 723, ())
    assert report.complete
    assert len(hash_encoder.encoded) == 723
    assert contents(path, hash_encoder) == before
    assert check_index(path, encoder=hash_encoder).findings == ()
    assert report.quarantine == str(path / "quarantine" / "1")
    assert (path / "quarantine" / "1" / "meta.db").read_bytes() == original


def test_a_supplied_vector_cannot_be_restored_and_its_document_is_named(path, hash_encoder):
    damage(path, "UPDATE vector_blocks SET crc32 = 0 WHERE first_row = 2002")
    report = repair_index(path, encoder=hash_encoder)
    assert (report.lost, report.complete, report.documents) == (("given",), False, 1700)
    with SearchIndex.open(path, encoder=hash_encoder) as index:
        assert index.get("given") is None
        assert index.get("d1").text == "another text"
    assert check_index(path, encoder=hash_encoder).findings == ()


def test_a_damaged_document_is_left_out_and_said_to_be_lost(path, hash_encoder):
    damage(path, "UPDATE documents SET text = 'x' WHERE id = 'd701'")
    report = repair_index(path, encoder=hash_encoder)
    assert not report.complete
    assert (report.documents, report.encoded) == (1700, 0)
    assert report.findings[0].what == "the documents of rows 701 are lost"
    assert check_index(path, encoder=hash_encoder).findings == ()


def test_a_dry_run_says_the_same_and_changes_nothing(path, hash_encoder):
    damage(path, "UPDATE vector_blocks SET crc32 = 0 WHERE first_row = 0")
    before = tree(path)
    planned = repair_index(path, encoder=hash_encoder, dry_run=True)
    assert tree(path) == before
    done = repair_index(path, encoder=hash_encoder)
    assert (planned.documents, planned.encoded) == (done.documents, done.encoded) == (1701, 723)
    assert (planned.findings, planned.quarantine) == (done.findings, None)


def test_a_sound_index_is_not_repaired(path, tmp_path, tiny_encoder_dir):
    sound = tmp_path / "sound"
    with SearchIndex.create(sound, encoder=Encoder.load(tiny_encoder_dir)) as index:
        index.add([Document("a", "my card")])
    before = tree(sound)
    report = repair_index(sound)
    assert (report.findings, report.quarantine, report.documents) == ((), None, 1)
    assert tree(sound) == before


def test_a_damaged_copy_of_the_encoder_is_made_anew_from_the_model(tmp_path, tiny_encoder_dir):
    encoder = Encoder.load(tiny_encoder_dir)
    with SearchIndex.create(tmp_path / "i", encoder=encoder) as index:
        index.add([Document("a", "my card"), Document("b", "the cat")])
    graph = next((tmp_path / "i" / "encoder").glob("*.onnx"))
    status, content = graph.stat(), bytearray(graph.read_bytes())
    assert check_index(tmp_path / "i").findings == ()
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    os.utime(graph, ns=(status.st_atime_ns, status.st_mtime_ns))  # as bit rot leaves it
    assert ("damage", "encoder") in codes(check_index(tmp_path / "i"))
    graph.write_bytes(content)
    with pytest.raises(CorruptIndex, match="--encoder MODEL"):
        repair_index(tmp_path / "i")
    report = repair_index(tmp_path / "i", encoder=encoder)
    assert report.encoder_renewed
    assert check_index(tmp_path / "i").findings == ()
    with SearchIndex.open(tmp_path / "i") as index:
        assert index.search("the cat", k=1)[0].id == "b"


def test_an_index_is_not_repaired_by_another_encoder(path, hash_encoder):
    hash_encoder.fingerprint = "hash-2"
    with pytest.raises(EncoderMismatch, match="was built with encoder hash"):
        repair_index(path, encoder=hash_encoder)


def test_lost_commits_are_said_and_repair_goes_on_without_them(path, tmp_path, hash_encoder):
    with SearchIndex.open(path, encoder=hash_encoder) as index:
        index.add(documents(3, start=5000))
        killed = shutil.copytree(path, tmp_path / "killed")
    (killed / "meta.db-wal").unlink()
    assert codes(check_index(killed, encoder=hash_encoder)) == [("damage", "lost-commits")]
    report = repair_index(killed, encoder=hash_encoder)
    assert (report.complete, report.documents) == (False, 1701)
    with SearchIndex.open(killed, encoder=hash_encoder) as index:
        assert index.info().commit_number == 7  # 5 was the last that acknowledged writes reached
        assert index.get("d5000") is None
    assert check_index(killed, encoder=hash_encoder).findings == ()


def test_compaction_gives_room_back_and_changes_no_answer(path, hash_encoder):
    before = contents(path, hash_encoder)
    report = compact_index(path)
    assert report.removed_rows == 302
    assert report.bytes_after < 0.9 * report.bytes_before
    assert contents(path, hash_encoder) == before
    assert hash_encoder.encoded == ["text number 77", "another text", "elsewhere"] * 2
    with SearchIndex.open(path, encoder=hash_encoder) as index:
        assert (index.info().dead_rows, index.info().commit_number) == (0, 6)
    assert compact_index(path).removed_rows == 0


def holds(path, needle):
    return [file.name for file in path.rglob("*") if file.is_file() and needle in file.read_bytes()]


def test_after_a_purge_no_byte_of_what_was_deleted_is_on_the_disk(path, hash_encoder):
    hash_encoder.encoded.clear()
    vector = hash_encoder.encode_documents([SECRET])[0].tobytes()
    assert holds(path, vector) == ["meta.db"]  # of the text, that depends on SQLite's build
    (path / "quarantine" / "1").mkdir(parents=True)
    (path / "quarantine" / "1" / "meta.db").write_text(SECRET)
    compact_index(path, purge=True)
    assert holds(path, SECRET.encode()) == holds(path, b"secret") == holds(path, vector) == []
    assert not (path / "quarantine").exists()
    assert check_index(path, encoder=hash_encoder).findings == ()


def words_found(path, query):
    """Return the ids that the lexical index finds, best first."""
    store = DocumentStore.open(path)
    try:
        with store.snapshot():
            numbers = [number for number, _ in store.lexical.search(query, 10)]
            return [store.fetch_numbers([number])[number].id for number in numbers]
    finally:
        store.close()


def test_a_purge_leaves_no_word_of_what_was_deleted(path):
    assert holds(path, b"midnight")  # the terms of a deleted text stay until then
    compact_index(path, purge=True)
    assert not holds(path, b"midnight")
    assert words_found(path, "number 1999") == ["d1999"]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO lexical (lexical) VALUES ('delete-all')",
        "UPDATE lexical_data SET block = zeroblob(20) WHERE id > 10",
        "UPDATE lexical_data SET block = zeroblob(20) WHERE id = 10",
    ],
)
def test_a_damaged_lexical_index_is_found_and_made_anew(path, tmp_path, hash_encoder, statement):
    before = contents(path, hash_encoder)
    damage(path, statement)
    assert codes(check_index(path, encoder=hash_encoder)) == [("damage", "lexical")]
    with pytest.raises(CorruptIndex, match="lexical index"):
        backup_index(path, tmp_path / "saved")
    report = repair_index(path, encoder=hash_encoder)
    assert (report.complete, report.encoded) == (True, 0)
    assert codes(check_index(path, encoder=hash_encoder)) == []
    assert contents(path, hash_encoder) == before
    assert words_found(path, "number 1999") == ["d1999"]


def test_a_backup_finds_words(path, tmp_path):
    backup_index(path, tmp_path / "saved")
    restore_index(tmp_path / "saved", tmp_path / "restored")
    assert words_found(tmp_path / "restored", "another") == ["d1"]


def test_a_compaction_keeps_the_quarantine(path, hash_encoder):
    (path / "quarantine" / "1").mkdir(parents=True)
    (path / "quarantine" / "1" / "meta.db").write_text("an original")
    compact_index(path)
    assert (path / "quarantine" / "1" / "meta.db").read_text() == "an original"


def test_open_handles_follow_a_compaction(path, hash_encoder):
    with (
        SearchIndex.open(path, encoder=hash_encoder) as reader,
        SearchIndex.open(path, encoder=hash_encoder) as writer,
    ):
        before = reader.search("text number 77", k=5)
        compact_index(path)
        assert reader.search("text number 77", k=5) == before
        writer.upsert([Document("d77", "changed")])
        assert reader.search("changed", k=1)[0].id == "d77"
        assert len(reader) == len(writer) == 1701
    assert check_index(path, encoder=hash_encoder).findings == ()


def test_a_compaction_waits_for_a_writer_and_says_who_it_is(path, monkeypatch):
    monkeypatch.setattr(locks, "LOCK_BUDGET", 0.0)
    with (
        writer_lock(path / "LOCK"),
        pytest.raises(IndexLocked, match=r"locked by pid \d+"),
    ):
        compact_index(path)


def test_a_damaged_or_unfinished_index_is_not_compacted(path, tmp_path, hash_encoder):
    SearchIndex.create(tmp_path / "i", encoder=hash_encoder, finished=False).close()
    with pytest.raises(InvalidInput, match="is unfinished"):
        compact_index(tmp_path / "i", purge=True)
    damage(path, "UPDATE documents SET text = 'x' WHERE id = 'd701'")
    before = tree(path)
    with pytest.raises(CorruptIndex, match="rows 701 are lost"):
        compact_index(path)
    assert tree(path) == before


def test_the_generation_before_stays_where_the_one_that_answers_is_damaged(tmp_path):
    path = tmp_path / "i"
    with SearchIndex.create(path, encoder=HashEncoder()) as index:
        index.add(documents(30))
    with build_generation(path, encoder=OtherHashEncoder()):
        pass
    with raw(path) as connection:
        connection.execute("UPDATE documents SET crc32 = 0 WHERE id = 'd7'")
    with pytest.raises(CorruptIndex, match=r"the documents of rows 7 are lost"):
        compact_index(path)
    with SearchIndex.open(path / "previous", encoder=HashEncoder()) as index:
        assert len(index) == 30


def test_a_link_in_the_place_of_the_encoder_is_refused_and_not_lost(own_encoder, tmp_path):
    path = own_encoder
    (path / "encoder").rename(tmp_path / "elsewhere")
    (path / "encoder").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(CorruptIndex, match="encoder is missing or damaged"),
        SearchIndex.open(path) as index,
    ):
        index.search("text")
    assert ("damage", "encoder") in codes(check_index(path))
    with pytest.raises(CorruptIndex, match="is a link, which is not followed"):
        compact_index(path, purge=True)
    assert (path / "encoder").is_symlink()
    (path / "encoder").unlink()
    (tmp_path / "elsewhere").rename(path / "encoder")
    assert check_index(path).worst is None


def test_writers_are_not_lost_while_an_index_is_compacted(path, hash_encoder):
    added, stop = [], threading.Event()

    def write():
        with SearchIndex.open(path, encoder=hash_encoder) as index:
            while not stop.wait(0.002):  # so that the lock is free now and then
                name = f"new-{len(added)}"
                index.add([Document(name, f"text of {name}")])
                added.append(name)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            compact_index(path, purge=True)
    finally:
        stop.set()
        writer.join()
    with SearchIndex.open(path, encoder=hash_encoder) as index:
        assert index.known_ids(added) == set(added)
        assert len(index) == 1701 + len(added)


def test_a_backup_is_an_index_and_restores_to_the_same(path, tmp_path, hash_encoder):
    before = contents(path, hash_encoder)
    report = backup_index(path, tmp_path / "backup")
    assert (report.documents, report.commit_number) == (1701, 5)
    with SearchIndex.open(path, encoder=hash_encoder) as index:
        index.delete([f"d{n}" for n in range(2000)])
    restored = restore_index(tmp_path / "backup", tmp_path / "again")
    assert restored.documents == 1701
    assert contents(tmp_path / "again", hash_encoder) == before
    with pytest.raises(AlreadyExists):
        restore_index(tmp_path / "backup", path)
    restore_index(tmp_path / "backup", path, replace=True)
    assert contents(path, hash_encoder) == before
    assert not (path / "MANIFEST.json").exists()
    assert check_index(path, encoder=hash_encoder).findings == ()


def test_a_backup_is_one_commit_also_while_others_write(path, tmp_path, hash_encoder):
    stop, written = threading.Event(), []

    def write():
        with SearchIndex.open(path, encoder=hash_encoder) as index:
            while not stop.is_set():
                # Whoever sees the one must see the other.
                index.upsert(
                    [Document("x", f"x {len(written)}"), Document("y", f"y {len(written)}")]
                )
                written.append(1)

    writer = threading.Thread(target=write)
    writer.start()
    while not written:
        pass
    try:
        for number in range(5):
            copy = tmp_path / f"backup-{number}"
            backup_index(path, copy)
            with SearchIndex.open(copy, encoder=hash_encoder) as index:
                assert index.get("x").text[2:] == index.get("y").text[2:]
            assert check_index(copy, encoder=hash_encoder).worst in (None, Severity.NOTE)
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize("name", ["meta.db", "FORMAT", "COMMITTED", "MANIFEST.json"])
@pytest.mark.parametrize("how", ["flip", "cut", "delete"])
def test_a_backup_that_is_not_what_was_written_is_not_restored(path, tmp_path, name, how):
    backup_index(path, tmp_path / "backup")
    file = tmp_path / "backup" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x80
    half = content[: len(content) // 2]
    change = {
        "flip": lambda: file.write_bytes(content),
        "cut": lambda: file.write_bytes(half),
        "delete": file.unlink,
    }
    change[how]()
    with pytest.raises((CorruptIndex, NotFound)):
        restore_index(tmp_path / "backup", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_what_does_not_belong_to_a_backup_is_not_restored(path, tmp_path):
    backup_index(path, tmp_path / "backup")
    (tmp_path / "backup" / "encoder" / "more").write_text("x")
    with pytest.raises(CorruptIndex, match="'encoder/more' does not belong to it"):
        restore_index(tmp_path / "backup", tmp_path / "again")
    (tmp_path / "backup" / "encoder" / "more").unlink()
    (tmp_path / "backup" / "encoder" / "link").symlink_to("/etc/passwd")
    with pytest.raises(CorruptIndex, match="'link' is a link"):
        restore_index(tmp_path / "backup", tmp_path / "again")


def test_a_damaged_index_is_not_backed_up(path, tmp_path):
    damage(path, "UPDATE passages SET stop = 2 WHERE row = 701")
    with pytest.raises(CorruptIndex, match="simsearch check"):
        backup_index(path, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_a_place_inside_is_no_place_for_a_backup_or_for_what_is_restored(path, tmp_path):
    with pytest.raises(InvalidInput, match="choose a place outside of it"):
        backup_index(path, path / "saved")
    assert not (path / "saved").exists()
    backup_index(path, tmp_path / "saved")
    with pytest.raises(InvalidInput, match="choose a place outside of it"):
        restore_index(tmp_path / "saved", tmp_path / "saved" / "i")
    restore_index(tmp_path / "saved", tmp_path / "i")


def test_a_backup_replaces_nothing(path, tmp_path):
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "mine").write_text("x")
    with pytest.raises(AlreadyExists):
        backup_index(path, tmp_path / "backup")
    with pytest.raises(NotFound, match="no backup here"):
        restore_index(path, tmp_path / "again")


@pytest.mark.parametrize(
    "place", ["rewrite.create", "rewrite.batch", "rewrite.carry", "rewrite.install"]
)
def test_a_full_disk_while_compacting_leaves_the_index_as_it_was(path, hash_encoder, place):
    before = contents(path, hash_encoder)
    with fault(f"{place}:enospc"), pytest.raises((SystemFailure, OSError)):
        compact_index(path)
    assert contents(path, hash_encoder) == before
    assert [each.name for each in path.parent.iterdir()] == ["index"]


def test_passages_are_repaired_too(tmp_path, hash_encoder):
    rng = random.Random(0)
    words = ["card", "bank", "cat", "dog", "mat", "money", "screen", "phone", "parcel", "bill"]
    corpus = [Document(f"d{n}", " ".join(rng.choices(words, k=40))) for n in range(50)]
    path = tmp_path / "i"
    with SearchIndex.create(path, encoder=hash_encoder, long_texts="passages") as index:
        index.add(corpus)
    before = contents(path, hash_encoder)
    damage(
        path, "UPDATE passages SET stop = 1 WHERE row = 13", "UPDATE vector_blocks SET crc32 = 1"
    )
    assert repair_index(path, encoder=hash_encoder).encoded == 50
    assert contents(path, hash_encoder) == before
    damage(path, "UPDATE passages SET stop = 1 WHERE row = 13")
    assert repair_index(path, encoder=hash_encoder).encoded == 1
    assert contents(path, hash_encoder) == before


def test_a_walk_over_all_documents_is_of_one_commit_whatever_is_written_meanwhile(path):
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        expected = list(index.iterate())
        walk = index.iterate()
        found = [next(walk) for _ in range(700)]
        index.delete(["d1001", "d1003"])
        index.upsert([Document("d601", "rewritten"), Document("d1999", "rewritten")])
        compact_index(path)
        found += walk
    assert len(expected) == 1701
    assert found == expected


class Interrupted(HashEncoder):
    """Lets something happen the first time that it encodes."""

    def __init__(self, happen):
        super().__init__()
        self.happen = [happen]

    def encode_documents(self, texts, *, counts=None):
        while self.happen:
            self.happen.pop()()
        return super().encode_documents(texts, counts=counts)


def test_an_upsert_that_was_overtaken_while_it_encoded_leaves_what_it_was_given(tmp_path):
    place = tmp_path / "index"
    with SearchIndex.create(place, encoder=HashEncoder()) as index:
        index.add([Document("x", "first x"), Document("y", "first y")])

    def overtake():
        with SearchIndex.open(place, encoder=HashEncoder()) as other:
            other.upsert([Document("x", "other x"), Document("y", "other y")])

    with SearchIndex.open(place, encoder=Interrupted(overtake)) as index:
        report = index.upsert([Document("x", "first x"), Document("y", "my y")])
        found = {document.id: document.text for document in index.iterate()}
    assert found == {"x": "first x", "y": "my y"}
    assert (report.replaced, report.unchanged) == (2, 0)


@pytest.fixture
def own_encoder(tmp_path, tiny_encoder_dir):
    """An index that keeps a copy of its encoder."""
    with SearchIndex.create(tmp_path / "own", encoder=Encoder.load(tiny_encoder_dir)) as index:
        index.add([Document("a", "my card"), Document("b", "the cat")])
    return tmp_path / "own"


@pytest.mark.parametrize("name", ["encoder.onnx", "encoder.json", "tokenizer.json"])
def test_a_backup_does_not_take_over_a_damaged_encoder(own_encoder, tmp_path, name):
    backup_index(own_encoder, tmp_path / "sound")
    file = own_encoder / "encoder" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CorruptIndex, match="encoder"):
        backup_index(own_encoder, tmp_path / "backup")
    shutil.rmtree(own_encoder / "encoder")
    with pytest.raises(CorruptIndex, match="encoder is missing or damaged"):
        backup_index(own_encoder, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_a_repair_that_leaves_the_encoder_damaged_is_not_complete(own_encoder):
    (own_encoder / "FORMAT").write_bytes(b"nonsense")
    (own_encoder / "encoder" / "tokenizer.json").unlink()
    report = repair_index(own_encoder)
    assert not report.complete
    assert ("damage", "encoder") in codes(check_index(own_encoder))


def test_what_is_no_index_is_left_as_it_is(tmp_path):
    (tmp_path / "a.txt").write_text("mine", encoding="utf-8")
    for place in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(NotFound):
            repair_index(place)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_sound_index_that_is_written_to_during_a_check_stays_sound(path, monkeypatch):
    search = SearchIndex.search_vectors

    def late(index, *args, **options):
        with SearchIndex.open(path, encoder=HashEncoder()) as other:
            other.delete([f"d{n}" for n in range(1, 2000, 2)])
        return search(index, *args, **options)

    monkeypatch.setattr(SearchIndex, "search_vectors", late)
    assert check_index(path, encoder=HashEncoder()).findings == ()


def test_an_index_without_a_database_is_reported_whoever_may_read_it(path):
    for file in path.glob("meta.db*"):
        file.unlink()
    path.chmod(0o755)
    assert ("damage", "database") in codes(check_index(path, quick=True))


def test_a_purge_deletes_a_replacement_that_was_cut_short(path, hash_encoder):
    with (
        pytest.raises(KeyboardInterrupt),
        build_index(path, encoder=hash_encoder, replace=True) as index,
    ):
        index.add([Document("secret", SECRET)])
        raise KeyboardInterrupt
    beside = path.parent / f".{path.name}.new"
    assert beside.is_dir()
    compact_index(path)
    assert beside.is_dir()
    compact_index(path, purge=True)
    assert not beside.exists()


def test_what_is_no_file_in_the_place_of_the_number_of_the_last_commit_is_found(path, hash_encoder):
    (path / "COMMITTED").unlink()
    (path / "COMMITTED").mkdir()
    (found,) = check_index(path, encoder=hash_encoder, quick=True).findings
    assert (found.code, found.severity.value, found.remedy) == (
        "witness",
        "warning",
        f"delete {path / 'COMMITTED'}",
    )
