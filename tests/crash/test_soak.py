"""A sample of soak.py, which runs by hand for minutes."""

from __future__ import annotations

from soak import soak


def test_nothing_is_lost_or_wrong_while_writers_are_killed_and_readers_search(tmp_path):
    result = soak(tmp_path / "i", kills=8, seconds=600, seed=1, wait=0.0)
    assert (result.kills, result.wrong) == (8, [])
    assert result.steps >= 20
