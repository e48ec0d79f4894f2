from __future__ import annotations

import numpy as np
import pytest

from simsearch.encoder import Encoder
from simsearch.errors import InvalidData
from simsearch.heads.word_vectors import pool_pieces, read_texts

SHORT = ["the cat sat on the mat", "my card was swallowed by the machine", "bank"]


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir):
    return Encoder.load(tiny_encoder_dir)  # a piece for every word, a window of 32


def test_one_pass_gives_embedding_and_layers_as_separate_ones_do(encoder):
    readings = read_texts(encoder, SHORT)
    np.testing.assert_allclose(
        np.stack([each.embedding for each in readings]),
        encoder.encode_documents(SHORT),
        atol=1e-6,
    )
    for reading, layers in zip(readings, encoder.hidden_states(SHORT), strict=True):
        expected = layers[:, 1:-1].transpose(1, 0, 2).reshape(len(reading.words), -1)
        np.testing.assert_allclose(reading.vectors, expected, atol=1e-5)


def test_both_runtimes_read_the_same(encoder, tiny_encoder_dir):
    by_torch = read_texts(Encoder.load(tiny_encoder_dir, runtime="torch"), SHORT)
    for first, second in zip(read_texts(encoder, SHORT), by_torch, strict=True):
        np.testing.assert_allclose(first.vectors, second.vectors, atol=1e-4)
        np.testing.assert_allclose(first.embedding, second.embedding, atol=1e-5)


def test_a_text_beyond_the_window_is_read_to_its_end(encoder):
    words = ["cat", "dog", "bird", "red", "blue"] * 20
    text = " ".join(words)
    (reading,) = read_texts(encoder, [text])
    assert len(reading.words) == 100
    assert np.abs(reading.vectors).sum(axis=1).min() > 0
    np.testing.assert_allclose(reading.embedding, encoder.encode_documents([text])[0], atol=1e-6)
    # The window holds 30 words. The first 26 or so are those of the first window; the last word
    # is the last of a window that begins with a word, at every 22nd or so.
    (begin,) = encoder.hidden_states([" ".join(words[:30])])
    first = begin[:, 1:-1].transpose(1, 0, 2).reshape(30, -1)
    np.testing.assert_allclose(reading.vectors[:20], first[:20], atol=1e-5)
    windows = [encoder.hidden_states([" ".join(words[start:])])[0] for start in range(70, 100)]
    last = [window[:, -2].reshape(-1) for window in windows]
    assert min(np.abs(reading.vectors[-1] - each).max() for each in last) < 1e-5


def test_a_word_has_the_window_in_which_it_is_farthest_from_a_cut(encoder):
    words = ["cat", "dog", "bird", "red", "blue"] * 9  # 45: windows of words 0..30 and 22..45
    (reading,) = read_texts(encoder, [" ".join(words)])
    (second,) = encoder.hidden_states([" ".join(words[22:])])
    second = second[:, 1:-1].transpose(1, 0, 2).reshape(23, -1)
    (first,) = encoder.hidden_states([" ".join(words[:30])])
    first = first[:, 1:-1].transpose(1, 0, 2).reshape(30, -1)
    np.testing.assert_allclose(reading.vectors[25], first[25], atol=1e-5)
    np.testing.assert_allclose(reading.vectors[28], second[6], atol=1e-5)


def test_the_mean_of_pieces_by_hand():
    layers = np.arange(8, dtype=np.float32).reshape(1, 4, 2)
    pieces = np.array([[0, 2], [2, 4], [5, 7], [7, 9]])
    words = np.array([[0, 4], [5, 6], [6, 9], [10, 12]])
    pooled = pool_pieces(layers, pieces, words)
    # The first has pieces 0 and 1; piece 2 reaches into the second and third; the last has none.
    np.testing.assert_allclose(pooled, [[1, 2], [4, 5], [5, 6], [0, 0]])


def test_no_word_and_no_piece_are_no_trouble():
    none = np.empty((0, 2), dtype=np.int64)
    layers = np.ones((2, 1, 3), dtype=np.float32)
    assert pool_pieces(layers, np.array([[0, 1]]), none).shape == (0, 6)
    assert pool_pieces(layers[:, :0], none, np.array([[0, 1]])).tolist() == [[0.0] * 6]


def test_a_prompt_moves_no_offset(tmp_path):
    import json

    from conftest import write_tiny_encoder

    directory = write_tiny_encoder(tmp_path / "prompted")
    settings = {"prompts": {"document": "the bank "}, "default_prompt_name": "document"}
    path = directory / "config_sentence_transformers.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    encoder = Encoder.load(directory)
    (reading,) = read_texts(encoder, ["cat sat"])
    (layers,) = encoder.hidden_states(["the bank cat sat"])
    expected = layers[:, 3:5].transpose(1, 0, 2).reshape(2, -1)
    np.testing.assert_allclose(reading.vectors, expected, atol=1e-5)
    np.testing.assert_allclose(
        reading.embedding, encoder.encode_documents(["cat sat"])[0], atol=1e-6
    )


def test_a_blank_text_is_refused(encoder):
    with pytest.raises(InvalidData, match="text 1 is empty"):
        read_texts(encoder, ["a", " "])


def test_a_long_text_is_tokenized_a_few_times_and_not_as_often_as_it_has_windows(
    tiny_encoder_dir, monkeypatch
):
    encoder = Encoder.load(tiny_encoder_dir)
    rng = np.random.default_rng(0)
    words = ["cat", "money", "x" * 60, "my", "   bank", "?"]
    text = " ".join(rng.choice(words, 3000))
    given = []
    read_layers = Encoder.read_layers

    def noting(self, texts, **options):
        given.extend(map(len, texts))
        return read_layers(self, texts, **options)

    monkeypatch.setattr(Encoder, "read_layers", noting)
    (found,) = read_texts(encoder, [text])
    assert len(given) > 50
    assert sum(given) < 10 * len(text)
    monkeypatch.setattr("simsearch.heads.word_vectors._AHEAD", len(text))  # all that follows
    (expected,) = read_texts(encoder, [text])
    np.testing.assert_array_equal(found.words, expected.words)
    np.testing.assert_allclose(found.vectors, expected.vectors, atol=1e-5)
