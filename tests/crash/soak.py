"""Is anything lost, wrong or growing while a writer is killed at random and four readers search?

    python tests/crash/soak.py [MINUTES] [SEED]      (default: 10 minutes)

The writer says before each step what it is about to do, and after it that it is done. After each
SIGKILL the index must hold what was acknowledged, and the step that was not, whole or not at all.
Readers look whether every hit is a document as it was written once, none older than they have seen
it before; two of the four are killed now and then, the others run from the beginning to the end,
and say how much memory and how many descriptors they hold.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import HashEncoder

from simsearch.records import Document
from simsearch.search_index import SearchIndex, check_index, compact_index
from simsearch.storage import Severity

IDS = [f"d{number}" for number in range(300)]
WORDS = ["card", "bank", "parcel", "cat", "late", "lost", "red", "green"]
Step = dict[str, str | None]  # text by id; None: deleted


def text_of(id_: str, number: int) -> str:
    return f"{id_} as of {number} " + " ".join(WORDS[number % 5 : number % 5 + 3])


def steps(first: int, lot: random.Random) -> Iterator[tuple[int, str, Step]]:
    """Yield steps without end: their number, what is to be done, and to which documents."""
    number = first
    while True:
        number += 1
        chosen = lot.sample(IDS, lot.randint(1, 20))
        kind = lot.choices(["upsert", "delete", "compact"], [20, 5, 1])[0]
        texts = {"upsert": {each: text_of(each, number) for each in chosen}, "compact": {}}
        yield number, kind, texts.get(kind, dict.fromkeys(chosen))


def write(path: Path, first: int, seed: int, told: int) -> None:
    """Write until somebody ends it."""
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        for number, kind, step in steps(first, random.Random(seed)):
            os.write(told, (json.dumps({"begin": number, "step": step}) + "\n").encode())
            if kind == "compact":
                compact_index(path)
            elif kind == "delete":
                index.delete(list(step))
            else:
                index.upsert([Document(id_, str(text)) for id_, text in step.items()])
            os.write(told, (json.dumps({"done": number}) + "\n").encode())


def read(path: Path, seed: int, told: int) -> None:
    """Search until somebody ends it, or a hit is not what it must be."""
    lot, newest, searches = random.Random(seed), dict[str, int](), 0
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        while True:
            hits = index.search(" ".join(lot.sample([*WORDS, *IDS], 4)), k=20)
            scores = [hit.score for hit in hits]
            wrong = [hit for hit in hits if not _as_written(hit.id, hit.text, newest)]
            if wrong or scores != sorted(scores, reverse=True):
                raise RuntimeError(f"wrong hits: {wrong or scores}")
            searches += 1
            if searches % 500 == 0:
                index.encoder.encoded.clear()  # the fake's own notes would grow
                said = {"searches": searches, **held()}
                os.write(told, (json.dumps(said) + "\n").encode())


def _as_written(id_: str, text: str, newest: dict[str, int]) -> bool:
    number = int(text.split()[3])
    fresh, newest[id_] = number >= newest.get(id_, 0), number
    return fresh and text == text_of(id_, number)


def held() -> dict[str, int]:
    """Return the memory (KiB) and the descriptors that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {"memory": pages * 4, "descriptors": len(os.listdir("/proc/self/fd"))}


@dataclass
class Child:
    """A process of ours, and what it says, line by line."""

    process: int
    lines: Any
    said: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def start(cls, work: Callable[[int], None]) -> Child:
        reading, writing = os.pipe()
        process = os.fork()
        if not process:  # pragma: no cover - killed
            os.close(reading)
            try:
                work(writing)
            except BaseException as error:
                os.write(writing, (json.dumps({"wrong": repr(error)}) + "\n").encode())
            os._exit(1)
        os.close(writing)
        return cls(process, os.fdopen(reading))

    def listen(self, lines: int) -> None:
        """Wait for so many lines, or for the end."""
        while lines > 0 and (line := self.lines.readline()):
            self.said.append(json.loads(line))
            lines -= 1

    def kill(self) -> None:
        """End it at once, and hear what it had still to say."""
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        # The last line may be cut, which is none.
        rest = [line for line in self.lines.read().split("\n")[:-1] if line]
        self.said += [json.loads(line) for line in rest]
        self.lines.close()

    @property
    def wrong(self) -> list[str]:
        return [each["wrong"] for each in self.said if "wrong" in each]


