"""reindex and rollback: another encoder for an index, while it goes on, and back."""

from __future__ import annotations

import contextlib
import shutil
import threading

import numpy as np
import pytest
from conftest import HashEncoder, OtherHashEncoder, write_tiny_encoder
from stores import fault, raw

from simsearch.ann import Target
from simsearch.encoder import Encoder
from simsearch.errors import (
    CorruptIndex,
    EncoderMismatch,
    IndexLocked,
    InvalidData,
    InvalidInput,
    NotFound,
    SystemFailure,
)
from simsearch.records import Document
from simsearch.search_index import (
    SearchIndex,
    backup,
    backup_index,
    build_generation,
    build_index,
    check_index,
    compact_index,
    plan_reindex,
    repair_index,
    restore_index,
    roll_back,
    write_corpus,
)
from simsearch.storage import Severity
from simsearch.storage.locks import writer_lock

CORPUS = [Document(f"d{n}", f"text number {n} of the corpus", metadata={"n": n}) for n in range(30)]
SECRET = "the vault opens at midnight"


@pytest.fixture
def path(tmp_path):
    """An index of d0 to d29, of which d0 was deleted and d1 replaced."""
    with SearchIndex.create(tmp_path / "index", encoder=HashEncoder()) as index:
        index.add(CORPUS)
        index.delete(["d0"])
        index.upsert([Document("d1", "another text")])
    return tmp_path / "index"


@pytest.fixture
def second():
    return OtherHashEncoder()


def reindex(path, encoder, **options):
    with build_generation(path, encoder=encoder, **options) as built:
        pass
    return built.report


def documents(path, encoder):
    with SearchIndex.open(path, encoder=encoder) as index:
        return {each.id: each for each in index.iterate()}


def info(path, encoder):
    with SearchIndex.open(path, encoder=encoder) as index:
        return index.info()


def codes(report):
    return [(each.severity.value, each.code) for each in report.findings]


def test_afterwards_the_hits_are_those_of_the_new_encoder(path, second):
    before = documents(path, HashEncoder())
    assert reindex(path, second).encoded == 29
    assert documents(path, second) == before
    ids = list(before)
    embeddings = second.encode_documents([before[id_].content for id_ in ids])
    similarities = embeddings @ second.encode_queries(["text number 17"])[0]
    with SearchIndex.open(path, encoder=second) as index:
        hits = index.search("text number 17", k=29)
    assert {hit.id for hit in hits} == set(ids)
    scores = [hit.score for hit in hits]
    np.testing.assert_allclose(scores, np.sort(similarities)[::-1], atol=1e-6)
    own = [similarities[ids.index(hit.id)] for hit in hits]
    np.testing.assert_allclose(scores, own, atol=1e-6)
    assert check_index(path, encoder=second).findings == ()


def test_generations_are_numbered_and_the_commit_number_goes_on(path, second):
    first = info(path, HashEncoder())
    assert (first.generation, first.previous, first.building) == (1, None, None)
    reindex(path, second)
    now = info(path, second)
    assert (now.generation, now.dim, now.encoder, now.previous.generation) == (2, 64, "other", 1)
    assert now.previous.documents == 29
    assert now.previous.path == str(path / "previous")
    assert now.commit_number > first.commit_number
    roll_back(path, encoder=HashEncoder())
    back = info(path, HashEncoder())
    assert (back.generation, back.previous, back.encoder) == (1, None, "hash")
    assert back.commit_number > now.commit_number


def test_what_is_written_while_a_generation_is_built_is_in_it(path, second):
    with (
        build_generation(path, encoder=second),
        SearchIndex.open(path, encoder=HashEncoder()) as index,
    ):
        index.add([Document("new", "added meanwhile")])
        index.upsert([Document("d2", "changed meanwhile"), Document("d3", "changed too")])
        index.delete(["d4", "d3"])
        expected = {each.id: each for each in index.iterate()}
    assert documents(path, second) == expected
    assert {"new", "d2"} < expected.keys()
    with SearchIndex.open(path, encoder=second) as index:
        assert index.search("changed meanwhile", k=1)[0].id == "d2"
    assert check_index(path, encoder=second).findings == ()


