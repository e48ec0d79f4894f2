"""Which words of a text carry its similarity to a query.

Where an embedding is a weighted sum of token vectors, cut to length 1, the cosine of two texts is
a sum over all pairs of their tokens:

    cos(q, d) = sum over s, t of (a_s g_s) . (b_t h_t) / (|q| |d|)

so a word's share is the sum over its tokens, and the shares add up to the cosine, exactly. Special
tokens belong to no word; what they carry is named apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.query.late_interaction import unit_rows

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# Of the cosine between an embedding and the sum that it is taken for.
_SAME = 0.9999


@dataclass(frozen=True, slots=True, eq=False)
class TokenSum:
    """A text as a sum of token vectors: `terms` (t, dim), which add up to its unit embedding.

    `word` (t,) is the number of the word that each token belongs to, -1 of none.
    """

    terms: DoubleArray
    word: IntArray
    words: int

    def by_word(self) -> DoubleArray:
        """Return the sum over the tokens of each word, (words, dim)."""
        sums = np.zeros((self.words, self.terms.shape[1]), dtype=np.float64)
        own = self.word >= 0
        np.add.at(sums, self.word[own], self.terms[own])
        return sums


def token_sum(
    vectors: FloatArray,
    pooled: BoolArray,
    embedding: FloatArray,
    *,
    word: IntArray,
    words: int,
) -> TokenSum | None:
    """Return a text as the sum that its embedding is; None where it is no such sum.

    `vectors` (t, hidden) with `pooled` (t,), which of them count; `embedding` (dim,), perhaps the
    first components only. Tried are equal weights, and weights that grow with the position.
    """
    dim = len(embedding)
    if vectors.shape[1] < dim:
        return None
    rows = vectors[:, :dim].astype(np.float64)
    positions = np.cumsum(pooled)
    for weights in (pooled.astype(np.float64), np.where(pooled, positions, 0.0)):
        total = weights @ rows
        length = float(np.linalg.norm(total))
        if length > 0 and float(total @ embedding) / length >= _SAME:
            return TokenSum(rows * (weights / length)[:, None], word, words)
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Contributions:
    """Of a cosine: `pairs` (query words, words) and `words` (words,), which add up with `rest`.

    `words` are over all tokens of the query, special ones too. `losses` (words,) say by how much
    the cosine would fall without the word, were the other token vectors to stay.
    """

    cosine: float
    pairs: DoubleArray
    words: DoubleArray
    rest: float
    losses: DoubleArray


def contributions(query: TokenSum, text: TokenSum) -> Contributions:
    """Return what each word of a text contributes to its cosine with a query."""
    direction, whole = query.terms.sum(axis=0), text.terms.sum(axis=0)
    by_word = text.by_word()
    cosine = float(direction @ whole)
    shares = by_word @ direction
    left = whole - by_word  # (words, dim)
    lengths = np.linalg.norm(left, axis=1)
    without = np.divide(left @ direction, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return Contributions(
        cosine=cosine,
        pairs=query.by_word() @ by_word.T,
        words=shares,
        rest=cosine - float(shares.sum()),
        losses=cosine - without,
    )


def words_of_tokens(offsets: IntArray, words: IntArray) -> IntArray:
    """Return the number of the word that each token begins in, (t,), -1 of none.

    `offsets` (t, 2) and `words` (w, 2) are half-open character ranges, those of words in order.
    A token may begin with the space before its word.
    """
    starts, ends = offsets[:, 0], offsets[:, 1]
    if not len(words):
        return np.full(len(offsets), -1, dtype=np.int64)
    # The first word that ends behind the token's beginning: its own, or the one after a space.
    number = np.searchsorted(words[:, 1], starts, side="right")
    within = np.minimum(number, len(words) - 1)
    touches = (number < len(words)) & (words[within, 0] < ends) & (ends > starts)
    return np.where(touches, within, -1).astype(np.int64)


def likeness(
    query: FloatArray,
    query_word: IntArray,
    text: FloatArray,
    text_word: IntArray,
    *,
    shape: tuple[int, int],
    cosine: float,
) -> Contributions:
    """Divide a cosine among words by how like those of the query they are.

    For embeddings that are no sum over tokens. Token vectors (m, hidden) and (t, hidden), the word
    of each, and how many words there are (query, text). A pair of words has the highest cosine of
    its tokens, if that is above 0.
    """
    pairs = np.zeros(shape, dtype=np.float64)
    own, others = np.flatnonzero(query_word >= 0), np.flatnonzero(text_word >= 0)
    cosines = unit_rows(query[own]) @ unit_rows(text[others]).T
    places = np.ix_(query_word[own], text_word[others])
    np.maximum.at(pairs, places, cosines)
    best = pairs.max(axis=0, initial=0.0)
    total = float(best.sum())
    scale = cosine / total if total else 0.0
    words = best * scale
    return Contributions(cosine, pairs * scale, words, cosine - float(words.sum()), words)
