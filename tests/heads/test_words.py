from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsearch.heads.words import (
    SHAPES,
    legal_transitions,
    spans_of_tags,
    split_words,
    tags_of_spans,
    word_shapes,
)
from simsearch.records import Span


def words_of(text: str) -> list[str]:
    return [text[start:end] for start, end in split_words(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("U.S. army, 3rd_unit", ["U", ".", "S", ".", "army", ",", "3rd", "_", "unit"]),
        ("在北京 IBM工作", ["在", "北", "京", "IBM", "工", "作"]),
        ("naïve Café", ["naïve", "Café"]),
        ("cafe\u0301 noir", ["cafe\u0301", "noir"]),  # a combining accent
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),  # vowel signs are no letters of their own
        (" \n\t ", []),
        ("🙂ok", ["🙂", "ok"]),
    ],
)
def test_words_are_what_a_reader_takes_for_them(text, words):
    assert words_of(text) == words


def test_shapes_tell_what_an_uncased_encoder_does_not_see():
    text = "Bob met IBM's McCoy in 2024, B12"
    shapes = dict(zip(words_of(text), word_shapes(text, split_words(text)).tolist(), strict=True))
    assert all(len(row) == SHAPES for row in shapes.values())
    lower, title, capitals, mixed, digits, some_digits, symbol = range(7)
    assert shapes["met"][lower] == shapes["Bob"][title] == shapes["IBM"][capitals] == 1
    assert shapes["McCoy"][mixed] == shapes["2024"][digits] == shapes["B12"][some_digits] == 1
    assert shapes[","][symbol] == 1
    begins, capital_within = 16, 17
    assert (shapes["Bob"][begins], shapes["Bob"][capital_within]) == (1, 0)
    assert (shapes["McCoy"][begins], shapes["McCoy"][capital_within]) == (0, 1)
    touches_before, touches_after = 14, 15
    assert (shapes["IBM"][touches_before], shapes["IBM"][touches_after]) == (0, 1)


def test_spans_become_tags_by_hand():
    text = "Acme Corp sued Bob"
    words = split_words(text)
    found = tags_of_spans((Span(0, 9, "ORG"), Span(15, 18, "PER")), words, ("ORG", "PER"))
    assert (found.tags.tolist(), found.widened, found.lost) == ([1, 2, 0, 3], 0, ())


def test_a_span_within_a_word_is_widened_and_counted():
    words = split_words("foobar baz")
    found = tags_of_spans((Span(0, 3, "A"),), words, ("A",))
    assert (found.tags.tolist(), found.widened, found.lost) == ([1, 0], 1, ())
    assert type(found.widened) is int  # JSON has no numbers of numpy
    two = (Span(0, 3, "A"), Span(3, 10, "A"))  # the second has only what is left
    found = tags_of_spans(two, words, ("A",))
    assert (found.tags.tolist(), found.widened, found.lost) == ([1, 1], 2, ())


def test_a_span_within_a_word_that_another_has_is_lost():
    spans = (Span(0, 5, "RIVER"), Span(5, 16, "SHIP"))
    found = tags_of_spans(spans, split_words("Donaudampfschiff"), ("RIVER", "SHIP"))
    assert (found.tags.tolist(), found.widened, found.lost) == ([1], 1, spans[1:])


@given(st.data())
def test_spans_of_whole_words_go_to_tags_and_back(data):
    text = data.draw(st.text("ab. 北Z\u0301", min_size=1, max_size=30))
    words = split_words(text)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(words)), unique=True, max_size=6)))
    spans = tuple(
        Span(int(words[first, 0]), int(words[behind - 1, 1]), data.draw(st.sampled_from("AB")))
        for first, behind in zip(cuts[::2], cuts[1::2], strict=False)
    )
    found = tags_of_spans(spans, words, ("A", "B"))
    assert (found.widened, found.lost) == (0, ())
    assert tuple(spans_of_tags(found.tags, words, ("A", "B"))) == spans


def test_legal_transitions_are_those_of_iob2():
    begins, follows = legal_transitions(2)  # O B-0 I-0 B-1 I-1
    assert begins.tolist() == [True, True, False, True, False]
    assert follows.astype(int).tolist() == [
        [1, 1, 0, 1, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 1, 1],
        [1, 1, 0, 1, 1],
    ]


def test_an_ideographic_space_is_no_word_and_a_rare_ideograph_is_one():
    assert words_of("王小\u3000株") == ["王", "小", "株"]
    assert words_of("\U00020bb7\U00020bb7家") == ["\U00020bb7", "\U00020bb7", "家"]
