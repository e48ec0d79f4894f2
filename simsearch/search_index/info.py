"""What an index says of itself."""

from __future__ import annotations

from simsearch.files import directory_bytes
from simsearch.search_index.binding import own_precision
from simsearch.search_index.generations import number_of, other_generations
from simsearch.search_index.handle import IndexHandle
from simsearch.search_index.live_rows import ListedSegment, listed_segments
from simsearch.search_index.probability import stored_calibration
from simsearch.search_index.reports import CalibrationInfo, IndexInfo, SearchInfo, SegmentInfo
from simsearch.search_index.reranking import rerank_choice
from simsearch.search_index.search_mode import mode_choice
from simsearch.storage import FORMAT_VERSION, DocumentStore


def index_info(index: IndexHandle, store: DocumentStore) -> IndexInfo:
    """Return what an index is and holds. Call it inside a snapshot of its store."""
    setting = store.settings.read
    passages = store.passages.count()
    generation = number_of(store.settings.constants)
    previous, building = other_generations(index.path, generation)
    choice = mode_choice(store)
    kept = rerank_choice(store)
    rerank = kept.for_search(choice.mode)
    return IndexInfo(
        path=str(index.path),
        format=FORMAT_VERSION,
        finished=index.finished,
        documents=store.count(),
        passages=passages,
        dead_rows=store.settings.number("next_row") - passages,
        long_texts=index.long_texts,
        dim=store.dim,
        encoder=setting("encoder"),
        precision=own_precision(index.path),
        fingerprint=setting("fingerprint"),
        commit_number=store.settings.number("commit_number"),
        created_by=setting("created_by"),
        bytes_on_disk=directory_bytes(index.path),
        target=index.target,
        search=search_info(store),
        generation=generation,
        previous=previous,
        building=building,
        mode=choice.mode,
        mode_reason=choice.reason,
        rerank=str(rerank.by),
        rerank_top=rerank.top,
        rerank_reason=rerank.reason,
        calibration=_calibration_info(store),
        judgements=store.judgements.count(),
    )


def _calibration_info(store: DocumentStore) -> CalibrationInfo | None:
    found = stored_calibration(store)
    if found is None:
        return None
    return CalibrationInfo(
        method=str(found.curve.method),
        measured_on=found.measured_on,
        candidates=found.candidates,
        units=found.units,
        scored=found.scored,
        matches=found.matches,
        expected_calibration_error=found.error,
    )


def search_info(store: DocumentStore) -> SearchInfo:
    """Return how the rows of a store are searched. Call it inside a snapshot."""
    listed = listed_segments(store)
    segments = tuple(_segment_info(store, each) for each in listed)
    used = [each for each in segments if each.fault is None]
    in_segments = sum(each.rows - each.dead_rows for each in used)
    in_memory = store.passages.count() - in_segments
    indexed = [each for each in used if each.index != "Flat"]
    compared = in_memory + in_segments - sum(each.rows - each.dead_rows for each in indexed)
    measured = [each.plan["chosen"]["recall"] for each in indexed if each.plan is not None]
    least = min(measured, key=lambda recall: float(recall["value"]), default=_CERTAIN)
    return SearchInfo(
        compared_rows=compared,
        rows_in_memory=in_memory,
        recall=least["value"],
        recall_low=least["low"],
        recall_high=least["high"],
        segments=segments,
    )


_CERTAIN = {"value": 1.0, "low": 1.0, "high": 1.0}


def _segment_info(store: DocumentStore, listed: ListedSegment) -> SegmentInfo:
    segment, record = listed.segment, listed.record
    if record is None:
        return SegmentInfo(0, 0, segment.size, "Flat", segment.fault, None)
    living = store.passages.count_living(segment.first_row, segment.end_row)
    return SegmentInfo(
        rows=record.rows,
        dead_rows=record.rows - living,
        bytes=segment.size,
        index="Flat" if record.index is None else record.index.factory,
        fault=None,
        plan=record.plan,
    )
