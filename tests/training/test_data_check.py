from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import write_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from training_runs import make_pairs

from simsearch.encoder import Encoder, EncodingCounts
from simsearch.errors import EncoderError, InvalidData
from simsearch.records import (
    ClassPair,
    Document,
    LabelledPair,
    LabelledText,
    Pair,
    ScoredPair,
    Triplet,
    UnlabelledText,
)
from simsearch.search_index import RetrievalTask
from simsearch.training import data_tokens
from simsearch.training.data_check import check_data
from simsearch.training.data_counts import false_negative_share
from simsearch.training.examples import TrainingData, split_examples
from simsearch.training.run import inspect

SECONDS_A_CALL = 0.1


class WordEncoder:
    """Takes a tenth of a second for a call, by its own clock; a text is CLS, words, SEP."""

    name = "words"
    max_length = 8

    def __init__(self, directory):
        self.directory = directory
        self.calls = []
        self.seconds = 0.0
        self.seconds_a_call = SECONDS_A_CALL

    def encode_documents(self, texts):
        self.calls.append(list(texts))
        self.seconds += self.seconds_a_call
        return np.ones((len(texts), 4), dtype=np.float32)

    def clock(self):
        return self.seconds


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """Return a model directory without weights: what is read of it is the tokenizer."""
    directory = tmp_path_factory.mktemp("words")
    write_tokenizer(directory)
    config = {"model_type": "bert", "hidden_size": 4, "max_position_embeddings": 512}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "model.safetensors").touch()
    return directory


@pytest.fixture
def encoder(model_dir):
    return WordEncoder(model_dir)


@pytest.fixture
def check(encoder):
    """Return check_data with settings that a test need not name."""

    def check(examples, **changes):
        options = {
            "training": examples,
            "held_out": [],
            "encoder": encoder,
            "objective_name": "in-batch",
            "objective_why": "asked for",
            "batch_size": 2,
            "epochs": 1,
            "clock": encoder.clock,
        }
        return check_data(examples, **{**options, **changes})

    return check


# 8 distinct texts of 3, 3, 4, 4, 5, 6, 7 and, cut, 8 tokens; without the special ones 24 tokens,
# of which "?", "!" and "xyzzy" are unknown.
PAIRS = [
    Pair("where is my card", "the bank"),
    Pair("where is my card", "the bank"),
    Pair("Where is MY card?", "The bank!"),
    Pair("the cat", "cat sat on the mat the dog sat on the mat"),
    Pair("xyzzy", "bank"),
]


def test_every_figure_of_a_small_file_of_pairs(check):
    found = check(
        PAIRS,
        training=[PAIRS[0], PAIRS[3]],
        dev=[PAIRS[4]],
        held_out=[Pair("WHERE is my card...", "red")],
        epochs=3,
    )
    assert (found.kind, found.columns) == ("Pair", ("anchor", "positive"))
    assert (found.rows, found.training_rows, found.dev_rows, found.held_out_rows) == (5, 2, 1, 1)
    assert (found.exact_duplicates, found.folded_duplicates) == (1, 1)
    assert (found.contradictions, found.first_contradiction) == (0, None)
    assert (found.shared_texts, found.shared_with_dev) == (1, 0)
    assert (found.distinct_texts, found.sampled_texts) == (8, 8)
    assert found.unknown_share == 3 / 24
    assert found.truncated_share == 1 / 8
    assert (found.window, found.median_tokens, found.p95_tokens) == (8, 4, 8)
    assert (found.classes, found.class_counts, found.score_range) == (0, {}, None)
    assert found.false_negative_share == 0.0
    # A text of the five rows has 5 tokens in the mean: (2x6 + 2x4 + 7 + 5 + 4 + 8 + 3 + 3) / 10.
    assert (found.steps, found.tokens_per_step) == (3, 20)
    # 8 texts, 40 tokens, in two calls of 0.1 s: 200 tokens/s. Training: 3 epochs x 2 rows x
    # 2 columns x 5 tokens, three times as slow.
    assert found.seconds == 0.9


