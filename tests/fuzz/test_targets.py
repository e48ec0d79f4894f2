"""A small sample of what fuzz.py does, the same in every run: seeds, and random changes of them."""

from __future__ import annotations

import random

import pytest
import targets
from seeds import SEEDS

CHANGED = 150
TOKENS = (b"\0", b'"', b"\n", b"{", b"}", b"[", b"]", b"'", b",", b"=", b"\xff", b"1e999", b"-1")


def test_every_target_has_seeds_and_reads_one_of_them():
    assert SEEDS.keys() == targets.TARGETS.keys()
    for name, its in SEEDS.items():
        assert any(targets.run(name, seed) is not None for seed in its), name


@pytest.mark.parametrize("name", SEEDS)
def test_changed_input_is_read_or_refused(name):
    lot = random.Random(name)
    for _ in range(CHANGED):
        targets.run(name, changed(lot.choice(SEEDS[name]), lot))


def changed(data: bytes, lot: random.Random) -> bytes:
    """Return bytes with one to four small changes."""
    for _ in range(lot.randint(1, 4)):
        at, upto = sorted(lot.randrange(len(data) + 1) for _ in range(2))
        middle = lot.choice(
            [
                b"",
                lot.choice(TOKENS),
                lot.randbytes(2),
                data[at:upto] * 2,
                bytes(each ^ 1 << lot.randrange(8) for each in data[at:upto][:1]),
            ]
        )
        data = data[:at] + middle + data[lot.choice([at, at + len(middle), upto]) :]
    return data
