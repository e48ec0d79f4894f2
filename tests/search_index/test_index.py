from __future__ import annotations

import random
import shutil
import threading

import numpy as np
import pytest
from stores import raw

from simsearch.errors import (
    AlreadyExists,
    CorruptIndex,
    DuplicateId,
    EncoderError,
    EncoderMismatch,
    IncompatibleIndex,
    IndexLocked,
    InvalidData,
    InvalidInput,
    NotFound,
    SystemFailure,
)
from simsearch.records import Document
from simsearch.search_index import SearchIndex, WriteReport

TEXTS = {
    "card": "my card was swallowed by the machine",
    "late": "the parcel is late",
    "cat": "the cat sat on the mat",
    "dog": "the dog sat on the mat",
}


@pytest.fixture
def index(tmp_path, hash_encoder):
    with SearchIndex.create(tmp_path / "index", encoder=hash_encoder) as index:
        index.add([Document(id=name, text=text) for name, text in TEXTS.items()])
        yield index


def ids(hits):
    return [hit.id for hit in hits]


def test_the_nearest_document_comes_first_with_its_cosine(index, hash_encoder):
    hits = index.search("machine swallowed my card", k=2)
    query, text = hash_encoder.encode_documents(["machine swallowed my card", TEXTS["card"]])
    assert hits[0].id == "card"
    assert hits[0].text == TEXTS["card"]
    assert hits[0].score == pytest.approx(float(query @ text), abs=1e-6)
    assert hits[0].probability is None
    assert len(hits) == 2


def test_every_document_is_found_by_its_own_text(index):
    assert [index.search(text, k=1)[0].id for text in TEXTS.values()] == list(TEXTS)


def test_search_many_gives_one_list_per_query_in_order(index):
    found = index.search_many(["parcel late", "cat"], k=1)
    assert [ids(hits) for hits in found] == [["late"], ["cat"]]
    assert index.search_many([]) == []


def test_search_vectors_normalises_its_queries(index, hash_encoder):
    vector = hash_encoder.encode_documents([TEXTS["cat"]]) * 17
    (hits,) = index.search_vectors(vector, k=1)
    assert (hits[0].id, pytest.approx(1.0, abs=1e-6)) == ("cat", hits[0].score)


def test_results_equal_exact_numpy_search(tmp_path, hash_encoder):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2000, 256)).astype(np.float32)
    queries = rng.standard_normal((5, 256)).astype(np.float32)
    with SearchIndex.create(tmp_path / "i", encoder=hash_encoder) as index:
        index.add([Document(str(n), f"t{n}") for n in range(2000)], embeddings=rows)
        found = index.search_vectors(queries, k=10)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ unit.T
    expected = np.argsort(-cosines, axis=1)[:, :10]
    assert [[int(hit.id) for hit in hits] for hits in found] == expected.tolist()
    assert found[0][0].score == pytest.approx(float(cosines[0].max()), abs=1e-5)


def test_a_deleted_document_never_comes_back(index, tmp_path, hash_encoder):
    index.search("cat")  # loads the vectors
    assert index.delete(["cat", "unknown"]) == 1
    assert "cat" not in ids(index.search(TEXTS["cat"], k=100))
    assert index.get("cat") is None
    with SearchIndex.open(tmp_path / "index", encoder=hash_encoder) as reopened:
        assert "cat" not in ids(reopened.search(TEXTS["cat"], k=100))
        assert len(reopened) == 3


def test_a_deleted_id_can_be_added_again(index):
    index.delete(["cat"])
    index.add([Document("cat", "a red bird sings")])
    assert index.search("bird", k=1)[0].text == "a red bird sings"


def test_one_string_is_not_taken_for_several_ids(index):
    with pytest.raises(InvalidInput, match="several ids"):
        index.delete("cat")
    assert len(index) == 4


def test_upsert_replaces_and_counts(index, hash_encoder):
    hash_encoder.encoded.clear()
    report = index.upsert(
        [
            Document("cat", TEXTS["cat"]),
            Document("dog", "a blue dog"),
            Document("new", "forgot password"),
        ]
    )
    assert (report.added, report.replaced, report.unchanged) == (1, 1, 1)
    assert hash_encoder.encoded == ["a blue dog", "forgot password"]
    assert index.search("blue", k=1)[0].id == "dog"
    assert ids(index.search(TEXTS["dog"], k=100)).count("dog") == 1
    assert len(index) == 5


