"""Hard negatives: texts that the encoder takes for answers, and that are none.

Positive-aware mining with a relative margin (Moreira et al. 2024, NV-Retriever, "TopK-PercPos"):
the texts nearest to an anchor, without those that are nearly as near as its positive. Many of
these are answers that nobody marked (Qu et al. 2021, RocketQA), and training against them
teaches the wrong thing.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.ann import VectorIndex
from simsearch.encoder import text_chunks
from simsearch.errors import InvalidInput
from simsearch.records import Pair
from simsearch.search_index import Embedder
from simsearch.training.examples import fold

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# From this cosine to its positive on, a text is taken for another writing of it. The margin alone
# would let it in: one that is 18 degrees from the positive may well be 5% farther from the
# anchor. To the default encoder an answer with another telephone number, or a sentence more, has
# 0.99; the answer to another question in the same words and frame 0.70 (2026-11-26).
NEAR_COPY = 0.95
_DOCUMENTS = 4096  # encoded at once: enough to sort lengths into even batches
_QUERIES = 1024  # encoded and searched at once, fewer where the window is wide
_CELLS = 1 << 22  # row numbers and similarities that one search returns, 50 MB


@dataclass(frozen=True, slots=True)
class Mined:
    """Hard negatives of pairs, and what was passed over to find them.

    Attributes:
        negatives: of each pair, in order, perhaps none; nearest first, or as they were drawn.
        pairs_without: pairs that have none.
        looked_at: texts in the windows, over all pairs. Those that were passed over are counted
            under the first reason that holds, in the order of the next three:
        known: a positive of the anchor in any pair, or the anchor itself.
        too_near: nearer to the anchor than the margin allows.
        near_copies: almost the positive.
        positive_similarity: of anchor and positive, the mean over the pairs; None without pairs.
        negative_similarity: of anchor and negative, the mean over the negatives; None if there
            are none.
    """

    negatives: list[tuple[str, ...]]
    pairs_without: int
    looked_at: int
    known: int
    too_near: int
    near_copies: int
    positive_similarity: float | None
    negative_similarity: float | None


def mine_negatives(
    encoder: Embedder,
    pairs: Sequence[Pair],
    candidates: Iterable[str],
    *,
    count: int,
    window: int,
    margin: float,
    seed: int | None = None,
) -> Mined:
    """Return at most `count` hard negatives of each pair, from among `candidates`.

    They are sought among the `window` candidates nearest to the anchor. With a `seed` they are
    drawn from those by chance (as Xiong et al. 2021, ANCE, do from the nearest 200), and given in
    the order drawn: the very nearest are the most likely to be answers that nobody marked. Without
    one they are the nearest, nearest first.
    Candidates that are equal when folded are one, given as it was first written. Passed over is

    - what is a positive of this anchor in any pair, and the anchor itself, all compared folded;
    - what is nearer to the anchor than s - margin * |s|, where s is the similarity of the anchor
      and this pair's positive. For s > 0 that is (1 - margin) * s. It is below s for s < 0 too;
      towards s = 0 the margin vanishes, and a negative is only no nearer than the positive;
    - what has a cosine of `NEAR_COPY` or more to this pair's positive.

    The vectors of the candidates are in memory once, those of anchors a chunk at a time.

    Raises:
        InvalidInput: `count` is below 1, `window` below `count`, or `margin` not from 0 up to 1.
        InvalidData, EncoderError: the encoder has no vector for a text.
    """
    _check(count, window, margin)
    if not pairs:
        return _mined([], [])
    texts, excluded = _distinct_candidates(candidates, pairs)
    documents = _Documents(encoder, texts, [pair.positive for pair in pairs])
    positions: defaultdict[str, list[int]] = defaultdict(list)
    for position, pair in enumerate(pairs):
        positions[pair.anchor].append(position)
    choices: dict[int, _Choice] = {}
    for anchors in text_chunks(positions, len, most=max(1, min(_QUERIES, _CELLS // window))):
        queries = encoder.encode_queries(anchors)
        found = documents.nearest(queries, window)
        for anchor, query, rows, similarities in zip(anchors, queries, *found, strict=True):
            for position in positions[anchor]:
                positive = documents.vector(pairs[position].positive)
                choices[position] = _choose(
                    _Window(
                        rows=rows,
                        known=np.isin(rows, excluded[fold(anchor)]),
                        to_anchor=similarities,
                        to_positive=documents.similarities(rows, positive),
                    ),
                    anchor_to_positive=float(query @ positive),
                    count=count,
                    margin=margin,
                    # A string seeds by its SHA-512: a pair's draw is its own, in any company.
                    rng=None
                    if seed is None
                    else random.Random("\0".join((str(seed), anchor, pairs[position].positive))),
                )
    return _mined([choices[position] for position in range(len(pairs))], texts)


@dataclass(frozen=True, slots=True)
class _Window:
    """The candidates nearest to an anchor, nearest first; (window,) each."""

    rows: IntArray
    known: npt.NDArray[np.bool_]
    to_anchor: DoubleArray
    to_positive: FloatArray


@dataclass(frozen=True, slots=True)
class _Choice:
    """The negatives of one pair, (n,) each, and figures as in `Mined`."""

    rows: IntArray
    similarities: DoubleArray
    positive_similarity: float
    looked_at: int
    known: int
    too_near: int
    near_copies: int


def _choose(
    window: _Window,
    *,
    anchor_to_positive: float,
    count: int,
    margin: float,
    rng: random.Random | None,
) -> _Choice:
    limit = anchor_to_positive - margin * abs(anchor_to_positive)
    too_near = ~window.known & (window.to_anchor > limit)
    near_copy = ~window.known & ~too_near & (window.to_positive >= NEAR_COPY)
    left = np.flatnonzero(~(window.known | too_near | near_copy))
    if rng is not None:
        left = np.array(rng.sample(left.tolist(), min(count, len(left))), dtype=np.int64)
    chosen = left[:count]
    return _Choice(
        rows=window.rows[chosen],
        similarities=window.to_anchor[chosen],
        positive_similarity=anchor_to_positive,
        looked_at=len(window.rows),
        known=int(window.known.sum()),
        too_near=int(too_near.sum()),
        near_copies=int(near_copy.sum()),
    )


class _Documents:
    """The vectors of the candidates, to be searched, and of the positives; equal texts' once."""

    def __init__(
        self, encoder: Embedder, candidates: Sequence[str], positives: Sequence[str]
    ) -> None:
        wanted = set(positives)
        self._row = {text: row for row, text in enumerate(candidates) if text in wanted}
        others = [text for text in dict.fromkeys(positives) if text not in self._row]
        self._other = {text: row for row, text in enumerate(others)}
        self._other_vectors = np.empty((len(others), encoder.dim), dtype=np.float32)
        _encode(encoder, others, self._other_vectors)
        self._vectors = np.empty((0, encoder.dim), dtype=np.float32)
        self._index = VectorIndex(encoder.dim)

        def write(target: FloatArray) -> None:
            _encode(encoder, candidates, target)
            # The index's own memory, to which nothing is added any more: an array beside it
            # would hold every vector twice.
            self._vectors = target

        self._index.add_from(np.arange(len(candidates)), write)

    def nearest(self, queries: FloatArray, window: int) -> tuple[IntArray, DoubleArray]:
        """Return candidates and similarities, best first, both (n, min(window, candidates))."""
        rows, similarities = self._index.search(queries, window)
        return rows, similarities.astype(np.float64)

    def similarities(self, rows: IntArray, vector: FloatArray) -> FloatArray:
        """Return the similarity of each of these candidates (n,) to a vector (dim,)."""
        return np.asarray(self._vectors[rows] @ vector, dtype=np.float32)

    def vector(self, positive: str) -> FloatArray:
        """Return the vector of a positive, (dim,)."""
        if positive in self._row:
            return np.asarray(self._vectors[self._row[positive]])
        return np.asarray(self._other_vectors[self._other[positive]])