def test_metadata_that_is_replaced_while_a_generation_is_built_is_in_it(path, second):
    with (
        build_generation(path, encoder=second),
        SearchIndex.open(path, encoder=HashEncoder()) as index,
    ):
        old = index.get("d9")
        index.replace_documents([(old, Document(old.id, old.text, metadata={"label": "late"}))])
    assert documents(path, second)["d9"].metadata == {"label": "late"}
    assert second.encoded.count(CORPUS[9].content) == 1


def test_a_compaction_while_a_generation_is_built_loses_nothing(path, second):
    with (
        build_generation(path, encoder=second),
        SearchIndex.open(path, encoder=HashEncoder()) as index,
    ):
        compact_index(path)  # rows have other numbers now
        index.add([Document("new", "added meanwhile")])
        index.delete(["d4"])
        expected = {each.id: each for each in index.iterate()}
    assert documents(path, second) == expected


def test_no_write_of_another_thread_is_lost_by_a_switch_or_a_rollback(path, tmp_path):
    models = [write_tiny_encoder(tmp_path / f"m{seed}", seed=seed) for seed in (1, 2)]
    first, second = (Encoder.load(model) for model in models)
    reindex(path, first)
    compact_index(path)
    added, stop = [], threading.Event()

    def write():
        with SearchIndex.open(path) as index:
            while not stop.wait(0.002):  # so that the lock is free now and then
                index.add([Document(f"new-{len(added)}", f"my card number {len(added)}")])
                added.append(f"new-{len(added)}")
                index.search("my card", k=3)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        reindex(path, second)
        roll_back(path)
        reindex(path, second)
    finally:
        stop.set()
        writer.join()
    assert added
    assert documents(path, second).keys() == {f"d{n}" for n in range(1, 30)} | set(added)
    assert check_index(path).findings == ()


def test_a_handle_with_the_index_s_own_encoder_goes_on_after_a_switch(tmp_path):
    models = [write_tiny_encoder(tmp_path / f"m{seed}", seed=seed) for seed in (1, 2)]
    first, second = (Encoder.load(model) for model in models)
    path = tmp_path / "index"
    with SearchIndex.create(path, encoder=first) as index:
        index.add([Document("card", "my card"), Document("cat", "the cat sat on the mat")])
    with (
        SearchIndex.open(path) as handle,
        SearchIndex.open(path) as unused,
        SearchIndex.open(path) as writer,
    ):
        before = handle.search("where is my card")
        _ = writer.encoder
        reindex(path, second)
        with SearchIndex.open(path) as fresh:
            expected = fresh.search("where is my card")
        assert [hit.score for hit in expected] != [hit.score for hit in before]
        assert handle.search("where is my card") == expected
        assert unused.search("where is my card") == expected
        writer.add([Document("bird", "a bird sings")])
        writer.upsert([Document("dog", "a dog sat on the mat")])
        assert handle.encoder.fingerprint == second.fingerprint
        assert handle.search("a bird sings", k=1)[0].score == pytest.approx(1, abs=1e-5)
        with pytest.raises(EncoderMismatch, match=r"switched to another encoder .*open it again"):
            handle.search_vectors(first.encode_queries(["my card"]))
        with pytest.raises(EncoderMismatch, match="switched to another encoder"):
            handle.add([Document("x", "x")], first.encode_documents(["x"]))
        roll_back(path)
        ((hit,),) = handle.search_vectors(first.encode_documents(["a bird sings"]), k=1)
        assert (hit.id, hit.score) == ("bird", pytest.approx(1, abs=1e-5))
    assert check_index(path).findings == ()


