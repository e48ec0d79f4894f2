"""Documents into vector rows: their passages, and of these only what is new is encoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from simsearch.encoder import UnencodableText, UnreadableText
from simsearch.errors import CorruptIndex, EncoderError, InvalidData, InvalidInput
from simsearch.records import Document, Passage
from simsearch.search_index.reports import WriteReport
from simsearch.storage import DocumentStore, PassageRows, text_hash

FloatArray = npt.NDArray[np.float32]


class LongTexts(StrEnum):
    """What becomes of a text beyond the encoder's window."""

    TRUNCATE = "truncate"  # it is cut
    PASSAGES = "passages"  # it is split, and the document scores by its best passage


def as_long_texts(value: LongTexts | str) -> LongTexts:
    """Return the member of that name.

    Raises:
        InvalidInput: there is none.
    """
    try:
        return LongTexts(value)
    except ValueError:
        raise InvalidInput(
            f"long_texts must be one of {', '.join(LongTexts)}, got {value!r}"
        ) from None


def long_texts_of(store: DocumentStore) -> LongTexts:
    """Return what becomes of long texts in an index.

    Raises:
        CorruptIndex: its settings do not say it.
    """
    value = store.settings.constants.get("long_texts", "")
    try:
        return LongTexts(value)
    except ValueError as error:
        raise CorruptIndex(f"{store.directory}: no setting of long_texts is {value!r}") from error


def encode_passages(
    documents: Sequence[Document],
    split: Sequence[Sequence[Passage]],
    *,
    encode: Callable[[Sequence[str]], FloatArray],
    known: Callable[[Sequence[bytes]], dict[bytes, FloatArray]],
) -> tuple[PassageRows, WriteReport]:
    """Return the rows of at least one document, and a report of what they took.

    `split` are the passages of each document. `known` gives the vectors (dim,) there are already,
    by hash; each other text is encoded once.

    Raises:
        EncoderError: naming the document of which a passage has no finite, non-zero vector.
        InvalidData: naming the document of which nothing is left by the tokenizer.
    """
    owners = [
        document for document, passages in zip(documents, split, strict=True) for _ in passages
    ]
    texts = [passage.content for passages in split for passage in passages]
    hashes = [text_hash(text) for text in texts]
    position: dict[bytes, int] = {}  # of each distinct text, where it stands first
    for number, hashed in enumerate(hashes):
        position.setdefault(hashed, number)
    vectors = known(list(position))
    new = [hashed for hashed in position if hashed not in vectors]
    if new:
        try:
            encoded = encode([texts[position[hashed]] for hashed in new])
        except UnencodableText as error:
            bad = owners[position[new[error.position]]].id
            raise EncoderError(f"document {bad!r}: {error.reason}{error.advice}") from error
        except UnreadableText as error:
            bad = owners[position[new[error.position]]].id
            raise InvalidData(f"document {bad!r} {error.reason}") from error
        vectors = vectors | dict(zip(new, encoded, strict=True))
    rows = np.stack([vectors[hashed] for hashed in hashes])
    report = WriteReport(passages=len(rows), encoded=len(new), reused=len(rows) - len(new))
    return PassageRows(ranges_of(split), rows, hashes), report


def ranges_of(split: Sequence[Sequence[Passage]]) -> list[list[tuple[int, int]]]:
    """Return the half-open character ranges of each document's passages in its text."""
    return [[(passage.start, passage.stop) for passage in passages] for passages in split]
