"""Several processes train what one would have trained; one of them scores, talks and writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from conftest import write_tiny_encoder
from training_runs import make_translations

from simsearch.encoder import Encoder
from simsearch.errors import SystemFailure
from simsearch.training import TrainingConfig, TrainingData, finetune
from simsearch.training.workers import Workers, is_first_worker, joined_workers

# Micro-batches of five texts, so that there are some for both processes.
CONFIG = TrainingConfig(
    epochs=6,
    batch_size=8,
    learning_rate=3e-3,
    held_out=0.4,
    dev=0.3,
    patience=3,
    precision="fp32",
    micro_batch_tokens=32,
    negatives_every=2,
    negatives_margin=0.0,
)


def test_alone_a_process_is_the_first_and_all_of_them():
    with joined_workers() as workers:
        assert workers == Workers(rank=0, count=1)
        assert workers.first
    assert is_first_worker()


def test_alone_nothing_is_added_and_nobody_waited_for():
    workers, tensor = Workers(), torch.arange(3.0)
    assert workers.sum(tensor) is tensor
    assert tensor.tolist() == [0, 1, 2]
    assert [workers.agree(True), workers.agree(False)] == [True, False]
    assert workers.wait() is None


def test_alone_gradients_stay_as_they_are_and_none_is_made():
    used, unused = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    used.grad = torch.tensor([3.0, 4.0])
    Workers().sum_gradients([used, unused])
    assert used.grad.tolist() == [3, 4]
    assert unused.grad is None


def test_a_number_of_processes_without_torchrun_is_nothing_to_go_by(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")  # as a cluster sets it, of other processes
    monkeypatch.setenv("RANK", "1")
    with joined_workers() as workers:
        assert workers == Workers()
    assert is_first_worker()


@pytest.mark.parametrize(
    ("call", "function"),
    [
        (lambda workers: workers.wait(), "barrier"),
        (lambda workers: workers.agree(True), "broadcast"),
        (lambda workers: workers.sum(torch.ones(2)), "all_reduce"),
        (lambda workers: workers.sum_gradients([torch.ones(2, requires_grad=True)]), "all_reduce"),
    ],
)
def test_that_another_process_is_gone_is_told_in_one_line(monkeypatch, call, function):
    def gone(*arguments, **options):
        raise RuntimeError("[/pytorch/gloo/transport/tcp/pair.cc:537] Connection reset by peer")

    monkeypatch.setattr(torch.distributed, function, gone)
    with pytest.raises(SystemFailure, match="another process of this run has ended"):
        call(Workers(rank=1, count=2))


@pytest.fixture(scope="module")
def encoder_dir(tmp_path_factory):
    """A tiny encoder without dropout, which would be drawn from other numbers in each process."""
    directory = write_tiny_encoder(tmp_path_factory.mktemp("models") / "tiny")
    path = directory / "config.json"
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    path.write_text(json.dumps(json.loads(path.read_text()) | none))
    return directory


@pytest.fixture
def torchrun(encoder_dir, tmp_path):
    """A function that runs `simsearch finetune` in two processes."""
    rows = (json.dumps(asdict(pair)) + "\n" for pair in make_translations(60))
    (tmp_path / "pairs.jsonl").write_text("".join(rows))
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "simsearch"]

    def run(*arguments, config=CONFIG):
        settings = {"data": ["pairs.jsonl"], "encoder": str(encoder_dir), **asdict(config)}
        lines = (f"{name} = {json.dumps(v)}\n" for name, v in settings.items() if v is not None)
        (tmp_path / "run.toml").write_text("".join(lines))
        return subprocess.run(
            [sys.executable, "-m", *launcher, "finetune", "--config", "run.toml", *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    return run


@pytest.mark.slow
def test_two_processes_make_the_model_of_one(torchrun, encoder_dir, tmp_path):
    one = finetune(
        TrainingData(make_translations(60)), tmp_path / "one", encoder=encoder_dir, config=CONFIG
    )
    finished = torchrun("-o", "two", "--json")
    assert (finished.returncode, one.verdict) == (0, "keep"), finished.stderr
    texts = [
        text for pair in make_translations(50, seed=5) for text in (pair.anchor, pair.positive)
    ]
    found = [Encoder.load(tmp_path / name).encode(texts) for name in ("one", "two")]
    base = Encoder.load(encoder_dir).encode(texts)
    assert np.abs(found[0] - base).max() > 0.1
    np.testing.assert_allclose(found[1], found[0], atol=1e-4)
    # The first process alone talks and writes.
    (line,) = finished.stdout.splitlines()
    assert json.loads(line)["after"] == pytest.approx(one.after)
    assert finished.stderr.count("before: ndcg@10") == 1
    assert "Traceback" not in finished.stderr
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == ["one", "pairs.jsonl", "run.toml", "two"]
    listings = [{path.name for path in (tmp_path / name).rglob("*")} for name in ("one", "two")]
    assert listings[0] == listings[1]


@pytest.mark.slow
def test_two_processes_share_the_control_of_an_augmented_run_too(torchrun, encoder_dir, tmp_path):
    config = replace(CONFIG, epochs=3, patience=None, augment=("swap",))
    data = TrainingData(make_translations(60))
    one = finetune(data, tmp_path / "one", encoder=encoder_dir, config=config, force=True)
    finished = torchrun("-o", "two", "--json", "--force", config=config)
    assert finished.returncode in (0, 1), finished.stderr
    told = json.loads((tmp_path / "two/run/result.json").read_text())["augmentation"]
    assert told["without"] == pytest.approx(one.augmentation.without)
    assert told["steps"] == one.augmentation.steps
    assert told["difference"]["ndcg@10"]["value"] == pytest.approx(
        one.augmentation.difference["ndcg@10"].value
    )
    assert finished.stderr.count("training once more without augmentation") == 1
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == ["one", "pairs.jsonl", "run.toml", "two"]