def test_the_same_text_under_a_new_id_is_a_new_document(index):
    assert index.upsert([Document("cat-2", TEXTS["cat"])]).added == 1
    assert set(ids(index.search(TEXTS["cat"], k=2))) == {"cat", "cat-2"}


def test_changed_metadata_alone_is_a_replacement(index):
    report = index.upsert([Document("cat", TEXTS["cat"], metadata={"lang": "en"})])
    assert report.replaced == 1
    assert index.search("cat", k=1)[0].metadata == {"lang": "en"}


def test_add_refuses_a_known_id_and_adds_nothing(index):
    with pytest.raises(DuplicateId, match="'cat' is in the index already"):
        index.add([Document("new", "new text"), Document("cat", "x")])
    assert len(index) == 4


def test_an_id_twice_in_one_call_is_refused(index):
    with pytest.raises(DuplicateId, match="document 1: id 'x' stands twice"):
        index.upsert([Document("x", "one"), Document("x", "two")])
    assert len(index) == 4


def test_title_and_text_are_encoded_and_kept_apart(index, hash_encoder):
    index.add([Document("t", "body", title="Heading")])
    assert hash_encoder.encoded[-1] == "Heading body"
    assert (index.get("t").title, index.get("t").text) == ("Heading", "body")


def test_iterate_gives_every_document_once_in_order(index):
    index.delete(["late"])
    index.upsert([Document("card", "changed")])
    assert [document.id for document in index.iterate()] == ["cat", "dog", "card"]


def test_another_handle_sees_every_commit(index, tmp_path, hash_encoder):
    with SearchIndex.open(tmp_path / "index", encoder=hash_encoder) as reader:
        assert reader.search("bird", k=1)[0].score == 0.0
        index.add([Document("bird", "a bird sings")])
        index.delete(["cat"])
        assert ids(reader.search("bird", k=1)) == ["bird"]
        assert "cat" not in ids(reader.search("cat", k=100))


def test_an_empty_index_has_no_hits(tmp_path, hash_encoder):
    with SearchIndex.create(tmp_path / "i", encoder=hash_encoder) as empty:
        assert empty.search("anything") == []
        assert len(empty) == 0


@pytest.mark.parametrize("k", [0, -1, 10_001, 10**8, 1.5, "3", True])
def test_k_outside_its_range_is_refused(index, k):
    with pytest.raises(InvalidInput, match=r"k must be 1\.\.10000"):
        index.search("cat", k=k)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("x" * 65_537, "at most 65536"),
        ("a\0b", r"U\+0000 at position 1"),
        ("\udce9", r"U\+DCE9"),
        ("\x1b[31m", r"U\+001B"),
        (3, "got int"),
    ],
)
def test_a_query_that_is_no_text_is_refused(index, query, message):
    with pytest.raises(InvalidInput, match=message):
        index.search(query)


def test_an_upsert_of_the_same_vectors_writes_nothing_and_of_others_replaces(index, tmp_path):
    new = [Document("a", "a"), Document("b", "b"), Document("c", "c")]
    rows = np.random.default_rng(0).standard_normal((3, 256)).astype(np.float32)
    index.upsert(new, embeddings=rows)
    with raw(tmp_path / "index") as connection:
        before = connection.execute("SELECT * FROM meta").fetchall()
    assert index.upsert(new, embeddings=rows) == WriteReport(unchanged=3)
    with raw(tmp_path / "index") as connection:
        assert connection.execute("SELECT * FROM meta").fetchall() == before
    changed = [new[0], Document("b", "b", metadata={"n": 1}), new[2]]
    others = np.concatenate([rows[:2], -rows[2:]])
    report = index.upsert(changed, embeddings=others)
    assert (report.unchanged, report.replaced, report.passages, report.reused) == (1, 2, 2, 1)
    found = index.search_vectors(others, k=1)
    assert [hits[0].id for hits in found] == ["a", "b", "c"]
    assert [hits[0].score for hits in found] == pytest.approx([1, 1, 1], abs=1e-6)
    assert index.get("b").metadata == {"n": 1}


