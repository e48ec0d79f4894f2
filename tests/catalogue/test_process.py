"""Catalogue, rows 119 and 120: what only a process of its own shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Write

SIMSEARCH = [sys.executable, "-m", "simsearch"]

CHECKS = """
import sys

import numpy as np

from simsearch.ann import VectorIndex
from simsearch.encoder import Encoder
from simsearch.errors import SimsearchError
from simsearch.search_index import SearchIndex

assert False, "asserts are meant to be off"
vectors = VectorIndex(32)
vectors.add(np.arange(2), np.eye(2, 32, dtype=np.float32))
index = SearchIndex.open(sys.argv[1])
wrong = np.ones((1, 31), dtype=np.float32)
right = np.ones((1, 32), dtype=np.float32)
calls = [
    lambda: vectors.search(wrong, 1),
    lambda: vectors.search(right, 0),
    lambda: vectors.add(np.arange(1), wrong),
    lambda: vectors.add(np.arange(2), right),
    lambda: index.search_vectors(wrong, 1),
    lambda: index.search_vectors(right, 0),
    lambda: index.search("card", k=0),
]
for call in calls:
    try:
        print(call())
    except SimsearchError as error:
        print(type(error).__name__, error)
"""


def test_row_119_a_reader_that_has_seen_enough_ends_the_command_quietly(
    index_dir: Path, write: Write
) -> None:
    # Far more output than a pipe holds, so the writer is still at it when the reader leaves.
    queries = write("queries.txt", "my card\n" * 2000)
    process = subprocess.Popen(
        [*SIMSEARCH, "query", "--queries", str(queries), "-i", str(index_dir), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith('{"query": "my card", "hits": [')
        process.stdout.close()  # as `head -1` does
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize("arguments", [["query", "card", "-i", "{}"], ["query", "--help"]])
def test_row_119_a_reader_that_was_never_there_is_no_error(
    index_dir: Path, arguments: list[str]
) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    finished = subprocess.run(
        [*SIMSEARCH, *(each.format(index_dir) for each in arguments)],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
    )
    os.close(write_end)
    assert (finished.returncode, finished.stderr) == (0, "")


def test_row_120_python_o_removes_no_check(index_dir: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-O", "-c", CHECKS, str(index_dir)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.splitlines() == [
        "InvalidInput expected vectors of shape (n, 32), got (1, 31)",
        "InvalidInput k must be at least 1, got 0",
        "InvalidInput expected vectors of shape (n, 32), got (1, 31)",
        "InvalidInput got (2,) row ids for 1 vectors",
        "InvalidData vectors: expected dim 32, got 31",
        "InvalidInput k must be 1..10000, got 0",
        "InvalidInput k must be 1..10000, got 0",
    ]


def test_row_120_python_o_refuses_on_the_command_line_too(index_dir: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-O", "-m", "simsearch", "query", "card", "-i", str(index_dir), "-k", "0"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr == (
        "simsearch: error: Invalid value for '-k': k must be 1..10000, got 0\n"
    )
