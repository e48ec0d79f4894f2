"""Which objective takes which data, and what it fills in where the settings say nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simsearch.errors import InvalidData, InvalidInput
from simsearch.formats import Example
from simsearch.records import (
    ClassPair,
    LabelledPair,
    LabelledText,
    Pair,
    ScoredPair,
    TaggedText,
    Triplet,
    UnlabelledText,
)
from simsearch.training.config import OptimizerName, Sampling, ScheduleName, TrainingConfig
from simsearch.training.examples import KIND_NAMES
from simsearch.training.objectives import OBJECTIVES, choose_objective
from simsearch.training.resolve import Resolved, resolve, resolved_config

TRIPLET_OBJECTIVES = ("triplet-hinge", "triplet-softmax", "triplet-margin-ranking")


def test_there_are_eleven_objectives_each_with_its_formula_and_source():
    assert list(OBJECTIVES) == [
        "in-batch",
        "contrastive",
        "softmax",
        "cosine",
        "triplet-hinge",
        "triplet-softmax",
        "triplet-margin-ranking",
        "batch-hard",
        "unlabelled",
        "classes",
        "tags",
    ]
    assert all(objective.formula and objective.source for objective in OBJECTIVES.values())


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Pair, "in-batch"),
        (Triplet, "in-batch"),
        (LabelledPair, "contrastive"),
        (ClassPair, "softmax"),
        (ScoredPair, "cosine"),
        (LabelledText, "batch-hard"),
        (UnlabelledText, "unlabelled"),
        (TaggedText, "tags"),
    ],
)
def test_auto_goes_by_the_kind_of_example(kind, name):
    assert choose_objective("auto", kind).name == name


@pytest.mark.parametrize("kind", Example.__args__)
def test_every_kind_of_example_has_an_objective(kind):
    assert kind in choose_objective("auto", kind).takes


@pytest.mark.parametrize("name", TRIPLET_OBJECTIVES)
@pytest.mark.parametrize("kind", [Pair, Triplet])
def test_triplet_objectives_take_triplets_and_pairs(name, kind):
    assert choose_objective(name, kind).name == name


@pytest.mark.parametrize(
    ("name", "kind", "kinds", "fitting"),
    [
        ("contrastive", Pair, "labelled pairs", f"in-batch, {', '.join(TRIPLET_OBJECTIVES)}"),
        ("triplet-hinge", ScoredPair, "triplets or pairs", "cosine"),
        ("batch-hard", UnlabelledText, "labelled texts", "unlabelled"),
        ("in-batch", LabelledPair, "pairs or triplets", "contrastive, softmax"),
    ],
)
def test_an_objective_that_does_not_take_the_data_names_those_that_do(name, kind, kinds, fitting):
    message = (
        rf"objective {name} takes {kinds}, the data holds {KIND_NAMES[kind]} "
        rf"\(objectives for it: {fitting}\)"
    )
    with pytest.raises(InvalidData, match=message):
        choose_objective(name, kind)


def test_an_unknown_objective_is_refused_with_the_names_of_all():
    with pytest.raises(InvalidInput, match=r"no objective 'magic' \(there are: auto, in-batch, co"):
        choose_objective("magic", Pair)


def test_hard_negatives_are_mined_for_the_objectives_that_take_pairs():
    mined = [name for name, objective in OBJECTIVES.items() if objective.negatives]
    assert mined == ["in-batch", *TRIPLET_OBJECTIVES]
    assert all(Pair in OBJECTIVES[name].takes for name in mined)


OBJECTIVE = replace(
    OBJECTIVES["in-batch"],
    epochs=7,
    batch_size=48,
    learning_rate=3e-4,
    optimizer=OptimizerName.ADAM,
    negatives=2,
)


def test_what_the_settings_leave_open_is_the_objective_s():
    assert resolve(TrainingConfig(), OBJECTIVE) == Resolved(
        epochs=7,
        batch_size=48,
        learning_rate=3e-4,
        optimizer=OptimizerName.ADAM,
        schedule=ScheduleName.COSINE,
        sampling=Sampling.PROPORTIONAL,
        negatives=2,
    )


def test_what_the_settings_name_goes_before_the_objective():
    config = TrainingConfig(
        epochs=1,
        batch_size=2,
        learning_rate=1e-2,
        optimizer="sgd",
        schedule="constant",
        sampling="round-robin",
        negatives=0,
    )
    assert resolve(config, OBJECTIVE) == Resolved(
        epochs=1,
        batch_size=2,
        learning_rate=1e-2,
        optimizer=OptimizerName.SGD,
        schedule=ScheduleName.CONSTANT,
        sampling=Sampling.ROUND_ROBIN,
        negatives=0,
    )


def test_sgd_has_a_rate_and_a_schedule_of_its_own():
    sgd = resolve(TrainingConfig(optimizer="sgd"), OBJECTIVE)
    adamw = resolve(TrainingConfig(optimizer="adamw"), OBJECTIVE)
    assert (sgd.learning_rate, sgd.schedule) == (0.01, ScheduleName.STEP)
    assert (adamw.learning_rate, adamw.schedule) == (3e-4, ScheduleName.COSINE)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_triplets_go_down_in_steps_by_sgd_and_the_others_along_a_cosine_by_adamw(name):
    found = resolve(TrainingConfig(), OBJECTIVES[name])
    triplets = name.startswith("triplet-")
    expected = (OptimizerName.SGD, ScheduleName.STEP, 0.01)
    adamw = (OptimizerName.ADAMW, ScheduleName.COSINE, 5e-5)
    assert (found.optimizer, found.schedule, found.learning_rate) == (adamw, expected)[triplets]
    asked = resolve(TrainingConfig(optimizer="adamw"), OBJECTIVES[name])
    assert (asked.optimizer, asked.schedule, asked.learning_rate) == adamw


def test_a_resolved_configuration_leaves_nothing_open_and_keeps_the_rest():
    numbers = resolve(TrainingConfig(), OBJECTIVE)
    config = resolved_config(TrainingConfig(warmup=0.3, seed=5), numbers, [OBJECTIVE])
    assert (config.warmup, config.seed) == (0.3, 5)
    assert (config.epochs, config.batch_size, config.negatives) == (7, 48, 2)
    assert resolve(config, OBJECTIVES["cosine"]) == numbers


@pytest.mark.parametrize(
    ("names", "asked", "temperature", "margin", "negatives"),
    [
        (["in-batch"], {}, 0.05, None, 1),
        (["in-batch"], {"temperature": 0.1, "negatives": 3}, 0.1, None, 3),
        (["triplet-hinge"], {"margin": 0.0}, None, 0.0, 1),
        (["in-batch", "triplet-softmax"], {}, 0.05, None, 1),
        (["contrastive", "triplet-hinge"], {}, None, None, None),
        (["contrastive", "triplet-hinge"], {"margin": 0.3}, None, 0.3, None),
    ],
)
def test_constants_are_resolved_where_the_objectives_that_have_them_agree(
    names, asked, temperature, margin, negatives
):
    config, objectives = TrainingConfig(**asked), [OBJECTIVES[name] for name in names]
    found = resolved_config(config, resolve(config, objectives[0]), objectives)
    assert (found.temperature, found.margin, found.negatives) == (temperature, margin, negatives)