def test_a_backup_taken_while_the_index_is_switched_is_of_one_generation(tmp_path, monkeypatch):
    models = [write_tiny_encoder(tmp_path / f"m{seed}", seed=seed) for seed in (1, 2)]
    first, second = (Encoder.load(model) for model in models)
    path = tmp_path / "index"
    with SearchIndex.create(path, encoder=first) as index:
        index.add([Document("card", "my card"), Document("dog", "the dog sat")])
    looked = []

    def switch_once(name):
        if name == "backup.files":  # the database is copied, the encoder is not
            looked.append(name)
            if len(looked) == 1:
                reindex(path, second)

    monkeypatch.setattr(backup, "failpoint", switch_once)
    backup_index(path, tmp_path / "copy")
    assert len(looked) == 2
    assert info(tmp_path / "copy", second).generation == 2
    assert check_index(tmp_path / "copy").findings == ()
    assert [each.name for each in tmp_path.iterdir() if "draft" in each.name] == []


@pytest.mark.parametrize("verb", ["add", "upsert"])
def test_what_was_encoded_when_the_index_is_switched_is_encoded_again(tmp_path, monkeypatch, verb):
    models = [write_tiny_encoder(tmp_path / f"m{seed}", seed=seed) for seed in (1, 2)]
    first, second = (Encoder.load(model) for model in models)
    path = tmp_path / "index"
    with SearchIndex.create(path, encoder=first) as index:
        index.add([Document("card", "my card")])
    encode, switches = Encoder.encode_documents, [lambda: reindex(path, second)]

    def encode_and_switch(self, texts, **options):
        vectors = encode(self, texts, **options)
        while switches:
            switches.pop()()
        return vectors

    with SearchIndex.open(path) as handle:
        monkeypatch.setattr(Encoder, "encode_documents", encode_and_switch)
        assert getattr(handle, verb)([Document("dog", "the dog sat")]).added == 1
        assert handle.encoder.fingerprint == second.fingerprint
        ((hit,),) = handle.search_many(["the dog sat"], k=1)
        assert (hit.id, hit.score) == ("dog", pytest.approx(1, abs=1e-5))
    assert check_index(path).findings == ()


def test_a_handle_to_which_an_encoder_was_given_is_refused_after_a_switch(path, second):
    with SearchIndex.open(path, encoder=HashEncoder()) as handle:
        reindex(path, second)
        for use in (
            lambda: handle.search("text"),
            lambda: handle.add([Document("new", "acknowledged and of the wrong encoder")]),
            lambda: handle.upsert([Document("d2", "the same")]),
        ):
            with pytest.raises(EncoderMismatch, match=r"\(hash-2, dim 64\).*\(hash-1, dim 256\)"):
                use()
        assert handle.get("d2") == CORPUS[2]  # needs no encoder
        assert handle.delete(["d2"]) == 1
    assert "d2" not in documents(path, second)


def test_a_build_that_is_not_to_answer_yet_is_only_switched_to_the_next_time(path, second):
    reindex(path, second, switch=False)
    assert info(path, HashEncoder()).building.documents == 29
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        index.add([Document("new", "added later")])
    second.encoded.clear()
    assert reindex(path, second).encoded == 1
    assert second.encoded == ["added later"]
    assert len(documents(path, second)) == 30
    assert [each.name for each in path.parent.iterdir()] == ["index"]


def test_a_build_by_another_encoder_is_not_taken_up(path, second):
    reindex(path, second, switch=False)
    third = HashEncoder()
    third.fingerprint = "hash-3"
    reindex(path, third)
    assert len(third.encoded) == 29
    assert info(path, third).previous.fingerprint == "hash-1"


def test_a_failure_while_the_two_are_compared_leaves_the_index_and_the_build(path, second):
    with (
        pytest.raises(ZeroDivisionError),
        build_generation(path, encoder=second),
    ):
        raise ZeroDivisionError
    assert len(documents(path, HashEncoder())) == 29
    assert plan_reindex(path, encoder=second).built == 29