@dataclass
class Soak:
    """What happened."""

    kills: int = 0
    steps: int = 0
    in_flight: int = 0
    kept: int = 0
    searches: int = 0
    wrong: list[str] = field(default_factory=list)
    held: list[tuple[dict[str, int], dict[str, int]]] = field(default_factory=list)


def after(held: Step, said: list[dict[str, Any]]) -> tuple[Step, Step, int]:
    """Return what the index must hold, what it may hold instead, and the number of steps done."""
    must, begun, done = dict(held), Step(), 0
    for each in said:
        if "begin" in each:
            begun = each["step"]
        elif "done" in each:
            must, begun, done = {**must, **begun}, Step(), done + 1
    return must, {**must, **begun}, done


def soak(path: Path, *, kills: int, seconds: float, seed: int, wait: float) -> Soak:
    """Kill the writer so many times, or so long; it goes on for up to `wait` seconds each time."""
    lot, result = random.Random(seed), Soak()
    SearchIndex.create(path, encoder=HashEncoder()).close()
    holds: Step = {}
    readers = [_reader(path, lot) for _ in range(4)]
    first, ends = 0, time.monotonic() + seconds
    while result.kills < kills and time.monotonic() < ends and not result.wrong:
        writer_seed = lot.randrange(1 << 30)
        writer = Child.start(lambda told, s=writer_seed, n=first: write(path, n, s, told))
        writer.listen(lot.randrange(1, 60))
        time.sleep(lot.uniform(0, wait))
        writer.kill()
        must, may, done = after(holds, writer.said)
        found = contents(path)
        live = [{id_: text for id_, text in each.items() if text} for each in (must, may)]
        if found not in live:
            result.wrong.append(f"after {writer.said[-2:]}: {sorted(set(found) ^ set(live[0]))}")
        result.wrong += writer.wrong
        holds = dict(found)
        result.kills += 1
        result.steps += done
        result.in_flight += may != must
        result.kept += may != must and found == live[1]
        first = max([first, *(each["begin"] for each in writer.said if "begin" in each)])
        if lot.random() < 0.3:
            _end(readers.pop(lot.choice([2, 3])), result)
            readers.append(_reader(path, lot))
    report = check_index(path, encoder=HashEncoder())
    if report.worst not in (None, Severity.NOTE):
        result.wrong.append(str(report.findings))
    for number, reader in enumerate(readers):
        _end(reader, result, whole=number < 2)
    return result


def _reader(path: Path, lot: random.Random) -> Child:
    seed = lot.randrange(1 << 30)
    return Child.start(lambda told: read(path, seed, told))


def _end(reader: Child, result: Soak, *, whole: bool = False) -> None:
    reader.kill()
    result.wrong += reader.wrong
    told = [each for each in reader.said if "searches" in each]
    result.searches += told[-1]["searches"] if told else 0
    if whole and told:
        result.held.append((told[len(told) // 10], told[-1]))


def contents(path: Path) -> Step:
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        return {each.id: each.text for each in index.iterate()}


def main(minutes: float = 10, seed: float = 0) -> int:
    with tempfile.TemporaryDirectory() as folder:
        result = soak(
            Path(folder) / "i", kills=1 << 30, seconds=60 * minutes, seed=int(seed), wait=2.0
        )
    print(f"{minutes:.0f} minutes, seed {seed:.0f}: {result.kills} kills of the writer,")
    print(f"{result.in_flight} in the middle of a step, of which {result.kept} stood;")
    print(f"{result.steps} acknowledged steps, {result.searches} searches, ", end="")
    print(f"{len(result.wrong)} wrong")
    for early, late in result.held:
        print(f"a reader, after a tenth of its life: {early}; at its end: {late}")
    print(*result.wrong, sep="\n")
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:])))
