"""The documents nearest to one that is in the index."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import HashEncoder

from simsearch.errors import InvalidFilter, InvalidInput, NotFound
from simsearch.records import Document
from simsearch.search_index import SearchIndex


def ids(hits):
    return [hit.id for hit in hits]


@pytest.fixture
def vectors():
    rows = np.random.default_rng(0).standard_normal((300, 256)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def index(tmp_path, vectors):
    with SearchIndex.create(tmp_path / "index", encoder=HashEncoder()) as index:
        documents = [
            Document(f"d{n}", f"text {n}", metadata={"odd": n % 2}) for n in range(len(vectors))
        ]
        index.add(documents, vectors)
        yield index


def test_the_nearest_by_the_stored_vectors_come_first_and_itself_never(index, vectors):
    products = vectors @ vectors[17]
    products[17] = -2
    expected = np.argsort(-products, kind="stable")[:20]
    hits = index.similar("d17", k=20)
    assert ids(hits) == [f"d{n}" for n in expected.tolist()]
    np.testing.assert_allclose([hit.score for hit in hits], products[expected], atol=1e-6)
    assert {(hit.dense == hit.score, hit.lexical, hit.probability) for hit in hits} == {
        (True, None, None)
    }


def test_nothing_is_encoded(index):
    index.encoder.encoded.clear()
    index.similar("d0")
    assert index.encoder.encoded == []


def test_a_copy_is_found_though_the_document_itself_is_as_near(index, vectors):
    index.add([Document("copy", "text 17")], vectors[17:18])
    assert ids(index.similar("d17", k=1)) == ["copy"]
    assert ids(index.similar("copy", k=1)) == ["d17"]


def test_only_documents_that_a_filter_lets_through_are_hits(index, vectors):
    products = vectors @ vectors[17]
    products[1::2] = -2  # d17 does not pass itself
    expected = np.argsort(-products, kind="stable")[:5]
    assert ids(index.similar("d17", k=5, where="odd = 0")) == [f"d{n}" for n in expected.tolist()]


def test_all_others_are_hits_where_k_is_more(index):
    assert len(index.similar("d0", k=1_000)) == 299


def test_what_was_deleted_is_no_hit(index):
    nearest = index.similar("d0", k=1)[0].id
    index.delete([nearest])
    assert nearest not in ids(index.similar("d0", k=1_000))


def test_the_only_document_has_no_neighbour(tmp_path):
    with SearchIndex.create(tmp_path / "one", encoder=HashEncoder()) as index:
        index.add([Document("a", "alone")])
        assert index.similar("a") == []


@pytest.mark.parametrize("unknown", ["d300", "", "a\0b", "caf\udce9"])
def test_an_unknown_id_is_named(index, unknown):
    with pytest.raises(NotFound, match="no document has the id"):
        index.similar(unknown)


def test_k_and_filter_are_checked_as_for_a_search(index):
    with pytest.raises(InvalidInput, match="k must be 1"):
        index.similar("d0", k=0)
    with pytest.raises(InvalidFilter, match="even"):
        index.similar("d0", where="even = 1")


def test_a_document_of_passages_counts_by_the_best_pair_of_passages(tmp_path):
    texts = {
        "long": "one two three four five six seven eight nine ten eleven twelve thirteen fourteen",
        "other": "a b c d e f iota kappa nine ten eleven twelve thirteen fourteen",
        "far": "red blue green",
    }
    with SearchIndex.create(
        tmp_path / "index", encoder=HashEncoder(), long_texts="passages"
    ) as index:
        index.add([Document(name, text) for name, text in texts.items()])
        encoder = HashEncoder()
        passages = {
            name: encoder.encode_documents(
                [part.content for part in encoder.split_documents([Document(name, text)])[0]]
            )
            for name, text in texts.items()
        }
        hits = index.similar("long")
    assert [len(rows) for rows in passages.values()] == [2, 2, 1]
    expected = {
        name: float((passages["long"] @ passages[name].T).max()) for name in ("other", "far")
    }
    assert {hit.id: hit.score for hit in hits} == pytest.approx(expected, abs=1e-6)
    (other,) = (hit for hit in hits if hit.id == "other")
    assert other.text[slice(*other.passage)].startswith("iota kappa nine ten")
