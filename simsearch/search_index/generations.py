"""The generations of an index: which one answers, where the others lie, and how they change places.

    INDEX            the one that answers
    INDEX/previous   the one before, kept whole for `rollback`
    .INDEX.reindex   one that is being built, with a higher number
    .INDEX.previous  the one before, for the moment of a rollback

A generation is an index directory of its own, with its own copy of its encoder. The generations of
an index share `index_id`, and are numbered. Two names are exchanged in one step; what is left to
tidy up by a process that was killed around it follows from the numbers (`settle`).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from simsearch.errors import SimsearchError
from simsearch.failpoints import failpoint
from simsearch.files import (
    exchange,
    occupied,
    remove_directory,
    sync_directory,
    sync_tree,
    translated_os_errors,
)
from simsearch.search_index.directory import check_format
from simsearch.search_index.reports import GenerationInfo
from simsearch.storage import DocumentStore, refuse_read_only, writer_lock

logger = logging.getLogger("simsearch")

PREVIOUS = "previous"


def previous_place(path: Path) -> Path:
    """Return where the generation before the one that answers is kept."""
    return path / PREVIOUS


def building_place(path: Path) -> Path:
    """Return where the next generation is built."""
    return path.with_name(f".{path.name}.reindex")


def moved_place(path: Path) -> Path:
    """Return where the generation before lies while a rollback exchanges it."""
    return path.with_name(f".{path.name}.previous")


def number_of(constants: Mapping[str, str]) -> int:
    """Return the number of a generation; the first one does not name it."""
    return int(constants.get("generation", "1"))


def same_index(first: Mapping[str, str], second: Mapping[str, str]) -> bool:
    """Whether two generations are of one index."""
    return first.get("index_id", "") == second.get("index_id")


def lineage_after(constants: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that make an index the next generation of another one."""
    return {
        "index_id": constants["index_id"],
        "generation": str(number_of(constants) + 1),
    }


def read_constants(place: Path) -> Mapping[str, str] | None:
    """Return the settings of the index at `place`, None where there is none that can be read."""
    try:
        check_format(place)
        store = DocumentStore.open(place)
    except SimsearchError:
        return None
    with contextlib.closing(store):
        return store.settings.constants


def generation_info(place: Path) -> GenerationInfo | None:
    """Return what the generation at `place` is; None, with a warning, if it cannot be read."""
    if not occupied(place):
        return None
    try:
        check_format(place)
        with contextlib.closing(DocumentStore.open(place)) as store:
            return GenerationInfo(
                generation=number_of(store.settings.constants),
                encoder=store.settings.constants["encoder"],
                fingerprint=store.settings.constants["fingerprint"],
                dim=store.dim,
                documents=store.count(),
                path=str(place),
            )
    except SimsearchError as error:
        logger.warning("the generation in %s cannot be read: %s", place, error)
        return None


def other_generations(
    path: Path, number: int
) -> tuple[GenerationInfo | None, GenerationInfo | None]:
    """Return the generation before `number`, which answers, and the one that is being built."""
    places = (previous_place(path), building_place(path), moved_place(path))
    kept, built, moved = (generation_info(place) for place in places)
    before = (
        each
        for place, each in zip(places, (kept, built, moved), strict=True)
        if each and each.generation < number and _is_finished(place)
    )
    return next(before, None), built if built and built.generation > number else None


@contextlib.contextmanager
def settled(path: Path) -> Iterator[None]:
    """Hold the writer lock of an index of which no generation is between two places.

    Raises:
        IndexLocked: somebody is writing to it.
        InvalidInput, SystemFailure: it cannot be written to.
    """
    refuse_read_only(path)
    with writer_lock(path / "LOCK"):
        with translated_os_errors(path):
            _settle(path)
        yield


def _settle(path: Path) -> None:
    """Finish what a switch or a rollback that was killed has left to tidy up."""
    live = read_constants(path)
    for place in (building_place(path), moved_place(path)):
        found = read_constants(place) if live is not None and occupied(place) else None
        if live is None or found is None or not same_index(found, live):
            continue
        if number_of(found) < number_of(live):
            # One that never answered is a build, which a restored backup has overtaken.
            if not occupied(previous_place(path)) and _is_finished(place):
                _keep_as_previous(place, path)
        elif place == moved_place(path):
            remove_directory(place)


def _is_finished(place: Path) -> bool:
    with contextlib.closing(DocumentStore.open(place)) as store:
        return store.settings.find("finished") == "yes"


def switch_to_built(path: Path) -> None:
    """Let the generation that was built answer; the one that answered becomes the previous one.

    The caller holds the writer lock of the index, here and below. Handles follow.
    """
    place = building_place(path)
    with translated_os_errors(path), writer_lock(place / "LOCK"):
        _exchange(place, path)
        _keep_as_previous(place, path)


def switch_to_previous(path: Path) -> None:
    """Let the generation before answer, and delete the one that answered.

    Handles follow.
    """
    place = moved_place(path)
    with translated_os_errors(path), writer_lock(previous_place(path) / "LOCK"):
        failpoint("generation.move")
        previous_place(path).rename(place)
        _exchange(place, path)
        failpoint("generation.remove")
        remove_directory(place)


def _exchange(place: Path, path: Path) -> None:
    failpoint("generation.sync")
    sync_tree(place)
    failpoint("generation.exchange")
    exchange(place, path)
    failpoint("generation.sync-parent")
    sync_directory(path.parent)


def _keep_as_previous(place: Path, path: Path) -> None:
    if occupied(previous_place(place)):  # one step back is kept, not two
        failpoint("generation.forget")
        remove_directory(previous_place(place))
    failpoint("generation.keep")
    place.rename(previous_place(path))
    sync_directory(path)
    sync_directory(path.parent)
