"""`simsearch compact`: the room of deleted documents given back, and their bytes gone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from simsearch.failpoints import failpoint
from simsearch.files import (
    directory_bytes,
    draft_directory,
    install_directory,
    occupied,
    remove_directory,
)
from simsearch.search_index.building import build_again
from simsearch.search_index.bulk import discard_build
from simsearch.search_index.checks import unfinished
from simsearch.search_index.directory import check_format, replacing_place
from simsearch.search_index.generations import (
    building_place,
    number_of,
    previous_place,
    read_constants,
    settled,
)
from simsearch.search_index.rewriting import carry_over, rewrite_store
from simsearch.storage import Inspection


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What a compaction did: rows that are gone, and the size of the directory.

    `removed_generation` is the number of the generation before, None where there was none.
    """

    path: str
    removed_rows: int
    bytes_before: int
    bytes_after: int
    removed_generation: int | None


def compact_index(path: str | os.PathLike[str], *, purge: bool = False) -> CompactReport:
    """Write an index anew without what was deleted or replaced, if there is any.

    Searches go on meanwhile; open handles follow the new files. Cut short at any moment, it
    leaves the index as it was or compacted. Until it is done it takes the room of both.
    The generation before is deleted; there is no rollback afterwards.
    `purge` writes in any case, and deletes `quarantine/` and a generation or a replacement whose
    building was cut short, which may hold what was deleted: no byte of a deleted text or vector
    stays there, nor of a judgement that was taken back, or whose document was deleted or has
    another text now.

    Raises:
        NotFound, IncompatibleIndex: there is no index at `path`, or one of another format.
        InvalidInput: it is unfinished.
        IndexLocked: somebody is writing to it; or, with `purge`, building what is to follow it.
        CorruptIndex: it is damaged.
    """
    path = Path(path).resolve()
    check_format(path)
    if purge:
        for place in (building_place(path), replacing_place(path)):
            discard_build(place, unless=lambda: False)
    with settled(path), Inspection(path) as inspection:
        check_format(path)  # again: it may have been replaced while the lock was waited for
        if inspection.finished != "yes":
            raise unfinished(path)
        inspection.refuse_damage(path)
        before = directory_bytes(path)
        dead = inspection.variables["next_row"] - inspection.variables["living_rows"]
        generation = _previous_number(path)
        if not dead and not purge:
            if generation is not None:
                inspection.read_all(path)  # before what it could be mended from is deleted
                failpoint("compact.forget")
                remove_directory(previous_place(path))
            return CompactReport(str(path), 0, before, directory_bytes(path), generation)
        with draft_directory(path) as draft:
            inspection.read_blocks()
            rewrite_store(inspection, draft, settings={}, renew=None, purge=purge)
            inspection.refuse_damage(path)
            created_by = inspection.constants["created_by"]
            kept = ("encoder",) if purge else ("encoder", "quarantine")
            carry_over(path, draft, created_by=created_by, names=kept)
            failpoint("rewrite.install")
            install_directory(draft, path, replace=True)
    build_again(path)
    return CompactReport(str(path), dead, before, directory_bytes(path), generation)


def _previous_number(path: Path) -> int | None:
    place = previous_place(path)
    if not occupied(place):
        return None
    return number_of(read_constants(place) or {"generation": "0"})  # one that cannot be read
