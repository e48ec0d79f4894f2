"""`simsearch reindex` and `rollback`: the documents of an index under another encoder, and back.

Searches and writes go on while a generation is built. Documents are brought into it in the order
of their rows, so what is written meanwhile comes last; what is left then, and what was deleted, is
brought over under the writer lock, before the two change places.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from simsearch.encoder import EncodingCounts
from simsearch.errors import CorruptIndex, InvalidData, InvalidInput, NotFound
from simsearch.failpoints import failpoint
from simsearch.files import occupied
from simsearch.records import Document
from simsearch.search_index.binding import TextEncoder, VectorSpace, own_dim, space_of
from simsearch.search_index.building import CHOSEN_BY, build_again
from simsearch.search_index.bulk import (
    BATCH,
    BUILD,
    discard_build,
    document_batches,
    open_build,
)
from simsearch.search_index.checks import check_dim, unfinished
from simsearch.search_index.directory import check_format
from simsearch.search_index.generations import (
    building_place,
    lineage_after,
    number_of,
    previous_place,
    read_constants,
    same_index,
    settled,
    switch_to_built,
    switch_to_previous,
)
from simsearch.search_index.index import SearchIndex
from simsearch.search_index.passages import LongTexts
from simsearch.search_index.reports import WriteReport
from simsearch.storage import DocumentStore, Durability

Progress = Callable[[int, int], None]  # rows that are done, and all


class Follower:
    """Brings what an index holds, and what is written to it meanwhile, into a generation of it.

    `target` is that generation, `report` says what was written to it.
    """

    def __init__(
        self,
        live: DocumentStore,
        target: SearchIndex,
        *,
        encode_supplied: bool,
        progress: Progress | None = None,
        counts: EncodingCounts | None = None,
    ) -> None:
        self.target = target
        self.report = WriteReport()
        self._live = live
        self._encode_supplied = encode_supplied
        self._progress = progress
        self._counts = counts
        self._checksums: dict[int, int] = {}  # of what was brought over, by row
        self._row = 0  # all documents before it were brought over
        self._identity = live.identity  # of the database whose row numbers that is one of

    def follow(self) -> None:
        """Bring documents over until no more than a batch is left, or a writer is as quick.

        Raises:
            InvalidData: vectors of documents were supplied, and their texts are not to be encoded.
        """
        left = float("inf")
        while BATCH < (rows := self._lap()) < left:
            left = rows

    def build(self) -> None:
        """Build what the rows that were brought over are worth, as it is asked of the index now."""
        with (
            contextlib.closing(DocumentStore.open(self.target.path)) as store,
            store.transaction(durable=True),
        ):
            _bring_asked(self._live, store)
        build_again(self.target.path)

    def finish(self) -> None:
        """Bring the rest over, delete what is not in the index any more, and close the target.

        Judgements are of texts, whatever encodes them: they become those of the index, and so does
        what is asked of its segments.

        The caller holds the writer lock of the index. The commit number goes on from the higher
        of the two.
        """
        self._lap()
        self._bring_what_changed()
        with self._live.snapshot():
            wanted = self._live.ids()
            judgements = self._live.judgements.read()
            number = self._live.settings.number("commit_number")
        self.target.close()
        with (
            contextlib.closing(DocumentStore.open(self.target.path)) as store,
            store.transaction(durable=True),
        ):
            failpoint("generation.finish")
            store.remove(store.ids() - wanted)
            if store.ids() != wanted:
                raise CorruptIndex(
                    f"{self.target.path} has {store.count()} of {len(wanted)} documents (delete it)"
                )
            store.judgements.replace_all(judgements)
            _bring_asked(self._live, store)
            number = max(number, store.settings.number("commit_number"))
            store.settings.write("commit_number", str(number))  # which this commit raises by one
            store.settings.write("finished", "yes")

    def _lap(self) -> int:
        """Bring over all that the index holds when this begins; return how many rows it went."""
        passed, end = 0, None
        while True:
            with self._live.snapshot():
                if self._identity != self._live.identity:  # rewritten: rows have other numbers
                    self._identity, self._row, end = self._live.identity, 0, None
                    self._checksums.clear()
                if end is None:
                    end = self._live.settings.number("next_row")
                upto = min(self._row + BATCH, end)
                documents = self._live.documents_between(self._row, upto)
                supplied = self._live.supplied_ids(self._row, upto)
                self._checksums |= self._live.checksums_between(self._row, upto)
            if self._row >= end:
                return passed
            if supplied and not self._encode_supplied:
                raise InvalidData(supplied_message(supplied))
            self._bring(documents)
            passed += upto - self._row
            self._row = upto
            if self._progress is not None:
                self._progress(self._row, end)

    def _bring(self, documents: Iterable[Document]) -> None:
        for batch in document_batches(documents):
            failpoint("generation.batch")
            # The same text keeps the vector that it has there, which may have been supplied.
            self.report += self.target.upsert(batch, counts=self._counts)

    def _bring_what_changed(self) -> None:
        """Bring over documents that got other metadata in their place after they were read."""
        now = self._live.checksums_between(0, self._row)
        changed = [row for row, checksum in now.items() if self._checksums[row] != checksum]
        self._bring(
            document for row in changed for document in self._live.documents_between(row, row + 1)
        )


def _bring_asked(live: DocumentStore, store: DocumentStore) -> None:
    """Ask of the segments of a generation what is asked of those of the index; in a transaction."""
    for key in ("target", CHOSEN_BY):
        value = live.settings.find(key)
        if value is not None:
            store.settings.write(key, value)


def supplied_message(ids: list[str]) -> str:
    """Return why documents with supplied vectors stop a change of the encoder, and the ways out."""
    others = f" and {len(ids) - 1:,} more documents" if len(ids) > 1 else ""
    return (
        f"the vector of document {ids[0]!r}{others} was supplied, and no other encoder can make it "
        "(--encode-supplied encodes the text instead; or delete what has a supplied vector, and "
        "add it later with vectors of the other encoder)"
    )


def wanted_space(
    path: Path, constants: VectorSpace, encoder: TextEncoder, dim: int | None
) -> VectorSpace:
    """Return the space of the next generation.

    Without `dim`, an index that keeps fewer components than its encoder has keeps as many of the
    new one, if it has as many; any other keeps all.

    Raises:
        InvalidInput: `dim` is not 2 to the encoder's.
    """
    if dim is None:
        full = own_dim(path)
        cut = full is not None and constants.dim < full
        dim = min(constants.dim, encoder.dim) if cut else encoder.dim
    check_dim(dim, encoder.dim)
    return VectorSpace(encoder.fingerprint, dim)


@contextlib.contextmanager
def build_generation(
    path: str | os.PathLike[str],
    *,
    encoder: TextEncoder,
    dim: int | None = None,
    encode_supplied: bool = False,
    switch: bool = True,
    progress: Progress | None = None,
    counts: EncodingCounts | None = None,
) -> Iterator[Follower]:
    """Build the next generation of an index beside it, by `encoder`, and let it answer.

    It is given when it is built, to be looked at; when the block ends well, what was written since
    is brought over, and the two change places in one step. The generation that answered so far is
    kept, for `roll_back`. Without `switch`, or cut short at any moment, the index goes on as it is;
    the same call takes up what was built, and encodes none of it again.

    Raises:
        NotFound, IncompatibleIndex: there is no index at `path`, or one of another format.
        InvalidInput: it is unfinished, or by this encoder and of this dim already.
        InvalidData: vectors were supplied, and `encode_supplied` is false.
        IndexLocked: another process is building, or writes when the places are to be changed.
        CorruptIndex: the index is damaged.
    """
    path = Path(path).resolve()
    with tidied(path) as live:
        space = wanted_space(path, space_of(live.settings.constants), encoder, dim)
        if space == space_of(live.settings.constants):
            raise InvalidInput(f"{path} is by {encoder.name} and of dim {space.dim} already")
        refuse_supplied(live, encode_supplied=encode_supplied)
        place, lineage = building_place(path), lineage_after(live.settings.constants)
        long_texts = LongTexts(live.settings.constants["long_texts"])
        discard_build(
            place,
            unless=lambda: is_build_of(place, {**lineage, "long_texts": long_texts}, space),
        )
        with open_build(
            place, encoder=encoder, wanted=(long_texts, space.dim), lineage=lineage
        ) as target:
            follower = Follower(
                live, target, encode_supplied=encode_supplied, progress=progress, counts=counts
            )
            follower.follow()
            follower.build()
            yield follower
            if not switch:
                return
            with settled(path):
                _refuse_overtaken(live, lineage)
                follower.finish()
                switch_to_built(path)
                (path / BUILD).unlink(missing_ok=True)


def roll_back(
    path: str | os.PathLike[str],
    *,
    encoder: TextEncoder | None = None,
    encode_supplied: bool = False,
    progress: Progress | None = None,
    counts: EncodingCounts | None = None,
) -> WriteReport:
    """Let the generation before answer again, and delete the one that answers now.

    What was written since is brought over: documents are encoded by the encoder of the generation
    before (its own copy, or the given one), and what was deleted is deleted there. The report says
    how many.

    Raises:
        NotFound: there is no index at `path`, or no generation before.
        InvalidData: vectors were supplied since, and `encode_supplied` is false.
        IndexLocked: somebody is writing.
        EncoderMismatch: `encoder` is not that of the generation before.
    """
    path = Path(path).resolve()
    with tidied(path) as live:
        place = previous_place(path)
        before = read_constants(place)
        if not occupied(place):
            raise NotFound(f"{path} has no generation before this one to go back to")
        if before is not None and not same_index(before, live.settings.constants):
            raise NotFound(f"{place} is no generation of {path}")
        with SearchIndex.open(place, encoder=encoder, durability=Durability.BATCH) as target:
            follower = Follower(
                live, target, encode_supplied=encode_supplied, progress=progress, counts=counts
            )
            follower.follow()
            follower.build()
            with settled(path):
                follower.finish()
                switch_to_previous(path)
        return follower.report


@contextlib.contextmanager
def tidied(path: Path) -> Iterator[DocumentStore]:
    """Open the store of a finished index, after what a killed process has left was tidied up."""
    check_format(path)
    with settled(path):
        pass
    with opened(path) as live:
        yield live


@contextlib.contextmanager
def opened(path: Path) -> Iterator[DocumentStore]:
    """Open the store of a finished index.

    Raises:
        InvalidInput: it is unfinished.
        CorruptIndex: it has lost documents.
    """
    check_format(path)
    with contextlib.closing(DocumentStore.open(path)) as live:
        if live.settings.read("finished") != "yes":
            raise unfinished(path)
        live.ids()
        yield live


def refuse_supplied(live: DocumentStore, *, encode_supplied: bool) -> None:
    """Refuse an index of which vectors were supplied, before hours of work.

    Raises:
        InvalidData: naming the first document.
    """
    supplied = [] if encode_supplied else live.supplied_ids()
    if supplied:
        raise InvalidData(supplied_message(supplied))


def is_build_of(place: Path, settings: dict[str, str], space: VectorSpace) -> bool:
    """Whether what was begun at `place` is a generation of these settings and this space."""
    found = read_constants(place)
    return (
        found is not None
        and space_of(found) == space
        and all(found.get(key) == value for key, value in settings.items())
    )


def _refuse_overtaken(live: DocumentStore, lineage: dict[str, str]) -> None:
    with live.snapshot():
        now = number_of(live.settings.constants)
    if now >= number_of(lineage):
        raise InvalidInput(
            f"the index has become generation {now} while generation {lineage['generation']} was "
            "built (run it again)"
        )
