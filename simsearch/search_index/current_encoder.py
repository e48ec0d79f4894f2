"""The encoder of an index that may be switched to another generation while a handle is open."""

from __future__ import annotations

import threading
from pathlib import Path

from simsearch.encoder import Precision
from simsearch.errors import CorruptIndex, EncoderMismatch
from simsearch.search_index.binding import (
    TextEncoder,
    VectorSpace,
    load_own_encoder,
    space_of,
)
from simsearch.storage import DocumentStore


class Overtaken(Exception):
    """Another writer changed what was found to be as it should be: a document, or the encoder."""


class CurrentEncoder:
    """The encoder of the generation that answers now, and whether vectors are of its space.

    Without one that is given it is the index's own copy, loaded when first needed, and another
    one after a switch. One that is given is refused then.
    """

    def __init__(
        self,
        path: Path,
        store: DocumentStore,
        given: TextEncoder | None,
        precision: Precision | None,
    ) -> None:
        self._path = path
        self._store = store
        self._precision = precision
        self._given = given is not None
        self._encoder = given
        self._mutex = threading.Lock()
        self.opened = space_of(store.settings.constants)

    @property
    def loaded(self) -> bool:
        """Whether there is an encoder already."""
        return self._encoder is not None

    def space(self) -> VectorSpace:
        """Return the space of the generation that was read last; `check` finds a newer one."""
        return space_of(self._store.settings.constants)

    def load(self) -> tuple[TextEncoder, VectorSpace]:
        """Return the encoder, and the space that its vectors are for.

        Raises:
            EncoderMismatch: another one was given, and the index was switched since.
            CorruptIndex, ModelMoved: the index's own copy cannot be loaded.
        """
        with self._mutex:
            while True:
                if self._given:
                    self.refuse_switched()
                constants = self._store.settings.constants
                space = space_of(constants)
                if self._encoder is None or self._encoder.fingerprint != space.fingerprint:
                    try:
                        self._encoder = load_own_encoder(self._path, constants, self._precision)
                    except CorruptIndex:
                        with self._store.snapshot():  # which follows a switch
                            if self.space() != space:
                                continue  # that was the copy of another generation
                        raise
                return self._encoder, space

    def refuse_switched(self) -> VectorSpace:
        """Return the space of the handle, which given encoders and given vectors are of.

        Raises:
            EncoderMismatch: the index was switched to another one since.
        """
        now = self.space()
        if now != self.opened:
            with self._store.snapshot():  # it may have been switched back
                now = self.space()
        if now != self.opened:
            raise EncoderMismatch(
                f"{self._path} was switched to another encoder ({now.fingerprint[:12]}, dim "
                f"{now.dim}) since it was opened ({self.opened.fingerprint[:12]}, dim "
                f"{self.opened.dim}): open it again"
            )
        return now

    def check(self, space: VectorSpace) -> None:
        """Make sure, inside a snapshot, that this is still the space.

        Raises:
            Overtaken: it is not.
        """
        if space_of(self._store.settings.constants) != space:
            raise Overtaken
