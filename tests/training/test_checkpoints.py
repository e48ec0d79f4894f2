"""A checkpoint is read whole or not at all, and is never missed: the one before is still there."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from simsearch.errors import EncoderError, SystemFailure
from simsearch.training import checkpoints as module
from simsearch.training.checkpoints import Best, Checkpoints, TrainingState
from simsearch.training.config import OptimizerName
from simsearch.training.optimization import Weights, make_optimizer

LOG = [
    {"step": 1, "epoch": 1, "loss": 0.75, "gradient_norm": 1.5, "learning_rate": 1e-05},
    {"step": 2, "epoch": 1, "loss": 1 / 3, "gradient_norm": 2.5e-17, "learning_rate": 2e-05},
]
DEV = [{"epoch": 1, "step": 2, "score": 0.1 + 0.2}]


class Run:
    """A small model in training: two layers, of which the first may compute in bfloat16."""

    def __init__(self, *, seed=0, bfloat16=False, optimizer="adamw"):
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6))
        self.decoder = nn.Linear(6, 3)
        self.weights = Weights(
            {"": self.model, "loss.0.": self.decoder},
            bfloat16=self.model[0] if bfloat16 else None,
        )
        self.optimizer = make_optimizer(
            OptimizerName(optimizer),
            self.weights,
            rate=1e-3,
            weight_decay=0.1,
            rate_factor=lambda name: 1.0,
        )

    def step(self, number):
        """Move the weights, by a gradient that the number of the step decides."""
        generator = torch.Generator().manual_seed(number)
        for parameter in (*self.model.parameters(), *self.decoder.parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.grad = noise.to(parameter.dtype)
        self.weights.gather_gradients()
        self.optimizer.step()
        self.weights.follow()

    def steps(self, first, last):
        for number in range(first, last + 1):
            self.step(number)
        return self

    def bytes(self):
        """What the weights are, bit by bit: those in float32, and the model's own."""
        own = {"own": torch.cat([p.detach().float().flatten() for p in self.model.parameters()])}
        return {name: t.numpy().tobytes() for name, t in {**self.weights.state(), **own}.items()}

    def moments(self):
        return {
            name: {key: value.clone() for key, value in self.optimizer.state[weight].items()}
            for name, weight in self.weights
        }


def state(step, best=None, log=LOG, dev=DEV):
    return TrainingState(step, log, dev, best)


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path)


@pytest.fixture
def two(tmp_path):
    """Two whole checkpoints, after steps 3 and 6, and best weights that both of them name.

    There are two for a moment only: when the later one was written and the other not yet deleted.
    """
    run, checkpoints = Run().steps(1, 3), Checkpoints(tmp_path)
    best = checkpoints.write_best(2, 0.5, run.weights)
    checkpoints.write(state(3, best), run.weights, run.optimizer)
    shutil.copytree(tmp_path / "step-00000003", tmp_path / "aside")
    checkpoints.write(state(6, best), run.steps(4, 6).weights, run.optimizer)
    (tmp_path / "aside").rename(tmp_path / "step-00000003")
    return checkpoints


def read(checkpoints, **options):
    """Read into a run that began otherwise; return the state and the run."""
    run = Run(seed=99, **options)
    return checkpoints.read(run.weights, run.optimizer), run


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_what_was_written_is_read_bit_by_bit(checkpoints, optimizer, bfloat16):
    run = Run(bfloat16=bfloat16, optimizer=optimizer).steps(1, 3)
    best = checkpoints.write_best(2, 0.625, run.weights)
    checkpoints.write(state(3, best), run.weights, run.optimizer)
    found, other = read(checkpoints, bfloat16=bfloat16, optimizer=optimizer)
    assert found == TrainingState(3, LOG, DEV, best)
    assert best == Best(2, 0.625, "best-00000002.safetensors", best.sha256)
    assert other.bytes() == run.bytes()
    moments, others = run.moments(), other.moments()
    assert [*others] == [*moments]
    for name, own in moments.items():
        assert others[name].keys() == own.keys()
        for key, value in own.items():
            torch.testing.assert_close(others[name][key], value, rtol=0, atol=0)
    assert other.steps(4, 9).bytes() == run.steps(4, 9).bytes()