def test_a_vector_that_is_given_takes_the_place_of_one_that_was_encoded(index):
    (vector,) = index.encoder.encode_documents([index.get("cat").content])
    report = index.upsert([index.get("cat")], embeddings=vector[None])
    assert (report.replaced, report.unchanged) == (1, 0)  # it is nobody's to encode again now


def test_vectors_that_are_given_mend_a_damaged_block(index, tmp_path):
    new, rows = [Document("a", "a")], np.eye(1, 256, dtype=np.float32)
    index.upsert(new, embeddings=rows)
    with raw(tmp_path / "index") as connection:
        (last,) = connection.execute("SELECT max(first_row) FROM vector_blocks").fetchone()
        connection.execute("UPDATE vector_blocks SET crc32 = 0 WHERE first_row = ?", (last,))
    assert index.upsert(new, embeddings=rows).replaced == 1
    with SearchIndex.open(tmp_path / "index", encoder=index.encoder) as again:
        assert again.search_vectors(rows, k=1)[0][0].id == "a"


def test_embeddings_that_do_not_fit_are_refused_before_any_write(index):
    new = [Document("a", "a"), Document("b", "b")]
    with pytest.raises(InvalidData, match="expected dim 256, got 8"):
        index.add(new, embeddings=np.ones((2, 8), dtype=np.float32))
    with pytest.raises(InvalidData, match="3 vectors for 2 documents"):
        index.add(new, embeddings=np.ones((3, 256), dtype=np.float32))
    rows = np.ones((2, 256), dtype=np.float32)
    rows[1, 5] = np.nan
    with pytest.raises(InvalidData, match="row 1"):
        index.add(new, embeddings=rows)
    assert len(index) == 4


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (Document("", "text"), "'id' is empty"),
        (Document("a\nb", "text"), "not printable"),
        (Document(7, "text"), "must be a string"),
        (Document("a", "  "), "empty"),
        (Document("a", "\ud800"), "lone surrogate"),
        (Document("a", "x", metadata={"v": float("nan")}), "JSON"),
        (Document("a", "x", metadata={"v": (1, 2)}), "JSON"),
        (Document("a", "x", metadata={"a'b": 1}), "metadata field"),
        ("not a document", "expected a Document"),
    ],
)
def test_a_document_that_cannot_be_kept_is_refused(index, document, message):
    with pytest.raises(InvalidData, match=message):
        index.add([Document("fine", "fine"), document])
    assert len(index) == 4


def test_another_encoder_of_the_same_dimension_is_refused(index, tmp_path, hash_encoder):
    hash_encoder.fingerprint = "hash-2"
    with pytest.raises(EncoderMismatch, match=r"\(hash-1, dim 256\), got hash \(hash-2, dim 256\)"):
        SearchIndex.open(tmp_path / "index", encoder=hash_encoder)


def test_create_refuses_what_is_there_and_replace_swaps_it(index, tmp_path, hash_encoder):
    with pytest.raises(AlreadyExists):
        SearchIndex.create(tmp_path / "index", encoder=hash_encoder)
    with SearchIndex.create(tmp_path / "index", encoder=hash_encoder, replace=True) as fresh:
        assert len(fresh) == 0


def test_a_directory_that_is_no_index_is_refused(tmp_path):
    with pytest.raises(NotFound, match="no simsearch index here"):
        SearchIndex.open(tmp_path)
    with pytest.raises(NotFound, match="no simsearch index here"):
        SearchIndex.open(tmp_path / "nowhere")


def test_a_newer_format_is_refused(index, tmp_path):
    (tmp_path / "index" / "FORMAT").write_text("simsearch-index 6 simsearch/9.9\n")
    with raw(tmp_path / "index") as connection:
        connection.execute("CREATE TABLE more (row INTEGER PRIMARY KEY)")
    with pytest.raises(IncompatibleIndex, match=r"has format 6, .*use the version that wrote it"):
        SearchIndex.open(tmp_path / "index")


