"""How probable the spans of a tagger are, told by texts that it was not trained on.

The scores of tags are divided by a temperature (Guo et al. 2017): the spans that are found stay the
same, and of those with probability 0.8 eight in ten are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.encoder.runtime import FloatArray, IntArray
from simsearch.evaluation import expected_calibration_error
from simsearch.heads.chain import Chain
from simsearch.heads.tagger import TaggedSpan
from simsearch.heads.words import tag_runs
from simsearch.records import Span

_LOG_TEMPERATURE = (-4.0, 4.0)
_TOLERANCE = 0.01  # of the logarithm: no probability changes by more than that
_TEXTS_AT_ONCE = 64
_LEAST = 1e-12  # of a probability whose logarithm is taken

BoolArray = npt.NDArray[np.bool_]
Wide = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class UnseenTexts:
    """What a tagger says of texts that it was not trained on, and their right tags, (w_i,) each.

    `emissions` (w_i, tags) are before the chain. `right` says of each span that is found, in order,
    whether it is one of the `gold` spans: words and label are the same.
    """

    chain: Chain
    emissions: Sequence[FloatArray]
    best: Sequence[IntArray]
    right: BoolArray
    gold: int

    @classmethod
    def of(
        cls, chain: Chain, emissions: Sequence[FloatArray], tags: Sequence[IntArray]
    ) -> UnseenTexts:
        """Decode the texts and compare; texts of like length come together."""
        order = sorted(range(len(tags)), key=lambda row: len(tags[row]))
        emissions = [emissions[row] for row in order]
        best: list[IntArray] = []
        for start in range(0, len(order), _TEXTS_AT_ONCE):
            best += chain.best(emissions[start : start + _TEXTS_AT_ONCE])
        right: list[bool] = []
        gold = 0
        for row, own in zip(order, best, strict=True):
            spans = _spans(tags[row])
            gold += len(spans)
            right += [span in spans for span in _spans(own)]
        return cls(chain, emissions, best, np.array(right, dtype=np.bool_), gold)

    def probabilities(self, temperature: float) -> Wide:
        """Return the probability of each span that is found, in order."""
        chain = self.chain.softened(temperature)
        values: list[float] = []
        for start in range(0, len(self.best), _TEXTS_AT_ONCE):
            part = slice(start, start + _TEXTS_AT_ONCE)
            emissions = [each / np.float32(temperature) for each in self.emissions[part]]
            for found in chain.span_probabilities(emissions, self.best[part]):
                values += found
        return np.array(values)


def _spans(tags: IntArray) -> dict[tuple[int, int, int], None]:
    """Return first word, word behind the last and tag of each span, in order."""
    return {(first, behind, int(tags[first])): None for first, behind in tag_runs(tags)}


def fit_span_temperature(parts: Sequence[UnseenTexts]) -> float:
    """Return the temperature of the least cross-entropy over all spans found, 1.0 if there is none.

    As `fit_temperature`: that n spans are all right makes the next no surer than (n + 1) / (n + 2),
    and that they are all wrong no less probable than 1 / (n + 2) (Platt 1999).
    """
    right = np.concatenate([np.zeros(0, dtype=np.bool_), *(part.right for part in parts)])
    if not len(right):
        return 1.0
    from scipy.optimize import minimize_scalar

    hits = int(right.sum())
    wanted = np.where(right, (hits + 1) / (hits + 2), 1 / (len(right) - hits + 2))

    def loss(log_temperature: float) -> float:
        found = np.concatenate([part.probabilities(np.exp(log_temperature)) for part in parts])
        values = np.clip(found, _LEAST, 1 - _LEAST)
        return -float((wanted * np.log(values) + (1 - wanted) * np.log1p(-values)).mean())

    found = minimize_scalar(
        loss, bounds=_LOG_TEMPERATURE, method="bounded", options={"xatol": _TOLERANCE}
    )
    return float(np.exp(found.x))


def score_unseen(parts: Sequence[UnseenTexts], temperature: float) -> dict[str, float]:
    """Return span F1, precision and recall, and `ece`, if a span was found: of words, not strict.

    A span that was widened to whole words to be learnt counts as it was learnt.
    """
    right = np.concatenate([part.right for part in parts])
    hits, found, gold = int(right.sum()), len(right), sum(part.gold for part in parts)
    metrics = {
        "span_f1": 2 * hits / (found + gold) if found + gold else 0.0,
        "precision": hits / found if found else 0.0,
        "recall": hits / gold if gold else 0.0,
    }
    if found:
        values = np.concatenate([part.probabilities(temperature) for part in parts])
        metrics["ece"] = expected_calibration_error(values, right)
    return metrics


def span_calibration_error(
    gold: Sequence[Sequence[Span]], found: Sequence[Sequence[TaggedSpan]]
) -> float | None:
    """Return how far the probabilities of spans are from being right, in [0, 1]; None without any.

    The expected calibration error over the spans found: of a text the right ones, and the found.
    """
    pairs = [
        (span.probability, span.span in own)
        for own, spans in zip(map(set, gold), found, strict=True)
        for span in spans
    ]
    if not pairs:
        return None
    return expected_calibration_error(
        np.array([value for value, _ in pairs]), np.array([right for _, right in pairs])
    )
