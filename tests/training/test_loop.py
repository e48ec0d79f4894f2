"""A run that was cut short and resumed is the run that was not; it stops when it should."""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_runs import TinyRun, make_class_pairs, make_pairs, make_scored_pairs

from simsearch.encoder.loading import read_whole_layout
from simsearch.errors import EncoderError
from simsearch.training.batches import Batches, DataSet
from simsearch.training.config import Sampling, TrainingConfig
from simsearch.training.examples import TrainingData
from simsearch.training.losses import InBatchLoss

# 36 pairs train, 12 choose the checkpoint: three epochs of three steps. A checkpoint every step.
CONFIG = TrainingConfig(
    epochs=3,
    batch_size=12,
    learning_rate=2e-3,
    dev=0.25,
    precision="fp32",
    checkpoint_minutes=1e-9,
)
TWO_SETS = [
    TrainingData(make_pairs(60), name="pairs"),
    TrainingData(make_scored_pairs(24), name="scores"),
]


# Six epochs of two steps.
LONG = replace(CONFIG, epochs=6, batch_size=18, checkpoint_minutes=60.0)


@pytest.fixture(autouse=True, scope="module")
def quick_disk():
    """Nothing here is about a power loss: let no test wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


def outcome(run, trained):
    return run.weights(), trained.log, trained.dev, trained.kept_step, trained.stopped


@pytest.fixture(scope="module")
def uninterrupted(tiny_encoder_dir, tmp_path_factory):
    run = TinyRun(tiny_encoder_dir, tmp_path_factory.mktemp("whole") / "work", CONFIG)
    return outcome(run, run.run())


def interrupted(encoder, work, config, steps, **options):
    """Cut a run short after each of these steps, and bring it to its end."""
    for step in steps:
        with pytest.raises(KeyboardInterrupt):
            TinyRun(encoder, work, config, **options).resume(interrupt_at=step)
    run = TinyRun(encoder, work, config, **options)
    start, trained = run.resume()
    return start, outcome(run, trained)


def test_the_run_trains_for_three_epochs_of_three_steps(uninterrupted):
    _, log, dev, _, stopped = uninterrupted
    assert [record["step"] for record in log] == list(range(1, 10))
    assert [record["epoch"] for record in log] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [(record["epoch"], record["step"]) for record in dev] == [(1, 3), (2, 6), (3, 9)]
    assert stopped is None
    # One of the nine steps warms up; the rate then falls along a cosine.
    rates = [record["learning_rate"] for record in log]
    assert rates[:2] == [1e-3, 2e-3]
    assert rates[-1] == pytest.approx(1e-3 * (1 + math.cos(math.pi * 7 / 8)))


def test_dropout_is_on_so_that_its_seed_matters(tiny_encoder_dir, tmp_path, uninterrupted):
    config = replace(CONFIG, epochs=1, warmup=0.0)
    losses = []
    for rate in (0.1, 0.0):
        run = TinyRun(tiny_encoder_dir, tmp_path / str(rate), config)
        for module in run.model.modules():
            module.__dict__.update({"p": rate} if isinstance(module, torch.nn.Dropout) else {})
        losses.append(run.run().log[0]["loss"])
    assert abs(losses[0] - losses[1]) > 1e-3


@pytest.mark.parametrize(
    ("steps", "resumed_at"),
    [
        ([1], 0),  # before any checkpoint
        ([2], 1),
        ([3], 2),  # an epoch's last step, before the dev part is scored
        ([4], 3),  # the first step after an epoch's checkpoint
        ([9], 8),  # the last step of all
        ([1, 2, 4, 8], 7),
    ],
)
def test_a_resumed_run_ends_bit_by_bit_as_one_that_was_never_cut_short(
    tiny_encoder_dir, tmp_path, uninterrupted, steps, resumed_at
):
    start, found = interrupted(tiny_encoder_dir, tmp_path / "work", CONFIG, steps)
    assert start == resumed_at
    assert found == uninterrupted


def test_a_checkpoint_is_written_at_every_epochs_end_at_least(
    tiny_encoder_dir, tmp_path, uninterrupted
):
    config = replace(CONFIG, checkpoint_minutes=60.0)
    start, found = interrupted(tiny_encoder_dir, tmp_path / "work", config, [2, 5, 8])
    assert start == 6
    assert found == uninterrupted


def test_a_run_that_was_cut_short_when_all_steps_were_done_is_resumed_at_its_end(
    tiny_encoder_dir, tmp_path, uninterrupted
):
    TinyRun(tiny_encoder_dir, tmp_path / "work", CONFIG).run()  # and killed while it was saved
    run = TinyRun(tiny_encoder_dir, tmp_path / "work", CONFIG)
    start, trained = run.resume()
    assert start == 9
    assert outcome(run, trained) == uninterrupted


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({"precision": "bf16"}, None),
        ({"negatives": 2, "negatives_every": 1, "negatives_margin": 0.0}, None),
        ({"sampling": "round-robin"}, TWO_SETS),
        ({"sampling": "proportional", "precision": "bf16"}, TWO_SETS),
        ({"optimizer": "sgd", "learning_rate": 0.05, "adapt": "gradual"}, None),
        ({"adapt": "dense", "layer_decay": 0.5, "objective": "triplet-softmax"}, None),
        ({"adapt": "lora", "augment": ("swap",), "weight_decay": 0.1}, None),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_every_kind_of_run_is_resumed_bit_by_bit(tiny_encoder_dir, tmp_path, changes, data):
    config = replace(LONG, checkpoint_minutes=1e-9, **{"epochs": 2, **changes})
    run = TinyRun(tiny_encoder_dir, tmp_path / "whole", config, data=data)
    expected = outcome(run, run.run())
    middle = run.training.steps // 2 + 1  # the first step of the second epoch
    steps = [middle, middle + 1]
    start, found = interrupted(tiny_encoder_dir, tmp_path / "work", config, steps, data=data)
    assert start == middle
    assert found == expected


def test_hard_negatives_are_mined_when_they_are_due_and_found_again_after_a_kill(
    tiny_encoder_dir, tmp_path
):
    config = replace(LONG, epochs=4, negatives_every=2, negatives_margin=0.0)
    run = TinyRun(tiny_encoder_dir, tmp_path / "work", config)
    with pytest.raises(KeyboardInterrupt):
        run.run(interrupt_at=7)
    when = [re.search("mined (.*) for 36 pairs", line)[1] for line in run.told]
    assert when == ["before training", "before epoch 3"]
    found = sorted(path.name for path in (tmp_path / "work").glob("negatives-*"))
    assert found == ["negatives-0000.json", "negatives-0002.json"]
    run = TinyRun(tiny_encoder_dir, tmp_path / "work", config)
    assert run.resume()[0] == 6
    assert run.told == []


def test_the_pair_decoder_begins_as_the_seed_says(tiny_encoder_dir, tmp_path):
    data = [TrainingData(make_class_pairs(60))]
    config = replace(LONG, epochs=1)
    found = []
    for name in ("one", "two"):
        torch.manual_seed(len(found))  # what a program did before is no part of a run
        run = TinyRun(tiny_encoder_dir, tmp_path / name, config, data=data, dev=lambda _: 0.0)
        found.append(run.run().pair_scorer.weight)
    np.testing.assert_array_equal(found[0], found[1])


class Dev:
    """Gives scores that were settled beforehand, and keeps the weights that they are of."""

    def __init__(self, scores):
        self.scores = iter(scores)
        self.run = None
        self.weights = []

    def __call__(self, encoder):
        state = self.run.training.weights.state()
        self.weights.append({name: tensor.numpy().copy() for name, tensor in state.items()})
        return next(self.scores)


def scored_run(encoder, work, config, scores, **options):
    dev = Dev(scores)
    dev.run = TinyRun(encoder, work, config, dev=dev, **options)
    return dev.run, dev


@pytest.mark.parametrize(
    ("scores", "best", "precision"),
    [
        ([0.5, 0.9, 0.7], 2, "fp32"),
        ([0.5, 0.9, 0.7], 2, "bf16"),
        ([0.9, 0.5, 0.7], 1, "fp32"),
        ([0.5, 0.7, 0.9], 3, "bf16"),
        ([0.5, 0.7, 0.7], 3, "fp32"),  # of equals the one that has learnt more
    ],
)
def test_the_best_weights_are_given_back(tiny_encoder_dir, tmp_path, scores, best, precision):
    config = replace(LONG, epochs=3, precision=precision)
    run, dev = scored_run(tiny_encoder_dir, tmp_path / "work", config, scores)
    trained = run.run()
    assert trained.kept_step == 2 * best
    assert [record["score"] for record in trained.dev] == scores
    expected = dev.weights[best - 1]
    found = {name: p.detach() for name, p in run.model.named_parameters()}
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert tensor.dtype is torch.float32
        np.testing.assert_array_equal(tensor.numpy(), expected[name])


def test_the_best_weights_come_with_the_pair_decoder_that_belongs_to_them(
    tiny_encoder_dir, tmp_path
):
    data = [TrainingData(make_class_pairs(60))]
    config = replace(LONG, epochs=3)
    run, dev = scored_run(tiny_encoder_dir, tmp_path / "w", config, [0.5, 0.9, 0.7], data=data)
    scorer = run.run().pair_scorer
    decoders = [weights["loss.0.decoder.weight"] for weights in dev.weights]
    np.testing.assert_array_equal(scorer.weight, decoders[1])
    np.testing.assert_array_equal(scorer.bias, dev.weights[1]["loss.0.decoder.bias"])
    assert not np.array_equal(decoders[1], decoders[2])
    assert scorer.classes == ("other", "same")


@pytest.mark.parametrize(
    ("patience", "least", "scores", "stopped_after", "best"),
    [
        (2, 0.0, [0.5, 0.7, 0.6, 0.65], 4, 2),
        (1, 0.0, [0.5, 0.5], 2, 2),  # the same is no improvement
        (3, 0.0, [0.9, 0.1, 0.2, 0.3], 4, 1),
        (2, 0.1, [0.5, 0.55, 0.58], 3, 3),  # better, but not by enough to go on
        (2, 0.1, [0.5, 0.55, 0.65, 0.6, 0.7], 5, 5),  # small ones add up
    ],
)
def test_a_run_stops_when_patience_is_out(
    tiny_encoder_dir, tmp_path, patience, least, scores, stopped_after, best
):
    config = replace(LONG, patience=patience, min_improvement=least)
    run, _ = scored_run(tiny_encoder_dir, tmp_path / "work", config, scores)
    trained = run.run()
    assert trained.stopped == f"no improvement on the dev part in {patience} epochs"
    assert trained.log[-1]["step"] == 2 * stopped_after
    assert trained.kept_step == 2 * best


@pytest.mark.parametrize(
    ("patience", "least", "scores"),
    [
        (None, 0.0, [0.9, 0.5, 0.4, 0.3, 0.2, 0.1]),
        (3, 0.0, [0.5, 0.4, 0.3, 0.6, 0.5, 0.4]),
        (2, 0.1, [0.50, 0.56, 0.62, 0.68, 0.74, 0.80]),
    ],
)
def test_a_run_that_improves_now_and_then_goes_on(
    tiny_encoder_dir, tmp_path, patience, least, scores
):
    config = replace(LONG, patience=patience, min_improvement=least)
    run, _ = scored_run(tiny_encoder_dir, tmp_path / "work", config, scores)
    trained = run.run()
    assert trained.stopped is None
    assert trained.log[-1]["step"] == 12


def test_patience_counts_on_across_a_resumption(tiny_encoder_dir, tmp_path):
    config = replace(LONG, patience=2)
    run, _ = scored_run(tiny_encoder_dir, tmp_path / "work", config, [0.5, 0.7, 0.6])
    with pytest.raises(KeyboardInterrupt):
        run.run(interrupt_at=7)
    run, _ = scored_run(tiny_encoder_dir, tmp_path / "work", config, [0.65])
    start, trained = run.resume()
    assert (start, trained.log[-1]["step"], trained.kept_step) == (6, 8, 4)
    assert [record["score"] for record in trained.dev] == [0.5, 0.7, 0.6, 0.65]


def test_a_run_that_had_stopped_early_and_was_killed_then_does_not_go_on(
    tiny_encoder_dir, tmp_path
):
    config = replace(LONG, patience=1)
    run, _ = scored_run(tiny_encoder_dir, tmp_path / "work", config, [0.7, 0.5])
    expected = outcome(run, run.run())
    run, dev = scored_run(tiny_encoder_dir, tmp_path / "work", config, [])
    start, trained = run.resume()
    assert start == 4
    assert dev.weights == []
    assert outcome(run, trained) == expected


def nan(value):
    return value * math.nan


def infinite(value):
    return value + math.inf


def steep(value):
    return (value - value).sqrt()  # 0, whose derivative is infinite


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (nan, "the loss is nan"),
        (infinite, "the loss is inf"),
        (steep, "the gradient is not finite"),
    ],
)
def test_what_is_not_finite_stops_the_run_at_once_and_leaves_the_last_checkpoint(
    tiny_encoder_dir, tmp_path, monkeypatch, uninterrupted, wrong, what
):
    honest, calls = InBatchLoss.forward, []

    def forward(loss, columns, target):
        calls.append(len(calls))
        value = honest(loss, columns, target)
        return {True: value, False: wrong(value)}[len(calls) < 5]

    monkeypatch.setattr(InBatchLoss, "forward", forward)
    run = TinyRun(tiny_encoder_dir, tmp_path / "work", CONFIG)
    with pytest.raises(EncoderError) as caught:
        run.run()
    monkeypatch.undo()
    assert len(calls) == 5
    found = re.fullmatch(
        rf"{what} at step 5 of 9 \(examples that begin '([a-z ]+)', '[a-z ]+', '[a-z ]+' and "
        r"(\d+) more\); training stopped \(lower --learning-rate\)",
        str(caught.value),
    )
    rows = rows_of_step_5(run, tiny_encoder_dir)
    assert run.plan.parts[0].training[rows[0]].anchor.startswith(found[1])
    assert int(found[2]) == len(rows) - 3
    run = TinyRun(tiny_encoder_dir, tmp_path / "work", CONFIG)
    start, trained = run.resume()
    assert start == 4
    assert outcome(run, trained) == uninterrupted


def rows_of_step_5(run, encoder_dir):
    """The rows of the second batch of the second epoch."""
    (part,) = run.plan.parts
    batches = Batches(
        [DataSet("", part.training, part.objective)],
        batch_size=12,
        sampling=Sampling.PROPORTIONAL,
        seed=0,
        layout=read_whole_layout(encoder_dir),
    )
    (_, rows) = batches.order(1)[1]
    return rows