def test_a_marker_of_something_else_is_refused(index, tmp_path):
    (tmp_path / "index" / "FORMAT").write_text("another thing\n")
    with pytest.raises(CorruptIndex, match=r"FORMAT is missing or wrong.*simsearch repair"):
        SearchIndex.open(tmp_path / "index")


def test_a_marker_of_something_else_beside_no_store_is_refused(tmp_path):
    (tmp_path / "FORMAT").write_text("another thing\n")
    with pytest.raises(CorruptIndex, match="does not name a format of simsearch"):
        SearchIndex.open(tmp_path)


def test_the_index_answers_without_the_model_it_was_made_with(tmp_path, tiny_encoder_dir):
    from simsearch.encoder import Encoder

    model = shutil.copytree(tiny_encoder_dir, tmp_path / "model")
    with SearchIndex.create(tmp_path / "i", encoder=Encoder.load(model)) as index:
        index.add([Document(name, text) for name, text in TEXTS.items()])
        expected = index.search("cat on the mat")
    shutil.rmtree(model)
    shutil.move(tmp_path / "i", tmp_path / "moved")
    with SearchIndex.open(tmp_path / "moved") as moved:
        assert moved.search("cat on the mat") == expected


def test_a_document_without_a_finite_vector_is_named(index, hash_encoder, monkeypatch):
    from simsearch.encoder import UnencodableText

    def fail(texts, *, counts=None):
        raise UnencodableText(1)

    monkeypatch.setattr(hash_encoder, "encode_documents", fail)
    with pytest.raises(EncoderError, match="document 'bad'"):
        index.add([Document("good", "x"), Document("bad", "y")])
    assert len(index) == 4


def test_info_tells_what_is_there(index, tmp_path):
    index.delete(["cat"])
    info = index.info()
    assert (info.format, info.documents, info.passages, info.dead_rows) == (5, 3, 3, 1)
    assert (info.dim, info.long_texts) == (256, "truncate")
    assert (info.encoder, info.fingerprint, info.finished) == ("hash", "hash-1", True)
    assert info.commit_number == 2
    assert info.bytes_on_disk > 4 * 256 * 4


def test_random_writes_agree_with_a_dict(tmp_path, hash_encoder):
    """The model of an index is a dict of documents; the oracle of a search is numpy."""
    rng = random.Random(0)
    words = sorted({word for text in TEXTS.values() for word in text.split()})
    model: dict[str, Document] = {}
    index = SearchIndex.create(tmp_path / "i", encoder=hash_encoder)
    for step in range(120):
        names = rng.sample([f"d{number}" for number in range(30)], rng.randint(1, 5))
        fresh = [Document(name, " ".join(rng.choices(words, k=4))) for name in names]
        action = rng.choice(["upsert", "upsert", "delete", "reopen"])
        if action == "upsert":
            index.upsert(fresh)
            model |= {document.id: document for document in fresh}
        elif action == "delete":
            assert index.delete(names) == len(model.keys() & set(names))
            model = {name: kept for name, kept in model.items() if name not in names}
        else:
            index.close()
            index = SearchIndex.open(tmp_path / "i", encoder=hash_encoder)
        query = " ".join(rng.choices(words, k=2))
        hits = index.search(query, k=40)
        assert {hit.id: hit.text for hit in hits} == {n: d.text for n, d in model.items()}, step
        vectors = hash_encoder.encode_documents([query, *(hit.text for hit in hits)])
        np.testing.assert_allclose([hit.score for hit in hits], vectors[1:] @ vectors[0], atol=1e-6)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    index.close()


