"""An encoder that tells how far it is, and encodes no document twice."""

from __future__ import annotations

import numpy as np
import pytest

from simsearch.encoder import Encoder
from simsearch.training import watched
from simsearch.training.watched import WatchedEncoder

TEXTS = ["my card was late", "the cat", "a dog sat on the mat"]


class Counting:
    """The tiny encoder, which keeps what it was asked for."""

    def __init__(self, encoder):
        self.encoder, self.dim, self.asked = encoder, encoder.dim, []

    def encode_documents(self, texts, *, counts=None, progress=None):
        self.asked.append(list(texts))
        return self.encoder.encode_documents(texts, counts=counts, progress=progress)


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir):
    return Encoder.load(tiny_encoder_dir)


def test_embeddings_are_those_of_the_encoder_in_order_also_from_memory(encoder):
    seen = WatchedEncoder(encoder, lambda done, total: None)
    for texts in (TEXTS[:2], [TEXTS[2], TEXTS[0], TEXTS[2]], TEXTS):
        np.testing.assert_allclose(
            seen.encode_documents(texts), encoder.encode_documents(texts), atol=1e-6
        )


def test_no_document_is_encoded_twice(encoder):
    counting = Counting(encoder)
    seen = WatchedEncoder(counting, lambda done, total: None)
    seen.encode_documents([*TEXTS[:2], TEXTS[0]])
    seen.encode_documents(TEXTS)
    assert counting.asked == [TEXTS[:2], [TEXTS[2]]]


def test_memory_is_bounded_and_results_are_not(encoder, monkeypatch):
    monkeypatch.setattr(watched, "_MOST", 2)
    counting = Counting(encoder)
    seen = WatchedEncoder(counting, lambda done, total: None)
    seen.encode_documents(TEXTS)
    again = seen.encode_documents(TEXTS)
    assert (len(seen.memory), counting.asked[1]) == (2, [TEXTS[2]])
    np.testing.assert_allclose(again, encoder.encode_documents(TEXTS), atol=1e-6)


def test_it_tells_how_many_of_all_are_done(encoder):
    told = []
    seen = WatchedEncoder(encoder, lambda done, total: told.append((done, total)))
    seen.encode_documents(TEXTS[:2])
    told.clear()
    seen.encode_documents(TEXTS)
    assert (told[0], told[-1]) == ((2, 3), (3, 3))