def test_the_weights_kept_are_those_in_float32_and_not_what_they_round_to(checkpoints):
    run = Run(bfloat16=True).steps(1, 3)
    exact = run.weights.state()["0.weight"].numpy().copy()
    rounded = run.model[0].weight.detach().float().numpy()
    assert np.abs(exact - rounded).max() > 1e-4
    checkpoints.write(state(3), run.weights, run.optimizer)
    _, other = read(checkpoints, bfloat16=True)
    np.testing.assert_array_equal(other.weights.state()["0.weight"].numpy(), exact)
    np.testing.assert_array_equal(other.model[0].weight.detach().float().numpy(), rounded)


def test_weights_that_the_optimiser_has_not_moved_yet_have_no_moments(checkpoints):
    run = Run()
    run.decoder.requires_grad_(False)
    for parameter in run.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    run.weights.gather_gradients()
    run.optimizer.step()
    checkpoints.write(state(1), run.weights, run.optimizer)
    _, other = read(checkpoints)
    assert len(other.optimizer.state[other.model[0].weight]) == 3
    assert other.decoder.weight not in other.optimizer.state


def test_without_a_checkpoint_nothing_is_read_and_nothing_changes(checkpoints, tmp_path):
    run = Run()
    before = run.bytes()
    assert Checkpoints(tmp_path / "none").read(run.weights, run.optimizer) is None
    assert checkpoints.read(run.weights, run.optimizer) is None
    assert run.bytes() == before


def test_of_two_whole_checkpoints_the_later_one_is_read(two):
    found, run = read(two)
    assert found.step == 6
    assert run.bytes() == Run().steps(1, 6).bytes()
    assert two.passed_over == []


def cut(path):
    path.write_bytes(path.read_bytes()[:-2])


def flip(path, position=-1):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [Path.unlink, cut, flip, empty])
@pytest.mark.parametrize("name", ["state.json", "weights.safetensors", "optimizer.safetensors"])
def test_a_checkpoint_that_is_not_whole_is_passed_over_for_the_one_before(two, damage, name):
    damage(two.directory / "step-00000006" / name)
    found, run = read(two)
    assert found.step == 3
    assert run.bytes() == Run().steps(1, 3).bytes()
    assert [folder.name for folder in two.passed_over] == ["step-00000006"]


@pytest.mark.parametrize(
    "content",
    ["[]", "null", "{}", '{"step": 6}', '{"sha256": null}', '{"files": [], "best": null}', "\0"],
)
def test_a_state_that_is_no_state_is_passed_over(two, content):
    (two.directory / "step-00000006" / "state.json").write_text(content)
    assert read(two)[0].step == 3


def test_no_flipped_bit_of_the_state_is_believed(checkpoints):
    run = Run().steps(1, 3)
    best = checkpoints.write_best(2, 0.5, run.weights)
    checkpoints.write(state(3, best, LOG[:1], []), run.weights, run.optimizer)
    path = checkpoints.directory / "step-00000003" / "state.json"
    whole = path.read_bytes()
    found = []
    for position in range(len(whole)):
        path.write_bytes(whole)
        flip(path, position)
        found.append(checkpoints.read(run.weights, run.optimizer))
    assert len(found) > 500
    assert found == [None] * len(found)
    path.write_bytes(whole)
    assert checkpoints.read(run.weights, run.optimizer).step == 3


@pytest.mark.parametrize("damage", [Path.unlink, cut, flip])
def test_a_checkpoint_whose_best_weights_are_damaged_is_passed_over(tmp_path, damage):
    run, checkpoints = Run().steps(1, 3), Checkpoints(tmp_path)
    checkpoints.write(state(3), run.weights, run.optimizer)
    shutil.copytree(tmp_path / "step-00000003", tmp_path / "aside")
    best = checkpoints.write_best(6, 0.5, run.steps(4, 6).weights)
    checkpoints.write(state(6, best), run.weights, run.optimizer)
    (tmp_path / "aside").rename(tmp_path / "step-00000003")
    damage(tmp_path / best.file)
    found, other = read(checkpoints)
    assert found == TrainingState(3, LOG, DEV, None)
    assert other.bytes() == Run().steps(1, 3).bytes()