def test_the_lines_say_it_in_words_warnings_last(check):
    found = check(
        PAIRS,
        training=[PAIRS[0], PAIRS[3]],
        dev=[PAIRS[4]],
        held_out=[Pair("WHERE is my card...", "red")],
        epochs=3,
    )
    assert found.lines() == [
        "5 rows of anchor, positive: two texts that belong together",
        "2 to train on, 1 to choose checkpoints by, 1 held out for the verdict",
        "1 row equal to an earlier one, 1 more but for case, space and punctuation",
        "0 contradictions",
        "1 text on both sides of the split",
        "tokens in a text: median 4, 95th percentile 8; 12.5% unknown",
        "12.5% of the texts are cut at the window of 8 tokens",
        "false negatives: in a random batch of 2, 0.0% of the rows meet another right answer, "
        "which does not count as a negative",
        "objective in-batch: asked for",
        "3 steps of 2 rows in 3 epochs, about 20 tokens each; training takes about 1 second here",
        "warning: 1 text of the held-out data can be learned by heart: the verdict would flatter "
        "(leave the rows out that have them)",
        "warning: 1 row held out: of so few no difference is significant, and the verdict will be "
        "reject (bring more, or evaluation data of its own with --eval)",
    ]


def test_a_run_that_augments_is_told_to_train_twice(check):
    one = check(PAIRS, training=PAIRS[:3], added=2, epochs=2)
    assert (one.training_rows, one.added_rows) == (3, 2)
    assert (one.steps, one.control_steps, one.tokens_per_step) == (6, 0, 20)
    # As above 200 tokens/s: 2 epochs x 5 rows x 2 columns x 5 tokens, three times as slow.
    assert one.seconds == 1.5
    two = check(PAIRS, training=PAIRS[:3], added=2, control=True, epochs=2)
    assert (two.steps, two.control_steps) == (6, 4)
    assert two.seconds == 2.4  # 3 rows more
    told = two.lines()
    assert told[1] == (
        "3 to train on and 2 made of them, 0 to choose checkpoints by, 0 held out for the verdict"
    )
    assert (
        "6 steps of 2 rows in 2 epochs, about 20 tokens each; then 4 more without augmentation, to "
        "tell what it gains (--no-augment-control); training takes about 2 seconds here"
    ) in told


def test_the_record_is_json_with_meaning_and_warnings(check):
    rows = [LabelledPair("red", "blue", 0), LabelledPair("blue", "red", 1)]
    found = check(rows, objective_name="contrastive")
    told = json.loads(json.dumps(found.as_dict()))
    assert told["meaning"] == "two texts, and whether they are similar (1) or not (0)"
    assert told["class_counts"] == {"0": 1, "1": 1}
    assert told["first_contradiction"] == [1, 2]
    assert told["warnings"] == found.warnings()


@pytest.mark.parametrize(
    ("rows", "exact", "folded"),
    [
        ([Pair("a", "b"), Pair("b", "a")], 0, 0),
        ([UnlabelledText("a"), UnlabelledText("A."), UnlabelledText("a")], 1, 1),
        ([LabelledPair("a", "b", 1), LabelledPair("a", "b", 0)], 0, 0),
        ([LabelledPair("a", "b", 1), LabelledPair("A", "b", 1)], 0, 1),
        ([LabelledText("a", "x"), LabelledText("a", "y"), LabelledText("a", "x")], 1, 0),
        # To Python these two numbers have one hash, and the next two are equal.
        ([ScoredPair("a", "b", -1.0), ScoredPair("a", "b", -2.0)], 0, 0),
        ([ScoredPair("a", "b", 0.0), ScoredPair("a", "b", -0.0)], 1, 0),
        ([Triplet("a", "b", "c"), Triplet("a", "c", "b")], 0, 0),
        ([Triplet("a", "b", "c"), Triplet("a", "b", "c!")], 0, 1),
    ],
)
def test_a_row_is_a_duplicate_if_all_of_it_is_there_already(check, rows, exact, folded):
    found = check(rows)
    assert (found.exact_duplicates, found.folded_duplicates) == (exact, folded)


