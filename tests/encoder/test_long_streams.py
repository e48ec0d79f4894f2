"""A stream of any length: no more than a chunk of it is held, or read ahead."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from conftest import WORDS

from simsearch.encoder import Encoder, EncodingCounts, forward_pass
from simsearch.errors import InvalidData


@pytest.fixture
def encoder(tiny_encoder_dir) -> Encoder:
    return Encoder.load(tiny_encoder_dir)


def counted(texts: Iterator[str], read: list[int]) -> Iterator[str]:
    """Yield texts, and keep in `read` how many were asked for."""
    for number, text in enumerate(texts, start=1):
        read[0] = number
        yield text


def many() -> Iterator[str]:
    """Yield 30,000 texts: an endless stream would end the memory of who reads it ahead."""
    return itertools.islice(itertools.cycle(WORDS), 30_000)


def test_no_more_of_a_stream_is_read_than_the_chunks_that_were_given(encoder, monkeypatch):
    monkeypatch.setattr(forward_pass, "CHUNK", 8)
    read = [0]
    stream = encoder.encode_stream(counted(many(), read))
    assert read == [0]
    assert (next(stream).shape, read) == ((8, 32), [8])
    assert (next(stream).shape, read) == ((8, 32), [16])
    stream.close()
    assert read == [16]


def test_a_chunk_is_4096_texts(encoder):
    read = [0]
    assert len(next(encoder.encode_stream(counted(many(), read)))) == read[0] == 4096


def test_a_stream_gives_what_a_list_gives(encoder, monkeypatch):
    monkeypatch.setattr(forward_pass, "CHUNK", 50)
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(1, 40))) for _ in range(320)]
    counts, expected = EncodingCounts(), EncodingCounts()
    parts = list(encoder.encode_stream(iter(texts), counts=counts))
    assert [len(part) for part in parts] == [50] * 6 + [20]
    np.testing.assert_array_equal(np.vstack(parts), encoder.encode(texts, counts=expected))
    assert counts == expected


def test_what_came_before_a_bad_text_is_given_before_the_error(encoder, monkeypatch):
    monkeypatch.setattr(forward_pass, "CHUNK", 4)
    stream = encoder.encode_stream(iter(["cat", "dog", "cat", "cat", "dog", ""]))
    assert next(stream).shape == (4, 32)
    with pytest.raises(InvalidData, match=r"^text 5 is empty$"):
        next(stream)


def test_memory_does_not_grow_with_the_length_of_a_stream(encoder, monkeypatch):
    monkeypatch.setattr(forward_pass, "CHUNK", 256)
    rest = "my cat sat on the mat " * 10

    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in encoder.encode_stream(f"{number} {rest}" for number in range(count)):
            pass
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(300)  # what is made once
    # 9,000 texts more are 2.5 MB, and their embeddings 1.2 MB.
    assert abs(peak(10_000) - peak(1000)) < 500_000
