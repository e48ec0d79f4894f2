"""What a reindex has before it, and about how long it will take."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from simsearch.records import Document, whole_passage
from simsearch.search_index.binding import TextEncoder, space_of
from simsearch.search_index.generations import (
    building_place,
    generation_info,
    lineage_after,
    number_of,
)
from simsearch.search_index.passages import LongTexts
from simsearch.search_index.reindex import is_build_of, opened, wanted_space
from simsearch.storage import DocumentStore

# So many documents are encoded for the estimate: four at each of 32 places of the index.
_PLACES, _EACH = 32, 4
_WARMING = 8  # documents encoded before, so that what is loaded by then is not counted


@dataclass(frozen=True, slots=True)
class ReindexPlan:
    """What a reindex would do.

    `needed` is false where the index is by this encoder and of this dim already. `built` of the
    `documents` are in a build that was cut short; `supplied` of them have vectors that were
    supplied. `seconds` is about what encoding the others takes, measured on some of them.
    """

    path: str
    needed: bool
    generation: int
    encoder: str
    dim: int
    documents: int
    built: int
    supplied: int
    seconds: float


def plan_reindex(
    path: str | os.PathLike[str],
    *,
    encoder: TextEncoder,
    dim: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> ReindexPlan:
    """Look at an index and time the encoder on up to 128 of its documents; change nothing.

    Raises:
        NotFound, IncompatibleIndex: there is no index at `path`, or one of another format.
        InvalidInput: it is unfinished, or `dim` is not 2 to the encoder's.
        CorruptIndex: it is damaged.
    """
    path = Path(path).resolve()
    with opened(path) as live:
        space = wanted_space(path, space_of(live.settings.constants), encoder, dim)
        lineage = lineage_after(live.settings.constants)
        documents, built = live.count(), 0
        long_texts = live.settings.constants["long_texts"]
        settings = {**lineage, "long_texts": long_texts}
        begun = building_place(path)
        if is_build_of(begun, settings, space) and (found := generation_info(begun)) is not None:
            built = min(found.documents, documents)
        needed = space != space_of(live.settings.constants)
        each = 0.0
        if needed and built < documents:
            each = _seconds_each(_sample(live), encoder, long_texts, clock)
        return ReindexPlan(
            path=str(path),
            needed=needed,
            generation=number_of(lineage if needed else live.settings.constants),
            encoder=encoder.name,
            dim=space.dim,
            documents=documents,
            built=built,
            supplied=len(live.supplied_ids()),
            seconds=each * (documents - built),
        )


def _sample(live: DocumentStore) -> list[Document]:
    end = live.settings.number("next_row")
    step = max(1, end // _PLACES)
    return [
        document
        for row in range(0, end, step)
        for document in live.documents_between(row, row + min(step, _EACH))
    ]


def _seconds_each(
    documents: list[Document], encoder: TextEncoder, long_texts: str, clock: Callable[[], float]
) -> float:
    """Return what encoding one of the documents takes."""
    if not documents:
        return 0.0
    _encode(documents[:_WARMING], encoder, long_texts)
    start = clock()
    _encode(documents, encoder, long_texts)
    return (clock() - start) / len(documents)


def _encode(documents: list[Document], encoder: TextEncoder, long_texts: str) -> None:
    split = [[whole_passage(document)] for document in documents]
    if long_texts == LongTexts.PASSAGES:
        split = encoder.split_documents(documents)
    encoder.encode_documents([passage.content for passages in split for passage in passages])