ENDS = [ScoredPair("red", "blue", 0.0), ScoredPair("green", "blue", 1.0)]


@pytest.mark.parametrize(
    ("rows", "count", "first"),
    [
        (
            [LabelledPair("c", "d", 1), LabelledPair("a", "b", 1), LabelledPair("B!", "A", 0)],
            1,
            (2, 3),
        ),
        (
            [LabelledPair("a", "b", 1), LabelledPair("b", "a", 1), LabelledPair("a", "c", 0)],
            0,
            None,
        ),
        # What follows from a text need not imply it.
        ([ClassPair("a", "b", "yes"), ClassPair("b", "a", "no")], 0, None),
        (
            [ClassPair("a", "b", "yes"), ClassPair("a", "B", "no"), ClassPair("a", "b", "?")],
            1,
            (1, 3),
        ),
        ([*ENDS, ScoredPair("a", "b", 0.8), ScoredPair("b", "a", 0.7)], 0, None),
        ([*ENDS, ScoredPair("a", "b", 0.8), ScoredPair("b", "a", 0.69)], 1, (3, 4)),
        ([ScoredPair("a", "b", 5.0), ScoredPair("a", "b", 4.0)], 1, (1, 2)),
        ([Triplet("a", "p", "n"), Triplet("b", "n", "p"), Triplet("A", "N?", "z")], 1, (1, 3)),
        ([Triplet("a", "p", "n"), Triplet("a", "q", "n"), Triplet("n", "a", "p")], 0, None),
        ([Triplet("b", "p", "n"), Triplet("a", "p", "P")], 1, (2, 2)),
        ([LabelledText("a", "x"), LabelledText("b", "y"), LabelledText("A", "y")], 1, (1, 3)),
        ([Pair("a", "b"), Pair("a", "c")], 0, None),
        ([UnlabelledText("a"), UnlabelledText("A")], 0, None),
    ],
)
def test_two_rows_that_say_different_things_of_the_same_texts_contradict(check, rows, count, first):
    found = check(rows)
    assert (found.contradictions, found.first_contradiction) == (count, first)


def test_contradictions_are_a_warning_that_names_two_rows(check):
    rows = [LabelledPair("cat", "dog", 1), LabelledPair("dog", "cat", 0)]
    assert check(rows, objective_name="contrastive").warnings() == [
        "1 contradiction: the same two texts with different labels, first rows 1 and 2 "
        "(keep the right one of each)"
    ]
    one = [Triplet("cat", "red", "RED"), Triplet("dog", "blue", "Blue")]
    assert check(one, objective_name="triplet-hinge").warnings() == [
        "2 contradictions: a text positive to an anchor in one row and negative to it in another, "
        "first row 1 (keep the right one of each)"
    ]


def test_our_own_split_shares_no_text(check):
    rng = random.Random(0)
    rows = [Pair(f"q{rng.randrange(90)}", f"a{rng.randrange(90)}") for _ in range(60)]
    training, held_out = split_examples(rows, share=0.3, limit=20, seed=0)
    training, dev = split_examples(training, share=0.2, limit=20, seed=0)
    found = check(rows, training=training, dev=dev, held_out=held_out)
    assert (found.shared_texts, found.shared_with_dev) == (0, 0)


