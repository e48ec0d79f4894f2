"""Vectors as checksummed blocks of rows, in the same file as the documents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from simsearch.failpoints import failpoint
from simsearch.storage.checksums import block_crc32, sound_block
from simsearch.storage.session import Session

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

# Rows of one vector block: 1.5 MiB at dim 384.
_BLOCK_ROWS = 1024
_VECTOR_TYPE = np.dtype("<f4")


class VectorBlocks:
    """The vectors of one open store; whoever calls holds its mutex and a transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def _dim(self) -> int:
        return self._session.dim

    def append(self, first_row: int, vectors: FloatArray) -> None:
        """Write vectors (n, dim) under the row numbers from `first_row` on."""
        for start in range(0, len(vectors), _BLOCK_ROWS):
            block = np.ascontiguousarray(vectors[start : start + _BLOCK_ROWS], dtype=_VECTOR_TYPE)
            data = block.tobytes()
            first = first_row + start
            failpoint("insert.block")
            self._session.connection.execute(
                "INSERT INTO vector_blocks VALUES (?, ?, ?, ?)",
                (first, len(block), block_crc32(first, len(block), data), data),
            )

    def rows_between(self, first_row: int, end: int) -> IntArray:
        """Return the rows from `first_row` to `end` that lie in a block with a living passage.

        Raises:
            CorruptIndex: a block is missing.
        """
        blocks = self._living_blocks(first_row, end)
        rows = [np.arange(first, first + count, dtype=np.int64) for first, count in blocks]
        return np.concatenate([np.empty(0, dtype=np.int64), *rows])

    def read_into(self, rows: IntArray, target: FloatArray) -> None:
        """Write the vectors of rows (n,), in ascending order, into `target` (n, dim).

        Raises:
            CorruptIndex: a block is missing, or fails its checksum.
        """
        done = 0
        while done < len(rows):
            first, block = self._block_of(int(rows[done]))
            upto = int(np.searchsorted(rows, first + len(block)))
            if upto - done == len(block):
                target[done:upto] = block
            else:
                target[done:upto] = block[rows[done:upto] - first]
            done = upto

    def read_rows(self, rows: Sequence[int]) -> FloatArray:
        """Return the vectors of these rows, (n, dim), in order; each block is read once.

        Raises:
            CorruptIndex: a block is missing, or fails its checksum.
        """
        vectors = np.empty((len(rows), self._dim), dtype=np.float32)
        first, block = 0, np.empty((0, self._dim), dtype=np.float32)
        for position in sorted(range(len(rows)), key=rows.__getitem__):
            row = rows[position]
            if not first <= row < first + len(block):
                first, block = self._block_of(row)
            vectors[position] = block[row - first]
        return vectors

    def _block_of(self, row: int) -> tuple[int, FloatArray]:
        found = self._session.connection.execute(
            "SELECT first_row, rows FROM vector_blocks WHERE first_row <= ? "
            "ORDER BY first_row DESC LIMIT 1",
            (row,),
        ).fetchone()
        if found is None or not row < found[0] + found[1]:
            raise self._session.damage(f"the vector of row {row} is lost")
        first, rows = found
        return first, self._read_block(first, rows)

    def _living_blocks(self, first_row: int, end: int) -> list[tuple[int, int]]:
        expected, living = first_row, []
        for first, rows, alive in self._session.connection.execute(
            "SELECT first_row, rows, EXISTS (SELECT 1 FROM passages "
            "WHERE row >= first_row AND row < first_row + rows) "
            "FROM vector_blocks WHERE first_row >= ? AND first_row < ? ORDER BY first_row",
            (first_row, end),
        ):
            if first != expected or rows < 1:
                break
            expected = first + rows
            if alive:
                living.append((first, rows))
        if expected != end:
            raise self._session.damage(f"the vectors of rows {expected} to {end - 1} are lost")
        return living

    def _read_block(self, first: int, rows: int) -> FloatArray:
        checksum, data = self._session.connection.execute(
            "SELECT crc32, data FROM vector_blocks WHERE first_row = ?", (first,)
        ).fetchone()
        if not sound_block(first, rows, checksum, data, dim=self._dim):
            last = first + rows - 1
            raise self._session.damage(f"the vectors of rows {first} to {last} are damaged")
        return np.frombuffer(data, dtype=_VECTOR_TYPE).reshape(rows, self._dim)
