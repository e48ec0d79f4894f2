"""Heads whose findings become metadata of the documents that a command writes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simsearch.cli.heads import MinInScope
from simsearch.errors import InvalidInput

if TYPE_CHECKING:
    from simsearch.encoder import EncoderPool
    from simsearch.records import Document
    from simsearch.search_index import AnnotatingEncoder, SearchIndex, TextEncoder, WriteReport


@dataclass(frozen=True, slots=True)
class DocumentHeads:
    """The heads of a command that writes documents, none or some, and what they reject."""

    directories: tuple[Path, ...]
    min_in_scope: float | None

    def check(self, embeddings: Path | None) -> None:
        """Refuse what does not go together; `embeddings` are vectors that the user hands over.

        Raises:
            InvalidInput: heads would have to read texts that nobody encodes, or nothing is there
                that could reject.
        """
        if self.directories and embeddings is not None:
            raise InvalidInput("--head reads the texts: not with --embeddings")
        if self.min_in_scope is not None and not self.directories:
            raise InvalidInput("--min-in-scope goes with --head HEAD_DIR")

    def encoder_place(self) -> str | None:
        """Return where the encoder of the first head is; None without heads.

        Raises:
            EncoderError: it is not where the head says.
        """
        if not self.directories:
            return None
        from simsearch.heads import load_head

        return load_head(self.directories[0]).encoder.place()

    def annotating(
        self, encoder: "TextEncoder | EncoderPool", documents: "Iterable[Document]"
    ) -> "AnnotatingEncoder | None":
        """Return what encodes documents and annotates them; None without heads.

        Raises:
            InvalidInput: the encoder runs on several devices.
            EncoderMismatch: a head belongs to another encoder.
            InvalidData: a document has a field of the heads already.
        """
        if not self.directories:
            return None
        from simsearch.encoder import Encoder
        from simsearch.heads import Annotator, load_head
        from simsearch.search_index import AnnotatingEncoder

        if not isinstance(encoder, Encoder):
            raise InvalidInput("--head takes one device (--device)")
        loaded = [load_head(path) for path in self.directories]
        made = AnnotatingEncoder(Annotator(loaded, encoder, min_in_scope=self.min_in_scope))
        made.check(documents)
        return made


def make_document_heads(
    *,
    head: Annotated[
        list[Path] | None,
        typer.Option(
            "--head", help="What this head finds becomes metadata; may be given several times."
        ),
    ] = None,
    min_in_scope: MinInScope = None,
) -> DocumentHeads:
    """Make the DocumentHeads of a command that writes documents."""
    return DocumentHeads(tuple(head or ()), min_in_scope)


def annotated(
    write: "Callable[..., WriteReport]",
    annotating: "AnnotatingEncoder | None",
    target: "SearchIndex",
) -> "Callable[..., WriteReport]":
    """Return what writes documents: as it is, or with what heads find in them."""
    if annotating is None:
        return write
    # Vectors of a smaller dim are none that a head was fitted to.
    known = target.embeddings_of_texts if target.dim == annotating.dim else None
    return annotating.writing(write, known=known)