def test_evaluation_data_judges_the_first_of_several_data_sets_and_the_others_are_told(
    tiny_encoder_dir,
):
    sets = [TrainingData(make_pairs(20, seed=n), name=f"{n}.jsonl") for n in range(2)]
    first, second = inspect(sets, encoder=tiny_encoder_dir, evaluation=make_pairs(8, seed=2))
    assert first.lines()[1].endswith("8 held out for the verdict")
    assert second.lines()[1] == (
        "20 to train on, 0 to choose checkpoints by, none held out: this data set is not judged "
        "itself"
    )
    assert [each.judged for each in inspect(sets, encoder=tiny_encoder_dir)] == [True, True]


def test_a_text_in_training_and_dev_is_a_warning(check):
    found = check(PAIRS, training=PAIRS[:2], dev=PAIRS[2:], held_out=[])
    assert found.shared_with_dev == 2
    assert found.warnings()[0].startswith("2 texts of the dev part can be learned by heart")


def test_a_text_of_the_dev_part_may_not_be_held_out_either(check):
    assert check(PAIRS, training=PAIRS[:1], dev=PAIRS[3:4], held_out=PAIRS[3:4]).shared_texts == 2


def test_the_corpus_of_a_retrieval_task_may_be_trained_on_its_queries_may_not(check):
    task = RetrievalTask(
        {"q1": "Where is my card?", "q2": "the dog"},
        [Document("d1", "the bank"), Document("d2", "the cat")],
        {"q1": {"d1": 1}, "q2": {"d2": 1}},
    )
    found = check(PAIRS, held_out=task)
    assert (found.held_out_rows, found.shared_texts) == (2, 1)
    assert check(PAIRS, training=PAIRS[3:], held_out=task).shared_texts == 0


def test_held_out_data_of_another_kind_is_compared_by_its_texts(check):
    held_out = [LabelledPair("THE BANK", "the dog", 0), LabelledPair("the bank", "mat", 1)]
    assert check(PAIRS, held_out=held_out).shared_texts == 1


def test_a_training_text_that_is_in_no_row_is_compared_too(check):
    mined = [Pair("the cat", "the DOG")]
    assert check(PAIRS, training=mined, held_out=[Pair("the dog!", "mat")]).shared_texts == 1


def test_many_unknown_tokens_are_a_warning_that_names_the_figure(check):
    rows = [Pair("card 被 吞 了", "bank 怎么 办"), Pair("the bank", "card")]
    found = check(rows)
    assert found.unknown_share == 5 / 10
    assert found.warnings() == [
        "50.0% of the tokens are unknown to the encoder: take an encoder for the language "
        "(--encoder)"
    ]


def test_unknown_tokens_up_to_three_in_ten_are_none(check):
    rows = [UnlabelledText("the cat sat on x"), UnlabelledText("the mat x dog y")]
    found = check(rows, objective_name="unlabelled")
    assert found.unknown_share == 0.3
    assert found.warnings() == []


def test_prompts_are_counted_as_they_stand_before_each_column(check, encoder, model_dir, tmp_path):
    for path in model_dir.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    prompts = {"prompts": {"query": "where is ", "document": "a "}}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    encoder.directory = tmp_path
    found = check([Pair("cat on the", "dog")])
    # CLS where is cat on the SEP, and CLS a dog SEP: 11 tokens in the row.
    assert (found.median_tokens, found.p95_tokens, found.tokens_per_step) == (4, 7, 11)


def test_unknown_and_cut_texts_are_counted_as_encoding_counts_them(check, tiny_encoder_dir):
    real = Encoder.load(tiny_encoder_dir)
    rows = [*PAIRS, Pair("the cat " * 40, "red"), Pair("blue?", "green")]
    found = check(rows, encoder=real)
    counts = EncodingCounts()
    real.encode_documents(
        [text for row in rows for text in (row.anchor, row.positive)], counts=counts
    )
    assert found.distinct_texts == counts.encoded
    assert found.unknown_share == counts.unknown_share
    assert found.truncated_share == counts.truncated / counts.encoded
    assert found.window == real.max_length


