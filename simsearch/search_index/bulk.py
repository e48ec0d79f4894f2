"""Corpora into an index: batch by batch, each one commit, resumable after a kill."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from simsearch.ann import Target
from simsearch.encoder import EncodingCounts, text_chunks
from simsearch.errors import (
    AlreadyExists,
    DuplicateId,
    InvalidData,
    InvalidInput,
    SimsearchError,
)
from simsearch.files import check_parents, occupied, remove_directory
from simsearch.records import Document
from simsearch.search_index.binding import TextEncoder
from simsearch.search_index.checks import check_dim
from simsearch.search_index.directory import check_place, install_index, replacing_place
from simsearch.search_index.donor import open_donor
from simsearch.search_index.index import SearchIndex
from simsearch.search_index.judging import carry_judgements
from simsearch.search_index.passages import LongTexts, as_long_texts
from simsearch.search_index.reports import WriteReport
from simsearch.storage import Durability, writer_lock

FloatArray = npt.NDArray[np.float32]
Progress = Callable[[int], None]
Settings = tuple[LongTexts, int]  # with the dim: what an index has for good

# Documents of one commit, fewer where they are long: at 100 documents a second, 10 s of work to
# lose to a kill.
BATCH = 1024
# Locked while an index is being built, in its directory; gone when it is finished.
BUILD = "BUILD"


def check_build(path: Path, *, replace: bool) -> None:
    """Refuse to build where something finished stands, before any work is done.

    Raises:
        AlreadyExists: a finished index is there and `replace` is false, or something else is,
            which is never replaced.
    """
    check_place(path, replace=True)
    check_parents(path)
    if not replace and occupied(path):
        with SearchIndex.open(path) as index:
            _refuse_finished(index)


@contextlib.contextmanager
def build_index(
    path: Path,
    *,
    encoder: TextEncoder,
    replace: bool,
    long_texts: LongTexts | str = LongTexts.TRUNCATE,
    dim: int | None = None,
    target: Target | None = None,
) -> Iterator[SearchIndex]:
    """Give an index to be filled, which is finished when the block ends well.

    A block that ends badly, or a kill, leaves what was committed; the next build takes it up. What
    `replace` replaces stays in its place, and answers queries, until the new index is finished;
    the vectors of texts that stay the same are taken from it, and its judgements. `long_texts`,
    `dim` and `target` are those of `SearchIndex.create`; an unfinished index gets the `target`.

    Raises:
        AlreadyExists: as `check_build`.
        IndexLocked: another process is building here.
        EncoderMismatch: the unfinished index was begun with another encoder.
        InvalidInput: it was begun with other settings, or `dim` is not 2 to the encoder's.
    """
    path = path.resolve()
    wanted = as_long_texts(long_texts), encoder.dim if dim is None else dim
    check_dim(wanted[1], encoder.dim)
    check_build(path, replace=replace)
    beside = replace and occupied(path)
    place = replacing_place(path) if beside else path
    if beside:
        discard_build(place, unless=lambda: _can_be_taken_up(place, encoder, wanted))
    with contextlib.ExitStack() as stack:
        index = stack.enter_context(open_build(place, encoder=encoder, wanted=wanted))
        if not beside:  # where one that is finished was not installed yet
            _refuse_finished(index)
        _refuse_other_settings(index, wanted)
        if target is not None and target != index.target:
            index.set_target(target)
        if beside:
            donor = open_donor(path, fingerprint=encoder.fingerprint, dim=index.dim)
            index.reuse_vectors_of(stack.enter_context(donor))
        try:
            yield index
        except SimsearchError:
            if not index.count():  # refused at its first text: nothing was begun
                remove_directory(place)
            raise
        index.mark_finished()
        (place / BUILD).unlink(missing_ok=True)
    if beside:
        install_index(place, path, replace=True, prepare=lambda: carry_judgements(path, into=place))


def discard_build(place: Path, *, unless: Callable[[], bool]) -> None:
    """Remove what was begun at `place`, if anything was, and `unless` does not say to keep it.

    Raises:
        IndexLocked: another process is building there, with settings of its own.
    """
    if occupied(place):
        with writer_lock(place / BUILD, budget=0):
            if not unless():
                remove_directory(place)


@contextlib.contextmanager
def open_build(
    place: Path,
    *,
    encoder: TextEncoder,
    wanted: Settings,
    lineage: Mapping[str, str] | None = None,
) -> Iterator[SearchIndex]:
    """Give the index that was begun at `place`, or begin it, and hold the lock of its build.

    Raises:
        IndexLocked: another process is building there.
        EncoderMismatch: it was begun with another encoder.
    """
    if not occupied(place):
        with contextlib.suppress(AlreadyExists):  # somebody was faster: the lock will tell
            SearchIndex.create(
                place,
                encoder=encoder,
                finished=False,
                long_texts=wanted[0],
                dim=wanted[1],
                lineage=lineage,
            ).close()
    # A power loss may cost a batch or two, which the next run encodes again.
    with (
        SearchIndex.open(place, encoder=encoder, durability=Durability.BATCH) as index,
        writer_lock(place / BUILD, budget=0),
    ):
        yield index


def _can_be_taken_up(place: Path, encoder: TextEncoder, wanted: Settings) -> bool:
    try:
        with SearchIndex.open(place, encoder=encoder) as index:
            return (index.long_texts, index.dim) == wanted
    except SimsearchError:
        return False


def _refuse_other_settings(index: SearchIndex, wanted: Settings) -> None:
    begun = index.long_texts, index.dim
    if begun != wanted:
        raise InvalidInput(
            f"{index.path} is unfinished and was begun with long_texts={begun[0]}, dim={begun[1]}; "
            f"got long_texts={wanted[0]}, dim={wanted[1]} (use the same again, or --replace)"
        )


def _refuse_finished(index: SearchIndex) -> None:
    if index.finished:
        raise AlreadyExists(
            f"{index.path} is a finished index (use add or upsert to extend it, reindex for "
            "another encoder, or --replace to build it anew)"
        )


def remove_all_but(index: SearchIndex, documents: Iterable[Document]) -> int:
    """Delete what is in the index and not in the corpus; return how many documents that were.

    An unfinished index may hold documents of a run over another version of the corpus.
    """
    wanted = {document.id for document in documents}
    return index.delete([document.id for document in index.iterate() if document.id not in wanted])


def write_corpus(
    write: Callable[..., WriteReport],
    documents: Iterable[Document],
    *,
    total: int,
    embeddings: FloatArray | None = None,
    counts: EncodingCounts | None = None,
    progress: Progress | None = None,
) -> WriteReport:
    """Write documents by `index.add` or `index.upsert`, batch by batch.

    Upsert takes up an interrupted run: what is committed already is not encoded again.
    `embeddings`, if given, is (total, dim).

    Raises:
        InvalidData: the corpus does not have `total` documents; earlier batches stay committed.
    """
    report, done = WriteReport(), 0
    for batch in document_batches(documents):
        vectors = None if embeddings is None else embeddings[done : done + len(batch)]
        done += len(batch)
        if done > total:
            break
        report += write(batch, vectors, counts=counts)
        if progress is not None:
            progress(done)
    if done != total:
        raise InvalidData(f"the corpus changed while it was read: {done} documents, {total} before")
    return report


def refuse_known_ids(index: SearchIndex, documents: Iterable[Document]) -> None:
    """Refuse a corpus of which an id is in the index, before anything is written.

    Raises:
        DuplicateId: naming the first of them in the order of the corpus.
    """
    for batch in document_batches(documents):
        known = index.known_ids([document.id for document in batch])
        for document in batch:
            if document.id in known:
                raise DuplicateId(
                    f"id {document.id!r} is in the index already (use upsert to replace)"
                )


def document_batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Divide documents into what one commit takes."""
    return text_chunks(documents, lambda document: len(document.content), most=BATCH)
