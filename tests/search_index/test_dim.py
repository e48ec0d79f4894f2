"""An index of a smaller dim keeps the first components of every embedding, renormalised."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import HashEncoder

from simsearch.errors import EncoderMismatch, InvalidData, InvalidInput
from simsearch.records import Document
from simsearch.search_index import (
    RetrievalTask,
    SearchIndex,
    build_index,
    evaluate_index,
    evaluate_retrieval,
    write_corpus,
)

DIM = 48
RNG = np.random.default_rng(3)
WORDS = [f"word{number}" for number in range(60)]
CORPUS = [Document(f"d{number}", " ".join(RNG.choice(WORDS, size=12))) for number in range(200)]
QUERIES = [" ".join(RNG.choice(WORDS, size=4)) for _ in range(20)]


class HashEverywhere(HashEncoder):
    """Has something in every component, so that a text has a direction when it is cut, too."""

    def encode_documents(self, texts, *, counts=None):
        rows = super().encode_documents(texts, counts=counts) + np.float32(0.02)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def hash_encoder():
    return HashEverywhere()


def truncated(embeddings):
    """Cut by hand."""
    cut = embeddings[:, :DIM].astype(np.float64)
    return cut / np.linalg.norm(cut, axis=1, keepdims=True)


@pytest.fixture
def index(tmp_path, hash_encoder):
    with SearchIndex.create(tmp_path / "index", encoder=hash_encoder, dim=DIM) as index:
        index.add(CORPUS)
        yield index


def test_hits_are_those_of_truncated_embeddings_by_numpy(index, hash_encoder, tmp_path):
    texts = [document.text for document in CORPUS]
    documents, queries = (
        truncated(hash_encoder.encode_documents(each)) for each in (texts, QUERIES)
    )
    expected = queries @ documents.T
    with SearchIndex.open(tmp_path / "index", encoder=hash_encoder) as reopened:
        for opened in (index, reopened):
            for scores, hits in zip(expected, opened.search_many(QUERIES, k=7), strict=True):
                np.testing.assert_allclose(
                    [hit.score for hit in hits], -np.sort(-scores)[:7], atol=1e-5
                )
                positions = [int(hit.id[1:]) for hit in hits]
                np.testing.assert_allclose(scores[positions], -np.sort(-scores)[:7], atol=1e-5)


def test_the_index_has_the_dim_and_the_encoder_keeps_its_fingerprint(index):
    info = index.info()
    assert (index.dim, info.dim, info.fingerprint, index.encoder.dim) == (48, 48, "hash-1", 256)


def test_the_copy_of_the_encoder_is_the_full_one(tmp_path, tiny_encoder_dir):
    with SearchIndex.create(tmp_path / "i", encoder=tiny_encoder_dir, dim=8) as index:
        index.add([Document("cat", "the cat sat"), Document("dog", "the dog came late")])
        expected = index.search("cat")
    with SearchIndex.open(tmp_path / "i") as reopened:
        assert reopened.search("cat") == expected
        assert (reopened.encoder.dim, reopened.dim) == (32, 8)


def test_vectors_of_a_caller_have_the_dim_of_the_index(index):
    full = RNG.standard_normal((1, 256)).astype(np.float32)
    with pytest.raises(InvalidData, match="expected dim 48, got 256"):
        index.search_vectors(full)
    with pytest.raises(InvalidData, match="expected dim 48, got 256"):
        index.upsert([Document("new", "text")], embeddings=full)
    index.upsert([Document("new", "text")], embeddings=full[:, :DIM])
    assert index.search_vectors(full[:, :DIM], k=1)[0][0].id == "new"


def test_the_whole_dim_is_no_truncation(tmp_path, hash_encoder):
    with SearchIndex.create(tmp_path / "i", encoder=hash_encoder, dim=256) as index:
        index.add(CORPUS)
        found = index.search_many(QUERIES)
    with SearchIndex.create(tmp_path / "j", encoder=hash_encoder) as index:
        index.add(CORPUS)
        assert index.search_many(QUERIES) == found


@pytest.mark.parametrize("dim", [0, 1, -5, 257, 48.0, "48", True])
def test_a_dim_outside_its_range_is_refused(tmp_path, hash_encoder, dim):
    path = tmp_path / "i"
    with pytest.raises(InvalidInput, match=r"dim must be 2\.\.256, the encoder's, got "):
        SearchIndex.create(path, encoder=hash_encoder, dim=dim)
    with (
        pytest.raises(InvalidInput, match=r"dim must be 2\.\.256"),
        build_index(path, encoder=hash_encoder, replace=True, dim=dim),
    ):
        pass
    assert not path.exists()


def test_an_encoder_of_a_smaller_dim_is_refused(index, tmp_path, hash_encoder):
    hash_encoder.dim = 32
    with pytest.raises(EncoderMismatch, match=r"\(hash-1, dim 48\), got hash \(hash-1, dim 32\)"):
        SearchIndex.open(tmp_path / "index", encoder=hash_encoder)


def test_reused_vectors_are_the_truncated_ones(index, hash_encoder):
    hash_encoder.encoded.clear()
    assert index.add([Document(f"{each.id}-2", each.text) for each in CORPUS]).reused == 200
    assert hash_encoder.encoded == []
    assert index.search(CORPUS[7].text, k=1)[0].score == pytest.approx(1.0, abs=1e-6)


def test_a_build_is_taken_up_with_its_dim_only(tmp_path, hash_encoder):
    options = {"encoder": hash_encoder, "replace": False}
    with (
        pytest.raises(KeyboardInterrupt),
        build_index(tmp_path / "i", dim=DIM, **options) as index,
    ):
        write_corpus(index.upsert, CORPUS[:50], total=50)
        raise KeyboardInterrupt
    message = "begun with long_texts=truncate, dim=48; got long_texts=truncate, dim=256"
    with pytest.raises(InvalidInput, match=message), build_index(tmp_path / "i", **options):
        pass
    with build_index(tmp_path / "i", dim=DIM, **options) as index:
        assert write_corpus(index.upsert, CORPUS, total=200).added == 150


def test_a_dim_that_is_refused_leaves_a_replacement_that_was_begun(tmp_path, hash_encoder):
    options = {"encoder": hash_encoder, "replace": True}
    SearchIndex.create(tmp_path / "i", encoder=hash_encoder).close()
    with pytest.raises(KeyboardInterrupt), build_index(tmp_path / "i", **options) as index:
        write_corpus(index.upsert, CORPUS, total=200)
        raise KeyboardInterrupt
    with pytest.raises(InvalidInput), build_index(tmp_path / "i", dim=999, **options):
        pass
    with build_index(tmp_path / "i", **options) as index:
        assert write_corpus(index.upsert, CORPUS, total=200).unchanged == 200


def test_an_encoder_is_scored_like_the_index_of_that_dim(index, hash_encoder):
    queries = {f"q{number}": text for number, text in enumerate(QUERIES)}
    qrels = {name: {f"d{RNG.integers(200)}": 1} for name in queries}
    task = RetrievalTask(queries, CORPUS, qrels)
    scores = evaluate_retrieval(hash_encoder, task, dim=DIM).means()
    assert scores == pytest.approx(evaluate_index(index, queries, qrels).means())
    assert scores != pytest.approx(evaluate_retrieval(hash_encoder, task).means())
    with pytest.raises(InvalidInput, match=r"dim must be 2\.\.256"):
        evaluate_retrieval(hash_encoder, task, dim=1)