def test_one_builds_at_a_time(path, second):
    with (
        build_generation(path, encoder=second),
        pytest.raises(IndexLocked, match=r"\.index\.reindex is locked by pid"),
    ):
        reindex(path, second)


def test_a_second_reindex_keeps_one_step_back(path, second):
    third = HashEncoder()
    third.fingerprint = "hash-3"
    reindex(path, second)
    reindex(path, third)
    assert info(path, third).previous.generation == 2
    assert not (path / "previous" / "previous").exists()
    roll_back(path, encoder=second)
    with pytest.raises(NotFound, match="no generation before this one"):
        roll_back(path, encoder=HashEncoder())


def test_a_rollback_while_the_next_generation_is_built_does_not_disturb_it(path, second):
    third = HashEncoder()
    third.fingerprint = "hash-3"
    reindex(path, second)
    with build_generation(path, encoder=third):
        with SearchIndex.open(path, encoder=second) as index:
            index.add([Document("new", "added since")])
        roll_back(path, encoder=HashEncoder())
    now = info(path, third)
    assert (now.generation, now.previous.generation, now.documents) == (3, 1, 30)
    assert documents(path, third)["new"].text == "added since"


def test_a_rollback_brings_over_all_that_was_written_since(path, second):
    reindex(path, second)
    with SearchIndex.open(path, encoder=second) as index:
        index.add([Document("new", "added since")])
        index.upsert([Document("d2", "changed since")])
        index.delete(["d3"])
        expected = {each.id: each for each in index.iterate()}
    first = HashEncoder()
    assert roll_back(path, encoder=first).encoded == 2
    assert sorted(first.encoded) == ["added since", "changed since"]
    assert documents(path, HashEncoder()) == expected
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        assert index.search("changed since", k=1)[0].id == "d2"
    assert check_index(path, encoder=HashEncoder()).findings == ()


def test_supplied_vectors_are_refused_unless_their_text_may_be_encoded(path, second):
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        index.add([Document("given", "from elsewhere")], np.eye(1, 256, dtype=np.float32))
    assert plan_reindex(path, encoder=second).supplied == 1
    with pytest.raises(InvalidData, match=r"vector of document 'given' was supplied.*--encode-sup"):
        reindex(path, second)
    assert not (path.parent / ".index.reindex").exists()
    reindex(path, second, encode_supplied=True)
    with SearchIndex.open(path, encoder=second) as index:
        assert index.search("from elsewhere", k=1)[0].score == pytest.approx(1)
        index.add([Document("since", "of the new encoder")], np.eye(1, 64, dtype=np.float32))
        index.upsert([Document("given", "from elsewhere", metadata={"read": True})])
    with pytest.raises(InvalidData, match="vector of document 'since' was supplied"):
        roll_back(path, encoder=HashEncoder())
    assert info(path, second).generation == 2
    roll_back(path, encoder=HashEncoder(), encode_supplied=True)
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        own = index.search_vectors(np.eye(1, 256, dtype=np.float32), k=1)[0][0]
        assert (own.id, own.score) == ("given", pytest.approx(1))  # as it was before
        assert own.metadata == {"read": True}
        assert index.search("of the new encoder", k=1)[0].id == "since"


def test_a_vector_that_is_supplied_while_a_generation_is_built_stops_the_switch(path, second):
    with (
        pytest.raises(InvalidData, match="'given'"),
        build_generation(path, encoder=second),
        SearchIndex.open(path, encoder=HashEncoder()) as index,
    ):
        index.add([Document("given", "elsewhere")], np.eye(1, 256, dtype=np.float32))
    assert len(documents(path, HashEncoder())) == 30
    assert reindex(path, second, encode_supplied=True).encoded == 1


