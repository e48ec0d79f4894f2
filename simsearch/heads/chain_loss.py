"""How far a chain is from the right tags, and its gradient: one pass each way, in numpy.

Sums are kept as probabilities, brought to 1 at every word (Rabiner 1989, section V.A), so a step is
one product of matrices; the gradient is what the chain expects less what is right. Taken step by
step by torch's autograd, the same takes twenty times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.encoder.runtime import FloatArray, IntArray

_LEAST = 1e-300  # of a sum that is as good as none: dividing by it still gives numbers

Wide = npt.NDArray[np.float64]  # sums over whole texts


@dataclass(frozen=True, slots=True, eq=False)
class ChainLoss:
    """Minus the log likelihood of the tags of all texts, and its gradients."""

    loss: float
    scores: Wide  # (w, tags)
    begin: Wide  # (tags,)
    follow: Wide  # (tags, tags)


def chain_loss(
    scores: FloatArray,
    tags: IntArray,
    lengths: Sequence[int],
    *,
    begin: FloatArray,
    follow: FloatArray,
) -> ChainLoss:
    """Return the loss of texts one behind another, none of them without words.

    Shape: scores (w, tags), tags (w,), begin (tags,), follow (tags, tags) from tag to tag.
    """
    steps = _steps(lengths)
    starts = steps[0]
    highest = scores.max(axis=1, keepdims=True)
    words = np.exp((scores - highest).astype(np.float64))
    ways = np.exp(follow.astype(np.float64))
    forward, sums = _forward(words, np.exp(begin.astype(np.float64)), ways, steps)
    backward, arriving = _backward(words / sums[:, None], ways, steps)
    later = np.concatenate([*steps[1:], np.empty(0, dtype=np.int64)])
    expected = forward * backward  # (w, tags), of each word the chances of its tags
    pairs = (forward[later - 1].T @ arriving[later]) * ways
    first = expected[starts].sum(axis=0)
    right = np.arange(len(tags))
    own = begin[tags[starts]].sum(dtype=np.float64) + scores[right, tags].sum(dtype=np.float64)
    own += follow[tags[later - 1], tags[later]].sum(dtype=np.float64)
    expected[right, tags] -= 1
    np.subtract.at(first, tags[starts], 1)
    np.subtract.at(pairs, (tags[later - 1], tags[later]), 1)
    total = np.log(sums).sum() + highest.sum(dtype=np.float64)
    return ChainLoss(float(total - own), expected, first, pairs)


def _steps(lengths: Sequence[int]) -> list[IntArray]:
    """Return the rows of all first words, of all second words, and so on; long texts first."""
    sizes = np.asarray(lengths)
    starts = np.cumsum(sizes) - sizes
    order = np.argsort(-sizes, kind="stable")
    sizes, starts = sizes[order], starts[order]
    return [starts[sizes > step] + step for step in range(sizes[0])]


def _forward(words: Wide, begin: Wide, ways: Wide, steps: Sequence[IntArray]) -> tuple[Wide, Wide]:
    """Return the chances of tags by the words up to each, (w, tags), and their divisors, (w,)."""
    forward = np.empty_like(words)
    sums = np.empty(len(words))
    arriving = np.broadcast_to(begin, (len(steps[0]), len(begin)))
    for step, rows in enumerate(steps):
        if step:
            arriving = forward[rows - 1] @ ways
        chances = arriving * words[rows]
        total = np.maximum(chances.sum(axis=1), _LEAST)
        forward[rows] = chances / total[:, None]
        sums[rows] = total
    return forward, sums


def _backward(scaled: Wide, ways: Wide, steps: Sequence[IntArray]) -> tuple[Wide, Wide]:
    """Return what follows each word, divided alike, and the same with the word, (w, tags) each."""
    backward = np.ones_like(scaled)
    arriving = scaled.copy()
    for rows in reversed(steps[1:]):
        arriving[rows] *= backward[rows]
        backward[rows - 1] = arriving[rows] @ ways.T
    return backward, arriving
