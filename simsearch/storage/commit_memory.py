"""What was found out about one commit, and is forgotten at the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from simsearch.storage.session import Session

T = TypeVar("T")


class CommitMemory(Generic[T]):
    """Values by name of the commit that is read. One open store's; call it inside a snapshot."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._values: dict[str, T] = {}
        self._commit: object = None

    def values(self) -> dict[str, T]:
        """Return what is remembered of the present commit, to be read and added to.

        Of what is being written nothing is remembered: it may be taken back.
        """
        if self._session.writing:
            return {}
        commit = self._session.identity, *self._session.numbers("commit_number")
        if commit != self._commit:
            self._values, self._commit = {}, commit
        return self._values

    def value(self, name: str, find: Callable[[], T]) -> T:
        """Return what is remembered by that name, or else is found now."""
        known = self.values()
        if name not in known:
            known[name] = find()
        return known[name]
