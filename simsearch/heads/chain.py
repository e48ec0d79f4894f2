"""The best sequence of tags, and how probable its spans are: a linear chain, in numpy.

A conditional random field (Lafferty, McCallum & Pereira 2001): the score of a sequence is the sum
of what each word says of its tag and of what each pair of neighbours says. Transitions that are
no IOB2 have the score FORBIDDEN, which no sum makes good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.encoder.runtime import FloatArray, IntArray
from simsearch.heads.words import legal_transitions, tag_runs

FORBIDDEN = -1e4
_LEAST = 1e-300  # of a sum that is as good as none: its logarithm is still a number

Wide = npt.NDArray[np.float64]  # sums over whole texts


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """`begin` (tags,) and `follow` (tags, tags), from tag to tag: scores of what is legal."""

    begin: FloatArray
    follow: FloatArray

    @classmethod
    def of(cls, begin: FloatArray, follow: FloatArray) -> Chain:
        """Return the chain of these scores, with all that is no IOB2 forbidden."""
        may_begin, may_follow = legal_transitions((len(begin) - 1) // 2)
        forbidden = np.float32(FORBIDDEN)
        return cls(
            np.where(may_begin, begin, forbidden).astype(np.float32),
            np.where(may_follow, follow, forbidden).astype(np.float32),
        )

    def softened(self, temperature: float) -> Chain:
        """Return the chain whose scores are divided by `temperature`; what is forbidden stays so.

        With emissions divided by the same the best tags are the same, and less certain above 1.
        """
        factor = np.float32(temperature)
        return Chain.of(self.begin / factor, self.follow / factor)

    def best(self, emissions: Sequence[FloatArray]) -> list[IntArray]:
        """Return the best tags of each text, (w_i, tags) each -> (w_i,) each (Viterbi 1967)."""
        if not emissions:
            return []
        padded, lengths = _padded(emissions)
        rows, steps, _ = padded.shape
        score = self.begin + padded[:, 0]
        came_from = np.zeros(padded.shape, dtype=np.int64)
        last = np.zeros((rows, steps), dtype=np.int64)  # the best tag, if the text ended here
        last[:, 0] = score.argmax(axis=1)
        for step in range(1, steps):
            ways = score[:, :, None] + self.follow  # (rows, from, to)
            came_from[:, step] = ways.argmax(axis=1)
            score = ways.max(axis=1) + padded[:, step]
            last[:, step] = score.argmax(axis=1)
        results = []
        for row, length in enumerate(lengths):
            tags = np.zeros(length, dtype=np.int64)
            if length:
                tags[-1] = last[row, length - 1]
            for step in range(length - 1, 0, -1):
                tags[step - 1] = came_from[row, step, tags[step]]
            results.append(tags)
        return results

    def span_probabilities(
        self, emissions: Sequence[FloatArray], tags: Sequence[IntArray]
    ) -> list[list[float]]:
        """Return of each text the probability of each span in its tags, in order.

        It is that of all sequences with exactly this span: these tags, and no going on with it.
        """
        if not emissions:
            return []
        padded, lengths = _padded(emissions)
        forward = self._forward(padded)
        backward = self._backward(padded, lengths)
        results = []
        for row, (length, own) in enumerate(zip(lengths, tags, strict=True)):
            values = []
            for first, behind in tag_runs(own):
                path = forward[row, first, own[first]]
                for word in range(first + 1, behind):
                    path += self.follow[own[word - 1], own[word]] + padded[row, word, own[word]]
                if behind < length:
                    inside = 2 * ((own[first] + 1) // 2)
                    after = self.follow[own[behind - 1]] + padded[row, behind]
                    after = np.delete(after + backward[row, behind], inside)
                    path += _log_sum(after)
                total = _log_sum(forward[row, length - 1])
                values.append(min(1.0, float(np.exp(path - total))))
            results.append(values)
        return results

    def _forward(self, padded: FloatArray) -> Wide:
        """Return the log of the summed scores of all that leads to a tag, its word included."""
        forward = np.empty(padded.shape, dtype=np.float64)
        forward[:, 0] = self.begin + padded[:, 0]
        weights = np.exp(self.follow.astype(np.float64))
        for step in range(1, padded.shape[1]):
            forward[:, step] = _log_product(forward[:, step - 1], weights) + padded[:, step]
        return forward

    def _backward(self, padded: FloatArray, lengths: Sequence[int]) -> Wide:
        """Return the log of the summed scores of all that follows a tag, its word left out."""
        backward = np.zeros(padded.shape, dtype=np.float64)
        ends = np.asarray(lengths)
        weights = np.exp(self.follow.T.astype(np.float64))
        for step in range(padded.shape[1] - 2, -1, -1):
            ways = _log_product(padded[:, step + 1] + backward[:, step + 1], weights)
            backward[:, step] = np.where((step + 1 < ends)[:, None], ways, 0.0)
        return backward


def _padded(emissions: Sequence[FloatArray]) -> tuple[FloatArray, list[int]]:
    lengths = [len(each) for each in emissions]
    padded = np.zeros((len(emissions), max(1, *lengths), emissions[0].shape[1]), dtype=np.float32)
    for row, each in enumerate(emissions):
        padded[row, : len(each)] = each
    return padded, lengths


def _log_product(scores: Wide, weights: Wide) -> Wide:
    """Return the log of exp(scores) @ weights, (n, tags) and (tags, tags) -> (n, tags).

    One product of matrices takes a tenth of the time of adding and summing all pairs of tags.
    """
    highest = scores.max(axis=1, keepdims=True)
    result: Wide = np.log(np.maximum(np.exp(scores - highest) @ weights, _LEAST)) + highest
    return result


def _log_sum(values: Wide) -> float:
    highest = values.max()
    return float(np.log(np.exp(values - highest).sum()) + highest)