def _encode(encoder: Embedder, texts: Iterable[str], target: FloatArray) -> None:
    """Write the vectors of texts into `target` (n, dim), a chunk at a time."""
    done = 0
    for chunk in text_chunks(texts, len, most=_DOCUMENTS):
        target[done : done + len(chunk)] = encoder.encode_documents(chunk)
        done += len(chunk)


def _distinct_candidates(
    candidates: Iterable[str], pairs: Sequence[Pair]
) -> tuple[list[str], dict[str, list[int]]]:
    """Return the distinct texts, and by folded anchor which of them are never its negatives."""
    texts: dict[str, str] = {}
    for text in candidates:
        texts.setdefault(fold(text), text)
    row = {folded: number for number, folded in enumerate(texts)}
    known: defaultdict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        anchor = fold(pair.anchor)
        known[anchor] |= {anchor, fold(pair.positive)}
    return list(texts.values()), {
        anchor: [row[folded] for folded in its if folded in row] for anchor, its in known.items()
    }


def _mined(choices: Sequence[_Choice], texts: Sequence[str]) -> Mined:
    negative_similarities = [value for choice in choices for value in choice.similarities.tolist()]
    return Mined(
        negatives=[tuple(texts[row] for row in choice.rows.tolist()) for choice in choices],
        pairs_without=sum(not len(choice.rows) for choice in choices),
        looked_at=sum(choice.looked_at for choice in choices),
        known=sum(choice.known for choice in choices),
        too_near=sum(choice.too_near for choice in choices),
        near_copies=sum(choice.near_copies for choice in choices),
        positive_similarity=_mean([choice.positive_similarity for choice in choices]),
        negative_similarity=_mean(negative_similarities),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _check(count: int, window: int, margin: float) -> None:
    if count < 1:
        raise InvalidInput(f"count must be at least 1, got {count}")
    if window < count:
        raise InvalidInput(
            f"window must be at least count ({count}): the negatives are taken from it, "
            f"got {window}"
        )
    if not 0 <= margin < 1:
        raise InvalidInput(f"margin must be from 0 up to 1, got {margin}")
