"""From an encoder's pieces to words: of every layer the mean of a word's pieces, in one pass.

A text beyond the window is read in windows that overlap by a quarter; a word has its vector from
the window in which it stands farthest from an edge that cuts something off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.encoder import Encoder, EncodingCounts, LayerReading, UnencodableText, UnreadableText
from simsearch.encoder.runtime import FloatArray, IntArray
from simsearch.heads.words import split_words

_KEPT = 0.75  # of a window before the next one begins
_AHEAD = 4  # of a text is tokenized for its next window, times what the one before held


@dataclass(slots=True, eq=False)
class TextReading:
    """One text, read: `embedding` (dim,), `words` (w, 2), and `vectors` (w, layers x hidden).

    `vectors` are of all layers side by side, the embedding layer first; a word of which the
    encoder has no piece has zeros.
    """

    words: IntArray
    embedding: FloatArray
    vectors: FloatArray


def read_texts(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    counts: EncodingCounts | None = None,
    dtype: type[np.floating] = np.float32,
    progress: Callable[[int], None] | None = None,
) -> list[TextReading]:
    """Return the reading of each text, in order, its vectors kept as `dtype`.

    The embedding is that of `encode_documents`: of a text beyond the window, of its beginning.

    Raises:
        InvalidData: a text is empty or blank.
        UnencodableText: the encoder has no finite vector for a text.
    """
    pending = [_Pending(text) for text in texts]
    # Of each window: the text, the character at which the window begins, and the one before which
    # the encoder is given no more. A first window has it all, as `encode_documents` has.
    windows = [(position, 0, len(text)) for position, text in enumerate(texts)]
    done = 0
    first_round = True
    while windows:
        following = []
        parts = [texts[position][start:end] for position, start, end in windows]
        try:
            # Later windows are parts of texts that were counted.
            readings = encoder.read_layers(parts, counts=counts if first_round else None)
            for number, reading in readings:
                position, start, end = windows[number]
                own = pending[position]
                if end < len(texts[position]) and not reading.truncated:  # there is room for more
                    following.append((position, start, own.end_of(start, 2 * (end - start))))
                    continue
                following += [
                    (position, begin, own.end_of(begin, ahead))
                    for begin, ahead in own.take(reading, start, dtype)
                ]
                done += first_round
                if progress is not None and first_round:
                    progress(done)
        except (UnencodableText, UnreadableText) as error:
            raise error.at(windows[error.position][0]) from error
        windows = following
        first_round = False
    return [each.reading(dtype) for each in pending]


class _Pending:
    """A text of which windows are still to come."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._words = split_words(text)
        self._room = np.full(len(self._words), -1, dtype=np.int64)  # to the nearest cutting edge
        self._vectors: FloatArray | None = None
        self._embedding: FloatArray | None = None

    def take(
        self, window: LayerReading, start: int, dtype: type[np.floating]
    ) -> list[tuple[int, int]]:
        """Take the words of a window; return where the next one begins, if there is one.

        Beside that stands how many characters are enough for it.
        """
        if self._embedding is None:
            self._embedding = window.embedding.copy()
        offsets = window.offsets + start
        offsets[window.offsets[:, 1] <= window.offsets[:, 0]] = -1
        real = offsets[:, 1] > offsets[:, 0]
        pieces = offsets[real]
        behind = int(pieces[:, 1].max()) if len(pieces) else start
        inside = (self._words[:, 0] >= start) & (self._words[:, 1] <= behind)
        if not window.truncated:
            inside = self._words[:, 0] >= start
        numbers = np.flatnonzero(inside)
        edge = len(numbers)
        left = np.arange(edge) if start else np.full(edge, len(self._words))
        right = np.arange(edge)[::-1] if window.truncated else np.full(edge, len(self._words))
        room = np.minimum(left, right)
        better = room > self._room[numbers]
        chosen = numbers[better]
        vectors = pool_pieces(_chosen(window.layers, real), pieces, self._words[chosen])
        if self._vectors is None and len(chosen) == len(self._words):
            self._vectors = vectors.astype(dtype, copy=False)  # the whole text at once
        else:
            if self._vectors is None:
                self._vectors = np.zeros((len(self._words), vectors.shape[1]), dtype=dtype)
            self._vectors[chosen] = vectors
        self._room[chosen] = room[better]
        if not window.truncated:
            return []
        ahead = _AHEAD * max(1, behind - start)
        return [(begin, ahead) for begin in self._next_window(pieces, start)]

    def end_of(self, start: int, size: int) -> int:
        """Return the end of a part of at least so many characters that cuts through no word."""
        number = int(np.searchsorted(self._words[:, 0], start + size))
        return int(self._words[number, 0]) if number < len(self._words) else len(self._text)

    def _next_window(self, pieces: IntArray, start: int) -> list[int]:
        """Return the beginning of a word a quarter before the end of a window that was cut."""
        at = int(pieces[int(len(pieces) * _KEPT), 0]) if len(pieces) else start
        number = int(np.searchsorted(self._words[:, 1], at, side="right"))
        while number < len(self._words) and self._words[number, 0] <= start:
            number += 1
        return [int(self._words[number, 0])] if number < len(self._words) else []

    def reading(self, dtype: type[np.floating]) -> TextReading:
        """Return the text with the vectors of its words."""
        if self._embedding is None or self._vectors is None:
            raise RuntimeError("a text was not read")
        return TextReading(self._words, self._embedding, self._vectors)


