"""How many threads the encoder's runtimes use."""

from __future__ import annotations

import os
import sys


def thread_count() -> int:
    """Return OMP_NUM_THREADS, or the number of processors that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0))


def set_threads(count: int) -> None:
    """Set the number of threads of every runtime opened from now on, and of torch at once."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    torch = sys.modules.get("torch")
    if torch is not None:  # importing it only to tell it would cost seconds
        torch.set_num_threads(count)
