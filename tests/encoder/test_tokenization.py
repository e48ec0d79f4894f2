"""Long texts: what lies far beyond the window is not tokenized, and nothing comes out otherwise."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from conftest import write_tokenizer
from encoder_families import FAMILIES, TEXTS, WINDOW
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from simsearch.encoder import tokenization
from simsearch.encoder.layout import read_layout
from simsearch.encoder.tokenization import TextTokenizer

# One of each kind: WordPiece, byte-level BPE with its special tokens around and at the end, and
# Unigram with its odd spaces.
KINDS = ["bert-masked-lm", "roberta", "gpt2", "qwen3", "xlm-roberta", "camembert", "albert", "t5"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a function from the name of a family to its tokenizer.json."""

    @cache
    def write(kind):
        path = tmp_path_factory.mktemp("tokenizers") / "tokenizer.json"
        FAMILIES[kind].write.tokenizer().backend_tokenizer.save(str(path))
        return path

    return write


def tokenized_whole(path, texts):
    """Return the ids in the window, and whether there were more, by the library alone."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(WINDOW)
    return [(row.ids, bool(row.overflowing)) for row in tokenizer.encode_batch(texts)]


def ours(tokenizer, texts):
    return [(row.ids.tolist(), row.truncated) for row in tokenizer.tokenize(texts)]


SPACES = ["", " ", "  ", "\n", "\t", "\n\n", " \u3000", "\xa0"]
PARTS = st.tuples(st.sampled_from([*TEXTS, "x" * 700]), st.sampled_from(SPACES))


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(st.lists(PARTS, max_size=40), min_size=1, max_size=4))
def test_a_long_text_has_the_tokens_of_the_whole(files, kind, parts):
    texts = ["".join(part + space for part, space in text) for text in parts]
    tokenizer = TextTokenizer(files(kind), max_length=WINDOW)
    assert ours(tokenizer, texts) == tokenized_whole(files(kind), texts)


@pytest.mark.parametrize("kind", KINDS)
def test_the_offsets_of_a_long_text_are_those_of_the_whole(files, kind):
    texts = [text * 60 for text in TEXTS]
    tokenizer = Tokenizer.from_file(str(files(kind)))
    tokenizer.no_padding()
    tokenizer.enable_truncation(WINDOW)
    expected = [np.array(row.offsets) for row in tokenizer.encode_batch(texts)]
    found = TextTokenizer(files(kind), max_length=WINDOW).tokenize(texts, offsets=True)
    for row, offsets in zip(found, expected, strict=True):
        np.testing.assert_array_equal(row.offsets, offsets)


@pytest.fixture
def seen(monkeypatch):
    """Return how many characters the library was given, call by call."""
    calls = []
    honest = TextTokenizer._encode

    def count(self, tokenizer, texts, **options):
        if texts:
            calls.append([len(text) for text in texts])
        return honest(self, tokenizer, texts, **options)

    monkeypatch.setattr(TextTokenizer, "_encode", count)
    return calls


def test_a_text_that_fills_the_window_is_not_read_to_its_end(files, seen):
    TextTokenizer(files("bert-masked-lm"), max_length=WINDOW).tokenize(
        ["the cat sat on the mat " * 10_000, "card"]
    )
    assert seen == [[509, 4]]  # up to the last space among the first 512 characters


def test_a_text_whose_beginning_does_not_fill_the_window_is_read_whole(files, seen):
    text = " " * 10_000 + "the cat sat on the mat " * 10
    found = TextTokenizer(files("bert-masked-lm"), max_length=WINDOW).tokenize([text, "card"])
    assert seen[1:] == [[len(text)]]
    assert found[0].truncated
    assert len(found[0].ids) == WINDOW


def test_where_the_cut_might_show_the_whole_is_read(files, seen, monkeypatch):
    monkeypatch.setattr(tokenization, "_TOKENS_BEYOND", 10**6)
    texts = ["the cat sat on the mat " * 100]
    tokenizer = TextTokenizer(files("bert-masked-lm"), max_length=WINDOW)
    assert ours(tokenizer, texts) == tokenized_whole(files("bert-masked-lm"), texts)
    assert seen == [[509], [2300]]


def test_the_tokenizer_of_a_layout_has_its_window_case_and_prompt_rule(tiny_encoder_dir, tmp_path):
    write_tokenizer(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"normalizer": None}))
    layout = replace(read_layout(tiny_encoder_dir), tokenizer=path, max_length=4)
    plain = TextTokenizer.of(replace(layout, lower_case=False, include_prompt=True))
    other = TextTokenizer.of(replace(layout, lower_case=True, include_prompt=False))
    texts = ["CAT", "the cat sat"]
    assert [row.truncated for row in plain.tokenize(texts)] == [False, True]
    assert [row.ids[1] == plain.unknown_id for row in plain.tokenize(texts)] == [True, False]
    assert [row.ids[1] == other.unknown_id for row in other.tokenize(texts)] == [False, False]
    # [CLS] and two words.
    assert (plain.left_out("the cat "), other.left_out("the cat ")) == (0, 3)
