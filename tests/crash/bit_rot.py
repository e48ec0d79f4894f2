"""Does `check` find every damage of the disk, and is no search silently wrong?

    python tests/crash/bit_rot.py [DAMAGES] [SEED]

Each round copies a sound index, damages one of its files at a random place in one of four ways,
keeps the file's times as bit rot does, and compares what is read and found with what it was. A
damage that `check` does not find must have no effect at all: it lies where SQLite keeps nothing.
`id missed`: SQLite's own index of ids is damaged, so that `get` finds no such document.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import HashEncoder
from stores import raw

from simsearch.ann import Target
from simsearch.encoder import Encoder
from simsearch.errors import SimsearchError
from simsearch.records import Document, Judgement
from simsearch.search_index import SearchIndex, check_index

QUERIES = ["text number 7", "another", "card machine", "number 150 long"]


def flip_a_bit(data: bytearray, rng: random.Random) -> bytearray:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def change_8_bytes(data: bytearray, rng: random.Random) -> bytearray:
    at = rng.randrange(max(1, len(data) - 8))
    data[at : at + 8] = bytes(byte ^ rng.randrange(1, 256) for byte in data[at : at + 8])
    return data


def zero_512_bytes(data: bytearray, rng: random.Random) -> bytearray:
    at = rng.randrange(len(data)) // 512 * 512
    length = len(data[at : at + 512])
    data[at : at + length] = bytes(length)
    return data


def cut(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.randrange(len(data))]


WAYS = (flip_a_bit, change_8_bytes, zero_512_bytes, cut)


def build(folder: Path) -> Path:
    """Return an index of 300 documents with deleted rows, closed."""
    path = folder / "closed"
    with SearchIndex.create(path, encoder=HashEncoder(), long_texts="passages") as index:
        index.add([Document(f"d{n}", f"text number {n} " + "long " * (n % 20)) for n in range(300)])
        index.delete([f"d{n}" for n in range(0, 300, 7)])
        index.upsert([Document("d1", "another text", "with a title", {"lang": "en"})])
        index.judge_many(
            Judgement(f"number {n}", f"d{n}", n % 3 == 0) for n in range(1, 300) if n % 7
        )
    return path


def kill_writer(path: Path, target: Path) -> Path:
    """Return a copy of an index whose last commits are in its log only."""
    with SearchIndex.open(path, encoder=HashEncoder()) as index:
        for number in range(5):
            index.upsert([Document(f"d{number}", f"text in the log, number {number}")])
        shutil.copytree(path, target)
    (target / "meta.db-shm").unlink()
    return target


def build_segmented(folder: Path) -> Path:
    """Return an index whose rows lie in a segment, every one of which is compared."""
    path, target = folder / "segmented", Target(recall=1.0, exact_below=100)
    with SearchIndex.create(path, encoder=HashEncoder(), target=target) as index:
        index.add([Document(f"d{n}", f"text number {n}") for n in range(300)])
        index.optimize()
    return path


def build_encoded(folder: Path, model: Path) -> Path:
    """Return an index with a real encoder of its own."""
    path = folder / "encoded"
    with SearchIndex.create(path, encoder=Encoder.load(model)) as index:
        index.add([Document("a", "my card"), Document("b", "the cat sat on the mat")])
    return path


def of_a_copy(look: Callable[..., Any], path: Path, *arguments: Any) -> Any:
    """Look at a copy: a look moves the log of a killed index into its database."""
    copy = shutil.copytree(path, path.with_name("looked-at"))
    try:
        return look(copy, *arguments)
    finally:
        shutil.rmtree(copy)


def answers(path: Path, encoder: Any) -> Any:
    """Return all that can be read and found, or the error that says that it cannot."""
    try:
        with SearchIndex.open(path, encoder=encoder) as index:
            found = index.search_many(QUERIES, k=10)
            hits = [[(hit.id, hit.score, hit.text) for hit in its] for its in found]
            return list(index.iterate()), hits, index.judgements()
    except SimsearchError as error:
        return error


def misses(path: Path, encoder: Any) -> bool:
    """Whether a document is not found by its id, and nothing says why."""
    try:
        with SearchIndex.open(path, encoder=encoder) as index:
            return any(index.get(f"d{n}") is None for n in range(300) if n % 7)
    except SimsearchError:
        return False


def content(path: Path) -> Any:
    """Return every row of every table but those that SQLite keeps for itself."""
    tables = ("meta", "documents", "passages", "vector_blocks", "tombstones", "segments")
    tables += ("judgements",)
    with raw(path) as connection:
        return [connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables]


def damage(file: Path, way: Callable[..., bytearray], rng: random.Random) -> bool:
    """Damage a file and keep its times; return whether its bytes changed."""
    status, before = file.stat(), file.read_bytes()
    after = bytes(way(bytearray(before), rng))
    file.write_bytes(after)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    return after != before


def one_round(
    path: Path,
    name: str,
    encoder: Callable[[], Any],
    expected: Any,
    rng: random.Random,
) -> str:
    """Damage a copy and return what came of it: `found`, `no effect`, or what is wrong."""
    answered, before = expected
    copy = shutil.copytree(path, path.with_name("copy"))
    try:
        if not damage(copy / name, rng.choice(WAYS), rng):
            return "no change"
        report = check_index(copy, encoder=encoder())
        answer = answers(copy, encoder())
        honest = isinstance(answer, SimsearchError) or answer == answered
        if not honest:
            return "SILENTLY WRONG"
        if report.findings:
            missed = name.startswith("meta") and misses(copy, encoder())
            return "found, id missed" if missed else "found"
        if isinstance(answer, SimsearchError) or content(copy) != before:
            return "NOT FOUND"
        return "no effect"
    finally:
        shutil.rmtree(copy)


def run(folder: Path, *, rounds: int, seed: int, model: Path | None) -> Counter[tuple[str, str]]:
    """Return how often what came of damages to which file."""
    closed = build(folder)
    killed = kill_writer(shutil.copytree(closed, folder / "open"), folder / "killed")
    shutil.rmtree(folder / "open")
    files = [(closed, "meta.db", HashEncoder)] * 6 + [(killed, "meta.db-wal", HashEncoder)] * 2
    files += [(killed, "meta.db", HashEncoder), (closed, "COMMITTED", HashEncoder)]
    files += [(closed, "FORMAT", HashEncoder)]
    segmented = build_segmented(folder)
    (segment,) = (segmented / "segments").glob("*.faiss")
    files += [(segmented, f"segments/{segment.name}", HashEncoder)] * 2
    files += [(segmented, "meta.db", HashEncoder)]
    if model is not None:
        encoded = build_encoded(folder, model)
        names = sorted(each.name for each in (encoded / "encoder").iterdir())
        files += [(encoded, f"encoder/{name}", lambda: None) for name in names]
    expected = {
        path: (of_a_copy(answers, path, encoder()), of_a_copy(content, path))
        for path, encoder in {path: encoder for path, _, encoder in files}.items()
    }
    rng, results = random.Random(seed), Counter[tuple[str, str]]()
    for number in range(rounds):
        path, name, encoder = rng.choice(files)
        outcome = one_round(path, name, encoder, expected[path], rng)
        results[name.split("/")[0] if path == segmented else name, outcome] += 1
        if outcome.isupper():
            print(f"round {number} (seed {seed}): {name}: {outcome}", flush=True)
    return results


if __name__ == "__main__":
    from conftest import write_tiny_encoder

    with tempfile.TemporaryDirectory() as name:
        os.environ["SIMSEARCH_CACHE"] = f"{name}/cache"
        counts = run(
            Path(name),
            rounds=int(sys.argv[1]) if len(sys.argv) > 1 else 2000,
            seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0,
            model=write_tiny_encoder(Path(name) / "tiny"),
        )
    for (file, outcome), count in sorted(counts.items()):
        print(f"{file:28} {outcome:16} {count:6}")
