"""What was encoded once is not encoded again, counted by the encoder itself."""

from __future__ import annotations

import logging
import sqlite3

import numpy as np
import pytest

from simsearch.encoder import Encoder, EncodingCounts, UnencodableText
from simsearch.errors import CorruptIndex, EncoderError
from simsearch.records import Document
from simsearch.search_index import SearchIndex, WriteReport, build_index, write_corpus

CARD, CAT = "my card was swallowed by the machine", "the cat sat on the mat"
LONG = " ".join(f"word{number}" for number in range(30))


@pytest.fixture
def index(tmp_path, hash_encoder):
    with SearchIndex.create(tmp_path / "index", encoder=hash_encoder) as index:
        index.add([Document("card", CARD), Document("cat", CAT, title="A cat")])
        hash_encoder.encoded.clear()
        yield index


def build(path, encoder, corpus, **options):
    with build_index(path, encoder=encoder, replace=True, **options) as index:
        return write_corpus(index.upsert, corpus, total=len(corpus))


def documents(count):
    return [Document(f"d{number}", f"text number {number}") for number in range(count)]


def stored_vectors(path):
    """Return the vector of every document, by id, as it lies in the database of truncated texts."""
    with sqlite3.connect(path / "meta.db") as connection:
        names = dict(connection.execute("SELECT first_row, id FROM documents"))
        blocks = connection.execute("SELECT first_row, data FROM vector_blocks").fetchall()
    connection.close()
    found = {}
    for first, data in blocks:
        for row, vector in enumerate(np.frombuffer(data, "<f4").reshape(-1, 256), start=first):
            if row in names:
                found[names[row]] = vector
    return found


def test_the_same_text_under_another_id_is_not_encoded_again(index, hash_encoder):
    report = index.add([Document("copy", CARD), Document("new", "a bird sings")])
    assert hash_encoder.encoded == ["a bird sings"]
    assert (report.added, report.passages, report.encoded, report.reused) == (2, 2, 1, 1)
    assert {hit.id for hit in index.search(CARD, k=2)} == {"card", "copy"}


def test_the_same_text_twice_in_a_call_is_encoded_once(index, hash_encoder):
    new = [Document(f"n{number}", f"text {number % 3}") for number in range(9)]
    report = index.add(new)
    assert hash_encoder.encoded == ["text 0", "text 1", "text 2"]
    assert (report.encoded, report.reused) == (3, 6)
    assert {hit.id for hit in index.search("text 1", k=3)} == {"n1", "n4", "n7"}


def test_changed_metadata_costs_no_encoding(index, hash_encoder, tmp_path):
    before = stored_vectors(tmp_path / "index")
    report = index.upsert([Document("card", CARD, metadata={"lang": "en"})])
    assert (report.replaced, report.encoded, report.reused) == (1, 0, 1)
    assert hash_encoder.encoded == []
    assert index.get("card").metadata == {"lang": "en"}
    after = stored_vectors(tmp_path / "index")
    np.testing.assert_array_equal(after["card"], before["card"])


def test_changed_metadata_needs_no_encoder_at_all(index, tmp_path):
    with SearchIndex.open(tmp_path / "index") as reopened:  # its copy of the encoder is none
        assert reopened.upsert([Document("card", CARD, metadata={"n": 1})]).reused == 1
        with pytest.raises(CorruptIndex, match="encoder"):
            reopened.upsert([Document("card", "something new")])


def test_a_title_that_moves_into_the_text_is_the_same_text(index, hash_encoder):
    """What is encoded is compared, not the fields that it is made of."""
    assert index.add([Document("whole", f"A cat {CAT}")]).reused == 1
    assert index.add([Document("bare", CAT)]).encoded == 1
    assert hash_encoder.encoded == [CAT]


def test_the_vector_of_a_deleted_document_is_not_reused(index, hash_encoder):
    index.delete(["card"])
    assert index.add([Document("again", CARD)]).encoded == 1
    assert hash_encoder.encoded == [CARD]


def test_a_supplied_vector_is_never_reused(index, hash_encoder):
    index.add([Document("given", "a bird sings")], embeddings=np.ones((1, 256), dtype=np.float32))
    report = index.upsert([Document("own", "a bird sings")])
    assert (report.added, report.encoded) == (1, 1)
    assert hash_encoder.encoded == ["a bird sings"]
    (hit,) = index.search("a bird sings", k=1)
    assert (hit.id, hit.score) == ("own", pytest.approx(1.0, abs=1e-6))


