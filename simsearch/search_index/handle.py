"""An index directory that is open: where it is, what it holds, what it keeps of settings."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from simsearch.ann import Target
from simsearch.encoder import Calibration
from simsearch.errors import CorruptIndex, EncoderMismatch
from simsearch.query import SearchMode, parse_filter
from simsearch.records import Document, Facet, Judgement
from simsearch.search_index.checks import askable_ids, check_k, unfinished
from simsearch.search_index.filtering import facet, matching_ids
from simsearch.search_index.judging import (
    JudgedDocument,
    checked_judgements,
    judged_documents,
    keep_judgements,
)
from simsearch.search_index.passages import LongTexts, long_texts_of
from simsearch.search_index.probability import (
    keep_calibration,
    required_calibration,
    stored_calibration,
)
from simsearch.search_index.reranking import RerankChoice, keep_rerank_choice, rerank_choice
from simsearch.search_index.search_mode import ModeChoice, keep_mode_choice, mode_choice
from simsearch.search_index.segment_record import target_from_text, target_to_text
from simsearch.storage import Checkpoint, DocumentStore

logger = logging.getLogger("simsearch")


class IndexHandle:
    """What a `SearchIndex` is before it writes or searches."""

    def __init__(self, path: Path, store: DocumentStore) -> None:
        self._path = path
        self._store = store

    def close(self) -> None:
        """Close the index; a second call does nothing."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def refuse_read_only(self) -> None:
        """Refuse, before any work, to write to an index that cannot be written to.

        Raises:
            InvalidInput: it is a backup.
            SystemFailure: this process may not.
        """
        self._store.refuse_read_only()

    @property
    def path(self) -> Path:
        """The directory."""
        return self._path

    @property
    def fingerprint(self) -> str:
        """That of the encoder whose vectors it holds."""
        return self._store.settings.constants["fingerprint"]

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self._store.dim

    def get(self, document_id: str) -> Document | None:
        """Return a document, None if there is none of that id."""
        return self.get_many([document_id]).get(document_id)

    def get_many(self, ids: Sequence[str]) -> dict[str, Document]:
        """Return those documents that are in the index, by id."""
        return self._store.fetch_ids(askable_ids(ids))

    def iterate(self) -> Iterator[Document]:
        """Yield every document of one commit, in order, whatever is written meanwhile."""
        return self._store.stream()

    def known_ids(self, ids: Sequence[str]) -> set[str]:
        """Return those of `ids` that are in the index."""
        return self._store.known_ids(askable_ids(ids))

    def count(self, where: str | None = None) -> int:
        """Return the number of documents, of those alone that a filter lets through.

        Raises:
            InvalidFilter: as `SearchIndex.search`.
        """
        if where is None:
            return self._store.count()
        wanted = parse_filter(where)
        with self._store.snapshot():
            return len(matching_ids(self._store, wanted))

    def facet(self, field: str, k: int = 20, *, where: str | None = None) -> Facet:
        """Return the `k` most frequent values of a metadata field, with their numbers of documents.

        Of a list each element counts. `where`: of the documents alone that a filter lets through.

        Raises:
            InvalidInput: no document has the field, or k is not 1..10000.
            InvalidFilter: as `SearchIndex.search`.
        """
        check_k(k)
        return facet(self._store, field, k, None if where is None else parse_filter(where))

    def __len__(self) -> int:
        return self.count()

    @property
    def long_texts(self) -> LongTexts:
        """What becomes of a text beyond the encoder's window."""
        return long_texts_of(self._store)

    @property
    def finished(self) -> bool:
        """False while a corpus is still being loaded."""
        value = self._store.settings.read("finished")
        if value not in (yes_no(True), yes_no(False)):
            raise CorruptIndex(f"{self._path}: no setting of finished is {value!r}")
        return value == yes_no(True)

    def refuse_unfinished(self) -> None:
        """Refuse an index whose corpus was not loaded to the end.

        Raises:
            InvalidInput: it is unfinished.
        """
        if not self.finished:
            raise unfinished(self._path)

    def mark_finished(self) -> None:
        """Say that the corpus is loaded."""
        with self._store.transaction(durable=True):
            self._store.settings.write("finished", yes_no(True))

    @property
    def target(self) -> Target:
        """What approximate indexes of the rows have to be."""
        text = self._store.settings.find("target")
        return Target() if text is None else target_from_text(text)

    def set_target(self, target: Target) -> None:
        """Set what indexes that are built from now on have to be."""
        with self._store.transaction(durable=True):
            self._store.settings.write("target", target_to_text(target))

    def calibration(self) -> Calibration | None:
        """Return what a similarity says about the chance of an answer; None if nobody measured it.

        It came with the encoder, or was measured on this index.

        Raises:
            CorruptIndex: it is malformed.
        """
        return stored_calibration(self._store)

    def threshold(self, precision: float) -> float:
        """Return the probability from which on so large a share of the hits are answers.

        Raises:
            InvalidInput: the index has no calibration, or one that shows no such threshold.
        """
        with self._store.snapshot():
            calibration = required_calibration(self._store)
            return calibration.threshold(precision, among=self._store.count())

    def calibrate(self, calibration: Calibration) -> None:
        """Keep a calibration in the place of the one that there is, in one commit.

        Raises:
            EncoderMismatch: it is of another encoder, or of vectors of another dim.
        """
        with self._store.transaction(durable=True):
            keep_calibration(self._store, calibration)

    def mode_choice(self) -> ModeChoice:
        """Return how the index is searched where nobody says how, and why.

        Raises:
            CorruptIndex: it is not what was written.
        """
        with self._store.snapshot():
            return mode_choice(self._store)

    def keep_mode_choice(self, choice: ModeChoice, *, fingerprint: str | None = None) -> None:
        """Let the index be searched so from now on, where nobody says how.

        What was measured of reranking another fusion is let go, with a warning.

        Raises:
            EncoderMismatch: it is not of the encoder of `fingerprint`, which it was measured with.
        """
        with self._store.transaction(durable=True):
            self._refuse_switched(fingerprint)
            reranking = rerank_choice(self._store)
            stale = (
                reranking.mode is SearchMode.HYBRID
                and mode_choice(self._store).fusion != choice.fusion
            )
            keep_mode_choice(self._store, choice)
            if stale:
                keep_rerank_choice(self._store, RerankChoice())
                logger.warning(
                    "whether reranking helps was measured with another fusion, and is not known "
                    "any more (measure again with `simsearch calibrate PAIRS -i %s --rerank %s`)",
                    self._path,
                    reranking.measured,
                )

    def rerank_choice(self) -> RerankChoice:
        """Return how hits are to be reranked when nobody says how: `none`, or what measured better.

        Raises:
            CorruptIndex: the setting is malformed.
        """
        return rerank_choice(self._store)

    def keep_rerank_choice(self, choice: RerankChoice, *, fingerprint: str | None = None) -> None:
        """Keep how hits are to be reranked when nobody says how; errors as `keep_mode_choice`."""
        with self._store.transaction(durable=True):
            self._refuse_switched(fingerprint)
            keep_rerank_choice(self._store, choice)

    def _refuse_switched(self, fingerprint: str | None) -> None:
        if fingerprint not in (None, self.fingerprint):
            raise EncoderMismatch(
                f"{self._path} was switched to another encoder meanwhile (measure again)"
            )

    def judge(self, query: str, document_id: str, *, relevant: bool = True) -> None:
        """Say of a document whether it answers `query`; as `judge_many`."""
        self.judge_many([Judgement(query, document_id, relevant)])

    def judge_many(self, judgements: Iterable[Judgement]) -> int:
        """Keep what was said of documents as answers to queries, in one commit; return how many.

        A judgement takes the place of an earlier one of the same query and document. It is of the
        document's text as it is now, and stays when the encoder changes.

        Raises:
            InvalidInput: a query is none that could be searched for.
            NotFound: no document has that id; none of the judgements is kept.
        """
        wanted = checked_judgements(judgements)
        if wanted:
            with self._store.transaction(durable=True):
                keep_judgements(self._store, wanted)
        return len(wanted)

    def remove_judgements(self, pairs: Iterable[tuple[str, str]]) -> int:
        """Take back what was said of (query, document id), in one commit; return how much it was.

        What nobody has judged is no error.
        """
        with self._store.transaction(durable=True):
            return self._store.judgements.remove(pairs)

    def judgements(self) -> list[Judgement]:
        """Return what was said of documents, in the order in which it was.

        Also of those that were deleted or have other texts now; `judged_documents` tells.

        Raises:
            CorruptIndex: a judgement is damaged or lost.
        """
        return [each.judgement for each in self._store.judgements.read()]

    def judged_documents(self) -> list[JudgedDocument]:
        """Return every judgement with its document, if that is in the index as it was judged."""
        return judged_documents(self._store)

    def checkpoint(self) -> Checkpoint:
        """Move the log of recent commits into the database, and say how far that went.

        It happens by itself when the log is large and on closing; no commit depends on it.
        """
        return self._store.checkpoint()


def yes_no(value: bool) -> str:
    """Return a truth value as it is stored."""
    return "yes" if value else "no"