def test_long_texts_stay_passages_of_the_new_encoder(tmp_path, second):
    path = tmp_path / "index"
    text = " ".join(f"word{n}" for n in range(20))
    with SearchIndex.create(path, encoder=HashEncoder(), long_texts="passages") as index:
        index.add([Document("long", text), Document("short", "text")])
    reindex(path, second)
    assert info(path, second).passages == info(path / "previous", HashEncoder()).passages == 4
    with SearchIndex.open(path, encoder=second) as index:
        (hit,) = index.search("word12 word13 word14", k=1)
    assert (hit.id, text[slice(*hit.passage)].split()[0]) == ("long", "word12")


def test_what_is_asked_of_an_index_is_asked_of_every_generation(path, second, caplog):
    asked = [Target(recall=each, exact_below=20) for each in (0.5, 0.4, 0.3)]
    with SearchIndex.open(path, encoder=HashEncoder()) as index:  # enough to be asked
        index.add(Document(f"more{n}", f"text number {n * 7919} of more") for n in range(200))
    queries = HashEncoder().encode_queries([f"text number {n}" for n in range(25)])
    ask(path, HashEncoder(), asked[0], queries)
    caplog.clear()
    reindex(path, second, switch=False)
    assert "is chosen by documents now" in caplog.text
    with build_generation(path, encoder=second):
        ask(path, HashEncoder(), asked[1])
    assert info(path, second).target == asked[1]
    ask(path, second, asked[2])
    roll_back(path, encoder=HashEncoder())
    assert info(path, HashEncoder()).target == asked[2]


def ask(path, encoder, target, queries=None):
    with SearchIndex.open(path, encoder=encoder) as index:
        index.set_target(target)
        index.optimize(query_vectors=queries)


def test_rows_that_a_rollback_brings_over_get_their_segment(path, second):
    ask(path, HashEncoder(), Target(exact_below=20))
    reindex(path, second)
    with SearchIndex.open(path, encoder=second) as index:
        index.add(Document(f"new{n}", f"a new text {n}") for n in range(30))
    roll_back(path, encoder=HashEncoder())
    found = info(path, HashEncoder())
    assert (found.documents, found.search.rows_in_memory) == (59, 0)


def test_an_index_that_keeps_fewer_components_keeps_as_many(tmp_path):
    models = [write_tiny_encoder(tmp_path / f"m{seed}", seed=seed) for seed in (1, 2)]
    first, second = (Encoder.load(model) for model in models)
    path = tmp_path / "index"
    SearchIndex.create(path, encoder=first, dim=16).close()
    assert plan_reindex(path, encoder=second).dim == 16
    assert plan_reindex(path, encoder=second, dim=8).dim == 8
    reindex(path, first, dim=32)
    assert info(path, first).dim == 32
    assert plan_reindex(path, encoder=second).dim == 32
    with pytest.raises(InvalidInput, match=r"dim must be 2\.\.32"):
        plan_reindex(path, encoder=second, dim=33)


def test_a_plan_counts_and_estimates_and_changes_nothing(path, second):
    ticks = iter([10.0, 17.25])  # 7.25 s for the 29 that are a sample of all
    plan = plan_reindex(path, encoder=second, clock=lambda: next(ticks))
    assert (plan.needed, plan.generation, plan.documents, plan.built) == (True, 2, 29, 0)
    assert plan.seconds == pytest.approx(7.25)
    assert [each.name for each in path.parent.iterdir()] == ["index"]
    reindex(path, second)
    plan = plan_reindex(path, encoder=second)
    assert (plan.needed, plan.generation, plan.seconds) == (False, 2, 0)


def test_an_estimate_of_a_large_index_encodes_a_part_of_it(tmp_path, second):
    path = tmp_path / "index"
    with SearchIndex.create(path, encoder=HashEncoder()) as index:
        index.add([Document(f"d{n}", f"text {n}") for n in range(3200)])
    ticks = iter([0.0, 1.28])
    plan = plan_reindex(path, encoder=second, clock=lambda: next(ticks))
    assert len(set(second.encoded)) == 128
    assert plan.seconds == pytest.approx(32)