def test_a_supplied_vector_stays_where_the_metadata_alone_changes(index, hash_encoder):
    vector = np.eye(1, 256, dtype=np.float32)
    index.add([Document("given", "a bird sings")], embeddings=vector)
    report = index.upsert([Document("given", "a bird sings", metadata={"n": 1})])
    assert (report.replaced, report.encoded, report.reused) == (1, 0, 1)
    (hit,) = index.search_vectors(vector, k=1)[0]
    assert (hit.id, hit.score, hit.metadata) == ("given", pytest.approx(1.0), {"n": 1})
    assert hash_encoder.encoded == []
    index.upsert([Document("given", "a bird sang", metadata={"n": 1})])
    assert hash_encoder.encoded == ["a bird sang"]


def test_an_upsert_tells_texts_metadata_and_the_unchanged_apart_in_one_commit(index):
    before = index.info()
    report = index.upsert(
        [
            Document("card", CARD, metadata={"n": 1}),
            Document("cat", CAT, title="A cat"),
            Document("new", "a bird sings"),
        ]
    )
    assert report == WriteReport(added=1, replaced=1, unchanged=1, passages=2, encoded=1, reused=1)
    now = index.info()
    assert (now.commit_number, now.dead_rows) == (before.commit_number + 1, before.dead_rows)
    assert [each.id for each in index.iterate()] == ["card", "cat", "new"]
    assert index.search(CARD, k=1, where="n = 1")[0].id == "card"


def test_an_edit_encodes_only_the_passages_that_changed(tmp_path, hash_encoder):
    with SearchIndex.create(tmp_path / "i", encoder=hash_encoder, long_texts="passages") as index:
        assert index.add([Document("long", LONG)]).encoded == 5  # 8 words each, every 6 words
        hash_encoder.encoded.clear()
        edited = LONG.replace("word15", "CHANGED")
        report = index.upsert([Document("long", edited)])
        assert (report.replaced, report.passages, report.encoded, report.reused) == (1, 5, 1, 4)
        assert hash_encoder.encoded == [
            "word12 word13 word14 CHANGED word16 word17 word18 word19",
        ]
        (hit,) = index.search("changed")
        assert edited[slice(*hit.passage)] == hash_encoder.encoded[0]


def test_reused_vectors_are_found_across_blocks_and_commits(tmp_path, hash_encoder):
    corpus = documents(2500)
    with SearchIndex.create(tmp_path / "i", encoder=hash_encoder) as index:
        write_corpus(index.add, corpus, total=2500)
        before = stored_vectors(tmp_path / "i")
        hash_encoder.encoded.clear()
        shuffled = [corpus[n] for n in np.random.default_rng(0).permutation(2500)]
        copies = [Document(f"{each.id}-2", each.text) for each in shuffled]
        report = write_corpus(index.add, copies, total=2500)
        assert (report.added, report.reused, hash_encoder.encoded) == (2500, 2500, [])
        after = stored_vectors(tmp_path / "i")
        np.testing.assert_array_equal(
            [after[f"{each.id}-2"] for each in corpus], [before[each.id] for each in corpus]
        )


def test_only_what_was_encoded_is_counted(tmp_path, tiny_encoder_dir):
    with SearchIndex.create(tmp_path / "i", encoder=Encoder.load(tiny_encoder_dir)) as index:
        index.add([Document("long", "dog " * 100)])
        counts = EncodingCounts()
        index.upsert([Document("long", "dog " * 100, metadata={"n": 1})], counts=counts)
        assert (counts.texts, counts.truncated) == (0, 0)
        index.add([Document("copy", "dog " * 100), Document("new", "the cat")], counts=counts)
        assert (counts.texts, counts.truncated) == (1, 0)


def test_the_document_that_cannot_be_encoded_is_named_among_known_ones(
    index, hash_encoder, monkeypatch
):
    def fail(texts, *, counts=None):
        raise UnencodableText(texts.index("bad text"))

    monkeypatch.setattr(hash_encoder, "encode_documents", fail)
    batch = [Document("known", CARD), Document("new", "x"), Document("bad", "bad text")]
    with pytest.raises(EncoderError, match="document 'bad'"):
        index.add(batch)
    assert len(index) == 2


