"""Catalogue, rows 103, 116 and 117: training that is interrupted, goes wrong, is taken up again."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from command_line import Outcome, Run, Write, as_jsonl, contents
from training_runs import make_translations

from simsearch.cli import finetune as command
from simsearch.encoder import Encoder
from simsearch.encoder.onnx_runtime import OnnxRuntime
from simsearch.records import Document
from simsearch.training import TrainingConfig, TrainingData, finetune
from simsearch.training.losses import InBatchLoss

pytestmark = pytest.mark.usefixtures("quick_exports", "quick_pictures")

# 36 pairs train, 12 choose the checkpoint: two epochs of three steps. A checkpoint every step.
SETTINGS = """
data = ["pairs.jsonl"]
encoder = {encoder}
epochs = 2
batch_size = 12
learning_rate = 2e-3
dev = 0.25
precision = "fp32"
checkpoint_minutes = 1e-9
"""

Train = Callable[..., Outcome]
Interrupt = Callable[[int | None], None]


def as_lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def train(run: Run, write: Write, tmp_path: Path, tiny_encoder_dir: Path) -> Train:
    """A function that runs `finetune` for the model `model`, and keeps it in any case."""
    write("pairs.jsonl", as_lines([asdict(pair) for pair in make_translations(60)]))
    settings = write("run.toml", SETTINGS.format(encoder=json.dumps(str(tiny_encoder_dir))))

    def run_finetune(*options: str | Path) -> Outcome:
        return run("finetune", "--config", settings, "-o", tmp_path / "model", "--force", *options)

    return run_finetune


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "model"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "model.training"


@pytest.fixture(scope="module")
def expected(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The fingerprint of the model of a run that nothing disturbed."""
    model = tmp_path_factory.mktemp("undisturbed") / "model"
    config = TrainingConfig(epochs=2, batch_size=12, learning_rate=2e-3, dev=0.25, precision="fp32")
    finetune(
        TrainingData(make_translations(60)),
        model,
        encoder=tiny_encoder_dir,
        config=config,
        force=True,
    )
    return fingerprint(model)