def test_without_any_whole_checkpoint_the_weights_stay_as_they_are(two):
    for folder in two.directory.glob("step-*"):
        flip(folder / "weights.safetensors")
    run = Run(seed=99)
    assert two.read(run.weights, run.optimizer) is None
    assert run.bytes() == Run(seed=99).bytes()
    assert [folder.name for folder in two.passed_over] == ["step-00000006", "step-00000003"]


def test_nothing_is_left_but_the_last_checkpoint_and_the_best_weights(checkpoints, tmp_path):
    run = Run().steps(1, 1)
    worse = checkpoints.write_best(1, 0.3, run.weights)
    checkpoints.write(state(1, worse), run.weights, run.optimizer)
    better = checkpoints.write_best(2, 0.5, run.steps(2, 2).weights)
    checkpoints.write(state(2, better), run.weights, run.optimizer)
    checkpoints.write(state(3, better), run.steps(3, 3).weights, run.optimizer)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "best-00000002.safetensors",
        "step-00000003",
        "step-00000003/optimizer.safetensors",
        "step-00000003/state.json",
        "step-00000003/weights.safetensors",
    ]


class Killed(BaseException):
    """In the place of a signal that no code can catch."""


def before(_):
    def killed(*_):
        raise Killed

    return killed


def after(call):
    def killed(*arguments):
        call(*arguments)
        raise Killed

    return killed


@pytest.mark.parametrize(
    ("kill", "call", "expected"),
    [
        (before, "write_tensors", 3),
        (after, "write_tensors", 3),
        (before, "hash_file", 3),
        (after, "hash_file", 3),
        (before, "sync_tree", 3),
        (after, "sync_tree", 3),
        (before, "replace_text", 3),
        (after, "replace_text", 6),
    ],
)
def test_a_kill_anywhere_in_writing_leaves_a_whole_checkpoint(
    checkpoints, monkeypatch, kill, call, expected
):
    run = Run().steps(1, 3)
    best = checkpoints.write_best(3, 0.5, run.weights)
    checkpoints.write(state(3, best), run.weights, run.optimizer)
    monkeypatch.setattr(module, call, kill(getattr(module, call)))
    run.steps(4, 6)
    with pytest.raises(Killed):
        checkpoints.write(state(6, best), run.weights, run.optimizer)
    monkeypatch.undo()
    found, other = read(checkpoints)
    assert found.step == expected
    assert other.bytes() == Run().steps(1, expected).bytes()
    checkpoints.load_best(found.best, other.weights)
    assert other.bytes() == Run().steps(1, 3).bytes()
    # The run that goes on writes over what is left.
    checkpoints.write(state(6, best), run.weights, run.optimizer)
    assert [path.name for path in checkpoints.directory.glob("step-*")] == ["step-00000006"]


def test_an_old_checkpoint_is_deleted_only_when_the_new_one_is_whole(
    checkpoints, tmp_path, monkeypatch
):
    run = Run().steps(1, 3)
    checkpoints.write_best(1, 0.2, run.weights)  # of the first, and not of the second
    checkpoints.write(state(3), run.weights, run.optimizer)
    best = checkpoints.write_best(6, 0.5, run.steps(4, 6).weights)
    seen = []
    honest = shutil.rmtree

    def look(path, **options):
        if path.exists():
            seen.append((path.name, read(Checkpoints(tmp_path))[0].step))
        honest(path, **options)

    monkeypatch.setattr(shutil, "rmtree", look)
    checkpoints.write(state(6, best), run.weights, run.optimizer)
    assert seen == [("step-00000003", 6)]


