from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsearch.errors import InvalidInput
from simsearch.records import (
    ClassPair,
    LabelledPair,
    LabelledText,
    Pair,
    ScoredPair,
    Triplet,
    UnlabelledText,
)
from simsearch.training.augmentation import MethodSummary, augment, describe
from simsearch.training.config import Augmentation
from simsearch.training.examples import KIND_NAMES

DELETION, SWAP, CROP, DROPOUT = Augmentation
CHANGES = [DELETION, SWAP, CROP]

# Distinct words, so that any change is to be seen and words can be told apart.
texts = st.integers(3, 60).map(lambda count: [f"w{number}" for number in range(count)])
chinese = st.integers(3, 60).map(lambda count: [chr(0x4E00 + number) for number in range(count)])
seeds = st.integers(0, 1000)


def added(examples, methods, *, seed):
    """Return the added examples, without the rows that they were made of."""
    return [example for _, example in augment(examples, methods, seed=seed)]


def only(made):
    (example,) = made
    return example


def changed_words(words, method, seed):
    made = only(added([Pair(" ".join(words), "p")], [method], seed=seed))
    return made.anchor.split(" ")


@pytest.mark.parametrize(
    ("method", "text", "seed", "changed"),
    [
        (DELETION, "my card was swallowed by the machine", 0, "my card was swallowed the machine"),
        (DELETION, "my card was swallowed by the machine", 1, "my card was swallowed by machine"),
        (SWAP, "my card was swallowed by the machine", 0, "my card swallowed was by the machine"),
        (CROP, "my card was swallowed by the machine", 0, "my card was swallowed by the"),
        (DELETION, "借书证丢了怎么补办？", 0, "借书证丢怎么补办？"),
        (SWAP, "借书证丢了怎么补办？", 0, "借证书丢了怎么补办？"),
        (CROP, "カードが戻ってこない", 0, "カードが戻ってこな"),
        (CROP, "ATM 机吞了我的卡", 0, "机吞了我的卡"),
        (SWAP, "iPhone 屏幕碎了", 0, "iPhone屏幕了碎"),
        (DELETION, "open屏close", 1, "open close"),
        (SWAP, " open \n the\taccount ", 0, "the open account"),
    ],
)
def test_a_seed_makes_this_of_a_text(method, text, seed, changed):
    assert added([Pair(text, "p")], [method], seed=seed) == [Pair(changed, "p")]


@given(texts, seeds)
def test_deletion_leaves_some_of_the_words_in_order(words, seed):
    kept = changed_words(words, DELETION, seed)
    assert 1 <= len(kept) < len(words)
    assert kept == [word for word in words if word in set(kept)]


@given(texts, seeds)
def test_swap_exchanges_a_tenth_of_the_words_with_their_neighbours(words, seed):
    swapped = changed_words(words, SWAP, seed)
    moved = [place for place, word in enumerate(swapped) if word != words[place]]
    lefts, rights = moved[::2], moved[1::2]
    assert rights == [left + 1 for left in lefts]
    assert [swapped[left] for left in lefts] == [words[right] for right in rights]
    assert [swapped[right] for right in rights] == [words[left] for left in lefts]
    assert len(lefts) == max(1, round(len(words) / 10))


@given(texts, seeds)
def test_crop_keeps_a_run_of_60_to_90_percent(words, seed):
    kept = changed_words(words, CROP, seed)
    start = words.index(kept[0])
    assert kept == words[start : start + len(kept)]
    assert 0.6 <= len(kept) / len(words) <= 0.9


@given(chinese, seeds)
def test_characters_are_the_words_of_a_text_without_spaces(characters, seed):
    text = "".join(characters)
    deleted, swapped, cropped = (
        made.text for made in added([UnlabelledText(text)], CHANGES, seed=seed)
    )
    assert deleted == "".join(character for character in text if character in deleted)
    assert 1 <= len(deleted) < len(text)
    assert sorted(swapped) == sorted(text) != list(swapped)
    assert cropped in text
    assert 0.6 <= len(cropped) / len(text) <= 0.9


def test_the_shares_are_those_that_are_promised():
    words = [f"w{number}" for number in range(100)]
    pairs = [Pair(" ".join(words), f"p{number}") for number in range(300)]
    lengths = [len(made.anchor.split()) for made in added(pairs, [DELETION], seed=0)]
    assert sum(lengths) / len(lengths) == pytest.approx(90, abs=1)
    lengths = [len(made.anchor.split()) for made in added(pairs, [CROP], seed=0)]
    assert {60, 90} <= set(lengths) <= set(range(60, 91))
    made = added(pairs, [CROP], seed=0)
    assert {pair.anchor.split()[0] == "w0" for pair in made} == {True, False}
    assert {pair.anchor.split()[-1] == "w99" for pair in made} == {True, False}


def test_deletion_never_takes_all_words():
    pairs = [Pair("a b c", f"p{number}") for number in range(3000)]  # one in 1,000 would lose all
    kept = Counter(len(made.anchor.split()) for made in added(pairs, [DELETION], seed=0))
    assert set(kept) == {1, 2}