@pytest.fixture(autouse=True, scope="module")
def quick_disk() -> Iterator[None]:
    """Nothing here is about a power loss: let no test wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    """A function that sends SIGINT, as Ctrl-C does, when a step is done; None for never."""

    def at(step: int | None) -> None:
        @contextlib.contextmanager
        def stages(_: object) -> Iterator[Callable[[str, int, int], None]]:
            def progress(stage: str, done: int, total: int) -> None:
                if (stage, done) == ("train", step):
                    signal.raise_signal(signal.SIGINT)

            yield progress

        monkeypatch.setattr(command, "stages", stages)

    return at


def steps_in(work: Path) -> list[str]:
    return sorted(folder.name for folder in work.glob("step-*"))


def fingerprint(model: Path) -> str:
    return Encoder.load(model).fingerprint


def test_row_103_ctrl_c_in_training_keeps_the_checkpoint_and_resume_ends_the_run(
    train: Train, interrupt: Interrupt, model: Path, work: Path, expected: str
) -> None:
    interrupt(4)
    outcome = train()
    assert (outcome.code, outcome.out) == (130, "")
    assert outcome.err.splitlines()[-1] == "simsearch: error: interrupted"
    assert not model.exists()
    assert steps_in(work) == ["step-00000003"]

    interrupt(None)
    assert train().refusal(2) == (
        f"{work} holds a run that was cut short (--resume goes on with it, --replace begins anew)"
    )
    resumed = train("--resume")
    assert resumed.code in (0, 1)
    assert "resumed after step 3 of 6" in resumed.err.splitlines()
    assert not work.exists()
    assert fingerprint(model) == expected
    finished = train("--resume").refusal(2)
    assert finished == f"{model} is finished: there is nothing to resume (or --replace it)"


def test_row_103_ctrl_c_before_the_first_checkpoint_leaves_nothing(
    train: Train, interrupt: Interrupt, tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    interrupt(1)
    assert train().code == 130
    assert sorted(tmp_path.iterdir()) == before


def test_row_103_a_run_is_resumed_with_the_settings_that_it_was_begun_with(
    train: Train, interrupt: Interrupt, work: Path
) -> None:
    interrupt(4)
    train()
    outcome = train("--resume", "--epochs", "3")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1] == (
        f"simsearch: error: {work} holds another run (epochs: was 2, is 3); give the same "
        "settings and data, or --replace"
    )
    assert steps_in(work) == ["step-00000003"]


def test_row_103_ctrl_c_in_add_leaves_the_index_as_it_was(
    run: Run, write: Write, index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = write("more.jsonl", as_jsonl([Document(f"d{n}", f"my card {n}") for n in range(9)]))
    before = contents(index_dir)

    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(OnnxRuntime, "run", interrupted)
        assert run("add", corpus, "-i", index_dir).refusal(130) == "interrupted"
    assert contents(index_dir) == before
    assert run("add", corpus, "-i", index_dir).code == 0


def break_loss(monkeypatch: pytest.MonkeyPatch, *, step: int) -> None:
    """Let the loss be NaN from a step on, as a rate that is far too high may."""
    honest, calls = InBatchLoss.forward, []

    def forward(loss: InBatchLoss, columns: Any, target: Any) -> Any:
        calls.append(loss)
        return honest(loss, columns, target) * {True: 1.0, False: math.nan}[len(calls) < step]

    monkeypatch.setattr(InBatchLoss, "forward", forward)


def test_row_116_a_loss_that_is_not_a_number_stops_at_once_and_leaves_the_last_checkpoint(
    train: Train, monkeypatch: pytest.MonkeyPatch, model: Path, work: Path
) -> None:
    with monkeypatch.context() as patch:
        break_loss(patch, step=5)
        outcome = train()
    assert (outcome.code, outcome.out) == (7, "")
    assert re.fullmatch(
        r"simsearch: error: the loss is nan at step 5 of 6 \(examples that begin '.+', '.+', '.+' "
        r"and 9 more\); "
        r"training stopped \(lower --learning-rate\)",
        outcome.err.splitlines()[-1],
    )
    assert not model.exists()
    assert steps_in(work) == ["step-00000004"]
    # What it says to do, does.
    assert train("--learning-rate", "1e-3", "--resume").code == 2
    assert train("--learning-rate", "1e-3", "--replace").code in (0, 1)
    assert Encoder.load(model).dim == 32
    assert not work.exists()


def test_row_116_a_first_loss_that_is_not_a_number_leaves_nothing(
    train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    break_loss(monkeypatch, step=1)
    outcome = train()
    assert outcome.code == 7
    assert "the loss is nan at step 1 of 6" in outcome.err
    assert sorted(tmp_path.iterdir()) == before


def class_rows(labels: Sequence[object], *, seed: int = 0) -> list[dict[str, object]]:
    pairs = make_translations(len(labels), seed=seed)
    return [
        {"sentence1": pair.anchor, "sentence2": pair.positive, "label": label}
        for pair, label in zip(pairs, labels, strict=True)
    ]


@pytest.mark.parametrize("label", ["same", 1, 0])
def test_row_116_examples_of_one_class_only_are_refused(
    train: Train, write: Write, model: Path, label: object
) -> None:
    data = write("one.jsonl", as_lines(class_rows([label] * 40)))
    assert train(data).refusal(3) == (
        "the training data: all of the 32 training examples have the class "
        f"{label} (bring examples of two classes at least)"
    )
    assert not model.exists()


@pytest.mark.parametrize(
    ("label", "shown"), [(None, "null"), (0.5, "0.5"), ("", "''"), ({"a": 1}, "an object")]
)
def test_row_116_a_label_that_is_none_is_refused_with_its_line(
    train: Train, write: Write, model: Path, label: object, shown: str
) -> None:
    data = write("labels.jsonl", as_lines(class_rows(["same", "other", label, "same"])))
    message = train(data).refusal(3)
    assert message.startswith(f"{data}:3: field 'label'")
    assert not model.exists()


def test_row_116_a_class_that_training_has_never_seen_is_refused(
    train: Train, write: Write, model: Path
) -> None:
    data = write("classes.jsonl", as_lines(class_rows(["same", "other"] * 20)))
    held_out = write("eval.jsonl", as_lines(class_rows(["same", "maybe"] * 20, seed=1)))
    assert (
        train(data, "--eval", held_out)
        .refusal(3)
        .startswith("the evaluation data has the class maybe, which no training example has")
    )
    assert not model.exists()


def test_row_116_a_split_with_nothing_in_it_is_refused(
    train: Train, write: Write, tmp_path: Path, model: Path
) -> None:
    few = write("few.jsonl", as_lines([asdict(pair) for pair in make_translations(3)]))
    assert train(few).refusal(3).startswith("only 1 question can be held out of 3 examples")
    # All that there is to learn from is what is to be held out.
    pairs = tmp_path / "pairs.jsonl"
    assert train("--eval", pairs).refusal(3).startswith("no training examples are left: all of")
    assert not model.exists()


def cut_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.fixture
def cut_short(train: Train, interrupt: Interrupt, work: Path) -> Path:
    """The later of two checkpoints, of steps 1 and 2, as a kill between two steps leaves them."""
    interrupt(2)
    train()
    shutil.copytree(work / "step-00000001", work.with_name("aside"))
    interrupt(3)
    train("--resume")
    work.with_name("aside").rename(work / "step-00000001")
    interrupt(None)
    assert steps_in(work) == ["step-00000001", "step-00000002"]
    return work / "step-00000002"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("state.json", Path.unlink),
        ("weights.safetensors", cut_half),
        ("optimizer.safetensors", flip_a_byte),
    ],
)
def test_row_117_a_checkpoint_that_is_not_whole_is_passed_over_for_the_one_before(
    train: Train,
    cut_short: Path,
    model: Path,
    work: Path,
    expected: str,
    name: str,
    damage: Callable[[Path], None],
) -> None:
    damage(cut_short / name)
    outcome = train("--resume")
    assert outcome.code in (0, 1)
    said = outcome.err.splitlines()
    told = said.index(f"{cut_short} is not whole and is passed over")
    assert said[told + 1] == "resumed after step 1 of 6"
    assert not work.exists()
    assert fingerprint(model) == expected


def test_row_117_without_a_whole_checkpoint_training_begins_anew_and_says_so(
    train: Train, cut_short: Path, model: Path, work: Path, expected: str
) -> None:
    for folder in work.glob("step-*"):
        (folder / "state.json").unlink()
    outcome = train("--resume")
    assert outcome.code in (0, 1)
    said = outcome.err.splitlines()
    assert "there is no whole checkpoint to resume from: training begins anew" in said
    assert fingerprint(model) == expected
