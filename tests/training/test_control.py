"""What augmentation gained: a run beside its control, the same run without augmentation."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace

import pytest
from training_runs import make_class_pairs, make_pairs

from simsearch.encoder import Encoder
from simsearch.errors import EncoderError
from simsearch.training import TrainingConfig, TrainingData, control, finetune
from simsearch.training.identity import identity
from simsearch.training.plan import make_plan
from simsearch.training.result import read_result

pytestmark = pytest.mark.usefixtures("quick_pictures")

# 48 pairs train: two epochs of three steps, with 48 more of six. A checkpoint every step.
CONFIG = TrainingConfig(
    epochs=2,
    batch_size=16,
    learning_rate=2e-3,
    precision="fp32",
    checkpoint_minutes=1e-9,
    augment=("swap",),
)
PAIRS = make_pairs(60)


@pytest.fixture(autouse=True, scope="module")
def quick_disk():
    """Nothing here is about a power loss: let no test wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def train(tiny_encoder_dir):
    """A function that fine-tunes, and keeps the model in any case; what is said goes to a list."""

    def run(output, data=PAIRS, *, config=CONFIG, said=None, interrupt_at=None, **options):
        def progress(stage, done, total):
            if (stage, done) == interrupt_at:
                raise KeyboardInterrupt

        say = [].append if said is None else said.append
        data = [TrainingData(data)]
        options = {"encoder": tiny_encoder_dir, "force": True, "progress": progress, **options}
        return finetune(data, output, config=config, say=say, **options)

    return run


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """A run with its control that nothing cut short: what came of it, where, and what was said."""
    output, said = tmp_path_factory.mktemp("whole") / "model", []
    return train(output, said=said), output, said


def without_times(result):
    found = asdict(result)
    del found["seconds"], found["training_seconds"], found["augmentation"]["seconds"]
    del found["model"], found["run"]
    return found


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        (PAIRS, {"augment": ("deletion", "swap", "deletion")}),
        # Added pairs are of other texts: what the held-out data is made of may not see them.
        (PAIRS, {"augment": ("dropout",), "distractors": 20}),
        (make_class_pairs(80), {"augment": ("crop",)}),
        (PAIRS, {"augment": ("swap",), "dev": 0.25, "patience": 1, "negatives_every": 1}),
        (PAIRS, {"augment": ("swap",), "adapt": "lora", "from_scratch": True}),
    ],
    ids=["pairs", "dropout", "classes", "dev part", "scratch"],
)
def test_the_figures_of_the_control_are_those_of_a_run_of_its_own(train, tmp_path, data, changes):
    config = replace(CONFIG, **changes)
    found = train(tmp_path / "with", data, config=config)
    alone = train(tmp_path / "without", data, config=replace(config, augment=()))
    gain = found.augmentation
    assert gain.without == alone.after
    assert gain.steps == alone.steps < found.steps
    assert gain.examples_added == found.examples - alone.examples
    assert gain.ways == tuple(dict.fromkeys(changes["augment"]))
    assert (found.before, found.held_out) == (alone.before, alone.held_out)
    assert alone.augmentation is None


def test_the_difference_is_what_the_run_has_more_than_its_control(whole):
    result, _, said = whole
    gain = result.augmentation
    assert gain.difference.keys() == gain.without.keys() == result.after.keys()
    for name, difference in gain.difference.items():
        assert difference.value == pytest.approx(result.after[name] - gain.without[name])
        assert difference.low <= difference.value <= difference.high
        assert 0 < difference.p <= 1
    decides = gain.difference["ndcg@10"]
    assert said[-2] == (
        f"augmentation: ndcg@10 {decides.value:+.4f}, 95% interval {decides.low:+.4f} .. "
        f"{decides.high:+.4f}, p {decides.p:.4f}"
    )


def test_the_control_changes_neither_the_model_nor_the_verdict(train, whole, tmp_path):
    result, output, _ = whole
    config = replace(CONFIG, augment_control=False)
    alone = train(tmp_path / "model", config=config)
    assert Encoder.load(tmp_path / "model").fingerprint == Encoder.load(output).fingerprint
    assert (alone.verdict, alone.reason) == (result.verdict, result.reason)
    assert (alone.after, alone.difference) == (result.after, result.difference)


def test_the_run_folder_tells_what_augmentation_gained(whole):
    result, output, _ = whole
    run = output / "run"
    told = json.loads((run / "result.json").read_text())["augmentation"]
    assert told == json.loads(json.dumps(asdict(result.augmentation)))
    assert read_result(run) == result
    report = (run / "report.md").read_text()
    gain = result.augmentation
    change = gain.difference["map"]
    row = (
        f"| map | {gain.without['map']:.4f} | {result.after['map']:.4f} | {change.value:+.4f} | "
        f"{change.low:+.4f} .. {change.high:+.4f} | {change.p:.4f} |"
    )
    assert row in report.partition("## What augmentation gained")[2]
    assert f"{gain.steps} steps in the place of {result.steps}, and scored" in report
    assert "augment_control = true" in (run / "config.toml").read_text()
    assert [entry.name for entry in output.parent.iterdir()] == ["model"]


