"""Samples of sweep.py and power_loss.py, which run by hand over everything."""

from __future__ import annotations

import shutil

import pytest
from power_loss import kinds_of_sync, record, replay
from sweep import sweep

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is not there to follow and break system calls"
)


def test_a_process_that_dies_or_a_disk_that_fails_leaves_the_old_or_the_new():
    results = sweep("upsert", every=8, faults=("kill", "eio"))
    assert results["kill", "right"] >= 3
    assert results["eio", "right"] >= 3
    assert {kind for _, kind in results} == {"right"}


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """Return the writer's system calls, and its directory as it was at first."""
    place = tmp_path_factory.mktemp("traced") / "place"
    place.mkdir()
    trace = record(place)
    shutil.rmtree(place)
    place.mkdir()
    return trace, place


def test_row_92_every_state_after_a_loss_of_power_holds_what_was_acknowledged(traced):
    trace, start = traced
    assert len(kinds_of_sync(trace, start)) >= 6
    assert replay(trace, start, states=60, seed=2) == []


@pytest.mark.parametrize("kind", ["file meta.db-wal", "file meta.db", "directory parent"])
def test_a_sync_that_is_left_out_is_noticed(traced, kind):
    trace, start = traced
    assert replay(trace, start, states=300, seed=3, lost=kind, most=1) != []
