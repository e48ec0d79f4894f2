"""Texts that get no embedding: what is no text, what nothing is read of, what has no direction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from simsearch.errors import EncoderError, InvalidData, InvalidInput
from simsearch.records import is_blank

# Neither can be written to an index.
_NO_CHARACTER = re.compile("[\0\ud800-\udfff]")


class UnencodableText(EncoderError):
    """The encoder gave NaN or a zero vector for a text, alone and in float32 too.

    With a `dim`, it is the first components that are zero. `text` is which one, where that is
    known.
    """

    def __init__(self, position: int, *, dim: int | None = None, text: str | None = None) -> None:
        self.position = position
        self.dim = dim
        self.text = text
        self.reason = "the encoder gives no finite, non-zero vector"
        advice = ""
        if dim is not None:
            advice = f" (all of its first {dim} components are 0: take a larger dim)"
        super().__init__(f"{self.reason} for text {position}{advice}")
        self.advice = advice

    def at(self, position: int, text: str | None = None) -> UnencodableText:
        """Return the same of a text at another place."""
        return UnencodableText(position, dim=self.dim, text=text)

    def __reduce__(self) -> tuple[object, ...]:
        """Let it cross from one process to another."""
        return _unencodable, (self.position, self.dim)


def _unencodable(position: int, dim: int | None) -> UnencodableText:
    return UnencodableText(position, dim=dim)


class UnreadableText(InvalidData):
    """The tokenizer leaves nothing of a text, as of a blank one.

    Its embedding would be that of every other such text. `text` is which one, where that is known.
    """

    reason = "holds nothing that the encoder reads"

    def __init__(self, position: int, *, text: str | None = None) -> None:
        super().__init__(f"text {position} {self.reason}")
        self.position = position
        self.text = text

    def at(self, position: int, text: str | None = None) -> UnreadableText:
        """Return the same of a text at another place."""
        return UnreadableText(position, text=text)

    def __reduce__(self) -> tuple[type[UnreadableText], tuple[int]]:
        """Let it cross from one process to another."""
        return type(self), (self.position,)


# What is raised of one text, by its position.
REFUSED = (UnencodableText, UnreadableText)


def text_length(text: str) -> int:
    """Return the length; 0 of what is no text, which `refuse_no_text` tells."""
    return len(text) if isinstance(text, str) else 0


def refuse_no_collection(texts: Iterable[str]) -> None:
    """Refuse what does not hold texts, one string above all."""
    if isinstance(texts, str):
        raise InvalidInput("encode takes several texts, got one string (pass [text])")
    if not isinstance(texts, Iterable) or isinstance(texts, (bytes, Mapping)):
        raise InvalidInput(f"encode takes several texts, got a {type(texts).__name__}")


def list_of_texts(texts: Sequence[str]) -> list[str]:
    """Return texts that can be counted and gone through again; an iterator is refused."""
    refuse_no_collection(texts)
    if isinstance(texts, Iterator):
        raise InvalidInput(
            f"encode takes a list of texts, got a {type(texts).__name__} (`encode_stream` takes "
            "it, and holds only some thousand texts of it)"
        )
    return list(texts)


def refuse_no_text(texts: Sequence[str], *, first: int) -> None:
    """Refuse what is no text: no string, an empty or blank one, or one that cannot be stored."""
    for position, text in enumerate(texts, start=first):
        if not isinstance(text, str):
            raise InvalidData(f"text {position} is a {type(text).__name__}, expected a string")
        odd = "\0" in text or not text.isascii()
        if odd and (found := _NO_CHARACTER.search(text)):
            what = "NUL character" if found[0] == "\0" else "lone surrogate"
            raise InvalidData(
                f"text {position} has the {what} U+{ord(found[0]):04X} at position {found.start()}"
            )
        if is_blank(text):
            raise InvalidData(f"text {position} is empty")
