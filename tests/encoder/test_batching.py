from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsearch.encoder import batching
from simsearch.encoder.batching import pad, text_chunks, token_budget_batches


@given(st.lists(st.text(max_size=30), max_size=60), st.integers(1, 9), st.integers(1, 90))
def test_chunks_keep_the_order_and_close_when_they_are_full(texts, most, characters):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "_CHARACTERS", characters)
        chunks = list(text_chunks(iter(texts), len, most=most))
    assert [text for chunk in chunks for text in chunk] == texts
    for chunk in chunks:
        assert 1 <= len(chunk) <= most
        assert sum(map(len, chunk[:-1])) < characters
    for chunk in chunks[:-1]:
        assert len(chunk) == most or sum(map(len, chunk)) >= characters


@given(st.lists(st.integers(1, 300), max_size=200), st.integers(1, 2000))
def test_every_text_is_in_one_batch_and_no_batch_is_over_the_budget(lengths, budget):
    batches = token_budget_batches(lengths, budget)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[position] for position in batch)
        assert len(batch) * longest <= budget or len(batch) == 1


def test_texts_of_like_length_are_together_longest_first():
    batches = token_budget_batches([2, 9, 2, 8, 2], budget=18)
    assert [batch.tolist() for batch in batches] == [[1, 3], [0, 2, 4]]


@pytest.mark.parametrize(("value", "filled"), [(0, [7, 0, 0]), (5, [7, 5, 5])])
def test_pad_fills_up_with_the_value(value, filled):
    rows = [np.array([7]), np.array([1, 2, 3])]
    assert pad(rows, value=value).tolist() == [filled, [1, 2, 3]]
