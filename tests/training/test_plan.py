"""Who trains, who chooses checkpoints, who judges: no text on two sides, in any data set."""

from __future__ import annotations

import pytest

from simsearch.errors import InvalidData, InvalidInput
from simsearch.records import (
    ClassPair,
    LabelledPair,
    LabelledText,
    Pair,
    ScoredPair,
    Triplet,
    UnlabelledText,
)
from simsearch.training import held_out
from simsearch.training.config import TrainingConfig
from simsearch.training.examples import TrainingData, fold, texts_of
from simsearch.training.identity import identity
from simsearch.training.plan import make_plan

PAIRS = [Pair(f"question {n}", f"answer {n}") for n in range(200)]
SCORED = [ScoredPair(f"left {n}", f"right {n}", float(n % 5)) for n in range(100)]


def texts(examples):
    return {fold(text) for example in examples for text in texts_of(example)}


def plan_of(*sets, evaluation=None, **config):
    return make_plan([TrainingData(rows) for rows in sets], evaluation, TrainingConfig(**config))


def test_the_three_sides_share_no_text_and_together_are_everything():
    (part,) = plan_of(PAIRS, patience=2).parts
    sides = [texts(part.training), texts(part.dev), texts(part.held_out)]
    assert [len(part.training), len(part.dev), len(part.held_out)] == [144, 16, 40]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert set.union(*sides) == texts(PAIRS)


def test_few_examples_have_no_dev_part():
    plan = plan_of(PAIRS[:60], dev=0.1)
    assert (plan.parts[0].dev, plan.dev) == ([], None)


def test_a_run_of_a_set_length_trains_on_what_would_choose_its_checkpoint():
    plan = plan_of(PAIRS)
    assert (plan.dev, len(plan.parts[0].training)) == (None, 160)
    assert plan_of(PAIRS, dev=0.2).dev.size == 32


def test_of_several_sets_the_first_decides_and_the_others_are_reported():
    sets = [TrainingData(PAIRS, name="qa"), TrainingData(SCORED, name="sts")]
    plan = make_plan(sets, None, TrainingConfig())
    assert plan.held_out.deciding_metric == "ndcg@10"
    assert list(plan.further) == ["sts"]
    assert plan.further["sts"].deciding_metric == "spearman"
    assert [part.objective.name for part in plan.parts] == ["in-batch", "cosine"]


def test_what_one_set_holds_out_no_other_is_trained_on():
    sets = [TrainingData(PAIRS, name="a"), TrainingData([*PAIRS[:150]], name="b")]
    plan = make_plan(sets, None, TrainingConfig(dev=0.1))
    trained = texts([*plan.parts[0].training, *plan.parts[1].training])
    judged = texts([*plan.parts[0].held_out, *plan.parts[1].held_out])
    assert not trained & judged
    assert not trained & texts(plan.parts[0].dev)


def test_negatives_are_mined_from_no_text_that_judges():
    pairs = [Pair(f"question {n}", f"answer {n}") for n in range(200)]
    corpus = [*(pair.positive for pair in pairs), *(f"other {n}" for n in range(50))]
    data = TrainingData(pairs, distractors=corpus)
    (part,) = make_plan([data], None, TrainingConfig(patience=1)).parts
    judged = texts([*part.held_out, *part.dev])
    assert len(part.held_out) == 40
    assert len(part.dev) > 0
    assert set(part.distractors) == set(corpus) - judged
    assert set(part.data.distractors) == set(corpus)  # the held-out questions search among all


def test_triplets_with_a_held_out_text_as_their_negative_are_counted():
    rows = [Triplet(f"asked {n}", f"answer {n}", f"answer {(n + 7) % 300}") for n in range(300)]
    (part,) = plan_of(rows, patience=1).parts
    assert len(part.training) + len(part.dev) + len(part.held_out) + part.leaks == 300
    assert len(part.dev) > 0
    assert part.leaks > 40


def test_planted_leakage_is_dropped_and_counted():
    """Evaluation data that stands in the training data, in other case and punctuation."""
    leaked = [Pair("QUESTION 3!", "something else"), Pair("new", "Answer, 7.")]
    plan = plan_of(PAIRS, evaluation=leaked)
    assert plan.parts[0].leaks == 2
    assert not texts(leaked) & texts([*plan.parts[0].training, *plan.parts[0].dev])


def test_added_examples_come_last_and_are_made_of_the_training_side_alone():
    rows = [Pair(f"how is the lost card number {n} replaced", f"answer {n}") for n in range(100)]
    (part,) = plan_of(rows, augment=("crop", "dropout")).parts
    originals, added = part.originals, part.training[len(part.originals) :]
    assert len(part.added) == len(added) == 160
    assert part.added[:4] == [0, 0, 1, 1]
    assert {pair.positive for pair in added} <= texts(originals) | {p.anchor for p in originals}
    assert not {fold(pair.positive) for pair in added} & texts(part.held_out)