def test_replacing_an_index_encodes_only_what_is_new(tmp_path, hash_encoder):
    path = tmp_path / "i"
    build(path, hash_encoder, documents(1500))
    before = stored_vectors(path)
    hash_encoder.encoded.clear()
    corpus = [*documents(1500)[::-1], Document("new", "a bird sings")]
    report = build(path, hash_encoder, corpus)
    assert (report.added, report.encoded, report.reused) == (1501, 1, 1500)
    assert hash_encoder.encoded == ["a bird sings"]
    after = stored_vectors(path)
    assert after.keys() == {"new", *before}
    np.testing.assert_array_equal([after[name] for name in before], list(before.values()))


def test_a_replacement_in_passages_takes_the_vectors_of_short_texts(tmp_path, hash_encoder):
    path = tmp_path / "i"
    corpus = [Document("long", LONG), Document("short", CAT)]
    build(path, hash_encoder, corpus)
    report = build(path, hash_encoder, corpus, long_texts="passages")
    assert (report.passages, report.encoded, report.reused) == (6, 5, 1)


def test_an_interrupted_replacement_takes_vectors_from_both(tmp_path, hash_encoder):
    path = tmp_path / "i"
    build(path, hash_encoder, documents(10))
    with (
        pytest.raises(KeyboardInterrupt),
        build_index(path, encoder=hash_encoder, replace=True) as index,
    ):
        index.add([Document("new", "a bird sings")])
        raise KeyboardInterrupt
    hash_encoder.encoded.clear()
    report = build(path, hash_encoder, [*documents(10), Document("copy", "a bird sings")])
    assert (report.encoded, report.reused, hash_encoder.encoded) == (0, 11, [])


@pytest.mark.parametrize(("fingerprint", "dim"), [("hash-2", None), ("hash-1", 250)])
def test_an_index_by_another_encoder_or_dim_gives_nothing(
    tmp_path, hash_encoder, caplog, fingerprint, dim
):
    build(tmp_path / "i", hash_encoder, documents(5))
    hash_encoder.fingerprint = fingerprint
    report = build(tmp_path / "i", hash_encoder, documents(5), dim=dim)
    assert (report.encoded, report.reused) == (5, 0)
    assert caplog.messages == []


def test_an_index_of_supplied_vectors_gives_nothing(tmp_path, hash_encoder):
    path = tmp_path / "i"
    with SearchIndex.create(path, encoder=hash_encoder) as index:
        index.add(documents(5), embeddings=np.ones((5, 256), dtype=np.float32))
    assert build(path, hash_encoder, documents(5)).encoded == 5


def damage_file(path):
    (path / "meta.db").write_bytes(b"not a database at all" * 500)


def damage_vectors(path):
    with sqlite3.connect(path / "meta.db") as connection:
        (data,) = connection.execute("SELECT data FROM vector_blocks").fetchone()
        flipped = bytes([data[0] ^ 1]) + data[1:]
        connection.execute("UPDATE vector_blocks SET data = ?", (flipped,))
    connection.close()


def damage_table(path):
    with sqlite3.connect(path / "meta.db") as connection:
        connection.execute("DROP TABLE passages")
    connection.close()


def make_format_1(path):
    (path / "FORMAT").write_text("simsearch-index 1 simsearch/0.1.0\n")


@pytest.mark.parametrize("damage", [damage_file, damage_vectors, damage_table, make_format_1])
def test_an_index_that_cannot_be_read_is_replaced_without_its_vectors(
    tmp_path, hash_encoder, caplog, damage
):
    path = tmp_path / "i"
    build(path, hash_encoder, documents(1500))
    damage(path)
    caplog.set_level(logging.WARNING)
    corpus = [*documents(1500), *(Document(f"e{n}", f"text number {n}") for n in range(3))]
    report = build(path, hash_encoder, corpus)
    assert (report.added, report.encoded, report.reused) == (1503, 1500, 3)
    vectors = [each for each in caplog.messages if each.startswith("no vector of the index that")]
    assert len(vectors) == 1  # once, and not for each batch
    others = [each for each in caplog.messages if each not in vectors]
    assert all(each.startswith("no judgement of the index that is being") for each in others)
    expected = hash_encoder.encode_documents([document.text for document in corpus])
    after = stored_vectors(path)
    np.testing.assert_array_equal([after[document.id] for document in corpus], expected)


def test_a_damaged_vector_is_never_reused_within_an_index(index, tmp_path):
    damage_vectors(tmp_path / "index")
    with pytest.raises(CorruptIndex, match="rows 0 to 1 are damaged"):
        index.add([Document("copy", CARD)])
    assert index.get("copy") is None
