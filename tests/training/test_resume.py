"""What is left of a run that was cut short, who may take it up, and that two never share one."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import write_tiny_encoder
from training_runs import make_pairs, make_scored_pairs

from simsearch.encoder import Encoder
from simsearch.errors import AlreadyExists, IndexLocked, InvalidInput
from simsearch.training import TrainingConfig, TrainingData, check_output, finetune
from simsearch.training.output import working

pytestmark = pytest.mark.usefixtures("quick_pictures")

# 36 pairs train, 12 choose the checkpoint: two epochs of two steps. A checkpoint every step.
CONFIG = TrainingConfig(
    epochs=2,
    batch_size=18,
    learning_rate=2e-3,
    dev=0.25,
    precision="fp32",
    checkpoint_minutes=1e-9,
)
DATA = TrainingData(make_pairs(60))


@pytest.fixture(autouse=True, scope="module")
def quick_disk():
    """Nothing here is about a power loss: let no test wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def output(tmp_path):
    return tmp_path / "model"


@pytest.fixture
def work(tmp_path):
    return tmp_path / "model.training"


@pytest.fixture
def train(tiny_encoder_dir, output):
    """A function that fine-tunes, and keeps the model in any case; it returns what was said."""

    def run(data=DATA, *, config=CONFIG, encoder=tiny_encoder_dir, interrupt_at=None, **options):
        said = []

        def progress(stage, done, total):
            if (stage, done) == ("train", interrupt_at):
                raise KeyboardInterrupt

        options = {"progress": progress, "force": True, **options}
        finetune(data, output, encoder=encoder, config=config, say=said.append, **options)
        return said

    return run


@pytest.fixture
def cut_short(train, work):
    """A run that was interrupted after three of its four steps; the last checkpoint is of two."""
    with pytest.raises(KeyboardInterrupt):
        train(interrupt_at=3)
    return work


@pytest.fixture(scope="module")
def whole(tiny_encoder_dir, tmp_path_factory):
    """The model of a run that nothing cut short."""
    output = tmp_path_factory.mktemp("whole") / "model"
    finetune(DATA, output, encoder=tiny_encoder_dir, config=CONFIG, force=True)
    return output


@pytest.fixture(scope="module")
def fingerprint(whole):
    return Encoder.load(whole).fingerprint


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_an_interrupted_run_leaves_its_last_checkpoint_and_no_model(cut_short, tmp_path):
    assert names(tmp_path) == ["model.training"]
    assert names(cut_short) == [
        "LOCK",
        "best-00000002.safetensors",
        "negatives-0000.json",
        "plan.json",
        "step-00000002",
    ]


def test_a_resumed_run_ends_as_one_that_nothing_cut_short_and_cleans_up(
    cut_short, train, output, tmp_path, fingerprint
):
    said = train(resume=True)
    assert "resumed after step 2 of 4" in said
    assert [line for line in said if "mined" in line] == []  # they are found where they were
    assert Encoder.load(output).fingerprint == fingerprint
    assert names(tmp_path) == ["model"]
    log = (output / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2, 3, 4]
    assert "hard negatives mined before training" in (output / "run/report.md").read_text()


