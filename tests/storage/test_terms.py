"""What a text is found by: words, and pairs of characters where there are no spaces."""

from __future__ import annotations

import pytest

from simsearch.storage.terms import document_terms, query_terms


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


def test_composed_and_decomposed_letters_are_the_same():
    assert document_terms("각 ガ é") == document_terms("각 ガ é")
    assert document_terms("ｶﾞ") == document_terms("ガ")


def test_a_query_asks_for_each_term_once_in_order():
    assert query_terms("the card and the bank card") == ["the", "card", "and", "bank"]


def test_a_query_asks_for_pairs_and_for_a_character_that_stands_alone_by_its_beginning():
    assert query_terms("银行卡") == ["银行", "行卡"]
    assert query_terms("猫 cat") == ["猫*", "cat"]
