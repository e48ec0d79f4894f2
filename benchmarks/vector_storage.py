"""Vectors as blocks in SQLite, or in an append-only log beside it?

    python benchmarks/vector_storage.py [ROWS...]        (default 10000 100000 1000000)

Ready vectors of dim 384 with short texts, commits of 1,024 rows, every commit synced. Prints, for
each layout: seconds to write, seconds until a new process has answered its first query (page
cache warm, then dropped where that is allowed), bytes on disk. The log is a prototype that lives
only here: the same tables, but a block's data stands in a file that is synced before the commit.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from simsearch.ann import VectorIndex
from simsearch.records import Document
from simsearch.storage import DocumentStore, PassageRows
from simsearch.storage.session import Session
from simsearch.storage.vector_blocks import VectorBlocks

DIM, BATCH = 384, 1024
ENCODED_PER_SECOND = 1245  # short texts by the real encoder, README.md


class VectorLog(VectorBlocks):
    """Blocks whose data stands in a file, a row at the offset of its number."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._log = os.open(session.directory / "000001.vec", os.O_RDWR | os.O_CREAT, 0o600)

    def append(self, first_row: int, vectors: npt.NDArray[np.float32]) -> None:
        data = vectors.tobytes()
        os.pwrite(self._log, data, first_row * self._dim * 4)
        os.fdatasync(self._log)
        self._session.connection.execute(
            "INSERT INTO vector_blocks VALUES (?, ?, ?, x'')",
            (first_row, len(vectors), zlib.crc32(data)),
        )

    def _read_block(self, first: int, rows: int) -> npt.NDArray[np.float32]:
        (checksum,) = self._session.connection.execute(
            "SELECT crc32 FROM vector_blocks WHERE first_row = ?", (first,)
        ).fetchone()
        data = os.pread(self._log, rows * self._dim * 4, first * self._dim * 4)
        if zlib.crc32(data) != checksum:
            raise RuntimeError(f"block {first} is damaged")
        return np.frombuffer(data, dtype=np.float32).reshape(rows, self._dim)


def open_store(path: Path, layout: str) -> DocumentStore:
    """Open a store whose vectors lie in the given layout."""
    store = DocumentStore.open(path)
    if layout == "log":
        store._blocks = VectorLog(store._session)
    return store


def ingest(path: Path, layout: str, rows: int) -> float:
    """Write a store and return the seconds that took, without making the vectors."""
    DocumentStore.create(path, dim=DIM, settings={})
    store, spent, rng = open_store(path, layout), 0.0, np.random.default_rng(0)
    for first in range(0, rows, BATCH):
        count = min(BATCH, rows - first)
        vectors = rng.standard_normal((count, DIM), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        names = range(first, first + count)
        documents = [Document(f"id-{n}", f"the text of document number {n}") for n in names]
        ranges = [[(0, len(each.text))] for each in documents]
        started = time.perf_counter()
        with store.transaction():
            hashes = [n.to_bytes(16, "big") for n in names]
            store.insert(documents, PassageRows(ranges, vectors, hashes))
        spent += time.perf_counter() - started
    started = time.perf_counter()
    store.close()
    return spent + time.perf_counter() - started


def first_query(path: Path, layout: str) -> None:
    """Open a store and answer one query, as a new process does."""
    started = time.perf_counter()
    store = open_store(path, layout)
    index = VectorIndex(DIM)
    with store.snapshot():
        changes = store.changes_since(-1, next_row=0)
        if changes is None:
            raise RuntimeError("nothing was written")
        index.add_from(changes.rows, lambda target: store.read_vectors(changes.rows, target))
        index.search(np.ones((1, DIM), dtype=np.float32) / np.float32(DIM**0.5), 10)
    print(time.perf_counter() - started)


def seconds_of_first_query(path: Path, layout: str) -> float:
    """Return the time that a new process takes."""
    command = [sys.executable, __file__, "--query", str(path), layout]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def drop_page_cache() -> bool:
    """Forget what was read from the disk; false where that is not allowed."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("1")
    except OSError:
        return False
    return True


def main(sizes: list[int]) -> None:
    """Measure and print."""
    print("rows       layout  write s  rows/s   first query s  from disk s  MB     share of ingest")
    for rows in sizes:
        for layout in ("blocks", "log"):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder)
                written = ingest(path, layout, rows)
                seconds_of_first_query(path, layout)
                warm = seconds_of_first_query(path, layout)
                cold = seconds_of_first_query(path, layout) if drop_page_cache() else float("nan")
                size = sum(file.stat().st_size for file in path.iterdir()) / 1e6
                share = written / (written + rows / ENCODED_PER_SECOND)
                print(
                    f"{rows:<10,} {layout:7} {written:7.2f} {rows / written:8,.0f} {warm:14.2f} "
                    f"{cold:12.2f} {size:7,.0f} {share:8.1%}",
                    flush=True,
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--query"]:
        first_query(Path(sys.argv[2]), sys.argv[3])
    else:
        main([int(each) for each in sys.argv[1:]] or [10_000, 100_000, 1_000_000])