def test_a_run_that_is_interrupted_before_its_first_checkpoint_leaves_nothing(train, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(interrupt_at=1)
    assert names(tmp_path) == []


def test_a_run_may_be_cut_short_where_its_model_is_saved(
    train, output, tmp_path, monkeypatch, fingerprint
):
    def killed(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("simsearch.training.trial.save_model", killed)
    with pytest.raises(KeyboardInterrupt):
        train()
    monkeypatch.undo()
    assert names(tmp_path) == ["model.training"]
    assert "resumed after step 4 of 4" in train(resume=True)
    assert Encoder.load(output).fingerprint == fingerprint


def test_without_a_word_on_what_is_left_a_new_run_is_refused(cut_short, train, tmp_path):
    before = names(cut_short)
    with pytest.raises(AlreadyExists, match=r"cut short \(--resume goes on with it, --replace beg"):
        train()
    assert (names(tmp_path), names(cut_short)) == (["model.training"], before)


def test_replace_begins_anew(cut_short, train, output, tmp_path, fingerprint):
    steps = []
    said = train(replace=True, progress=lambda *stage: steps.append(stage))
    assert ("train", 1, 4) in steps
    assert [line for line in said if "resumed" in line] == []
    assert Encoder.load(output).fingerprint == fingerprint
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"epochs": 3}, "epochs: was 2, is 3"),
        ({"learning_rate": 1e-3}, r"learning_rate: was 0\.002, is 0\.001"),
        (
            {"adapt": "last-1", "micro_batch_tokens": 99},
            "adapt: was full, is last-1; micro_batch_tokens: was null, is 99",
        ),
    ],
)
def test_another_run_is_not_taken_up_and_what_differs_is_named(cut_short, train, changes, told):
    before = names(cut_short)
    with pytest.raises(InvalidInput, match=rf"another run \({told}\); give the same settings"):
        train(resume=True, config=replace(CONFIG, **changes))
    assert names(cut_short) == before


def test_a_run_on_other_data_is_not_taken_up(cut_short, train):
    with pytest.raises(InvalidInput, match=r"another run \(data 1: was [0-9a-f]+, is [0-9a-f]+\)"):
        train(TrainingData(make_pairs(60, seed=1)), resume=True)


def test_a_run_with_another_encoder_is_not_taken_up(cut_short, train, tmp_path):
    other = write_tiny_encoder(tmp_path / "other", seed=1)
    with pytest.raises(InvalidInput, match=r"another run \(encoder: was [0-9a-f]+, is [0-9a-f]+\)"):
        train(encoder=other, resume=True)


SETS = [
    TrainingData(make_pairs(60), name="a"),
    TrainingData(make_scored_pairs(24), name="b"),
    TrainingData(make_pairs(24, seed=1), name="c"),
]


@pytest.mark.parametrize(
    ("others", "told"),
    [
        (SETS[:2], "data c: was [0-9a-f]+, is none"),
        ([*SETS[:2], replace(SETS[2], objective="triplet-softmax")], "objective c: was "),
        ([*SETS[:2], replace(SETS[2], distractors=["a cat"])], "data c: was "),
    ],
    ids=["one set less", "another objective", "other distractors"],
)
def test_of_several_data_sets_all_have_to_be_what_they_were(train, others, told):
    with pytest.raises(KeyboardInterrupt):
        train(SETS, interrupt_at=2)
    with pytest.raises(InvalidInput, match=rf"another run \({told}"):
        train(others, resume=True)


def test_what_is_finished_cannot_be_resumed(train, whole, output):
    shutil.copytree(whole, output)
    with pytest.raises(AlreadyExists, match="is finished: there is nothing to resume"):
        train(resume=True)


def test_where_nothing_is_left_resume_begins_anew_and_says_so(train, output, fingerprint):
    said = train(resume=True)
    assert said[0] == "there is nothing to resume: the run begins anew"
    assert [line for line in said if "resume" in line] == said[:1]
    assert Encoder.load(output).fingerprint == fingerprint


def test_a_damaged_checkpoint_is_passed_over_and_that_is_said(
    cut_short, train, output, fingerprint
):
    (cut_short / "step-00000002" / "state.json").unlink()
    said = train(resume=True)
    assert f"{cut_short / 'step-00000002'} is not whole and is passed over" in said
    assert "there is no whole checkpoint to resume from: training begins anew" in said
    assert Encoder.load(output).fingerprint == fingerprint


