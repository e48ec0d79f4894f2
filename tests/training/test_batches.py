"""Which examples come together, in which order, and what the encoder and the loss are given."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from functools import partial

import pytest
from conftest import WORDS
from tokenizers import Tokenizer

from simsearch.encoder.layout import read_layout
from simsearch.errors import EncoderError, InvalidData
from simsearch.records import (
    ClassPair,
    LabelledPair,
    LabelledText,
    Pair,
    ScoredPair,
    Triplet,
    UnlabelledText,
)
from simsearch.training.batches import Batches, DataSet
from simsearch.training.config import Sampling
from simsearch.training.objectives import OBJECTIVES


@pytest.fixture(scope="module")
def layout(tiny_encoder_dir):
    return read_layout(tiny_encoder_dir)


@pytest.fixture
def make(layout):
    """Return Batches of data sets; options take the place of the usual ones."""
    usual = {"batch_size": 4, "sampling": Sampling.PROPORTIONAL, "seed": 0, "layout": layout}
    return lambda *datasets, **options: Batches(datasets, **{**usual, **options})


def data_set(objective, examples, *, negatives=None):
    return DataSet("", examples, OBJECTIVES[objective], negatives)


def pairs(count):
    return [Pair(f"a {word}", f"the {word}") for word in WORDS[2 : 2 + count]]


def readable(layout, batch):
    """Return the texts of a batch, prompts included."""
    tokenizer = Tokenizer.from_file(str(layout.tokenizer))
    return [tokenizer.decode(text.ids.tolist()) for text in batch.texts]


@pytest.fixture
def whole(make, layout):
    """Return all examples of a data set as one batch: its columns as texts, and its target."""

    def of(dataset, **options):
        batch = make(dataset, **options).batch((0, tuple(range(len(dataset.examples)))))
        texts = readable(options.get("layout", layout), batch)
        return [[texts[place] for place in column] for column in batch.columns], batch.target

    return of


# The order of an epoch.


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_an_epoch_has_every_example_exactly_once(make, epoch):
    order = make(data_set("in-batch", pairs(10))).order(epoch)
    assert [(number, len(rows)) for number, rows in order] == [(0, 4), (0, 4), (0, 2)]
    assert sorted(row for _, rows in order for row in rows) == list(range(10))


def test_the_next_epoch_has_another_order(make):
    made = make(data_set("in-batch", pairs(40)))
    assert made.order(0) != made.order(1)


def test_the_order_is_that_of_seed_and_epoch_whatever_was_drawn_before(make):
    first, second = (make(data_set("in-batch", pairs(40)), seed=3) for _ in range(2))
    orders = [first.order(epoch) for epoch in range(3)]
    assert [second.order(epoch) for epoch in (2, 1, 0)] == orders[::-1]


def test_another_seed_has_another_order(make):
    dataset = data_set("in-batch", pairs(40))
    assert make(dataset, seed=1).order(0) != make(dataset, seed=2).order(0)


def test_proportional_sampling_draws_all_of_every_data_set(make):
    large, small = data_set("in-batch", pairs(14)), data_set("in-batch", pairs(6))
    order = make(large, small).order(0)
    assert sorted(number for number, _ in order) == [0, 0, 0, 0, 1, 1]
    for number, size in ((0, 14), (1, 6)):
        rows = [row for drawn, rows in order for row in rows if drawn == number]
        assert sorted(rows) == list(range(size))


def test_proportional_sampling_mixes_the_data_sets(make):
    made = make(data_set("in-batch", pairs(40)), data_set("in-batch", pairs(40)))
    numbers = {tuple(number for number, _ in made.order(epoch)) for epoch in range(5)}
    assert len(numbers) == 5
    assert all(sum(drawn) == 10 for drawn in numbers)


def test_round_robin_takes_the_data_sets_in_turn_until_one_is_used_up(make):
    large, small = data_set("in-batch", pairs(14)), data_set("in-batch", pairs(6))
    order = make(large, small, sampling=Sampling.ROUND_ROBIN).order(0)
    assert [number for number, _ in order] == [0, 1, 0, 1]
    assert sorted(row for number, rows in order for row in rows if number == 1) == list(range(6))


def test_a_batch_by_class_has_two_of_each_of_two_classes_at_least(make):
    labels = "aaaaaaabbbbbcccddde"
    examples = [LabelledText(word, label) for word, label in zip(WORDS[4:], labels, strict=False)]
    made = make(data_set("batch-hard", examples), batch_size=6)
    drawn = [rows for epoch in range(5) for _, rows in made.order(epoch)]
    assert all(len(rows) <= 6 for rows in drawn)
    for rows in drawn:
        classes = [labels[row] for row in rows]
        assert len(set(classes)) >= 2
        assert min(classes.count(name) for name in classes) >= 2
    assert len({row for rows in drawn for row in rows}) == 18  # all but the one of class e


def test_classes_beside_another_data_set_keep_their_order(make):
    examples = [LabelledText(word, label) for word, label in zip(WORDS, "aabb" * 5, strict=False)]
    made = make(data_set("in-batch", pairs(10)), data_set("batch-hard", examples))
    assert made.order(1) == made.order(1)
    assert sorted(row for number, rows in made.order(1) for row in rows if not number) == [
        *range(10)
    ]
    assert all(rows[0] < 20 for number, rows in made.order(1) if number)


@pytest.mark.parametrize(
    ("labels", "batch_size", "message"),
    [("aaab", 4, r"at least 2 distinct labels"), ("aabb", 5, r"even number >= 4, but got 5")],
)
def test_batches_by_class_that_cannot_be_made_are_refused(make, labels, batch_size, message):
    examples = [LabelledText(word, label) for word, label in zip(WORDS, labels, strict=False)]
    with pytest.raises(InvalidData, match=rf"the data: .*{message}"):
        make(data_set("batch-hard", examples), batch_size=batch_size)


# What a batch of an in-batch objective counts.


def test_every_positive_of_the_batch_is_a_candidate_for_every_anchor(whole):
    columns, left_out = whole(data_set("in-batch", pairs(3)))
    assert columns == [["a my", "a card", "a was"], ["the my", "the card", "the was"]]
    assert left_out.tolist() == [[False] * 3] * 3


def test_another_known_answer_is_left_out_for_its_anchor_alone(whole):
    examples = [Pair("my card", "cash"), Pair("My card!", "bank"), Pair("a dog", "the cat")]
    (_, candidates), left_out = whole(data_set("in-batch", examples))
    assert candidates == ["cash", "bank", "the cat"]
    assert left_out.tolist() == [
        [False, True, False],
        [True, False, False],
        [False, False, False],
    ]


def test_an_answer_known_from_outside_the_batch_is_left_out(make):
    examples = [Pair("my card", "cash"), Pair("a dog", "the cat"), Pair("my card", "the cat")]
    batch = make(data_set("in-batch", examples)).batch((0, (0, 1)))
    assert batch.target.tolist() == [[False, True], [False, False]]


def test_the_anchor_itself_is_left_out_where_it_answers_another(whole):
    examples = [Pair("my card", "cash"), Pair("a dog", "My Card")]
    _, left_out = whole(data_set("in-batch", examples))
    assert left_out.tolist() == [[False, True], [False, False]]


def test_of_equal_candidates_the_first_counts_and_for_its_own_anchor_the_own(whole):
    examples = [Pair("my card", "cash"), Pair("a dog", "Cash"), Pair("a phone", "bank")]
    _, left_out = whole(data_set("in-batch", examples))
    assert left_out.tolist() == [
        [False, True, False],
        [True, False, False],
        [False, True, False],
    ]


def test_negatives_of_triplets_are_candidates_for_all_each_once(whole):
    examples = [
        Triplet("my card", "cash", "a bird"),
        Triplet("a dog", "the cat", "a bird"),
        Triplet("a phone", "screen", "cash"),
    ]
    (_, candidates), left_out = whole(data_set("in-batch", examples))
    assert candidates == ["cash", "the cat", "screen", "a bird", "cash"]
    assert left_out.tolist() == [
        [False, False, False, False, True],
        [False, False, False, False, True],
        [False, False, False, False, True],
    ]


def test_mined_negatives_are_candidates_for_all_but_those_they_answer(whole):
    examples = [Pair("my card", "cash"), Pair("a dog", "the cat"), Pair("my card", "bank")]
    mined = [("a bird", "late"), ("late", "bank"), ()]
    (_, candidates), left_out = whole(data_set("in-batch", examples, negatives=mined))
    assert candidates == ["cash", "the cat", "bank", "a bird", "late", "bank"]
    assert left_out.tolist() == [
        [False, False, True, False, False, True],
        [False, False, False, False, False, True],
        [True, False, False, False, False, True],
    ]


def test_no_negatives_are_added_but_those_of_the_batch(make):
    mined = [("late",), ("a bird",), ("bank",)]
    made = make(data_set("in-batch", pairs(3), negatives=mined))
    assert [len(column) for column in made.batch((0, (2, 0))).columns] == [2, 4]


def left_out_by_the_rule(batch, known):
    """Work out what a batch leaves out, one anchor and one candidate at a time."""
    candidates = [example.positive for example in batch]
    for example in batch:
        candidates += [example.negative] * (example.negative not in candidates[len(batch) :])
    rows = []
    for row, example in enumerate(batch):
        answers = {
            other.positive.lower()
            for other in known
            if other.anchor.lower() == example.anchor.lower()
        }
        rows.append(
            [
                place != row
                and (
                    text.lower() in answers
                    or text.lower() == example.anchor.lower()
                    or text.lower() in [other.lower() for other in candidates[:place]]
                )
                for place, text in enumerate(candidates)
            ]
        )
    return rows


@pytest.mark.parametrize("seed", range(5))
def test_what_is_left_out_of_crowded_batches_goes_by_the_rule(make, seed):
    rng = random.Random(seed)
    texts = [*WORDS[4:12], *map(str.upper, WORDS[4:12])]
    examples = [Triplet(*(rng.choice(texts) for _ in range(3))) for _ in range(30)]
    batch = make(data_set("in-batch", examples)).batch((0, tuple(range(12))))
    assert batch.target.tolist() == left_out_by_the_rule(examples[:12], examples)
    assert 0.1 < batch.target.float().mean() < 0.9


# Which texts are embedded.


def test_an_unlabelled_text_is_embedded_twice(make):
    batch = make(data_set("unlabelled", [UnlabelledText("my card"), UnlabelledText("cash")])).batch(
        (0, (0, 1))
    )
    anchors, candidates = (column.tolist() for column in batch.columns)
    assert sorted(anchors + candidates) == [0, 1, 2, 3]
    for anchor, candidate in zip(anchors, candidates, strict=True):
        assert batch.texts[anchor].ids.tolist() == batch.texts[candidate].ids.tolist()
    assert batch.target.tolist() == [[False, False]] * 2


@pytest.mark.parametrize(
    ("objective", "example"),
    [
        ("in-batch", Pair("my card", "my card")),
        ("triplet-hinge", Triplet("my card", "my card", "cash")),
        ("cosine", ScoredPair("my card", "my card", 1.0)),
    ],
)
def test_a_text_twice_in_one_example_is_embedded_twice(make, objective, example):
    batch = make(data_set(objective, [example])).batch((0, (0,)))
    first, second = (int(column[0]) for column in batch.columns[:2])
    assert first != second
    assert batch.texts[first].ids.tolist() == batch.texts[second].ids.tolist()


@pytest.mark.parametrize(
    ("objective", "examples", "distinct"),
    [
        ("in-batch", [Pair("my card", "cash"), Pair("my card", "bank"), Pair("late", "cash")], 4),
        ("in-batch", [Pair("my card", "cash"), Pair("cash", "my card")], 2),
        ("triplet-hinge", [Triplet("my card", "cash", "late"), Triplet("cash", "late", "bank")], 4),
        ("cosine", [ScoredPair("my card", "cash", 1.0), ScoredPair("cash", "late", 0.5)], 3),
    ],
)
def test_a_text_of_several_examples_is_embedded_once(make, objective, examples, distinct):
    batch = make(data_set(objective, examples)).batch((0, tuple(range(len(examples)))))
    assert len({tuple(text.ids) for text in batch.texts}) == len(batch.texts) == distinct


def test_a_batch_names_its_rows_and_its_data_set(make):
    batch = make(data_set("in-batch", pairs(3)), data_set("in-batch", pairs(5))).batch((1, (4, 2)))
    assert (batch.dataset, batch.rows) == (1, (4, 2))


# Pairs as triplets.


def test_a_pair_is_a_triplet_with_each_of_its_hard_negatives(whole):
    mined = [("late", "a bird"), ("bank",)]
    dataset = data_set("triplet-hinge", pairs(2), negatives=mined)
    columns, _ = whole(dataset)
    assert columns == [
        ["a my", "a my", "a card"],
        ["the my", "the my", "the card"],
        ["late", "a bird", "bank"],
    ]


def test_a_pair_without_a_negative_takes_the_next_answer_that_is_not_its_own(whole):
    examples = [
        Pair("my card", "cash"),
        Pair("a dog", "Cash"),  # which answers "my card" too
        Pair("a phone", "My card"),  # the anchor of the first
        Pair("My card!", "bank"),  # another answer to it
        Pair("the mat", "blue"),
    ]
    mined = [(), ("late",), (), (), ()]
    columns, _ = whole(data_set("triplet-softmax", examples, negatives=mined))
    assert columns[2] == ["blue", "late", "bank", "blue", "cash"]
    assert whole(data_set("triplet-softmax", examples))[0][2][1] == "my card"


def test_a_pair_that_everything_answers_cannot_become_a_triplet(make):
    examples = [Pair("my card", "cash"), Pair("my card", "bank"), Pair("cash", "my card")]
    made = make(data_set("triplet-hinge", examples))
    with pytest.raises(InvalidData, match="'my card' has no text that could be a negative of it"):
        made.batch((0, (1,)))


def test_triplets_stay_what_they_are(whole):
    examples = [Triplet("my card", "cash", "late"), Triplet("a dog", "the cat", "a bird")]
    columns, _ = whole(data_set("triplet-margin-ranking", examples))
    assert columns == [["my card", "a dog"], ["cash", "the cat"], ["late", "a bird"]]


# Labels.


@pytest.mark.parametrize(
    ("objective", "examples", "labels"),
    [
        ("cosine", [ScoredPair("my", "cash", 2.5), ScoredPair("late", "dog", 0.0)], [2.5, 0.0]),
        ("contrastive", [LabelledPair("my", "cash", 1), LabelledPair("late", "dog", 0)], [1, 0]),
        ("softmax", [LabelledPair("my", "cash", 1), LabelledPair("late", "dog", 0)], [1, 0]),
        (
            "softmax",
            [
                ClassPair("my", "cash", "neutral"),
                ClassPair("late", "dog", "contradiction"),
                ClassPair("cat", "dog", "entailment"),
            ],
            [2, 0, 1],
        ),
        ("batch-hard", [LabelledText("my", "b"), LabelledText("cash", "a")] * 2, [1, 0, 1, 0]),
    ],
)
def test_labels_are_what_the_loss_takes(whole, objective, examples, labels):
    _, target = whole(data_set(objective, examples))
    assert target.tolist() == pytest.approx(labels)
    assert target.is_floating_point() == (objective == "cosine")


def test_classes_are_numbered_by_name_over_the_whole_data_set(make):
    examples = [
        ClassPair("my", "cash", "b"),
        ClassPair("a", "dog", "c"),
        ClassPair("a", "cat", "a"),
    ]
    dataset = data_set("softmax", examples)
    assert dataset.classes == ("a", "b", "c")
    assert make(dataset).batch((0, (1, 0))).target.tolist() == [2, 1]


def test_texts_of_pairs_with_labels_are_two_columns(whole):
    examples = [ClassPair("my card", "cash", "b"), ClassPair("a dog", "the cat", "c")]
    columns, _ = whole(data_set("softmax", examples))
    assert columns == [["my card", "a dog"], ["cash", "the cat"]]


# Prompts.


@pytest.fixture
def prompted(layout):
    return partial(replace, layout, query_prompt="where is ", document_prompt="it is ")


@pytest.mark.parametrize("objective", ["in-batch", "triplet-hinge"])
def test_anchors_have_the_prompt_of_queries_and_all_else_that_of_documents(
    whole, prompted, objective
):
    examples = [Triplet("my card", "cash", "late"), Triplet("cash", "bank", "bird")]
    columns, _ = whole(data_set(objective, examples), layout=prompted())
    assert columns[0] == ["where is my card", "where is cash"]
    assert sorted({text for column in columns[1:] for text in column}) == [
        "it is bank",
        "it is bird",
        "it is cash",
        "it is late",
    ]


def test_two_texts_of_one_kind_have_the_prompt_of_documents(whole, prompted):
    columns, _ = whole(data_set("cosine", [ScoredPair("my", "cash", 1.0)]), layout=prompted())
    assert columns == [["it is my"], ["it is cash"]]


def test_the_tokens_of_a_prompt_are_told_where_they_do_not_count(make, prompted):
    layout = prompted(query_prompt="where is the ", include_prompt=False)
    batch = make(data_set("in-batch", [Pair("my card", "cash")]), layout=layout).batch((0, (0,)))
    query, document = (batch.texts[int(column[0])] for column in batch.columns)
    assert (query.prompt, document.prompt) == (4, 3)  # [CLS] and the words
    assert (len(query.ids), len(document.ids)) == (7, 5)


def test_a_prompt_that_counts_has_no_length(make, prompted):
    dataset = data_set("in-batch", [Pair("my card", "cash")])
    batch = make(dataset, layout=prompted()).batch((0, (0,)))
    assert [text.prompt for text in batch.texts] == [0, 0]


def test_texts_are_cut_at_the_window(make, layout):
    dataset = data_set("in-batch", [Pair("my card " * 40, "cash")])
    batch = make(dataset, layout=replace(layout, max_length=12)).batch((0, (0,)))
    assert [len(text.ids) for text in batch.texts] == [12, 3]


def test_a_text_of_which_the_tokenizer_leaves_nothing_is_refused(make, layout, tmp_path):
    content = json.loads(layout.tokenizer.read_text(encoding="utf-8"))
    bare = tmp_path / "tokenizer.json"
    bare.write_text(json.dumps({**content, "post_processor": None}), encoding="utf-8")
    dataset = data_set("in-batch", [Pair("my", "cash"), Pair("late", " \t ")])
    made = make(dataset, layout=replace(layout, tokenizer=bare))
    with pytest.raises(EncoderError, match=r"leaves nothing of ' \\t ' \(examples \(1, 0\)\)"):
        made.batch((0, (1, 0)))


def test_an_example_in_other_words_keeps_the_answers_of_the_one_it_was_made_of():
    rows = [Pair("lost my card", "one"), Pair("lost my card", "two"), Pair("lost card", "one")]
    data = DataSet("", rows, OBJECTIVES["in-batch"], added=[0])
    assert data.answers["lost card"] == {"one", "two", "lost my card"}
