"""An index with long_texts="passages": a document scores by its best passage, and is a hit once."""

from __future__ import annotations

import random
import sqlite3

import numpy as np
import pytest

from simsearch.encoder import Encoder
from simsearch.errors import CorruptIndex, InvalidInput
from simsearch.records import Document
from simsearch.search_index import LongTexts, SearchIndex, build_index, nearest, write_corpus

WORDS = ["my", "card", "was", "swallowed", "parcel", "late", "lost", "order", "cat", "dog", "mat"]
LONG = (
    "the red phone is on the mat and the bird sings about money but nobody knows "
    "where my card was swallowed by the machine"
)


@pytest.fixture
def index(tmp_path, hash_encoder):
    with SearchIndex.create(
        tmp_path / "index", encoder=hash_encoder, long_texts="passages"
    ) as index:
        index.add([Document("long", LONG), Document("short", "the cat sat on the mat")])
        yield index


def score_by_best_passage(encoder, documents, query):
    """Return (score, range) of each document by numpy: every passage against the query."""
    (asked,) = encoder.encode_documents([query])
    scored = {}
    for document, passages in zip(documents, encoder.split_documents(documents), strict=True):
        title = f"{document.title} " if document.title else ""
        ranges = [(each.start, each.stop) for each in passages]
        texts = [title + document.text[start:stop] for start, stop in ranges]
        similarities = encoder.encode_documents(texts) @ asked
        best = int(np.argmax(similarities))
        whole = len(ranges) == 1
        scored[document.id] = (float(similarities[best]), None if whole else ranges[best])
    return scored


def test_what_stands_beyond_the_window_is_found_and_its_place_told(index):
    hit = index.search("swallowed by the machine", k=1)[0]
    assert (hit.id, hit.text) == ("long", LONG)
    assert LONG[slice(*hit.passage)] == "card was swallowed by the machine"


def test_a_document_that_fits_the_window_was_encoded_whole(index):
    assert [hit.passage for hit in index.search("cat mat") if hit.id == "short"] == [None]


def test_without_passages_a_long_text_is_one_row(tmp_path, hash_encoder):
    with SearchIndex.create(tmp_path / "i", encoder=hash_encoder) as index:
        report = index.add([Document("long", LONG)])
        assert (report.passages, hash_encoder.encoded) == (1, [LONG])
        assert (index.long_texts, index.search("card")[0].passage) == (LongTexts.TRUNCATE, None)


def test_the_title_is_encoded_with_every_passage(index, hash_encoder):
    hash_encoder.encoded.clear()
    report = index.add([Document("titled", "one two three four five six seven 8 nine", "Heading")])
    assert (report.added, report.passages, report.encoded) == (1, 2, 2)
    assert hash_encoder.encoded == [
        "Heading one two three four five six seven 8",
        "Heading seven 8 nine",
    ]


def test_a_document_is_a_hit_once_by_its_best_passage(index, hash_encoder):
    documents = list(index.iterate())
    for query in ("the mat", "red phone", "machine", "bird sings money"):
        hits = index.search(query, k=10)
        expected = score_by_best_passage(hash_encoder, documents, query)
        assert {hit.id: hit.passage for hit in hits if hit.score > 0} == {
            name: place for name, (score, place) in expected.items() if score > 0
        }
        assert {hit.id: hit.score for hit in hits} == pytest.approx(
            {name: score for name, (score, _) in expected.items()}, abs=1e-6
        )


@pytest.mark.parametrize("cells", [1 << 22, 7])
def test_k_documents_are_found_though_one_has_all_the_nearest_passages(
    tmp_path, hash_encoder, monkeypatch, cells
):
    monkeypatch.setattr(nearest, "_CELLS", cells)  # 7: each query is searched by itself
    greedy = " ".join(["cat"] * 1500)
    others = [Document(f"d{number}", f"cat number {number}") for number in range(20)]
    with SearchIndex.create(
        tmp_path / "i", encoder=hash_encoder, long_texts=LongTexts.PASSAGES
    ) as index:
        assert index.add([Document("greedy", greedy), *others]).passages == 20 + 250
        found = index.search_many(["cat", "number", "cat 7"], k=5)
        assert [len({hit.id for hit in hits}) for hits in found] == [5, 5, 5]
        assert [hits[0].id for hits in found[::2]] == ["greedy", "d7"]
        assert "greedy" not in [hit.id for hit in found[1]]
        assert {hit.id for hit in index.search("cat", k=100)} == {
            "greedy",
            *(document.id for document in others),
        }


def test_random_writes_agree_with_a_dict_and_every_passage_scored_by_numpy(tmp_path, hash_encoder):
    rng = random.Random(1)
    model: dict[str, Document] = {}
    path = tmp_path / "i"
    index = SearchIndex.create(path, encoder=hash_encoder, long_texts="passages")
    for step in range(80):
        names = rng.sample([f"d{number}" for number in range(25)], rng.randint(1, 5))
        fresh = [
            Document(
                name,
                " ".join(rng.choices(WORDS, k=rng.choice([1, 4, 8, 9, 30, 70]))),
                title=rng.choice([None, "lost order"]),
            )
            for name in names
        ]
        match rng.choice(["upsert", "upsert", "add", "delete", "reopen"]):
            case "upsert":
                index.upsert(fresh)
                model |= {document.id: document for document in fresh}
            case "add":
                new = [document for document in fresh if document.id not in model]
                assert index.add(new).added == len(new)
                model |= {document.id: document for document in new}
            case "delete":
                assert index.delete(names) == len(model.keys() & set(names))
                model = {name: kept for name, kept in model.items() if name not in names}
            case _:
                index.close()
                index = SearchIndex.open(path, encoder=hash_encoder)
        query = " ".join(rng.choices(WORDS, k=2))
        k = rng.choice([1, 3, 40])
        hits = index.search(query, k=k)
        expected = score_by_best_passage(hash_encoder, list(model.values()), query)
        scores = sorted((score for score, _ in expected.values()), reverse=True)
        np.testing.assert_allclose([hit.score for hit in hits], scores[:k], atol=1e-6)
        assert len({hit.id for hit in hits}) == len(hits), step
        for hit in hits:
            assert (hit.text, hit.title) == (model[hit.id].text, model[hit.id].title)
            assert hit.score == pytest.approx(expected[hit.id][0], abs=1e-6)
        assert index.info().passages == sum(
            map(len, hash_encoder.split_documents(list(model.values())))
        )
    index.close()