LONG = "the machine kept my card and never gave it back"
ONE_OF_EACH_KIND = [
    (Pair(LONG, "other text of it"), "anchor"),
    (Triplet(LONG, "other text of it", "a third text here"), "anchor"),
    (LabelledPair(LONG, "other text of it", 1), "sentence1"),
    (ClassPair(LONG, "other text of it", "entailment"), "sentence1"),
    (ScoredPair(LONG, "other text of it", 3.5), "sentence1"),
    (LabelledText(LONG, "cards"), "text"),
    (UnlabelledText(LONG), "text"),
]


@pytest.mark.parametrize("method", CHANGES)
@pytest.mark.parametrize(("example", "field"), ONE_OF_EACH_KIND)
def test_one_text_changes_and_all_else_stays(example, field, method):
    made = only(added([example], [method], seed=0))
    assert getattr(made, field) != LONG
    assert replace(made, **{field: LONG}) == example


def test_dropout_gives_an_anchor_twice_however_short():
    examples = [Pair("refund", "money back"), Pair("late parcel", "where is it")]
    assert added(examples, [DROPOUT], seed=0) == [
        Pair("refund", "refund"),
        Pair("late parcel", "late parcel"),
    ]


@pytest.mark.parametrize("example", [example for example, _ in ONE_OF_EACH_KIND[1:]])
def test_dropout_takes_pairs_only(example):
    message = rf"made of pairs, got {KIND_NAMES[type(example)]} \(choose other"
    with pytest.raises(InvalidInput, match=message):
        added([example], [SWAP, DROPOUT], seed=0)
    with pytest.raises(InvalidInput, match=message):
        describe([example], [SWAP, DROPOUT], seed=0)


@pytest.mark.parametrize("text", ["refund", "late parcel", "退款", "?!", "supercalifragilistic"])
def test_a_text_of_fewer_than_three_words_is_left_alone(text):
    assert added([Pair(text, "p")], CHANGES, seed=0) == []


def test_a_change_of_punctuation_alone_adds_nothing():
    examples = [UnlabelledText(f"hello ! ? {'-' * number}") for number in range(1, 40)]
    made = added(examples, [DELETION], seed=0)
    assert 0 < len(made) < len(examples)
    assert all("hello" not in example.text for example in made)
    assert added([UnlabelledText("very very very")], [SWAP], seed=0) == []


@given(st.lists(st.sampled_from(ONE_OF_EACH_KIND), min_size=1, max_size=7), seeds)
def test_what_is_made_of_an_example_does_not_depend_on_the_others(rows, seed):
    examples = [example for example, _ in rows]
    alone = [added([example], CHANGES, seed=seed) for example in examples]
    assert added(examples, CHANGES, seed=seed) == list(chain(*alone))
    assert added(examples[::-1], CHANGES, seed=seed) == list(chain(*alone[::-1]))


def test_a_method_gives_the_same_beside_others_and_named_twice():
    pairs = [Pair(LONG, "p"), Pair(LONG, "q")]
    alone = [added(pairs, [method], seed=3) for method in CHANGES]
    together = added(pairs, [*CHANGES, SWAP], seed=3)
    assert together == [made[row] for row in (0, 1) for made in alone]


def test_another_seed_makes_something_else_and_so_does_another_example():
    pairs = [Pair(LONG, f"p{number}") for number in range(50)]
    first, second = (added(pairs, [CROP], seed=seed) for seed in (0, 1))
    assert first != second
    assert len({made.anchor for made in first}) > 5


def test_the_examples_are_not_changed():
    pairs = [Pair(LONG, "p")]
    added(pairs, list(Augmentation), seed=0)
    assert pairs == [Pair(LONG, "p")]


def test_nothing_in_gives_nothing_out():
    assert added([], list(Augmentation), seed=0) == []
    assert added([Pair(LONG, "p")], [], seed=0) == []
    assert describe([], [SWAP], seed=0) == [MethodSummary(SWAP, 0, ())]


def test_a_description_counts_what_is_added_and_shows_the_first_of_it():
    pairs = [Pair("too short", "p"), *(Pair(f"{LONG} {number}", "p") for number in range(9))]
    swap, dropout = describe(pairs, [SWAP, DROPOUT], seed=0, samples=2)
    made = added(pairs, [SWAP], seed=0)
    assert (swap.method, swap.added, dropout.added) == (SWAP, 9, 10)
    assert swap.samples == ((f"{LONG} 0", made[0].anchor), (f"{LONG} 1", made[1].anchor))
    assert dropout.samples[0] == ("too short", "too short")


def test_an_added_example_says_which_one_it_was_made_of():
    pairs = [Pair("two words", "a"), Pair(LONG, "b")]
    assert [row for row, _ in augment(pairs, [CROP, DROPOUT], seed=0)] == [0, 1, 1]
