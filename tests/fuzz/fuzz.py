"""Look for bytes at which a target fails, led by what of the code they reach.

    pip install atheris
    python tests/fuzz/fuzz.py TARGET [RUNS] [FOLDER]      (default: 1,000,000 runs)
    python tests/fuzz/fuzz.py --list

FOLDER keeps the inputs that reached something new, and the one that failed. An input that takes
more than a second of the processor, or 2 GB, fails too.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import atheris

# Each input is hashed once: a cache of hashes would be a file an input, and never asked again.
os.environ["SIMSEARCH_CACHE"] = os.devnull
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

with atheris.instrument_imports(include=["simsearch"]):
    import targets

from seeds import SEEDS  # noqa: E402 - found by the path above


def main(name: str, runs: int = 1_000_000, place: str = "") -> None:
    folder = Path(place or tempfile.mkdtemp(prefix=f"corpus-{name}-"))
    folder.mkdir(exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (folder / f"seed-{number}").write_bytes(seed)
    limits = [
        "-max_len=4096",
        "-timeout=30",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        "-reload=0",
    ]
    found = f"-artifact_prefix={folder.parent}/{name}-"
    atheris.Setup([sys.argv[0], str(folder), f"-runs={runs}", *limits, found], targets_run(name))
    atheris.Fuzz()


def targets_run(name: str):
    return lambda data: targets.run(name, data)


if __name__ == "__main__":
    if sys.argv[1] == "--list":
        print(*targets.TARGETS, sep="\n")
    else:
        main(sys.argv[1], *map(int, sys.argv[2:3]), *sys.argv[3:4])