def _chosen(layers: FloatArray, tokens: npt.NDArray[np.bool_]) -> FloatArray:
    """Return the layers at some of the tokens: where these are a run, without a copy."""
    places = np.flatnonzero(tokens)
    if len(places) and places[-1] - places[0] + 1 == len(places):
        return layers[:, places[0] : places[-1] + 1]
    return layers[:, places]


def pieces_of_words(pieces: IntArray, words: IntArray) -> tuple[IntArray, IntArray]:
    """Return of each word its first piece and the one behind its last, (w,) each.

    Both are given as ranges of characters, (t, 2) and (w, 2), in order; of a word that no piece
    touches the second number is not above the first.
    """
    # Only in odd texts do the ranges of pieces run back.
    starts = np.maximum.accumulate(pieces[:, 0])
    ends = np.maximum.accumulate(pieces[:, 1])
    first = np.searchsorted(ends, words[:, 0], side="right")
    return first, np.searchsorted(starts, words[:, 1], side="left")


def pool_pieces(layers: FloatArray, pieces: IntArray, words: IntArray) -> FloatArray:
    """Return of each word the mean of its pieces in every layer, zeros where it has none.

    A piece that reaches into several words counts for each of them.
    Shape: (layers, t, hidden), (t, 2), (w, 2) -> (w, layers x hidden).
    """
    count, hidden = layers.shape[0], layers.shape[2]
    if not len(words) or not len(pieces):
        return np.zeros((len(words), count * hidden), dtype=np.float32)
    first, behind = pieces_of_words(pieces, words)
    sizes = behind - first
    pooled = np.empty((len(words), count, hidden), dtype=np.float32)
    taken = np.minimum(first, len(pieces) - 1)
    for number, layer in enumerate(layers):  # straight to its place: these are many numbers
        pooled[:, number] = layer[taken]
    # Most words are one piece; what further ones have is added, the second pieces, the third ones.
    for more in range(1, int(sizes.max())):
        longer = np.flatnonzero(sizes > more)
        pooled[longer] += layers[:, first[longer] + more].transpose(1, 0, 2)
    several = np.flatnonzero(sizes > 1)
    pooled[several] /= sizes[several][:, None, None].astype(np.float32)
    pooled[sizes < 1] = 0
    return pooled.reshape(len(words), count * hidden)
