"""How probable the spans of a tagger are, told by texts that it was not trained on.

The scores of tags are divided by a temperature (Guo et al. 2017): the spans that are found stay the
same, and of those with probability 0.8 eight in ten are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from simsearch.encoder.runtime import FloatArray, IntArray
from simsearch.evaluation import expected_calibration_error, score_spans
from simsearch.heads.chain import Chain
from simsearch.heads.tagger import WORDS_AT_ONCE, TaggedSpan, word_parts
from simsearch.heads.words import tag_runs
from simsearch.records import Span

_LOG_TEMPERATURE = (-4.0, 4.0)
_TOLERANCE = 0.01  # of the logarithm: no probability changes by more than that
_MOST_SPANS = 2000
_LEAST = 1e-12  # of a probability whose logarithm is taken

BoolArray = npt.NDArray[np.bool_]
Wide = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class UnseenTexts:
    """What a tagger says of texts that it was not trained on, sorted by length.

    `emissions` (w_i, tags) are before the chain, `best` (w_i,) the tags that come out. `spans` are
    those found in each text, in order, and `gold` the right ones: ranges of words.
    """

    chain: Chain
    emissions: Sequence[FloatArray]
    best: Sequence[IntArray]
    spans: Sequence[Sequence[Span]]
    gold: Sequence[Sequence[Span]]

    @classmethod
    def of(
        cls, chain: Chain, emissions: Sequence[FloatArray], tags: Sequence[IntArray]
    ) -> UnseenTexts:
        """Decode the texts and compare with their right tags, (w_i,) each."""
        order = sorted(range(len(tags)), key=lambda row: len(tags[row]))
        emissions = [emissions[row] for row in order]
        best: list[IntArray] = []
        for part in _parts(emissions):
            best += chain.best(emissions[part])
        gold = [_spans(tags[row]) for row in order]
        return cls(chain, emissions, best, [_spans(own) for own in best], gold)

    @property
    def found(self) -> int:
        """How many spans were found."""
        return sum(map(len, self.spans))

    @property
    def right(self) -> list[bool]:
        """Of each span that is found, in order, whether it is one of the right ones."""
        pairs = zip(self.spans, map(set, self.gold), strict=True)
        return [span in gold for spans, gold in pairs for span in spans]

    def every(self, step: int) -> UnseenTexts:
        """Return every so many-th of the texts."""
        return replace(
            self,
            emissions=self.emissions[::step],
            best=self.best[::step],
            spans=self.spans[::step],
            gold=self.gold[::step],
        )

    def probabilities(self, temperature: float) -> Wide:
        """Return the probability of each span that is found, in order."""
        chain = self.chain.softened(temperature)
        values: list[float] = []
        for part in _parts(self.emissions):
            emissions = [each / np.float32(temperature) for each in self.emissions[part]]
            for found in chain.span_probabilities(emissions, self.best[part]):
                values += found
        return np.array(values)


def _parts(emissions: Sequence[FloatArray]) -> list[slice]:
    """Return which texts, sorted by length, go through the chain at once."""
    parts = word_parts([len(each) for each in emissions], most=WORDS_AT_ONCE)
    return [slice(part[0], part[-1] + 1) for part in parts]


def _spans(tags: IntArray) -> list[Span]:
    return [Span(first, behind, str(tags[first])) for first, behind in tag_runs(tags)]


def _right(parts: Sequence[UnseenTexts]) -> BoolArray:
    return np.array([each for part in parts for each in part.right], dtype=np.bool_)


def fit_span_temperature(parts: Sequence[UnseenTexts]) -> float:
    """Return the temperature of the least cross-entropy over all spans found, 1.0 if there is none.

    As `fit_temperature`: that n spans are all right makes the next no surer than (n + 1) / (n + 2),
    and that they are all wrong no less probable than 1 / (n + 2) (Platt 1999). Of many texts some
    are left out: one number needs a few thousand spans.
    """
    step = max(1, sum(part.found for part in parts) // _MOST_SPANS)
    parts = [part.every(step) for part in parts]
    right = _right(parts)
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

    A span that was widened to whole words to be learnt counts as it was learnt. The temperature was
    fitted on the same spans, so of a handful of them the `ece` looks better than it is.

    Raises:
        InvalidData: there is no text.
    """
    scores = score_spans(
        [spans for part in parts for spans in part.gold],
        [spans for part in parts for spans in part.spans],
    )
    metrics = {"span_f1": scores.f1, "precision": scores.precision, "recall": scores.recall}
    right = _right(parts)
    if len(right):
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
