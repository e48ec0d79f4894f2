"""What if the process dies, or the disk fails, at the N-th system call?

    python tests/crash/sweep.py [--every N] [SCENARIO...]      (default: all, every call)

For each scenario (scenarios.py) and each call by which it changes its files: a run that is killed
there, one in which that call fails with EIO, and one with ENOSPC, injected by strace. Afterwards
there must be the old or the new, sound, and the same command must come to its end. Prints a table;
each injection is proven by the signal, or by strace's own record of it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import HashEncoder
from scenarios import SCENARIOS, prepare, state

from simsearch.search_index import check_index
from simsearch.storage import Severity

CALLS = (
    *("write", "pwrite64", "sendfile", "fsync", "fdatasync", "ftruncate", "openat", "mkdir"),
    *("rename", "renameat2", "link", "linkat", "unlink", "unlinkat", "rmdir"),
)
FAULTS = {"kill": "signal=SIGKILL", "eio": "error=EIO", "enospc": "error=ENOSPC"}
_NAME = re.compile(r"^(\w+)\(")


@dataclass(frozen=True)
class Step:
    """The N-th call of a name in a run."""

    call: str
    number: int


def strace(place: Path, scenario: str, *options: str) -> tuple[int, list[str]]:
    """Run a scenario in a process of its own; return its exit code and its calls."""
    log = place.with_name("trace")
    command = ["strace", "-y", "-s", "0", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]
    run = [sys.executable, __file__, "--run", scenario, str(place)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([*command, *options, *run], capture_output=True, env=environment)
    return done.returncode, log.read_text(errors="replace").splitlines()


def steps_of(place: Path, scenario: str) -> list[Step]:
    """Return the calls by which a scenario touches the files in `place`, in order."""
    _, lines = strace(place, scenario)
    counts, steps = Counter[str](), list[Step]()
    for line in lines:
        found = _NAME.match(line)
        if found:
            counts[found[1]] += 1
            changes = found[1] != "openat" or "O_CREAT" in line
            if changes and str(place) in line and "-shm" not in line:
                steps.append(Step(found[1], counts[found[1]]))
    return steps


def inject(prepared: Path, scenario: str, step: Step, fault: str, outcome: tuple[Any, Any]) -> str:
    """Return what is wrong after a fault: "" if nothing is."""
    before, after = outcome
    with tempfile.TemporaryDirectory() as folder:
        place = shutil.copytree(prepared, Path(folder) / "place")
        option = f"inject={step.call}:{FAULTS[fault]}:when={step.number}"
        code, lines = strace(place, scenario, "-e", option)
        injected = code in (-9, 137) if fault == "kill" else "(INJECTED)" in "".join(lines)
        if not injected:
            return "not injected"
        found = state(place)
        for index in before:
            if found[index] not in (before[index], after[index], "unfinished"):
                return f"{index}: neither the old nor the new: {found[index]}"
        for index in ("i", "new"):
            if found[index] is not None:
                report = check_index(place / index, encoder=HashEncoder())
                if report.worst not in (None, Severity.NOTE):
                    return f"{index}: {report.findings}"
        if code == 0 and found != after:
            return "acknowledged, and not there"
        SCENARIOS[scenario](place)
        return "" if state(place) == after else "does not come to its end when run again"


def sweep(scenario: str, *, every: int, faults: tuple[str, ...]) -> Counter[tuple[str, str]]:
    """Return how often a fault in a scenario came to what."""
    results = Counter[tuple[str, str]]()
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared"
        prepared.mkdir()
        prepare(prepared)
        place = shutil.copytree(prepared, Path(folder) / "place")
        before = state(place)
        steps = steps_of(place, scenario)
        outcome = before, state(place)
        for step in steps[::every]:
            for fault in faults:
                problem = inject(prepared, scenario, step, fault, outcome)
                results[fault, "wrong" if problem else "right"] += 1
                if problem:
                    print(f"{scenario} {step} {fault}: {problem}"[:500], flush=True)
    return results


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--run"]:
        SCENARIOS[arguments[1]](Path(arguments[2]))
        return
    every = int(arguments[1]) if arguments[:1] == ["--every"] else 1
    chosen = [each for each in arguments if each in SCENARIOS] or list(SCENARIOS)
    for scenario in chosen:
        started = time.monotonic()
        results = sweep(scenario, every=every, faults=tuple(FAULTS))
        counts = ", ".join(f"{fault} {kind} {n}" for (fault, kind), n in sorted(results.items()))
        print(f"{scenario:12} {counts}; {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
