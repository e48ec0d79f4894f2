"""What an index refuses at the door: queries, numbers of hits, documents, ids."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from simsearch.errors import DuplicateId, InvalidInput
from simsearch.formats import check_document
from simsearch.records import Document, is_blank
from simsearch.storage import Durability

MAX_K = 10_000
MAX_QUERY_LENGTH = 64 * 1024
_NO_CHARACTER = re.compile("[\0\ud800-\udfff]")


def check_k(k: int) -> None:
    """Refuse a `k` that is not a whole number of 1 to 10,000."""
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_K:
        raise InvalidInput(f"k must be 1..{MAX_K}, got {k!r}")


def check_dim(dim: int, full: int) -> None:
    """Refuse a number of components to keep that is not 2 to `full`, the encoder's dim."""
    if isinstance(dim, bool) or not isinstance(dim, int) or not 2 <= dim <= full:
        raise InvalidInput(f"dim must be 2..{full}, the encoder's, got {dim!r}")


def as_durability(value: Durability | str) -> Durability:
    """Return the member of that name.

    Raises:
        InvalidInput: there is none.
    """
    try:
        return Durability(value)
    except ValueError:
        raise InvalidInput(
            f"durability must be one of {', '.join(Durability)}, got {value!r}"
        ) from None


def check_query(query: str, *, name: str = "query") -> None:
    """Refuse a query that is no text: empty, over 64 KiB, or with control characters."""
    _check_length(query, name)
    for position, character in enumerate(query):
        if unicodedata.category(character) in {"Cc", "Cs"} and character not in "\t\n\r":
            raise InvalidInput(
                f"{name} has the control or invalid character U+{ord(character):04X} "
                f"at position {position}"
            )
    if is_blank(query):
        raise InvalidInput(f"{name} is empty")


def check_text(text: str, *, name: str = "text") -> None:
    """Refuse what is no text: empty, over 64 KiB, or with what no document may hold.

    That is NUL and lone surrogates; other control characters are taken, as in a document.
    """
    _check_length(text, name)
    if found := _NO_CHARACTER.search(text):
        raise InvalidInput(
            f"{name} has the control or invalid character U+{ord(found[0]):04X} "
            f"at position {found.start()}"
        )
    if is_blank(text):
        raise InvalidInput(f"{name} is empty")


def _check_length(text: str, name: str) -> None:
    if not isinstance(text, str):
        raise InvalidInput(f"{name} must be a string, got {type(text).__name__}")
    if not text.strip():
        raise InvalidInput(f"{name} is empty")
    if len(text) > MAX_QUERY_LENGTH:
        raise InvalidInput(
            f"{name} has {len(text)} characters, at most {MAX_QUERY_LENGTH} are accepted"
        )


def unfinished(path: Path) -> InvalidInput:
    """Return the error for an index whose corpus was not loaded to the end."""
    return InvalidInput(f"{path} is unfinished (run `simsearch index` again to finish it)")


def checked_documents(documents: Iterable[Document]) -> list[Document]:
    """Return the documents of one call, each fit for an index and no id twice."""
    batch = list(documents)
    seen: set[str] = set()
    for position, document in enumerate(batch):
        check_document(document, where=f"document {position}")
        if document.id in seen:
            raise DuplicateId(f"document {position}: id {document.id!r} stands twice in this call")
        seen.add(document.id)
    return batch


def same_document(stored: Document, given: Document) -> bool:
    """Whether a document is stored already, equal in every field."""
    # Equal is not enough for metadata: to Python, true equals 1.
    return stored == given and json.dumps(dict(stored.metadata), sort_keys=True) == json.dumps(
        dict(given.metadata), sort_keys=True
    )


def askable_ids(ids: Iterable[str]) -> list[str]:
    """Return those of `ids` that a document can have; SQLite takes no lone surrogate at all."""
    given = list(ids)
    for document_id in given:
        if not isinstance(document_id, str):
            raise InvalidInput(f"an id must be a string, got {type(document_id).__name__}")
    return [document_id for document_id in given if document_id.isprintable()]


def refuse_known(known: set[str]) -> None:
    """Refuse a write whose ids are in the index already."""
    if known:
        first = min(known)
        more = f" and {len(known) - 1} more" if len(known) > 1 else ""
        raise DuplicateId(f"id {first!r}{more} is in the index already (use upsert to replace)")