def test_of_many_texts_a_sample_is_tokenized_and_the_lines_say_so(check, monkeypatch):
    monkeypatch.setattr(data_tokens, "_SAMPLE", 5)
    rows = [Pair(f"the cat {number}", "bank") for number in range(2000)]
    found = check(rows, batch_size=64)
    assert (found.distinct_texts, found.sampled_texts) == (2001, 5)
    of_sample = "(of a sample of 5 of 2,001 texts)"
    assert sum(line.endswith(of_sample) for line in found.lines()) == 2
    assert check(rows, batch_size=64, seed=1) == replace(found, seconds=found.seconds)


def test_the_sample_is_the_same_in_every_process(model_dir):
    code = (
        "from types import SimpleNamespace as Words\n"
        "from pathlib import Path\n"
        "from simsearch.records import UnlabelledText\n"
        "from simsearch.training import data_tokens\n"
        "from simsearch.training.data_counts import FoldedTexts\n"
        "data_tokens._SAMPLE = 5\n"
        "rows = [UnlabelledText(f'the cat {number}') for number in range(100)]\n"
        f"encoder = Words(name='words', directory=Path({str(model_dir)!r}), max_length=8)\n"
        "texts = FoldedTexts(rows, UnlabelledText)\n"
        "print(data_tokens.tokenized_sample(rows, texts, encoder=encoder, seed=3).texts)\n"
    )
    # Texts are sorted by their hashes on the way, which are salted.
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    )
    assert first == second
    assert first.count("the cat") == 5


def test_classes_are_listed_with_their_rows(check):
    rows = [ClassPair("a", "b", "yes"), ClassPair("c", "d", "no"), ClassPair("e", "f", "yes")]
    found = check(rows, objective_name="softmax")
    assert (found.classes, found.class_counts) == (2, {"no": 1, "yes": 2})
    assert "2 labels: 'no' 1, 'yes' 2" in found.lines()


def test_of_many_classes_the_smallest_and_the_largest_are_named(check):
    # Class 0 has one text, class 1 two, ... class 20 has twenty-one.
    rows = [LabelledText(f"{k} {n}", f"class {k:02}") for k in range(21) for n in range(k + 1)]
    found = check(rows, objective_name="batch-hard")
    assert (found.classes, found.class_counts) == (21, {"class 00": 1, "class 20": 21})
    assert "21 labels, the smallest and the largest: 'class 00' 1, 'class 20' 21" in found.lines()


def test_a_class_of_one_training_row_is_a_warning_unless_labels_are_not_used(check):
    texts = [("cat", "x"), ("dog", "x"), ("red", "y"), ("blue", "y"), ("card", "z")]
    rows = [LabelledText(text, label) for text, label in texts]
    found = check(rows, training=rows[:3], objective_name="batch-hard")
    assert found.single_classes == 1
    assert found.warnings() == [
        "1 class with a single training row: batch-hard has no positive there "
        "(bring more rows, or join classes)"
    ]
    assert check(rows, training=rows[:3], objective_name="classes").warnings() == [
        "1 class with a single training row: of one row nothing general is learned "
        "(bring more rows, or join classes)"
    ]
    assert check(rows, training=rows[:3], objective_name="unlabelled").warnings() == []


def test_one_label_on_the_training_side_is_a_warning_unless_labels_are_not_used(check):
    rows = [LabelledText("cat", "x"), LabelledText("dog", "x"), LabelledText("red", "y")]
    found = check(rows, training=rows[:2], objective_name="batch-hard")
    assert found.warnings() == [
        "the training side has 1 label: there is nothing to tell apart "
        "(bring rows with another label)"
    ]
    assert check(rows, training=rows[:2], objective_name="unlabelled").warnings() == []


