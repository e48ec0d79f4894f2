"""What filters ask of an open store, once its documents are known to be sound."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from simsearch.conditions import Condition
from simsearch.records import Facet
from simsearch.storage.commit_memory import CommitMemory
from simsearch.storage.facets import count_values
from simsearch.storage.filters import (
    count_groups,
    field_names,
    field_types,
    has_field,
    matching_ids,
    matching_rows,
)
from simsearch.storage.session import Session
from simsearch.storage.verified import VerifiedDocuments

IntArray = npt.NDArray[np.int64]


class Metadata:
    """The metadata of all documents. Every method raises CorruptIndex where one is damaged."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._documents = VerifiedDocuments(session)
        self._fields = CommitMemory[bool](session)  # whether a document has them
        self._groups = CommitMemory[int](session)  # into how many a field divides the documents

    def matching_rows(self, condition: Condition) -> IntArray:
        """Return the rows (n,) of the documents of which the condition is true, ascending.

        Raises:
            InvalidInput: it took too long.
            CorruptIndex: a document is damaged, whether or not it would be among them.
        """
        with self._verified():
            return matching_rows(self._session.connection, condition)

    def matching_ids(self, condition: Condition) -> list[str]:
        """Return the ids of the documents of which the condition is true; errors as above."""
        with self._verified():
            return matching_ids(self._session.connection, condition)

    def has_field(self, name: str) -> bool:
        """Whether a document has a metadata field of this name."""
        with self._verified():
            return self._fields.value(name, lambda: has_field(self._session.connection, name))

    def count_groups(self, name: str) -> int:
        """Return into how many groups a field divides all documents; see filters.py."""
        with self._verified():
            return self._groups.value(name, lambda: count_groups(self._session.connection, name))

    def field_names(self) -> list[str]:
        """Return the names of all metadata fields; this reads every document."""
        with self._verified():
            return field_names(self._session.connection)

    def field_types(self, name: str) -> set[str]:
        """Return the JSON types that a metadata field has; this reads every document."""
        with self._verified():
            return field_types(self._session.connection, name)

    def count_values(self, name: str, k: int, condition: Condition | None) -> Facet:
        """Return the `k` most frequent values of a metadata field; errors as `matching_rows`."""
        with self._verified():
            return count_values(self._session.connection, name, k, condition)

    @contextlib.contextmanager
    def _verified(self) -> Iterator[None]:
        """Be inside a snapshot of which every document is sound."""
        with self._session.snapshot():
            self._documents.refuse_damage()
            yield
