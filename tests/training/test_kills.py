"""A run that is killed at any moment, and resumed, ends as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from training_runs import make_pairs

DRIVER = Path(__file__).parents[1] / "killed_runs.py"


@pytest.fixture
def kill(tiny_encoder_dir, tmp_path):
    """A function that kills so many runs, and returns what became of them."""
    rows = (json.dumps(asdict(pair)) + "\n" for pair in make_pairs(100))
    (tmp_path / "pairs.jsonl").write_text("".join(rows))

    def run(kills, *, seed):
        finished = subprocess.run(
            [sys.executable, "-P", DRIVER, tmp_path, tiny_encoder_dir, str(kills), str(seed)],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    return run


def test_a_killed_run_that_is_resumed_makes_the_same_model(kill):
    report = kill(3, seed=1)
    assert [killed["signal"] for killed in report["killed"]] == [signal.SIGKILL] * 3
    assert {*report["fingerprints"]} == {report["expected"]}


@pytest.mark.slow
def test_twenty_kills_change_nothing(kill):
    report = kill(20, seed=2)
    assert [killed["signal"] for killed in report["killed"]] == [signal.SIGKILL] * 20
    assert {*report["fingerprints"]} == {report["expected"]}
    resumed = [killed["resumed_at"] for killed in report["killed"]]
    assert min(resumed) == 0 < max(resumed)
