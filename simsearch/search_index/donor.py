"""The index that is being replaced, as a source of vectors for texts that stay the same."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from simsearch.errors import SimsearchError
from simsearch.search_index.directory import check_format
from simsearch.storage import DocumentStore

logger = logging.getLogger("simsearch")

FloatArray = npt.NDArray[np.float32]


class Donor:
    """Gives vectors until something is wrong with it; then, and without a store, it has none."""

    def __init__(self, store: DocumentStore | None) -> None:
        self._store = store

    def vectors_of_texts(self, hashes: Sequence[bytes]) -> dict[bytes, FloatArray]:
        """Return the vectors (dim,) of the texts with these hashes; unknown ones are absent."""
        if self._store is None:
            return {}
        try:
            return self._store.vectors_of_texts(hashes)
        except SimsearchError as error:
            _warn(error)
            self.close()
            return {}

    def close(self) -> None:
        """Close the store; a second call does nothing."""
        if self._store is not None:
            self._store.close()
            self._store = None


@contextlib.contextmanager
def open_donor(path: Path, *, fingerprint: str, dim: int) -> Iterator[Donor]:
    """Give what the index at `path` has of vectors by this encoder and of this dim.

    An index that cannot be read has none, with a warning: that it is damaged may be the very
    reason why it is being replaced.
    """
    donor = Donor(_open_store(path, fingerprint, dim))
    try:
        yield donor
    finally:
        donor.close()


def _open_store(path: Path, fingerprint: str, dim: int) -> DocumentStore | None:
    try:
        check_format(path)
        store = DocumentStore.open(path)
    except SimsearchError as error:
        _warn(error)
        return None
    with contextlib.ExitStack() as stack:
        stack.callback(store.close)
        try:
            usable = store.dim == dim and store.settings.read("fingerprint") == fingerprint
        except SimsearchError as error:
            _warn(error)
            return None
        if usable:
            stack.pop_all()
            return store
    return None


def _warn(error: SimsearchError) -> None:
    logger.warning("no vector of the index that is being replaced is reused: %s", error)