def test_the_same_encoder_or_an_unfinished_or_damaged_index_is_refused(path, tmp_path, second):
    with pytest.raises(InvalidInput, match="is by hash and of dim 256 already"):
        reindex(path, HashEncoder())
    SearchIndex.create(tmp_path / "begun", encoder=HashEncoder(), finished=False).close()
    with pytest.raises(InvalidInput, match="is unfinished"):
        reindex(tmp_path / "begun", second)
    with raw(path) as connection:
        connection.execute("DELETE FROM documents WHERE id = 'd7'")
    with pytest.raises(CorruptIndex, match="28 documents have 28 rows, and 29 are living"):
        reindex(path, second)


def test_damaged_vectors_are_no_obstacle_for_they_are_made_anew(path, second):
    with raw(path) as connection:
        connection.execute("UPDATE vector_blocks SET crc32 = 0")
    reindex(path, second)
    report = check_index(path, encoder=second)
    assert codes(report) == [("warning", "vectors")]
    assert report.findings[0].path == str(path / "previous" / "meta.db")
    assert f"simsearch compact {path}" in report.findings[0].remedy


def test_an_index_that_was_restored_meanwhile_to_a_later_generation_is_left_alone(
    path, tmp_path, second
):
    backup_index(path, tmp_path / "first")
    reindex(path, second)
    backup_index(path, tmp_path / "second")
    restore_index(tmp_path / "first", path, replace=True)
    third = HashEncoder()
    third.fingerprint = "hash-3"
    with (
        pytest.raises(InvalidInput, match="has become generation 2 while generation 2 was built"),
        build_generation(path, encoder=third),
    ):
        restore_index(tmp_path / "second", path, replace=True)
    assert len(documents(path, second)) == 29
    reindex(path, third)
    assert info(path, third).generation == 3


def test_a_build_that_a_restored_backup_has_overtaken_is_no_generation_before(
    path, tmp_path, second
):
    backup_index(path, tmp_path / "first")
    reindex(path, second)
    third = HashEncoder()
    third.fingerprint = "hash-3"
    reindex(path, third)
    backup_index(path, tmp_path / "third")
    restore_index(tmp_path / "first", path, replace=True)
    with pytest.raises(RuntimeError), build_generation(path, encoder=second) as follower:
        follower.target.delete(["d7"])  # it is not what it is to be yet
        raise RuntimeError
    restore_index(tmp_path / "third", path, replace=True)
    assert info(path, third).previous is None
    with pytest.raises(NotFound, match="has no generation before this one"):
        roll_back(path, encoder=second)
    reindex(path, second)
    assert info(path, second).generation == 4
    assert len(documents(path, second)) == 29


def test_check_notes_what_a_killed_reindex_or_rollback_left(path, second):
    reindex(path, second, switch=False)
    report = check_index(path, encoder=HashEncoder())
    assert codes(report) == [("note", "generation")]
    assert report.findings[0].path == str(path.parent / ".index.reindex")


@pytest.mark.parametrize("quick", [True, False])
def test_a_generation_before_that_is_no_index_any_more_is_a_warning(path, second, quick):
    reindex(path, second)
    (path / "previous" / "meta.db").unlink()
    assert codes(check_index(path, quick=quick, encoder=second)) == [("warning", "database")]
    (path / "previous" / "FORMAT").unlink()
    report = check_index(path, quick=quick, encoder=second)
    assert (codes(report), report.worst) == ([("warning", "format")], Severity.WARNING)
    assert info(path, second).previous is None
    with pytest.raises(NotFound, match="no simsearch index here"):
        roll_back(path, encoder=HashEncoder())
    assert compact_index(path).removed_generation == 0
    assert check_index(path, encoder=second).findings == ()


