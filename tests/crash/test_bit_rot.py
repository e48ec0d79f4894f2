"""A sample of bit_rot.py, which runs by hand with thousands."""

from __future__ import annotations

from bit_rot import run


def test_damage_of_the_disk_is_found_and_never_becomes_an_answer(tmp_path):
    results = run(tmp_path, rounds=100, seed=1, model=None)
    assert sum(results.values()) == 100
    outcomes = {outcome for _, outcome in results}
    assert outcomes <= {"found", "found, id missed", "no effect", "no change"}, results
    assert sum(count for (_, outcome), count in results.items() if outcome[:5] == "found") >= 40
