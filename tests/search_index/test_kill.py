"""What was acknowledged survives kill -9, at whatever moment it comes."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from simsearch.search_index import SearchIndex

# Upserts growing batches, and deletes; prints a line when a call has returned.
WRITER = """
import sys
sys.path.insert(0, {tests!r})
from conftest import HashEncoder
from simsearch import Document, SearchIndex
index = SearchIndex.open({path!r}, encoder=HashEncoder())
print("ready", flush=True)
for step in range(100_000):
    names = [f"s{{step}}-{{number}}" for number in range(1 + step % 40)]
    index.upsert([Document(name, f"word{{step}} " + name) for name in names])
    print("added", *names, flush=True)
    if step % 3 == 2:
        gone = f"s{{step - 1}}-0"
        index.delete([gone])
        print("deleted", gone, flush=True)
"""


@pytest.mark.parametrize("seed", range(12))
def test_no_acknowledged_write_is_lost(tmp_path, hash_encoder, seed):
    path = tmp_path / "index"
    SearchIndex.create(path, encoder=hash_encoder).close()
    code = WRITER.format(tests=str(Path(__file__).parents[1]), path=str(path))
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "ready\n"
        lines = random.Random(seed).randint(1, 120)
        seen = [writer.stdout.readline() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        seen += writer.stdout.read().splitlines(keepends=True)
    assert writer.returncode == -signal.SIGKILL  # it was killed, and not finished

    expected: set[str] = set()
    for line in (line for line in seen if line.endswith("\n")):
        verb, *names = line.split()
        expected = expected | set(names) if verb == "added" else expected - set(names)
    with SearchIndex.open(path, encoder=hash_encoder) as index:
        stored = {document.id: document.text for document in index.iterate()}
        # At most the one call in flight is there beside the acknowledged ones, and whole.
        extra = {name.split("-")[0] for name in stored.keys() - expected}
        lost = expected - stored.keys()
        assert len(extra) + len(lost) <= 1
        assert lost <= {f"s{number}-0" for number in range(100_000)}  # only a delete in flight
        for step in extra:
            assert sum(name.split("-")[0] == step for name in stored) == 1 + int(step[1:]) % 40
        vectors = hash_encoder.encode_documents(list(stored.values()))
        found = index.search_vectors(vectors[:5], k=1)
        best = np.array([hits[0].score for hits in found])
        np.testing.assert_allclose(best, 1.0, atol=1e-6)