def test_the_named_objective_of_a_set_goes_before_that_of_the_run():
    triplets = [Triplet(f"a {n}", f"p {n}", f"n {n}") for n in range(50)]
    sets = [TrainingData(triplets, objective="triplet-softmax"), TrainingData(PAIRS, name="b")]
    plan = make_plan(sets, None, TrainingConfig(objective="in-batch"))
    assert [part.objective.name for part in plan.parts] == ["triplet-softmax", "in-batch"]
    assert plan.parts[0].why == "named, takes triplets"


def test_texts_alone_need_evaluation_data():
    rows = [UnlabelledText(f"text {n}") for n in range(50)]
    with pytest.raises(InvalidData, match="texts alone prove nothing"):
        plan_of(rows)
    plan = plan_of(rows, evaluation=PAIRS[:20])
    assert (plan.parts[0].objective.name, len(plan.parts[0].training)) == ("unlabelled", 50)


@pytest.mark.parametrize(
    "rows",
    [
        [LabelledPair(f"a {n}", f"b {n}", 1) for n in range(50)],
        [ClassPair(f"a {n}", f"b {n}", "neutral") for n in range(50)],
        [LabelledText(f"a {n}", "only") for n in range(50)],
    ],
)
def test_one_class_only_is_refused(rows):
    with pytest.raises(InvalidData, match=r"all of the 40 training examples have the class"):
        plan_of(rows)


def test_a_run_is_known_by_its_settings_its_data_and_its_encoder():
    one = identity(plan_of(PAIRS), TrainingConfig(), base_fingerprint="f")
    same = identity(plan_of(list(PAIRS)), TrainingConfig(), base_fingerprint="f")
    other = identity(plan_of(PAIRS[:-1]), TrainingConfig(seed=1), base_fingerprint="g")
    assert one == same
    differs = {key for key in one if one[key] != other[key]}
    assert differs == {"data 1", "seed", "encoder"}


def test_the_evaluation_data_is_part_of_what_a_run_is():
    plan, config = plan_of(PAIRS, evaluation=PAIRS[:20]), TrainingConfig()
    names = [
        identity(plan, config, base_fingerprint="f", evaluation=rows)["evaluation"]
        for rows in (PAIRS[:20], PAIRS[:19], make_held_out(PAIRS[:9]).task)
    ]
    assert len(set(names)) == 3


def make_held_out(pairs):
    return held_out.make_held_out(pairs, distractor_limit=0, seed=0)


def test_data_sets_of_one_name_are_told_apart_and_the_first_decides():
    sets = [TrainingData(PAIRS, name="train.jsonl"), TrainingData(SCORED, name="train.jsonl")]
    plan = make_plan(sets, None, TrainingConfig())
    assert [part.name for part in plan.parts] == ["train.jsonl", "train.jsonl (2)"]
    assert (plan.metric, list(plan.further)) == ("ndcg@10", ["train.jsonl (2)"])


def test_augmentation_makes_no_text_of_the_other_sides():
    """Of `lost card 7 x` deletion may make `lost card 7`, which is held out or chooses."""
    rows = []
    for number in range(150):
        rows.append(Pair(f"lost card {number}", f"answer {number}"))
        rows.append(Pair(f"lost card {number} x", f"other answer {number}"))
    (part,) = plan_of(rows, augment=("deletion",), dev=0.1).parts
    made = {fold(pair.anchor) for pair in part.training[len(part.originals) :]}
    assert made
    assert not made & texts([*part.held_out, *part.dev])
    assert not made & {fold(pair.anchor) for pair in part.held_out}


def test_a_dev_part_that_cannot_be_measured_on_goes_back_to_training():
    rows = [LabelledText(f"text {n}", f"class {n // 2}") for n in range(150)]
    plan = plan_of(rows, dev=0.1)
    assert (plan.dev, plan.parts[0].dev) == (None, [])
    assert len(plan.parts[0].training) + len(plan.parts[0].held_out) == 150


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "accuracy"}, r"no metric 'accuracy' here \(measured: ndcg@10"),
        ({"patience": 2, "dev": 0.0}, "patience goes by the dev part, and this run has none"),
        (
            {"margin": 0.3},
            r"in-batch has no margin \(these have: contrastive, triplet-hinge, "
            r"triplet-margin-ranking, batch-hard\)",
        ),
        ({"temperature": 0.1, "objective": "triplet-hinge"}, "triplet-hinge has no temperature"),
    ],
)
def test_settings_that_do_not_fit_the_data_are_refused(settings, message):
    with pytest.raises(InvalidInput, match=message):
        plan_of(PAIRS, **settings)


@pytest.mark.parametrize("size", [3, 7])
def test_batches_by_class_are_even(size):
    rows = [LabelledText(f"text {n}", f"class {n % 5}") for n in range(100)]
    with pytest.raises(InvalidInput, match=f"must be even, and at least 4, got {size}"):
        plan_of(rows, batch_size=size)


def test_texts_of_one_class_may_be_trained_on_without_their_class():
    rows = [LabelledText(f"text {n}", "only") for n in range(50)]
    plan = plan_of(rows, evaluation=PAIRS[:20], objective="unlabelled")
    assert len(plan.parts[0].training) == 50
