"""The parameters with which an index reaches a recall for the least work.

Recall grows with every parameter (but for chance), so the least value that does is found by halving
the range; what is tried on the way is the curve.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from simsearch.ann.built_index import BuiltIndex
from simsearch.ann.candidates import Candidate, Parameters
from simsearch.ann.plan import CurvePoint
from simsearch.ann.recall import Recall

IntArray = npt.NDArray[np.int64]

# How much dearer a byte is that is fetched to compare than one of codes that are scanned in a row
# (docs/log.md, 2026-11-26).
_SCATTERED = 8


class Asked(Protocol):
    """Queries with known answers, as the planner has them (Questions), or among some rows."""

    def __len__(self) -> int: ...

    def answers(self, index: BuiltIndex) -> IntArray:
        """Return the rows (n, k) that an index finds, -1 where it finds none."""
        ...

    def recall(self, answers: IntArray) -> Recall:
        """Return the recall of answers, and its interval."""
        ...


@dataclass(slots=True)
class Curve:
    """Tries parameters on the tuning queries, each once.

    Parameters pass when the lower end of the interval reaches the recall: a promise that is kept
    by chance in half of the cases is none.
    """

    index: BuiltIndex
    questions: Asked
    recall: float
    clock: Callable[[], float] = time.perf_counter
    _points: dict[Parameters, CurvePoint] = field(default_factory=dict)

    def passes(self, parameters: Parameters) -> bool:
        """Whether the index reaches the recall with these."""
        if parameters not in self._points:
            before = self.clock()
            answers = self.questions.answers(self.index.with_parameters(parameters))
            seconds = (self.clock() - before) / max(1, len(self.questions))
            self._points[parameters] = CurvePoint(
                parameters, self.questions.recall(answers), seconds
            )
        return self._points[parameters].recall.low >= self.recall

    def point(self, parameters: Parameters) -> CurvePoint:
        """Return what was found with parameters that were tried."""
        return self._points[parameters]

    def points(self) -> tuple[CurvePoint, ...]:
        """Return all that was tried, in the order of trying."""
        return tuple(self._points.values())


def tune(curve: Curve) -> Parameters | None:
    """Return the parameters that pass for the least work, None if not even the largest do."""
    candidate, most = curve.index.candidate, curve.index.parameters
    if not curve.passes(most):
        return None
    if not candidate.nprobes:
        name = "k_factor" if candidate.k_factors else "ef_search"
        values = candidate.k_factors or candidate.ef_searches
        return _least(curve, most, name, values) if values else most
    # With every list scanned, the least refinement; then, for it and the next ones, the fewest
    # lists: more refinement may allow for fewer.
    least = _least(curve, most, "k_factor", candidate.k_factors)
    return min(_with_fewest_lists(curve, least), key=lambda found: work(curve.index, found))


def _with_fewest_lists(curve: Curve, least: Parameters) -> Iterator[Parameters]:
    candidate = curve.index.candidate
    larger = [value for value in candidate.k_factors if value >= (least.k_factor or 0)]
    for k_factor in larger[:5:2]:
        start = replace(least, k_factor=k_factor)
        if curve.passes(start):  # more refinement seldom does worse, but it can
            yield _least(curve, start, "nprobe", candidate.nprobes)


def _least(curve: Curve, parameters: Parameters, name: str, values: Sequence[int]) -> Parameters:
    """Return `parameters`, which pass, with the least value of `name` that still does."""

    def with_value(position: int) -> Parameters:
        return replace(parameters, **{name: values[position]})

    failing, passing = -1, len(values) - 1
    while passing - failing > 1:
        middle = (failing + passing) // 2
        if curve.passes(with_value(middle)):
            passing = middle
        else:
            failing = middle
    return with_value(passing)


def work(index: BuiltIndex, parameters: Parameters) -> float:
    """Return about how many bytes a query for 10 rows reads: a measure without a clock."""
    candidate: Candidate = index.candidate
    scanned = candidate.bytes_a_row(index.dim) * len(index)
    if candidate.nprobes and parameters.nprobe:
        scanned *= parameters.nprobe / candidate.nprobes[-1]
    return scanned + _SCATTERED * 10 * (parameters.k_factor or 0) * 4 * index.dim
