"""Whether work grows in proportion to what it is given: in CPU time, which other load leaves alone.

No number of seconds is right for every machine. Whether 32 times as much takes about 32 times as
long, or 1024 times as quadratic work does, is seen on any.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

TIMES = 32  # how much larger the larger of the two is
_REPEATS = 3  # the least of them counts: noise only adds
_SLACK = 5  # caches, memory and what shares the core have a say, too
_UNSEEN = 0.002  # seconds of CPU; less is not told from noise

T = TypeVar("T")


def assert_in_proportion(work: Callable[[T], object], small: T, large: T) -> None:
    """Assert that work on `large`, which is TIMES as much as `small`, takes no more in proportion.

    Only this thread's CPU time is counted, so `work` must do everything in it.
    """
    once = _cpu_seconds(work, small)
    bound = _SLACK * TIMES * once + _UNSEEN
    taken = _cpu_seconds(work, large)
    assert taken < bound, f"{TIMES} times as much took {taken / once:.0f} times the CPU time"


def _cpu_seconds(work: Callable[[T], object], argument: T) -> float:
    def once() -> float:
        began = time.thread_time()
        work(argument)
        return time.thread_time() - began

    return min(once() for _ in range(_REPEATS))
