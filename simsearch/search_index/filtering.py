"""Which rows of a store a filter lets through, and what it asks for in vain."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt

from simsearch.conditions import leaves
from simsearch.errors import InvalidInput
from simsearch.query import Filter, mismatch, near_fields, unknown_field
from simsearch.recent import Recent
from simsearch.records import Facet
from simsearch.storage import DocumentStore

IntArray = npt.NDArray[np.int64]

_LOG = logging.getLogger(__name__)


class FilteredRows:
    """The rows of the last few filters, until the store changes."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store
        self._rows = Recent[str, IntArray](lambda rows: rows.nbytes)  # by the filter's text

    def forget(self) -> None:
        """Forget all rows: the store is not what it was."""
        self._rows.clear()

    def rows(self, wanted: Filter) -> IntArray:
        """Return the rows that a filter lets through, ascending. Call it inside a snapshot.

        Raises:
            InvalidFilter: a field in it is one that no document has.
        """
        return self._rows.get(wanted.text, lambda: self._matching(wanted))

    def _matching(self, wanted: Filter) -> IntArray:
        refuse_unknown_fields(self._store, wanted)
        found = self._store.metadata.matching_rows(wanted.condition)
        if not len(found):
            _tell_why(self._store, wanted)
        return found


def matching_ids(store: DocumentStore, wanted: Filter) -> list[str]:
    """Return the ids of the documents that a filter lets through; errors as above."""
    refuse_unknown_fields(store, wanted)
    return store.metadata.matching_ids(wanted.condition)


def refuse_unknown_fields(store: DocumentStore, wanted: Filter) -> None:
    """Refuse a filter that names a field which no document has; without documents none does.

    Raises:
        InvalidFilter: naming the fields that are near it.
    """
    unknown = [name for name in wanted.places if not store.metadata.has_field(name)]
    if unknown and store.count():
        raise unknown_field(wanted, unknown[0], store.metadata.field_names())


def refuse_unknown_field(store: DocumentStore, name: str) -> None:
    """Refuse to count or group by a field which no document has; without documents none does.

    Raises:
        InvalidInput: naming the fields that are near it.
    """
    if not store.metadata.has_field(name) and store.count():
        near = near_fields(name, store.metadata.field_names())
        raise InvalidInput(f"no document has the field {name!r} ({near})")


def facet(store: DocumentStore, name: str, k: int, wanted: Filter | None) -> Facet:
    """Return the `k` most frequent values of a field, of the documents that a filter lets through.

    Raises:
        InvalidInput: no document has the field.
        InvalidFilter: a field in the filter is one that no document has.
    """
    with store.snapshot():
        if wanted is not None:
            refuse_unknown_fields(store, wanted)
        refuse_unknown_field(store, name)
        return store.metadata.count_values(name, k, None if wanted is None else wanted.condition)


def _tell_why(store: DocumentStore, wanted: Filter) -> None:
    """Say of a filter that found nothing where it compares what cannot be equal."""
    for leaf in leaves(wanted.condition):
        types = store.metadata.field_types(leaf.field)
        if types and (why := mismatch(leaf, types)):
            _LOG.warning("the filter lets no document through: %s", why)
