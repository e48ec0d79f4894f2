"""What a text is found by: words, and pairs of characters where there are no spaces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsearch.storage.terms import (
    document_terms,
    placed_document_terms,
    placed_query_terms,
    query_terms,
)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The card, again: THE CARD!", ["the", "card", "again", "the", "card"]),
        ("multi-agent don't x_1 3.14", ["multi", "agent", "don", "t", "x", "1", "3", "14"]),
        ("naïve CAFÉ Straße ﬁne ①", ["naive", "cafe", "strasse", "fine", "1"]),
        ("ΣΊΣΥΦΟΣ Ёлка שָׁלוֹם", ["σισυφοσ", "елка", "שלום"]),
        ("हिन्दी में।", ["हिन्दी", "में"]),
        ('col:x NEAR( * " a AND', ["col", "x", "near", "a", "and"]),
        ("... !? 😀", []),
        ("", []),
    ],
)
def test_words_are_folded_and_punctuation_is_left_out(text, terms):
    assert document_terms(text) == terms


def test_scripts_without_spaces_become_overlapping_pairs_and_the_last_character():
    assert document_terms("银行卡 is 東京タワー") == [
        *("银行", "行卡", "卡"),
        "is",
        *("東京", "京タ", "タワ", "ワー", "ー"),
    ]
    assert document_terms("안녕 ภาษา") == ["안녕", "녕", "ภา", "าษ", "ษา", "า"]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("葛\U000e0100城市の地図", "葛城"),  # an ideograph in one of its forms
        ("漢\ufe00字体", "漢字"),
        ("人\u200b民", "人民"),
        ("data\u00adbase", "database"),
        ("long\u2060word \ufefffirst", "longword first"),
    ],
)
def test_what_chooses_a_form_or_lets_a_line_break_divides_no_word(text, query):
    assert set(query_terms(query)) <= set(document_terms(text))
    assert query_terms(text)[: len(query_terms(query))] == query_terms(query)
    first = placed_document_terms(text)[0]
    assert (
        text[first.start : first.end]
        .translate(dict.fromkeys(map(ord, "\u00ad")))
        .startswith(query[0])
    )


def test_composed_and_decomposed_letters_are_the_same():
    assert document_terms("각 ガ é") == document_terms("각 ガ é")
    assert document_terms("ｶﾞ") == document_terms("ガ")


def test_a_query_asks_for_each_term_once_in_order():
    assert query_terms("the card and the bank card") == ["the", "card", "and", "bank"]


def test_a_query_asks_for_pairs_and_for_a_character_that_stands_alone_by_its_beginning():
    assert query_terms("银行卡") == ["银行", "行卡"]
    assert query_terms("猫 cat") == ["猫*", "cat"]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("The card, again", ["The", "card", "again"]),
        ("CAFE\u0301 Stra\u00dfe \ufb01ne", ["CAFE\u0301", "Stra\u00dfe", "\ufb01ne"]),
        ("one\u00b2 x\u0308y", ["one\u00b2", "x\u0308y"]),
        ("银行卡 is", ["银行", "行卡", "卡", "is"]),
        ("\uff76\uff9e\uff77", ["\uff76\uff9e\uff77", "\uff77"]),  # GA, KI in half width
        ("\u1100\u1161\u11a8", ["\u1100\u1161\u11a8"]),  # one syllable in three letters
        ("\ud55c\u1100\u1161", ["\ud55c\u1100\u1161", "\u1100\u1161"]),
    ],
)
def test_a_term_stands_where_it_was_written(text, written):
    placed = placed_document_terms(text)
    assert [text[each.start : each.end] for each in placed] == written
    assert [each.term for each in placed] == document_terms(text)


def test_the_first_character_of_a_pair_ends_where_it_was_written():
    first, last, word = placed_document_terms("\uff76\uff9e\uff77 cat")
    assert (first.start, first.first, first.end) == (0, 2, 3)
    assert (last.start, last.first, last.end) == (2, 3, 3)
    assert (word.start, word.first, word.end) == (4, 7, 7)


def test_a_query_knows_every_place_of_a_term():
    assert placed_query_terms("the card: The CARD?") == {
        "the": [(0, 3), (10, 13)],
        "card": [(4, 8), (14, 18)],
    }
    assert placed_query_terms("银行卡 猫") == {"银行": [(0, 2)], "行卡": [(1, 3)], "猫*": [(4, 5)]}


@given(st.text())
def test_whatever_the_text_terms_with_places_are_the_terms_in_order(text):
    placed = placed_document_terms(text)
    assert [each.term for each in placed] == document_terms(text)
    assert list(placed_query_terms(text)) == query_terms(text)
    assert all(0 <= each.start < each.first <= each.end <= len(text) for each in placed)
    assert [each.start for each in placed] == sorted(each.start for each in placed)
