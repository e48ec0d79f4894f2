"""What if the process dies, or the disk fails, at the N-th system call?

    python tests/crash/sweep.py [--every N] [--faults kill,eio,enospc,twice] [SCENARIO...]

For each scenario (scenarios.py) and each call by which it changes its files: a run that is killed
there, one in which that call fails with EIO, one with ENOSPC, and one that is killed there and
killed again, at a call drawn by lot, when it is run again; injected by strace. Afterwards there
must be the old or the new, sound, and the same command must come to its end. Prints a table; each
injection is proven by the signal, or by strace's own record of it. `twice once` counts the runs
that came to their end before the call at which they were to be killed again.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
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

from scenarios import SCENARIOS, encoder_of, prepare, state

from simsearch.search_index import check_index
from simsearch.storage import Severity

CALLS = (
    *("write", "pwrite64", "sendfile", "fsync", "fdatasync", "ftruncate", "openat", "mkdir"),
    *("rename", "renameat2", "link", "linkat", "unlink", "unlinkat", "rmdir"),
)
KILL = "signal=SIGKILL"
FAULTS = {"kill": KILL, "eio": "error=EIO", "enospc": "error=ENOSPC", "twice": KILL}
_NAME = re.compile(r"^(\w+)\(")


@dataclass(frozen=True)
class Step:
    """The N-th call of a name in a run."""

    call: str
    number: int


def strace(place: Path, scenario: str, *options: str) -> tuple[int, list[str]]:
    """Run a scenario in a fork of this process; return its exit code and its calls."""
    log = place.with_name("trace")
    waiting, start = os.pipe()
    child = os.fork()
    if not child:  # pragma: no cover - killed, or ends at once
        os.close(start)  # or it would wait for itself where this process ends
        _run_when_told(waiting, scenario, place)
    command = ["strace", "-y", "-s", "0", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]
    tracer = subprocess.Popen(
        [*command, *options, "-p", str(child)], stderr=subprocess.PIPE, text=True
    )
    with tracer:
        said = tracer.stderr.readline() if tracer.stderr else ""
        if "attached" not in said:
            os.kill(child, signal.SIGKILL)
            raise RuntimeError(f"strace does not follow the run: {said}")
        os.write(start, b"!")
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(waiting)
    os.close(start)
    return code, log.read_text(errors="replace").splitlines()


def _run_when_told(waiting: int, scenario: str, place: Path) -> None:
    try:
        if not os.read(waiting, 1):
            os._exit(1)
        SCENARIOS[scenario](place)
    except BaseException:
        os._exit(1)
    os._exit(0)


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


def inject(place: Path, scenario: str, step: Step, fault: str) -> int | None:
    """Run a scenario with a fault; return its exit code, None where the fault did not happen."""
    option = f"inject={step.call}:{FAULTS[fault]}:when={step.number}"
    code, lines = strace(place, scenario, "-e", option)
    if FAULTS[fault] == KILL:
        return code if code == -signal.SIGKILL else None
    return code if "(INJECTED)" in "".join(lines) else None


def wrong_in(place: Path, outcome: tuple[Any, Any], *, acknowledged: bool) -> str:
    """Return what is wrong in a place after a fault: "" if nothing is."""
    before, after = outcome
    found = state(place)
    for index in before:
        if found[index] not in (before[index], after[index], "unfinished"):
            return f"{index}: neither the old nor the new: {found[index]}"
    for index in ("i", "new"):
        if found[index] is not None:
            report = check_index(place / index, encoder=encoder_of(place / index))
            if report.worst not in (None, Severity.NOTE):
                return f"{index}: {report.findings}"
    return "acknowledged, and not there" if acknowledged and found != after else ""


def try_fault(
    prepared: Path, scenario: str, steps: tuple[Step, ...], fault: str, outcome: tuple[Any, Any]
) -> str:
    """Return what came of a fault at one step, and of one more kill for each further step.

    `right`, `once` where a further kill found nothing left to be killed, or what is wrong.
    """
    ending = "right"
    with tempfile.TemporaryDirectory() as folder:
        place = shutil.copytree(prepared, Path(folder) / "place")
        for number, step in enumerate(steps):
            code = inject(place, scenario, step, fault)
            if code is None and number == 0:
                return "not injected"
            ending = "once" if code is None else ending
            problem = wrong_in(place, outcome, acknowledged=code in (0, None))
            if problem:
                return problem
        SCENARIOS[scenario](place)
        return ending if state(place) == outcome[1] else "does not come to its end when run again"


def sweep(scenario: str, *, every: int, faults: tuple[str, ...]) -> Counter[tuple[str, str]]:
    """Return how often a fault in a scenario came to what."""
    results, lot = Counter[tuple[str, str]](), random.Random(scenario)
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared"
        prepared.mkdir()
        prepare(prepared)
        # What a run imports when it first needs it are calls that a later one does not make.
        SCENARIOS[scenario](shutil.copytree(prepared, Path(folder) / "first"))
        place = shutil.copytree(prepared, Path(folder) / "place")
        before = state(place)
        steps = steps_of(place, scenario)
        outcome = before, state(place)
        for step in steps[::every]:
            for fault in faults:
                tried = (step, lot.choice(steps)) if fault == "twice" else (step,)
                ending = try_fault(prepared, scenario, tried, fault, outcome)
                wrong = ending not in ("right", "once")
                results[fault, "wrong" if wrong else ending] += 1
                if wrong:
                    print(f"{scenario} {tried} {fault}: {ending}"[:500], flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scenario", nargs="*", choices=[*SCENARIOS, []], help="default: all")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th call only")
    parser.add_argument("--faults", default=",".join(FAULTS), help="default: %(default)s")
    given = parser.parse_args()
    totals = Counter[tuple[str, str]]()
    for scenario in given.scenario or SCENARIOS:
        started = time.monotonic()
        results = sweep(scenario, every=given.every, faults=tuple(given.faults.split(",")))
        totals += results
        print(f"{scenario:12} {told(results)}; {time.monotonic() - started:.0f} s", flush=True)
    print(f"{'all':12} {told(totals)}", flush=True)


def told(results: Counter[tuple[str, str]]) -> str:
    return ", ".join(f"{fault} {kind} {count}" for (fault, kind), count in sorted(results.items()))


if __name__ == "__main__":
    main()