def test_a_model_that_is_there_stays_until_the_resumed_run_replaces_it(
    train, whole, output, tmp_path, fingerprint
):
    shutil.copytree(whole, output)
    config = replace(CONFIG, learning_rate=1e-3)
    with pytest.raises(KeyboardInterrupt):
        train(interrupt_at=3, config=config, replace=True)
    assert Encoder.load(output).fingerprint == fingerprint
    with pytest.raises(AlreadyExists, match="replace it: --replace"):
        train(resume=True, config=config)
    assert "resumed after step 2 of 4" in train(resume=True, config=config, replace=True)
    assert Encoder.load(output).fingerprint != fingerprint
    assert names(tmp_path) == ["model"]


def test_two_runs_for_one_model_do_not_get_into_each_others_way(train, work, output, fingerprint):
    refused = []

    def second(stage, done, total):
        if (stage, done) in (("train", 1), ("train", 3)):  # before the first checkpoint, and after
            for options in ({}, {"resume": True}, {"replace": True}):
                with pytest.raises(IndexLocked, match=r"model\.training is locked by pid") as error:
                    train(**options)
                refused.append(error.value.exit_code)

    train(progress=second)
    assert refused == [5] * 6
    assert Encoder.load(output).fingerprint == fingerprint


def take_over(output, work):
    """Begin a run that needs no word on what is left; return what its directory then holds."""
    check_output(output, replace=False)
    with working(output, identity={"seed": "0"}, resume=False):
        return names(work)


@pytest.mark.parametrize(
    ("written", "told"), [(["model.safetensors"], 0), (["model.safetensors", "state.json"], 1)]
)
def test_an_interrupt_keeps_what_can_be_resumed_and_promises_no_more(output, work, written, told):
    said = []
    with (
        pytest.raises(KeyboardInterrupt),
        working(output, identity={"seed": "0"}, resume=False, say=said.append),
    ):
        (work / "step-00000002").mkdir()
        for name in written:
            (work / "step-00000002" / name).touch()
        raise KeyboardInterrupt
    assert work.exists() == bool(told)
    assert said == [f"{work} keeps the last checkpoint (--resume goes on with it)"] * told


@pytest.mark.parametrize("left", [[], ["LOCK"], ["LOCK", ".plan.json.draft-17-abcd"]])
def test_a_run_that_was_killed_before_its_plan_was_written_is_in_nobodys_way(output, work, left):
    work.mkdir()
    for name in left:
        (work / name).touch()
    assert take_over(output, work) == ["LOCK", "plan.json"]
    assert not work.exists()


@pytest.mark.parametrize("deleted", [0, 1, 2])
def test_a_kill_while_an_older_run_is_cleared_away_leaves_a_run(
    cut_short, output, work, monkeypatch, deleted
):
    calls = []

    def counted(honest):
        def delete(path, **options):
            calls.append(path)
            if len(calls) > deleted:
                raise KeyboardInterrupt
            honest(path, **options)

        return delete

    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    monkeypatch.setattr(shutil, "rmtree", counted(shutil.rmtree))
    with (
        pytest.raises(KeyboardInterrupt),
        working(output, identity={"seed": "0"}, resume=False),
    ):
        pytest.fail("it was killed before that")
    monkeypatch.undo()
    check_output(output, replace=True)
    check_output(output, replace=False, resume=True)
    with working(output, identity={"seed": "0"}, resume=False):
        assert names(work) == ["LOCK", "plan.json"]
        assert json.loads((work / "plan.json").read_text()) == {"seed": "0"}


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"replace": True}])
@pytest.mark.parametrize("kind", ["directory", "file", "link"])
def test_what_somebody_else_put_there_is_no_working_directory(output, work, kind, options):
    target = work.with_name("mine")
    target.mkdir()
    (target / "LOCK").touch()
    (target / "theirs").write_text("keep me")
    {
        "directory": lambda: target.rename(work),
        "file": lambda: work.write_text("keep me"),
        "link": lambda: work.symlink_to(target),
    }[kind]()
    with pytest.raises(AlreadyExists, match="is no run of ours, which is never replaced"):
        check_output(output, **{"replace": False, **options})
