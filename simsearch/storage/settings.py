"""The settings of an open store, as they are in the present snapshot."""

from __future__ import annotations

from collections.abc import Mapping

from simsearch.storage.schema import VARIABLES
from simsearch.storage.seal import sealed, verified_constants
from simsearch.storage.session import Session


class Settings:
    """Texts by name. Those that never change are *constants*, under one checksum."""

    def __init__(self, session: Session) -> None:
        self._session = session
        # What stands under the checksum, and the state of the database that it was read in.
        self._sealed: dict[str, str] = {}
        self._sealed_state: tuple[tuple[int, ...] | None, str] | None = None

    @property
    def constants(self) -> Mapping[str, str]:
        """The settings that never change within a generation, of the one that was read last."""
        return self._session.constants

    def read(self, key: str) -> str:
        """Return a setting as it is now.

        Raises:
            CorruptIndex: there is none of that name.
        """
        found = self.find(key)
        if found is None:
            raise self._session.damage(f"the setting {key!r} is lost")
        return found

    def number(self, key: str) -> int:
        """Return a setting that is a number, 0 or more, as it is now.

        Raises:
            CorruptIndex: there is none of that name, or it is no number.
        """
        return self._session.as_number(key, self.read(key))

    def find(self, key: str) -> str | None:
        """Return a setting as it is now, None if there is none of that name."""
        with self._session.reading():
            found = self._session.connection.execute(
                "SELECT value FROM meta WHERE key = ?", (key,)
            ).fetchone()
        return None if found is None else str(found[0])

    def find_constant(self, key: str) -> str | None:
        """Return, as it is now, a setting that stands under the checksum; None without it.

        Raises:
            CorruptIndex: the settings are not those that were sealed.
        """
        with self._session.snapshot():
            state = self._session.identity, self.read("commit_number")
            if self._session.writing or state != self._sealed_state:
                self._sealed = verified_constants(self._all(), self._session.path)
                # What this transaction has read may be rolled back.
                self._sealed_state = None if self._session.writing else state
            return self._sealed.get(key)

    def write(self, key: str, value: str) -> None:
        """Set a setting that changes; inside a transaction.

        Raises:
            ValueError: it stands under the checksum, which would hold no more.
        """
        if key not in VARIABLES:
            raise ValueError(f"{key!r} stands under the checksum of settings that never change")
        self._put(key, value)

    def write_constant(self, key: str, value: str) -> None:
        """Set a setting that stands under the checksum; inside a transaction.

        A handle that is open goes on with its `constants`; `find_constant` reads what is new.
        """
        settings = self._all()
        for name, its in sealed({**settings, key: value}).items():
            if settings.get(name) != its:
                self._put(name, its)

    def _put(self, key: str, value: str) -> None:
        self._session.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _all(self) -> dict[str, str]:
        return dict(self._session.connection.execute("SELECT key, value FROM meta"))
