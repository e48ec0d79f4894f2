"""The passages of documents: a row each, under the number of its vector."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from simsearch.failpoints import failpoint
from simsearch.storage.checksums import passage_crc32, sound_passage
from simsearch.storage.database import chunks, marks
from simsearch.storage.rows import PassageRows, StoredPassage
from simsearch.storage.session import Session

IntArray = npt.NDArray[np.int64]


class Passages:
    """The passages of one open store. A row *lives* as long as its passage is there."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, first_row: int, numbers: Iterable[int], rows: PassageRows) -> None:
        """Write the passages of documents with these numbers, from a row on; in a transaction."""
        places: Iterator[tuple[int, int, int]] = (
            (number, start, stop)
            for number, ranges in zip(numbers, rows.ranges, strict=False)
            for start, stop in ranges
        )
        hashes = itertools.repeat(None) if rows.hashes is None else rows.hashes
        passages = (
            (row, *place, hashed)
            for row, place, hashed in zip(itertools.count(first_row), places, hashes, strict=False)
        )
        failpoint("insert.passages")
        self._session.connection.executemany(
            "INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?)",
            ((*row, passage_crc32(*row)) for row in passages),
        )

    def count(self) -> int:
        """Return the number of passages, which is that of living vector rows."""
        with self._session.snapshot():
            (count,) = self._session.connection.execute("SELECT count(*) FROM passages").fetchone()
            return int(count)

    def living_rows(self, first_row: int, end_row: int) -> IntArray:
        """Return the rows (n,) of this range that live, ascending."""
        with self._session.snapshot():
            found = self._session.connection.execute(
                "SELECT row FROM passages WHERE row >= ? AND row < ? ORDER BY row",
                (first_row, end_row),
            )
            return np.fromiter((row for (row,) in found), dtype=np.int64)

    def count_living(self, first_row: int, end_row: int) -> int:
        """Return how many rows of this range live."""
        with self._session.snapshot():
            (count,) = self._session.connection.execute(
                "SELECT count(*) FROM passages WHERE row >= ? AND row < ?", (first_row, end_row)
            ).fetchone()
            return int(count)

    def at(self, rows: Sequence[int]) -> dict[int, StoredPassage]:
        """Return the passages that these rows are the vectors of.

        Raises:
            CorruptIndex: one is not there.
        """
        with self._session.snapshot():
            found = {
                row: StoredPassage(document, start, stop)
                for row, document, start, stop, _ in self._read(rows)
            }
        for row in rows:
            if row not in found:
                raise self._session.damage(f"row {row} has a vector but no document")
        return found

    def rows_of_texts(self, hashes: Sequence[bytes]) -> dict[bytes, int]:
        """Return a row of each text with one of these hashes that was encoded before.

        Only of passages that are in the store now; other texts are absent.
        """
        rows: dict[bytes, int] = {}
        with self._session.snapshot():
            for chunk in chunks(hashes):
                rows.update(
                    self._session.connection.execute(
                        "SELECT text_hash, max(row) FROM passages "
                        f"WHERE text_hash IN ({marks(chunk)}) GROUP BY text_hash",
                        chunk,
                    )
                )
            # A damaged index of SQLite's must not lead to another text's vector.
            there = {row: hashed for row, *_, hashed in self._read(list(rows.values()))}
            for hashed, row in rows.items():
                if there.get(row) != hashed:
                    raise self._session.damage(f"the passage of row {row} is found by a wrong text")
        return rows

    def _read(self, rows: Sequence[int]) -> Iterator[tuple[int, int, int, int, bytes]]:
        for chunk in chunks(rows):
            for row in self._session.connection.execute(
                f"SELECT * FROM passages WHERE row IN ({marks(chunk)})", chunk
            ):
                if not sound_passage(row):
                    raise self._session.damage(f"the passage of row {row[0]} is damaged")
                yield row[:-1]
