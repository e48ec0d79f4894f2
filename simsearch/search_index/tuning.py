"""`simsearch tune`: is what was promised of an index still so, and what is done where it is not."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from simsearch.ann import (
    Recall,
    SegmentedIndex,
    Target,
    recall_with_interval,
    recalled,
    without_own,
)
from simsearch.search_index.building import BuildReport, Say
from simsearch.search_index.index import SearchIndex
from simsearch.wording import milliseconds

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_ASKED: Final = 1_000  # documents that stand in for queries
_TIMED: Final = 50


@dataclass(frozen=True, slots=True)
class TuneReport:
    """What was measured, and what was built.

    `before` is the recall that was found, `recall` that in the end; both at `k`, with their 95%
    intervals. `queries` says what was asked: `given`, or `documents`, for their neighbours but
    themselves. `latency` is the median of single queries in seconds, `memory` the bytes of all
    segments' indexes. `broken` says of what was found in what it falls short of the target,
    `shortfall` of what is there in the end; empty where it does not.
    """

    path: str
    target: Target
    queries: str
    asked: int
    k: int
    before: Recall
    broken: tuple[str, ...]
    built: tuple[BuildReport, ...]
    recall: Recall
    latency: float
    memory: int
    shortfall: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """Whether the index is now what it has to be."""
        return not self.shortfall


@dataclass(frozen=True, slots=True)
class _Measured:
    recall: Recall
    k: int
    latency: float
    memory: int

    def shortfall(self, target: Target) -> tuple[str, ...]:
        found = []
        if self.recall.value < target.recall:
            recall = self.recall
            found.append(
                f"recall@{self.k} is {recall.value:.4f} ({recall.low:.4f} to {recall.high:.4f}), "
                f"the target {target.recall:g}"
            )
        if target.max_memory is not None and self.memory > target.max_memory:
            found.append(_over(self.memory, target.max_memory))
        if target.max_latency is not None and self.latency > target.max_latency:
            found.append(
                f"a query takes {milliseconds(self.latency)}, the target is "
                f"{milliseconds(target.max_latency)}"
            )
        return tuple(found)


def tune_index(
    index: SearchIndex,
    *,
    queries: Sequence[str] | None = None,
    target: Target | None = None,
    anew: bool = False,
    dry_run: bool = False,
    say: Say = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> TuneReport:
    """Measure an index as it is now, and build one anew where it is not what it has to be.

    Corpora and queries drift: a recall that was measured once may not be that of today. `target`
    is what the index has to be from now on, by default what it had to be. `anew` builds in any
    case, `dry_run` in none. Segments that are missing or damaged are built anew, too.

    Raises:
        InvalidInput: there are fewer than 20 queries.
        IndexLocked: another process is building.
    """
    vectors = None if queries is None else index.encoded_queries(queries)
    wanted = index.target if target is None else target
    before = found = _measured(index, vectors, wanted, clock)
    broken = before.shortfall(wanted)
    built: list[BuildReport] = []
    if not dry_run:
        if wanted != index.target:
            index.set_target(wanted)
        say("looking for segments that are worth building")
        built = index.optimize(queries=queries, say=say, anew=anew)
        if built:
            found = _measured(index, vectors, wanted, clock)
        if found.shortfall(wanted) and not anew and len(index):
            say("; ".join(found.shortfall(wanted)))
            built += index.optimize(queries=queries, say=say, anew=True)
            found = _measured(index, vectors, wanted, clock)
    return TuneReport(
        path=str(index.path),
        target=wanted,
        queries="documents" if queries is None else "given",
        asked=min(_ASKED, len(index)) if vectors is None else len(vectors),
        k=found.k,
        before=before.recall,
        broken=broken,
        built=tuple(built),
        recall=found.recall,
        latency=found.latency,
        memory=found.memory,
        shortfall=found.shortfall(wanted),
    )


def _measured(
    index: SearchIndex,
    queries: FloatArray | None,
    target: Target,
    clock: Callable[[], float],
) -> _Measured:
    with index.live_rows() as (rows, store):
        own = np.empty(0, dtype=np.int64)
        if queries is None:
            own = _some(store.passages.living_rows(0, store.settings.number("next_row")))
            queries = np.empty((len(own), index.dim), dtype=np.float32)
            store.read_vectors(own, queries)
        recall, k = _recall(rows, queries, own, target.k)
        latency = _latency(rows, queries, target.k, clock)
        return _Measured(recall, k, latency, _memory(rows))


def over_memory(index: SearchIndex) -> str | None:
    """Return by what the index is over the memory that it may take, None if it is not.

    Rows that no segment holds are read for that, where there is such a limit.
    """
    limit = index.target.max_memory
    if limit is None:
        return None
    with index.live_rows() as (rows, _):
        memory = _memory(rows)
    return _over(memory, limit) if memory > limit else None


def _over(memory: int, limit: int) -> str:
    return f"it takes {memory:,} bytes, the target is {limit:,}"


def _some(rows: IntArray) -> IntArray:
    """Return rows to ask, ascending: other ones whenever there are others."""
    if len(rows) <= _ASKED:
        return rows
    rng = np.random.default_rng(int(rows[-1]))
    return np.sort(rng.choice(rows, _ASKED, replace=False))


def _recall(rows: SegmentedIndex, queries: FloatArray, own: IntArray, k: int) -> tuple[Recall, int]:
    """Return the recall and its depth; a document is asked for one less, as it finds itself."""
    if rows.exact or not len(queries):
        return Recall(1.0, 1.0, 1.0), k
    exact, found = (rows.search(queries, k, exact=each) for each in (True, False))
    if len(own):
        exact, found = without_own(*exact, own), without_own(*found, own)
    depth = max(1, exact[1].shape[1])
    return recall_with_interval(recalled(found[1], exact[1]), depth), depth


def _latency(
    rows: SegmentedIndex, queries: FloatArray, k: int, clock: Callable[[], float]
) -> float:
    times = []
    for query in queries[:_TIMED]:
        before = clock()
        rows.search(query[None], k)
        times.append(clock() - before)
    return statistics.median(times) if times else 0.0


def _memory(rows: SegmentedIndex) -> int:
    """Return the bytes of what searches go through: indexes, and vectors without one."""
    return sum(segment.memory() for segment in rows.segments) + 4 * rows.rest.dim * len(rows.rest)