def test_without_a_control_its_figures_are_left_out(train, tmp_path):
    said = []
    result = train(tmp_path / "model", config=replace(CONFIG, augment_control=False), said=said)
    gain = result.augmentation
    assert (gain.without, gain.difference, gain.steps) == ({}, {}, 0)
    assert (gain.ways, gain.examples_added) == (("swap",), 48)
    assert [line for line in said if "control" in line or "augmentation" in line] == []
    report = (tmp_path / "model/run/report.md").read_text()
    assert "## What augmentation gained" not in report
    assert "what it gained was not measured: augment_control is off" in report


def test_where_nothing_can_be_added_there_is_nothing_to_compare(train, tmp_path):
    pairs = [pair for pair in make_pairs(60) if len(pair.anchor.split()) > 1]
    short = [replace(pair, anchor=f"{n} cat") for n, pair in enumerate(pairs)]
    gain = train(tmp_path / "model", short).augmentation
    assert (gain.without, gain.reason) == ({}, "no example could be added")


@pytest.mark.parametrize(
    ("interrupt_at", "told", "untold"),
    [
        (("train", 4), ["resumed after step 3 of 12"], "control: resumed"),
        (("train (control)", 1), ["resumed after step 12 of 12"], "control: resumed"),
        (
            ("train (control)", 4),
            ["resumed after step 12 of 12", "control: resumed after step 3 of 6"],
            "anew",
        ),
        (
            ("score after (control)", 0),
            ["resumed after step 12 of 12", "control: resumed after step 6 of 6"],
            "anew",
        ),
    ],
    ids=["in the run", "at the control's first step", "in the control", "after the control"],
)
def test_a_run_cut_short_is_resumed_to_the_same_result(
    train, whole, tmp_path, interrupt_at, told, untold
):
    result, output, _ = whole
    said = []
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "model", interrupt_at=interrupt_at, said=said)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.training"]
    work = tmp_path / "model.training"
    assert said[-1] == f"{work} keeps the last checkpoint (--resume goes on with it)"
    said = []
    resumed = train(tmp_path / "model", resume=True, said=said)
    assert without_times(resumed) == without_times(result)
    assert Encoder.load(tmp_path / "model").fingerprint == Encoder.load(output).fingerprint
    assert [line for line in said if "resumed after" in line] == told
    assert [line for line in said if untold in line] == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_checkpoints_of_run_and_control_lie_apart(train, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "model", interrupt_at=("train (control)", 4))
    work = tmp_path / "model.training"
    steps = sorted(path.relative_to(work).as_posix() for path in work.rglob("step-*"))
    assert steps == ["control/step-00000003", "step-00000012"]


def test_a_run_cut_short_in_its_control_may_go_on_without_it(train, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "model", interrupt_at=("train (control)", 4))
    config = replace(CONFIG, augment_control=False)
    assert train(tmp_path / "model", config=config, resume=True).augmentation.without == {}
    assert Encoder.load(tmp_path / "model").fingerprint == Encoder.load(whole[1]).fingerprint


def test_a_run_that_begins_anew_takes_up_nothing_of_an_older_control(train, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(
            tmp_path / "model",
            config=replace(CONFIG, seed=1),
            interrupt_at=("train (control)", 4),
        )
    said = []
    result = train(tmp_path / "model", replace=True, said=said)
    assert without_times(result) == without_times(whole[0])
    assert [line for line in said if "resumed" in line] == []


def test_a_control_that_cannot_be_trained_costs_the_comparison_not_the_run(
    train, whole, tmp_path, monkeypatch
):
    def diverge(*arguments, **options):
        raise EncoderError("the loss is nan at step 2 of 6")

    monkeypatch.setattr(control, "run_beside", diverge)
    result = train(tmp_path / "model")
    reason = "the control cannot be trained: the loss is nan at step 2 of 6"
    assert result.augmentation == replace(
        whole[0].augmentation, without={}, difference={}, steps=0, seconds=0.0, reason=reason
    )
    assert Encoder.load(tmp_path / "model").fingerprint == Encoder.load(whole[1]).fingerprint
    assert f"not measured: {reason}" in (tmp_path / "model/run/report.md").read_text()


def test_too_few_steps_for_the_control_alone_are_found_out_by_it(train, tmp_path):
    """`gradual` has a phase for each of two layers and one for the embeddings: three steps."""
    config = replace(CONFIG, epochs=1, batch_size=32, adapt="gradual")
    gain = train(tmp_path / "model", config=config).augmentation
    assert gain.without == {}
    assert "gradual has 3 phases, and the run only 2 steps" in gain.reason


@pytest.mark.parametrize("augment", [("deletion",), ("dropout", "swap")])
def test_the_plan_of_a_control_is_that_of_a_run_without_augmentation(augment):
    data = [TrainingData(PAIRS, name="a"), TrainingData(make_pairs(40, seed=1), name="b")]
    config = TrainingConfig(augment=augment, distractors=30)
    plain = TrainingConfig(distractors=30)
    found = make_plan(data, None, config).without_augmentation()
    expected = make_plan(data, None, plain)
    assert identity(found, plain, base_fingerprint="f") == identity(
        expected, plain, base_fingerprint="f"
    )
    for name, held_out in expected.held_outs.items():
        assert found.held_outs[name].task == held_out.task
