"""Segments built of an index's rows, as growth.py finds them worth it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simsearch.ann import (
    BuiltIndex,
    FilterPlan,
    IndexRecord,
    Target,
    TargetMissed,
    append_index,
    map_segment,
    plan_filters,
    plan_index,
    write_vectors,
)
from simsearch.errors import SimsearchError
from simsearch.search_index.growth import Build, Stretch, next_build
from simsearch.search_index.live_rows import ListedSegment, listed_segments
from simsearch.search_index.segment_record import (
    SegmentRecord,
    plan_facts,
    target_from_text,
)
from simsearch.storage import DocumentStore, Segment, SegmentOvertaken, with_checksum

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Say = Callable[[str], None]

logger = logging.getLogger("simsearch")

_PORTION: Final = 16_384  # rows that are copied in one snapshot
# With limits on memory or time it has to be measured whether comparing all rows keeps to them.
_PLANNED_FROM: Final = 5_000
_ATTEMPTS: Final = 3
CHOSEN_BY: Final = "index_chosen_by"  # the setting that says so, where queries were given


@dataclass(frozen=True, slots=True)
class BuildReport:
    """A segment that was built: how many rows, of what kind, how long it took.

    `index` is FAISS's name of it, "Flat" where every row is compared. `shortcoming` says why no
    index met the target, None if one did or none was looked for.
    """

    rows: int
    index: str
    bytes: int
    seconds: float
    merged: int
    shortcoming: str | None


def build_segments(
    store: DocumentStore,
    *,
    target: Target,
    queries: FloatArray | None = None,
    anew: bool = False,
    say: Say = logger.debug,
) -> list[BuildReport]:
    """Build every segment that is worth it; `anew`, one of all rows instead of those there are.

    Searches and writes go on meanwhile; a search uses a segment from the commit that lists it.
    `queries` (m, dim) are real ones, by which indexes are chosen.

    Raises:
        IndexLocked: another process is building.
        SystemFailure: the disk refuses; what was there is as it was.
    """
    reports: list[BuildReport] = []
    listed: list[ListedSegment] = []
    with store.segments.building():
        overtaken = 0
        while overtaken < _ATTEMPTS:
            with store.snapshot():
                listed = listed_segments(store)
                stretches = stretches_of(store, listed)
            build = (
                _of_all(stretches)
                if anew
                else next_build(stretches, exact_below=_exact_below(target))
            )
            if build is None:
                break
            try:
                reports.append(_build(store, build, listed, target, queries, say))
            except SegmentOvertaken:  # the index was compacted or repaired meanwhile
                overtaken += 1
            else:
                anew = False
        _remember_queries(store, reports, given=queries is not None)
        useless = [each.segment for each in listed if each.segment.fault is not None]
        if useless:
            store.segments.forget(useless)
    return reports


def _remember_queries(store: DocumentStore, reports: Sequence[BuildReport], *, given: bool) -> None:
    """Keep that an index was chosen by real queries, and warn when the next one is not."""
    if not any(each.index != "Flat" for each in reports):
        return
    before = store.settings.find(CHOSEN_BY)
    if given and before is None:
        with store.transaction(durable=True):
            store.settings.write(CHOSEN_BY, with_checksum({"queries": "given"}))
    elif not given and before is not None:
        logger.warning(
            "an index was chosen by queries that were given, and is chosen by documents now: of "
            "such queries its recall may be another (run `simsearch tune INDEX_DIR --queries FILE`)"
        )


def build_again(path: Path) -> int:
    """Build what an index that was written anew, or lost segments, is worth; return how many.

    What fails is a warning: the index is sound without.
    """
    try:
        store = DocumentStore.open(path)
        try:
            text = store.settings.find("target")
            target = Target() if text is None else target_from_text(text)
            return len(build_segments(store, target=target))
        finally:
            store.close()
    except (SimsearchError, OSError) as error:
        logger.warning("%s is searched exactly until `simsearch tune` is run: %s", path, error)
        return 0


def stretches_of(store: DocumentStore, listed: Sequence[ListedSegment]) -> list[Stretch]:
    """Return the rows of a store as growth.py looks at them. Call it inside a snapshot."""
    stretches: list[Stretch] = []
    row, end = 0, store.settings.number("next_row")
    for each in listed:
        segment, record = each.segment, each.record
        if record is None:
            continue
        if segment.first_row > row:
            stretches.append(_loose(store, row, segment.first_row))
        row = segment.end_row
        living = store.passages.count_living(segment.first_row, row)
        indexed = record.plan is not None  # also where what was looked for was not found
        dead = record.rows - living
        stretches.append(Stretch(segment.first_row, row, living, indexed=indexed, dead=dead))
    if end > row:
        stretches.append(_loose(store, row, end))
    return stretches


def _loose(store: DocumentStore, first_row: int, end_row: int) -> Stretch:
    return Stretch(first_row, end_row, store.passages.count_living(first_row, end_row), loose=True)


def _of_all(stretches: Sequence[Stretch]) -> Build | None:
    living = sum(each.living for each in stretches)
    if not living:
        return None
    # Of a single row there is nothing to choose by: every query would be that row.
    indexed = living > 1
    return Build(stretches[0].first_row, stretches[-1].end_row, living, indexed=indexed)


def _exact_below(target: Target) -> int:
    limited = target.max_memory is not None or target.max_latency is not None
    return min(target.exact_below, _PLANNED_FROM) if limited else target.exact_below


def _build(
    store: DocumentStore,
    build: Build,
    listed: Sequence[ListedSegment],
    target: Target,
    queries: FloatArray | None,
    say: Say,
) -> BuildReport:
    started = time.monotonic()
    with store.snapshot():
        identity = store.identity
        rows = store.passages.living_rows(build.first_row, build.end_row)
        source = store.segments.source(build.first_row, build.end_row)
        commit_number = store.settings.number("commit_number")
        share = len(rows) / max(1, store.passages.count())
    if not len(rows):
        raise SegmentOvertaken
    with store.segments.draft() as draft:
        write_vectors(rows, _portions(store, rows, identity), draft.write)
        draft.flush()
        record = SegmentRecord(rows=len(rows), dim=store.dim, commit_number=commit_number)
        if build.indexed:
            file = map_segment(draft.path, rows=len(rows), dim=store.dim, record=None)
            say(f"choosing an index for {len(rows):,} vectors by measuring")
            index, record = _chosen(record, file.vectors, _shared(target, share), queries)
            if index is not None:
                append_index(index, draft.write)
        overlapping = _overlapping(build, listed)
        segment = store.segments.install(
            draft,
            rows=(build.first_row, build.end_row),
            source=source,
            description=record.to_text(),
            retires=overlapping,
        )
    return BuildReport(
        rows=len(rows),
        index="Flat" if record.index is None else record.index.factory,
        bytes=segment.size,
        seconds=time.monotonic() - started,
        merged=len(overlapping),
        shortcoming=None if record.plan is None else record.plan.get("shortcoming"),
    )


def _overlapping(build: Build, listed: Sequence[ListedSegment]) -> list[Segment]:
    return [
        each.segment
        for each in listed
        if each.segment.first_row < build.end_row and each.segment.end_row > build.first_row
    ]


def _portions(
    store: DocumentStore, rows: IntArray, identity: tuple[int, ...] | None
) -> Iterator[FloatArray]:
    """Yield the vectors of rows, a portion at a time; between them, others may use the store."""
    for start in range(0, len(rows), _PORTION):
        chosen = rows[start : start + _PORTION]
        vectors = np.empty((len(chosen), store.dim), dtype=np.float32)
        with store.snapshot():
            if store.identity != identity:  # row numbers are others now
                raise SegmentOvertaken
            store.read_vectors(chosen, vectors)
        yield vectors


def _shared(target: Target, share: float) -> Target:
    """Return what a segment with such a share of all rows has to be."""
    if target.max_memory is None:
        return target
    return replace(target, max_memory=max(1, int(target.max_memory * share)))


def _chosen(
    record: SegmentRecord, vectors: FloatArray, target: Target, queries: FloatArray | None
) -> tuple[BuiltIndex | None, SegmentRecord]:
    """Return the index that wins, None where every row is to be compared, and the record.

    If none keeps to the limits it is the smallest that reaches the recall.
    """
    shortcoming = None
    try:
        index, plan = plan_index(vectors, queries=queries, target=target)
    except TargetMissed as error:
        shortcoming = str(error)
        # To compare every row would be farther from the limits than the smallest that finds enough.
        limitless = replace(target, max_memory=None, max_latency=None, exact_below=0)
        try:
            index, plan = plan_index(vectors, queries=queries, target=limitless)
        except TargetMissed:
            return None, replace(record, plan={"shortcoming": shortcoming})
    facts: dict[str, Any] = {"shortcoming": shortcoming, **plan_facts(plan)}
    if index.exact:
        return None, replace(record, plan=facts)
    filters: FilterPlan = plan_filters(index, vectors, queries=queries, target=target)
    index_record = IndexRecord.of(index)
    return index, replace(record, index=index_record, filters=filters, plan=facts)