def test_scores_have_a_range_and_equal_ones_a_warning(check):
    found = check(ENDS, objective_name="cosine")
    assert found.score_range == (0.0, 1.0)
    assert "scores from 0 to 1" in found.lines()
    same = [ScoredPair("cat", "dog", 2.5), ScoredPair("red", "blue", 2.5)]
    assert check(same, objective_name="cosine").warnings() == [
        "every score is 2.5: there is nothing to rank (bring rows with other scores)"
    ]


@pytest.mark.parametrize(
    ("rows", "batch_size", "expected"),
    [
        # Either answer of a is with the other in 1 of 3 batches, the two others never.
        ([("a", "x"), ("a", "y"), ("b", "z"), ("c", "w")], 2, (1 / 3 + 1 / 3) / 4),
        # The same answer in two rows.
        ([("a", "x"), ("b", "x"), ("c", "y")], 2, (1 / 2 + 1 / 2) / 3),
        # b's only answer is one of a's: so is what the batch holds for row 1, but not for row 3.
        ([("a", "x"), ("a", "y"), ("b", "y")], 2, (1 + 1 + 1 / 2) / 3),
        # A whole row twice.
        ([("a", "x"), ("a", "x"), ("b", "y"), ("c", "z")], 3, (2 / 3 + 2 / 3) / 4),
        ([("a", "x"), ("a", "y"), ("b", "z")], 99, 2 / 3),
        ([("a", "x"), ("a", "y")], 1, 0.0),
        ([("a", "x")], 32, 0.0),
        ([], 32, 0.0),
    ],
)
def test_the_share_of_false_negatives_is_what_one_counts_by_hand(rows, batch_size, expected):
    assert false_negative_share(*as_numbers(rows), batch_size) == pytest.approx(expected)


def as_numbers(rows):
    return tuple(np.array([ord(row[side]) for row in rows], dtype=np.int64) for side in (0, 1))


def share_of_batch(rows, batch):
    """Return the share of the rows of a batch that meet another right answer in it."""
    known = {(anchor, positive) for anchor, positive in rows}
    met = [
        any((rows[row][0], rows[other][1]) in known for other in batch if other != row)
        for row in batch
    ]
    return sum(met) / len(met)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("vwxyz")), min_size=2, max_size=8),
    st.integers(1, 8),
)
def test_the_share_of_false_negatives_is_the_mean_over_every_batch_there_is(rows, batch_size):
    batches = list(itertools.combinations(range(len(rows)), min(batch_size, len(rows))))
    expected = sum(share_of_batch(rows, batch) for batch in batches) / len(batches)
    assert false_negative_share(*as_numbers(rows), batch_size) == pytest.approx(expected)


def test_the_share_of_false_negatives_agrees_with_a_simulation():
    rng = random.Random(0)
    rows = [(chr(97 + rng.randrange(150)), chr(97 + rng.randrange(400))) for _ in range(400)]
    drawn = [share_of_batch(rows, rng.sample(range(400), 32)) for _ in range(1500)]
    standard_error = np.std(drawn) / len(drawn) ** 0.5
    expected = np.mean(drawn)
    assert expected > 0.15
    assert abs(false_negative_share(*as_numbers(rows), 32) - expected) < 4 * standard_error


def test_false_negatives_are_found_after_folding_and_are_no_warning_for_the_loss_knows_them(check):
    rows = [Pair("card", "bank"), Pair("Card?", "my bank"), Pair("cat", "mat")]
    found = check(rows)
    assert found.false_negative_share == pytest.approx((1 / 2 + 1 / 2) / 3)
    assert found.warnings() == []


def test_mined_negatives_are_as_long_as_the_answers(check):
    # 10 tokens a row, and 5 for each negative: (4 + 4 + 8 + 3) / 4 is the mean of the answers.
    training = [PAIRS[0], PAIRS[3]]
    assert check(PAIRS, training=training).tokens_per_step == 20
    assert check(PAIRS, training=training, negatives=1).tokens_per_step == 20 + 2 * 19 / 4 + 0.5