def test_info_counts_passages_and_documents_apart(index):
    info = index.info()
    assert (info.documents, info.passages, info.dead_rows) == (2, 5, 0)
    assert info.long_texts == "passages"
    index.delete(["long"])
    info = index.info()
    assert (info.documents, info.passages, info.dead_rows) == (1, 1, 4)


def test_a_document_with_a_supplied_vector_has_one_row(index):
    rows = np.eye(256, dtype=np.float32)[:1]
    report = index.add([Document("given", LONG)], embeddings=rows)
    assert (report.passages, report.encoded, report.reused) == (1, 0, 0)
    ((hit,),) = index.search_vectors(rows, k=1)
    assert (hit.id, hit.passage, hit.score) == ("given", None, 1.0)


def test_the_setting_stays_with_the_index(index, tmp_path, hash_encoder):
    with SearchIndex.open(tmp_path / "index", encoder=hash_encoder) as reopened:
        assert reopened.long_texts is LongTexts.PASSAGES
        assert reopened.upsert([Document("again", f"once more {LONG}")]).passages == 4


def test_an_unknown_setting_is_refused(tmp_path, hash_encoder):
    message = "long_texts must be one of truncate, passages, got 'split'"
    with pytest.raises(InvalidInput, match=message):
        SearchIndex.create(tmp_path / "i", encoder=hash_encoder, long_texts="split")
    assert not (tmp_path / "i").exists()


def test_a_damaged_setting_is_damage(index, tmp_path, hash_encoder):
    with sqlite3.connect(tmp_path / "index" / "meta.db") as connection:
        connection.execute("UPDATE meta SET value = 'split' WHERE key = 'long_texts'")
    connection.close()
    with pytest.raises(CorruptIndex, match="the settings of the index are damaged"):
        SearchIndex.open(tmp_path / "index", encoder=hash_encoder)


def test_an_interrupted_build_in_passages_is_taken_up(tmp_path, hash_encoder):
    corpus = [Document(f"d{number}", f"{LONG} in case {number}") for number in range(30)]
    options = {"encoder": hash_encoder, "replace": False, "long_texts": "passages"}
    with pytest.raises(KeyboardInterrupt), build_index(tmp_path / "i", **options) as index:
        write_corpus(index.upsert, corpus[:20], total=20)
        raise KeyboardInterrupt
    hash_encoder.encoded.clear()
    with build_index(tmp_path / "i", **options) as index:
        report = write_corpus(index.upsert, corpus, total=30)
        assert index.search("in case 27", k=1)[0].id == "d27"
    assert (report.added, report.unchanged, report.passages) == (10, 20, 50)
    # The passages that all of them share were encoded for the first twenty.
    assert (report.encoded, report.reused) == (10, 40)


def test_an_interrupted_build_is_not_taken_up_with_another_setting(tmp_path, hash_encoder):
    corpus = [Document("long", LONG)]
    with (
        pytest.raises(KeyboardInterrupt),
        build_index(tmp_path / "i", encoder=hash_encoder, replace=False) as index,
    ):
        index.add(corpus)
        raise KeyboardInterrupt
    message = "begun with long_texts=truncate, dim=256; got long_texts=passages, dim=256"
    with (
        pytest.raises(InvalidInput, match=message),
        build_index(tmp_path / "i", encoder=hash_encoder, replace=False, long_texts="passages"),
    ):
        pass


def test_a_replacement_begun_with_another_setting_is_begun_anew(tmp_path, hash_encoder):
    path = tmp_path / "i"
    SearchIndex.create(path, encoder=hash_encoder).close()
    with (
        pytest.raises(KeyboardInterrupt),
        build_index(path, encoder=hash_encoder, replace=True) as index,
    ):
        index.add([Document("long", LONG)])
        raise KeyboardInterrupt
    with build_index(path, encoder=hash_encoder, replace=True, long_texts="passages") as index:
        assert len(index) == 0
        index.add([Document("long", LONG)])
    with SearchIndex.open(path, encoder=hash_encoder) as index:
        assert index.info().passages == 4


def test_a_title_over_the_window_is_found_whole(tmp_path, tiny_encoder_dir):
    """The end of the title stands before no part of the text, and is not lost."""
    title = " ".join(["the bird sings on the mat"] * 12 + ["swallowed by the machine"])
    long = Document("long", "my order is late " * 30, title=title)
    encoder = Encoder.load(tiny_encoder_dir)
    with SearchIndex.create(tmp_path / "i", encoder=encoder, long_texts="passages") as index:
        report = index.add([long])
        (piece,) = [
            each.content
            for each in encoder.split_documents([long])[0]
            if each.content.endswith("swallowed by the machine")
        ]
        (hit,) = index.search(piece, k=1)
        assert (hit.passage, hit.score) == ((0, 0), pytest.approx(1, abs=1e-5))
        again = index.upsert([Document("copy", long.text, title=long.title)])
    assert (report.encoded > 5, again.encoded, again.reused) == (True, 0, report.passages)