def test_threads_may_share_a_handle(index):
    failures: list[Exception] = []

    def search():
        try:
            for _ in range(30):
                assert index.search("cat", k=1)[0].id == "cat"
        except Exception as error:
            failures.append(error)

    def write():
        try:
            for number in range(15):
                index.upsert([Document("moving", f"text {number}")])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=target) for target in (search, search, write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert index.get("moving").text == "text 14"


def test_a_closed_index_says_that_it_is_closed(index):
    index.close()
    index.close()
    for use in (lambda: index.search("cat"), lambda: len(index), lambda: index.delete(["cat"])):
        with pytest.raises(InvalidInput, match="is closed"):
            use()


def test_an_encoder_may_be_given_by_name(tmp_path, tiny_encoder_dir):
    with SearchIndex.create(tmp_path / "by-name", encoder=str(tiny_encoder_dir)) as index:
        assert (index.dim, index.encoder.name) == (32, str(tiny_encoder_dir))


def test_one_query_is_not_taken_for_several(index):
    with pytest.raises(InvalidInput, match="several queries"):
        index.search_many("hello")


def test_true_is_not_one_in_metadata(index):
    index.upsert([Document("flag", "x", metadata={"on": True})])
    assert index.upsert([Document("flag", "x", metadata={"on": 1})]).replaced == 1
    assert index.get("flag").metadata["on"] is not True


def test_a_directory_that_is_no_index_is_never_replaced(tmp_path, hash_encoder):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years")
    with pytest.raises(AlreadyExists, match="never replaced"):
        SearchIndex.create(tmp_path / "precious", encoder=hash_encoder, replace=True)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years"


def test_a_write_to_an_index_that_was_replaced_is_refused(index, tmp_path, hash_encoder):
    SearchIndex.create(tmp_path / "index", encoder=hash_encoder, replace=True).close()
    for use in (
        lambda: index.add([Document("new", "acknowledged and lost")]),
        lambda: index.search("cat"),
        lambda: len(index),
    ):
        with pytest.raises(SystemFailure, match="replaced by another index since it was opened"):
            use()


def test_an_index_is_not_replaced_while_somebody_writes_to_it(
    index, tmp_path, hash_encoder, monkeypatch
):
    from simsearch.storage import locks

    monkeypatch.setattr(locks, "LOCK_BUDGET", 0.0)
    with (
        locks.writer_lock(tmp_path / "index" / "LOCK"),
        pytest.raises(IndexLocked),
    ):
        SearchIndex.create(tmp_path / "index", encoder=hash_encoder, replace=True)
    assert len(index) == 4


def test_a_link_in_the_place_of_the_lock_is_not_followed(index, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("keep me")
    (tmp_path / "index" / "LOCK").unlink()
    (tmp_path / "index" / "LOCK").symlink_to(victim)
    with pytest.raises(SystemFailure, match=r"LOCK is no regular file.*move it out"):
        index.delete(["cat"])
    assert victim.read_text() == "keep me"


def test_a_directory_in_the_place_of_the_lock_is_told(index, tmp_path):
    (tmp_path / "index" / "LOCK").unlink()
    (tmp_path / "index" / "LOCK").mkdir()
    with pytest.raises(SystemFailure, match=r"LOCK is no regular file.*move it out"):
        index.delete(["cat"])
    assert len(index) == 4


def test_a_damaged_encoder_copy_is_damage_of_the_index(tmp_path, tiny_encoder_dir):
    SearchIndex.create(tmp_path / "i", encoder=tiny_encoder_dir).close()
    description = tmp_path / "i" / "encoder" / "encoder.json"
    description.write_text(description.read_text().replace('"max_length": 32', '"max_length": 8'))
    with SearchIndex.open(tmp_path / "i") as damaged, pytest.raises(CorruptIndex, match="damaged"):
        damaged.search("cat")


def test_vectors_without_a_document_are_damage(index, tmp_path):
    import sqlite3

    connection = sqlite3.connect(tmp_path / "index" / "meta.db")
    connection.execute("DELETE FROM documents WHERE id = 'cat'")
    connection.commit()
    connection.close()
    with pytest.raises(CorruptIndex, match="row 2 has a vector but no document"):
        index.search("cat")


def test_blocks_of_dead_rows_are_not_read(index, tmp_path, hash_encoder):
    """An index that is upserted for years must not get slower to open."""
    import sqlite3

    index.upsert([Document(name, f"{text} again") for name, text in TEXTS.items()])
    connection = sqlite3.connect(tmp_path / "index" / "meta.db")
    connection.execute("UPDATE vector_blocks SET data = x'00' WHERE first_row = 0")  # unreadable
    connection.commit()
    connection.close()
    with SearchIndex.open(tmp_path / "index", encoder=hash_encoder) as reopened:
        assert reopened.search("cat mat", k=1)[0].id == "cat"
