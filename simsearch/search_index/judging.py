"""What users said of hits: kept with the index, and what of it still holds."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from simsearch.errors import InvalidInput, NotFound, SimsearchError
from simsearch.records import Document, Judgement
from simsearch.search_index.checks import askable_ids, check_query
from simsearch.search_index.directory import check_format
from simsearch.storage import DocumentStore, StoredJudgement, text_hash

logger = logging.getLogger("simsearch")


class JudgementState(StrEnum):
    """What became of the document since it was judged."""

    CURRENT = "current"
    CHANGED = "changed"  # it has another text, or title
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class JudgedDocument:
    """A judgement, and its document; None where that was deleted."""

    judgement: Judgement
    document: Document | None
    state: JudgementState


def checked_judgements(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Return the judgements of one call, each of a query that could be searched for."""
    wanted = list(judgements)
    for each in wanted:
        check_query(each.query)
        if not isinstance(each.relevant, bool):
            raise InvalidInput(f"relevant must be True or False, got {each.relevant!r}")
    return wanted


def keep_judgements(store: DocumentStore, judgements: Sequence[Judgement]) -> None:
    """Keep judgements of the documents as they are now; inside a transaction.

    Raises:
        NotFound: no document has that id.
    """
    ids = list(dict.fromkeys(each.document_id for each in judgements))
    documents = store.fetch_ids(askable_ids(ids))
    for id_ in ids:
        if id_ not in documents:
            raise NotFound(f"no document {id_!r} in the index to be judged (take the id of a hit)")
    store.judgements.put(
        StoredJudgement(each, text_hash(documents[each.document_id].content)) for each in judgements
    )


def judged_documents(store: DocumentStore) -> list[JudgedDocument]:
    """Return every judgement with its document, in the order in which they were made."""
    with store.snapshot():
        stored = store.judgements.read()
        documents = store.fetch_ids(
            list(dict.fromkeys(each.judgement.document_id for each in stored))
        )
    return [_judged(each, documents.get(each.judgement.document_id)) for each in stored]


def _judged(stored: StoredJudgement, document: Document | None) -> JudgedDocument:
    if document is None:
        return JudgedDocument(stored.judgement, None, JudgementState.DELETED)
    same = text_hash(document.content) == stored.text_hash
    state = JudgementState.CURRENT if same else JudgementState.CHANGED
    return JudgedDocument(stored.judgement, document, state)


def carry_judgements(source: Path, *, into: Path) -> None:
    """Bring the judgements of the index that is being replaced into the one that replaces it.

    One that cannot be read has none, with a warning: that it is damaged may be the very reason why
    it is being replaced.
    """
    try:
        check_format(source)
        with contextlib.closing(DocumentStore.open(source)) as old:
            judgements = old.judgements.read()
    except SimsearchError as error:
        logger.warning("no judgement of the index that is being replaced is kept: %s", error)
        return
    if judgements:
        with (
            contextlib.closing(DocumentStore.open(into)) as new,
            new.transaction(durable=True),
        ):
            new.judgements.replace_all(judgements)
        logger.info("%s judgements of the index that is replaced are kept", len(judgements))
