"""Does every state that a loss of power may leave open, and hold what was acknowledged?

    python tests/crash/power_loss.py [STATES] [SEED]
    python tests/crash/power_loss.py --mutate [STATES] [SEED]

Follows a writer (worker.py) with strace, and replays its system calls up to random places on a
model of a disk (disk.py). With --mutate, each kind of sync is left out in turn, and every second
state is one of soon after a call that was left out: the replay must then fail, or it would not
notice that the sync is missing from the code.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from disk import CALLS, Disk, Token, parse
from scenarios import encoder_of
from worker import as_document

from simsearch.errors import NotFound, SimsearchError
from simsearch.search_index import SearchIndex, check_index, restore_index
from simsearch.storage import Severity

Trace = list[tuple[str, list[Token], int]]
SOON = 40  # calls


def record(place: Path) -> Trace:
    """Return the system calls of the writer in an empty directory."""
    log = place.with_name("trace")
    command = ["strace", "-xx", "-s", "100000000", "-e", f"trace={CALLS}", "-o", str(log)]
    worker = [sys.executable, str(Path(__file__).with_name("worker.py")), str(place)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *worker], check=True, stdout=subprocess.DEVNULL, env=environment)
    lines = log.read_text().splitlines()
    return [call for line in lines if (call := parse(line)) is not None]


def contents(place: Path) -> dict[str, Any]:
    """Return what each index holds that is there; a string says what is wrong with one."""
    found: dict[str, Any] = {}
    for name in ("i", "saved"):
        try:
            encoder = encoder_of(place / name)
            with SearchIndex.open(place / name, encoder=encoder) as index:
                found[name] = {each.id: each.text for each in index.iterate()}
                found[name] |= {as_document(each).id: "" for each in index.judgements()}
            report = check_index(place / name, encoder=encoder)
            if report.worst not in (None, Severity.NOTE):
                found[name] = str(report.findings)
            if name == "saved":
                restore_index(place / name, place / "restored")
        except NotFound as error:
            if (place / name).exists():
                found[name] = str(error)
        except SimsearchError as error:
            found[name] = str(error)
    return found


def expected_of(trace: Trace) -> list[dict[str, Any]]:
    """Return what is acknowledged after each step; at first, nothing."""
    lines = [arguments[1] for name, arguments, _ in trace if name == "write" and arguments[0] == 1]
    return [{}, *(json.loads(bytes(line)) for line in lines)]  # type: ignore[arg-type]


def lose_power(start: Path, trace: Trace, upto: int, *, seed: int, lost: str = "") -> str:
    """Replay a trace up to a call, lose power, and return what is wrong then; "" if nothing is."""
    disk = Disk(start)
    for call in trace[:upto]:
        disk.run(*call, lost=lost)
    expected, step = expected_of(trace), len(disk.acknowledged)
    left = Path(tempfile.mkdtemp(dir=MEMORY))
    try:
        disk.lose_power(random.Random(seed), left)
        found = contents(left)
        allowed = expected[step : step + 2]
        return "" if found in allowed else f"expected one of {allowed}, found {found}"
    finally:
        shutil.rmtree(left)


MEMORY = next((each for each in ("/dev/shm",) if os.access(each, os.W_OK)), None)


def first_call(trace: Trace, start: Path) -> int:
    """Return where the writer begins to change the disk."""
    disk = Disk(start)
    for number, call in enumerate(trace):
        disk.run(*call)
        if disk.changes:
            return number
    raise RuntimeError("the trace changes nothing")


def replay(
    trace: Trace,
    start: Path,
    *,
    states: int,
    seed: int,
    lost: str = "",
    after: Sequence[int] = (),
    most: int = 1_000_000,
) -> list[str]:
    """Return what went wrong in so many states, up to `most` of it.

    The power fails at any call. With `after`, every second time it fails soon after one of those.
    """
    rng, wrong = random.Random(seed), list[str]()
    first = first_call(trace, start)
    for number in range(states):
        upto, its_seed = rng.randint(first, len(trace)), rng.randrange(1 << 30)
        if after and number % 2:
            upto = min(rng.choice(after) + rng.randint(1, SOON), len(trace))
        problem = lose_power(start, trace, upto, seed=its_seed, lost=lost)
        if problem:
            wrong.append(f"call {upto}, seed {its_seed}: {problem}")
            if len(wrong) == most:
                break
    return wrong


def kinds_of_sync(trace: Trace, start: Path) -> dict[str, list[int]]:
    """Return at which calls what is synced."""
    disk = Disk(start)
    found: defaultdict[str, list[int]] = defaultdict(list)
    for number, call in enumerate(trace):
        before = len(disk.syncs)
        disk.run(*call)
        for kind in disk.syncs[before:]:
            found[kind].append(number)
    return found


def main(arguments: list[str]) -> None:
    mutate = "--mutate" in arguments
    numbers = [int(each) for each in arguments if each.isdecimal()]
    states, seed = [*numbers, *(5000, 0)[len(numbers) :]]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "place"
        place.mkdir()
        trace = record(place)
        shutil.rmtree(place)
        place.mkdir()  # as it was: the model begins with it empty
        kinds = kinds_of_sync(trace, place)
        print(f"{len(trace)} calls, {sum(map(len, kinds.values()))} syncs")
        if not mutate:
            wrong = replay(trace, place, states=states, seed=seed)
            print(*wrong[:5], f"{states} states, {len(wrong)} wrong", sep="\n")
            return
        for kind, calls in sorted(kinds.items()):
            wrong = replay(trace, place, states=states, seed=seed, lost=kind, after=calls, most=1)
            told = "noticed" if wrong else "NOT NOTICED"
            print(f"{kind:40} {len(calls):4} times: {told}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