@pytest.mark.parametrize(("held_out", "warned"), [(5, True), (6, False)])
def test_too_few_questions_for_any_significance_are_a_warning(check, held_out, warned):
    asked = [Pair(f"red {n}", f"blue {n}") for n in range(held_out)]
    told = check(PAIRS[3:], held_out=asked).warnings()
    assert any("no difference is significant" in line for line in told) == warned


@pytest.mark.parametrize(("leaks", "warned"), [(1, False), (2, True)])
def test_many_rows_that_were_left_out_are_a_warning(check, leaks, warned):
    told = check(PAIRS, leaks=leaks).warnings()
    assert any(f"{leaks} of 5 rows were left out" in line for line in told) == warned


def test_a_text_that_stands_twice_is_its_own_false_negative_without_labels(check):
    rows = [UnlabelledText("card"), UnlabelledText("CARD"), UnlabelledText("cat")]
    found = check(rows, objective_name="unlabelled")
    assert found.false_negative_share == pytest.approx(1 / 3)


def test_an_objective_that_takes_no_negatives_from_the_batch_has_no_false_ones(check):
    found = check([Triplet("a", "b", "c"), Triplet("a", "d", "e")], objective_name="triplet-hinge")
    assert found.false_negative_share is None
    assert not any("false negatives" in line for line in found.lines())


def test_two_views_of_a_text_take_twice_the_tokens(check):
    rows = [UnlabelledText("the cat"), UnlabelledText("the dog")]
    once = check(rows, objective_name="batch-hard")
    twice = check(rows, objective_name="unlabelled")
    assert (once.tokens_per_step, twice.tokens_per_step) == (8, 16)


def test_the_tokens_of_a_step_go_by_how_often_a_text_is_used(check):
    # 3 + 5 and 3 + 3 tokens; the three distinct texts have more in the mean.
    rows = [Pair("cat", "the dog sat"), Pair("cat", "red")]
    assert check(rows).tokens_per_step == 14


def test_measuring_stops_after_a_second_and_leaves_the_first_call_out(check, encoder):
    encoder.seconds_a_call = 0.6
    check([UnlabelledText(f"cat {number}") for number in range(100)], batch_size=8)
    assert [len(call) for call in encoder.calls] == [1, 8, 8]


def test_measuring_calls_stay_small_however_large_the_batch(check, encoder):
    encoder.max_length = 402
    check([UnlabelledText(f"{number} " + "cat " * 500) for number in range(40)], batch_size=512)
    assert {len(call) for call in encoder.calls[1:]} == {5}  # of 402 tokens


def test_without_a_time_measured_no_time_is_named(check, encoder):
    encoder.seconds_a_call = 0.0
    found = check(PAIRS[3:])
    assert found.seconds is None
    assert found.lines()[-1] == "1 step of 2 rows in 1 epoch, about 18 tokens each"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (89, "89 seconds"),
        (90, "2 minutes"),
        (5399, "90 minutes"),
        (5400, "1.5 hours"),
    ],
)
def test_a_time_is_told_in_fitting_units(check, seconds, words):
    found = replace(check(PAIRS[3:]), seconds=seconds)
    assert found.lines()[-1].endswith(f"; training takes about {words} here")


def test_nothing_to_train_on_takes_no_step(check):
    found = check(PAIRS, training=[])
    assert (found.training_rows, found.steps, found.tokens_per_step, found.seconds) == (0, 0, 0, 0)


def test_examples_of_two_kinds_or_none_are_refused(check):
    with pytest.raises(InvalidData, match="examples of one kind, got pairs, triplets"):
        check([Pair("a", "b"), Triplet("a", "b", "c")])
    with pytest.raises(InvalidData, match="examples of one kind, got none"):
        check([])


def test_an_encoder_without_a_directory_is_refused(check, encoder):
    encoder.directory = None
    with pytest.raises(EncoderError, match=r"words is an index's copy of an encoder.*name the enc"):
        check(PAIRS)
