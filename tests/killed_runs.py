"""Kills fine-tuning runs, and resumes each: python killed_runs.py FOLDER ENCODER KILLS SEED.

One process imports torch, and forks for every run: a fork costs milliseconds, a start seconds. It
never embeds a text itself, so no thread is lost in a fork. A run is `simsearch finetune --config`;
what it says and how far it is comes through a pipe. Half of the kills wait for a step that a
random number names, half for a random time. When a run has come to its end another one begins,
until all kills are done; the last one is let live. FOLDER holds pairs.jsonl. Prints one JSON
object.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import random
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from simsearch.cli import finetune, main
from simsearch.encoder import MODEL_FILE, read_model_file

# What a run imports late: here once, and not in every process anew.
LATE = (
    "matplotlib.backends.backend_agg",
    "onnx",
    "pydantic",
    "simsearch.training.run",
    "transformers.models.bert.modeling_bert",
)
MOST_STEPS = 5  # that a process may make before it is killed, of the 12 of a run
SETTINGS = """
data = ["pairs.jsonl"]
encoder = {encoder}
epochs = 2
batch_size = 12
dev = 0.15
learning_rate = 2e-3
precision = "fp32"
negatives_every = 1
negatives_margin = 0.0
checkpoint_minutes = 1e-9
"""


@dataclass(frozen=True, slots=True)
class Killed:
    """What a process died of, after which step it had gone on, and how many steps it then made."""

    signal: int
    resumed_at: int
    steps: int


@dataclass
class Report:
    """What became of all runs. `fingerprints` are those of the runs that came to their end."""

    expected: str = ""
    killed: list[Killed] = field(default_factory=list)
    fingerprints: list[str] = field(default_factory=list)


@dataclass
class Child:
    """A run in a process of its own."""

    pid: int
    pipe: int
    lines: list[str] = field(default_factory=list)
    rest: bytes = b""

    def read(self, timeout: float | None) -> bool:
        """Take in what it tells now; False if that was the end, or nothing came in time."""
        ready, _, _ = select.select([self.pipe], [], [], timeout)
        content = os.read(self.pipe, 65536) if ready else b""
        *lines, self.rest = (self.rest + content).split(b"\n")
        self.lines += [line.decode() for line in lines]
        return bool(content)

    @property
    def steps(self) -> int:
        return sum(line.startswith("train ") for line in self.lines)

    @property
    def resumed_at(self) -> int:
        told = [line.split()[3] for line in self.lines if line.startswith("resumed after step ")]
        return int(told[0]) if told else 0

    def end(self) -> int:
        """Wait until it is gone, and return its wait status."""
        while self.read(None):
            pass
        os.close(self.pipe)
        return os.waitpid(self.pid, 0)[1]


def start(folder: Path, name: str) -> Child:
    """Fork a run that is resumed where there is something to resume."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_end)
        return Child(pid, read_end)
    os.close(read_end)
    sys.stderr = os.fdopen(write_end, "w", buffering=1)  # what it says, line by line
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - lives until exit
    code = 70
    try:
        finetune.stages = _telling(write_end)
        arguments = ["--config", str(folder / "run.toml"), "-o", str(folder / name), "--resume"]
        code = main(["finetune", *arguments, "--force"])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)  # what the parent has imported is not this process's to take down


def _telling(pipe: int) -> Callable[[object], contextlib.AbstractContextManager[object]]:
    @contextlib.contextmanager
    def stages(_: object) -> Iterator[Callable[[str, int, int], None]]:
        yield lambda stage, done, total: _tell(pipe, f"{stage} {done}")

    return stages


def _tell(pipe: int, line: str) -> None:
    os.write(pipe, f"{line}\n".encode())


def live(folder: Path, name: str) -> str:
    """Let a run come to its end, and return the fingerprint of its model."""
    child = start(folder, name)
    status = child.end()
    if os.waitstatus_to_exitcode(status) not in (0, 1):  # 1: rejected, and kept by force
        sys.exit("\n".join(child.lines))
    return fingerprint(folder / name)


def fingerprint(model: Path) -> str:
    return str(read_model_file(model)["fingerprint"])


def kill_at_step(child: Child, steps: int) -> None:
    while child.steps < steps and child.read(None):
        pass
    os.kill(child.pid, signal.SIGKILL)


def kill_after(child: Child, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0 and child.read(left):
        pass
    os.kill(child.pid, signal.SIGKILL)


def kill_runs(folder: Path, kills: int, rng: random.Random) -> Report:
    """Kill so many runs, each of which goes on with what the one before left."""
    began = time.monotonic()
    report = Report(expected=live(folder, "whole"))
    seconds = time.monotonic() - began
    name = "model-0"
    while len(report.killed) < kills:
        child = start(folder, name)
        if len(report.killed) % 2:
            kill_after(child, rng.uniform(0, 0.7 * seconds))  # the first run is the slowest
        else:
            kill_at_step(child, rng.randint(1, MOST_STEPS))
        status = child.end()
        if os.WIFSIGNALED(status):
            report.killed.append(Killed(os.WTERMSIG(status), child.resumed_at, child.steps))
        elif os.waitstatus_to_exitcode(status) not in (0, 1):
            sys.exit("\n".join(child.lines))
        if (folder / name / MODEL_FILE).is_file():  # it had ended, or all but
            report.fingerprints.append(fingerprint(folder / name))
            name = f"model-{len(report.fingerprints)}"
    report.fingerprints.append(live(folder, name))
    return report


def prepare() -> None:
    """Do once what every run would have to do."""
    for module in LATE:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # what a child never looks at is not copied for it
    os.fsync = _no_sync


def _no_sync(_: object) -> None:
    """A kill, unlike a power loss, loses nothing that was written."""


if __name__ == "__main__":
    prepare()
    folder, encoder, kills, seed = Path(sys.argv[1]), *sys.argv[2:]
    (folder / "run.toml").write_text(SETTINGS.format(encoder=json.dumps(encoder)))
    print(json.dumps(asdict(kill_runs(folder, int(kills), random.Random(int(seed))))))