def test_repair_keeps_the_generation_before(path, second):
    reindex(path, second)
    with raw(path) as connection:
        connection.execute("UPDATE vector_blocks SET crc32 = 0")
    repair_index(path, encoder=second)
    assert check_index(path, encoder=second).findings == ()
    assert info(path, second).generation == 2
    roll_back(path, encoder=HashEncoder())
    assert len(documents(path, HashEncoder())) == 29


def test_a_backup_is_of_the_generation_that_answers(path, tmp_path, second):
    reindex(path, second)
    backup_index(path, tmp_path / "saved")
    assert not (tmp_path / "saved" / "previous").exists()
    restore_index(tmp_path / "saved", tmp_path / "back")
    back = info(tmp_path / "back", second)
    assert (back.generation, back.previous, back.documents) == (2, None, 29)


def test_compact_deletes_the_generation_before(path, second):
    reindex(path, second)
    before = documents(path, second)
    report = compact_index(path)
    assert (report.removed_rows, report.removed_generation) == (0, 1)
    assert report.bytes_after < 0.7 * report.bytes_before
    assert documents(path, second) == before
    assert compact_index(path).removed_generation is None
    reindex(path, HashEncoder())
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        index.delete(["d2"])
    report = compact_index(path)
    assert (report.removed_rows, report.removed_generation) == (1, 2)
    assert not (path / "previous").exists()


def holds(path, needle):
    return [each for each in path.rglob("*") if each.is_file() and needle in each.read_bytes()]


def test_after_a_purge_no_generation_holds_what_was_deleted(path, second):
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        index.add([Document("secret", SECRET)])
    reindex(path, second)
    third = HashEncoder()
    third.fingerprint = "hash-3"
    reindex(path, third, switch=False)
    with SearchIndex.open(path, encoder=second) as index:
        index.delete(["secret"])
    assert len({each.parent for each in holds(path.parent, SECRET.encode())}) >= 2
    compact_index(path, purge=True)
    assert holds(path.parent, SECRET.encode()) == []
    assert len(documents(path, second)) == 29


def test_a_purge_is_refused_while_a_generation_is_built(path, second):
    with (
        build_generation(path, encoder=second),
        pytest.raises(IndexLocked, match=r"\.index\.reindex is locked"),
    ):
        compact_index(path, purge=True)
    assert info(path, second).generation == 2


def test_an_index_that_is_replaced_has_no_generation_before(path, second):
    reindex(path, second)
    with build_index(path, encoder=second, replace=True) as index:
        write_corpus(index.upsert, CORPUS, total=30)
    assert (info(path, second).generation, info(path, second).previous) == (1, None)


def test_a_switch_waits_for_a_writer_and_says_who_it_is(path, second, monkeypatch):
    monkeypatch.setattr("simsearch.storage.locks.LOCK_BUDGET", 0.0)
    with contextlib.ExitStack() as writer:
        with (
            pytest.raises(IndexLocked, match=r"/index is locked by pid \d+"),
            build_generation(path, encoder=second),
        ):
            writer.enter_context(writer_lock(path / "LOCK"))
        assert info(path, HashEncoder()).building.documents == 29
    assert reindex(path, second).encoded == 0
    assert len(documents(path, second)) == 29


def test_a_generation_of_another_index_is_not_rolled_back_to(path, tmp_path, second):
    reindex(path, second)
    SearchIndex.create(tmp_path / "other", encoder=HashEncoder()).close()
    shutil.rmtree(path / "previous")
    shutil.copytree(tmp_path / "other", path / "previous")
    with pytest.raises(NotFound, match="is no generation of"):
        roll_back(path, encoder=HashEncoder())
    assert len(documents(path, second)) == 29


def test_a_failed_exchange_leaves_the_index_and_the_next_run_switches(path, second):
    with (
        pytest.raises(SystemFailure, match=r"generation\.exchange"),
        fault("generation.exchange:eio"),
    ):
        reindex(path, second)
    assert len(documents(path, HashEncoder())) == 29
    second.encoded.clear()
    reindex(path, second)
    assert second.encoded == []
    assert len(documents(path, second)) == 29