def test_all_bytes_of_a_checkpoint_are_flushed_before_its_state_is_written(
    checkpoints, monkeypatch
):
    done = []
    for call in ("write_tensors", "sync_file", "sync_directory", "sync_tree", "replace_text"):
        honest = getattr(module, call)

        def tell(path, *arguments, call=call, honest=honest):
            done.append((call, path.name))
            honest(path, *arguments)

        monkeypatch.setattr(module, call, tell)
    run = Run().steps(1, 3)
    best = checkpoints.write_best(3, 0.5, run.weights)
    checkpoints.write(state(3, best), run.weights, run.optimizer)
    assert done == [
        ("write_tensors", "best-00000003.safetensors"),
        ("sync_file", "best-00000003.safetensors"),
        ("sync_directory", checkpoints.directory.name),
        ("write_tensors", "weights.safetensors"),
        ("write_tensors", "optimizer.safetensors"),
        ("sync_tree", "step-00000003"),
        ("replace_text", "state.json"),
    ]


def test_a_full_disk_leaves_the_checkpoint_before(checkpoints, monkeypatch):
    run = Run().steps(1, 3)
    checkpoints.write(state(3), run.weights, run.optimizer)

    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SystemFailure, match=r"weights\.safetensors: No space left on device"):
        checkpoints.write(state(6), run.steps(4, 6).weights, run.optimizer)
    monkeypatch.undo()
    assert read(checkpoints)[0].step == 3


def test_the_best_weights_come_back_whole(checkpoints):
    run = Run(bfloat16=True).steps(1, 3)
    best = checkpoints.write_best(3, 0.5, run.weights)
    checkpoints.load_best(best, run.steps(4, 6).weights)
    assert run.bytes() == Run(bfloat16=True).steps(1, 3).bytes()


@pytest.mark.parametrize("damage", [Path.unlink, cut, flip])
def test_best_weights_that_are_damaged_are_refused(checkpoints, damage):
    run = Run().steps(1, 3)
    best = checkpoints.write_best(3, 0.5, run.weights)
    damage(checkpoints.directory / best.file)
    before = run.bytes()
    with pytest.raises(EncoderError, match=r"best-00000003\.safetensors is missing or damaged"):
        checkpoints.load_best(best, run.weights)
    assert run.bytes() == before


def tensors_of(path):
    """Read a safetensors file by its specification: a length, a JSON header, raw numbers."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    types = {"F32": "<f4", "I64": "<i8"}
    return {
        name: np.frombuffer(
            data[slice(*entry["data_offsets"])], dtype=types[entry["dtype"]]
        ).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def test_what_is_written_is_json_and_raw_numbers(checkpoints, tmp_path):
    run = Run().steps(1, 3)
    best = checkpoints.write_best(3, 0.5, run.weights)
    checkpoints.write(state(3, best), run.weights, run.optimizer)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    weights = tensors_of(tmp_path / "step-00000003" / "weights.safetensors")
    assert {*weights} == {*dict(run.weights)}
    np.testing.assert_array_equal(weights["loss.0.bias"], run.decoder.bias.detach().numpy())
    moments = tensors_of(tmp_path / "step-00000003" / "optimizer.safetensors")
    np.testing.assert_array_equal(
        moments["0.weight:exp_avg"],
        run.optimizer.state[run.model[0].weight]["exp_avg"].numpy(),
    )
    assert moments["0.weight:step"].item() == 3
    assert {*tensors_of(tmp_path / best.file)} == {*weights}
    assert json.loads((tmp_path / "step-00000003" / "state.json").read_text())["step"] == 3


class Bomb:
    """A pickle that makes a file when it is read."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("name", ["state.json", "weights.safetensors", "optimizer.safetensors"])
def test_a_pickle_in_the_place_of_a_file_is_not_read_as_one(two, tmp_path, name):
    bomb = pickle.dumps(Bomb(tmp_path / "ran"))
    (two.directory / "step-00000006" / name).write_bytes(bomb)
    assert read(two)[0].step == 3
    assert not (tmp_path / "ran").exists()
