"""How an approximate index is searched among some of its rows, found by measuring.

An index that was tuned for all rows promises nothing among a tenth of them: their nearest lie
farther away, beyond the lists that are scanned. So its parameters are tuned again on random parts
of several sizes, and what an exact search of a part costs is measured beside.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from simsearch.ann.built_index import BuiltIndex
from simsearch.ann.candidates import Parameters
from simsearch.ann.checks import checked_vectors
from simsearch.ann.exact import neighbours_among, neighbours_in
from simsearch.ann.plan import Target
from simsearch.ann.questions import MOST_QUERIES, check_enough, documents_to_ask
from simsearch.ann.recall import Recall, recall_of_each, recall_with_interval
from simsearch.ann.subset import Subset
from simsearch.ann.tuning import Curve, tune

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

SELECTIVITIES: Final = (1.0, 0.9, 0.5, 0.2, 0.05, 0.01)
# Deeper than the target asks: how many times, and for which parts. Small ones are quick exactly.
_DEEPER: Final = 10
_DEEP_SELECTIVITIES: Final = (1.0, 0.9, 0.5, 0.2)
_LEAST_ROWS: Final = 1_000  # below, a part is always searched exactly
_TIMED_ROWS: Final = 20_000
_TIMED_QUERIES: Final = 20


@dataclass(frozen=True, slots=True)
class FilterLevel:
    """What serves parts of `selectivity` of the rows and more, for up to `k` neighbours.

    `recall` is that of queries that did not tune it, `seconds` those of a query by itself.
    """

    selectivity: float
    parameters: Parameters
    recall: Recall
    seconds: float
    k: int = 10


@dataclass(frozen=True, slots=True)
class FilterPlan:
    """The levels, from the largest selectivity to the smallest, and the cost of an exact search.

    `seconds_a_row` is that of one query by itself, of rows that are copied together; to read all
    rows in a row takes a tenth of that for each. Parts of fewer than `least_rows` are searched
    exactly whatever the times say. `k`: up to so many neighbours of all rows are found by the
    parameters that the index has itself.
    """

    levels: tuple[FilterLevel, ...]
    seconds_a_row: float
    least_rows: int = _LEAST_ROWS
    k: int = 10

    def level_for(self, among: int, rows: int, *, k: int) -> FilterLevel | None:
        """Return what to find `k` of `among` of `rows` with, None for exactly.

        The level is the one that was measured on the next smaller part, with parameters no less
        than those for the next larger one: a smaller part needs more lists, a larger one, in which
        more rows are as near, more refinement.
        """
        if among < self.least_rows:
            return None
        fitting = [
            level for level in self.levels if level.selectivity <= among / rows and level.k >= k
        ]
        level = max(fitting, key=lambda each: (-each.k, each.selectivity), default=None)
        if level is None or min(among, rows / 10) * self.seconds_a_row <= level.seconds:
            return None
        return level


def plan_filters(
    index: BuiltIndex,
    vectors: FloatArray,
    *,
    target: Target,
    queries: FloatArray | None = None,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> FilterPlan:
    """Find how `index`, built of `vectors` (n, dim), is best searched among parts of them.

    `queries` and `seed` as for `plan_index`: without queries the same documents are asked, on which
    the index was not trained. Half of them tune and half judge. A flat index has no levels: it is
    exact in any case.

    Raises:
        InvalidInput: there are fewer than 20 queries.
    """
    rng = np.random.default_rng(seed)
    asked = np.empty(0, dtype=np.int64)  # rows that must not be found by themselves
    if queries is None:
        asked = documents_to_ask(len(vectors), seed=seed)
        queries = vectors[asked]
    queries = checked_vectors(queries, vectors.shape[1])
    if not index.exact:
        check_enough(queries)
    halves = np.array_split(queries[rng.permutation(len(queries))][:MOST_QUERIES], 2)
    seconds_a_row = _exact_seconds(vectors, queries, target.k, rng, clock)
    levels: list[FilterLevel] = []
    depths = {target.k: SELECTIVITIES, _DEEPER * target.k: _DEEP_SELECTIVITIES}
    for depth, selectivities in () if index.exact else depths.items():
        least = Parameters()
        for selectivity in selectivities:
            among = rng.random(len(vectors)) < selectivity
            among[asked] = False
            if among.sum() < _LEAST_ROWS:
                break
            subset = Subset.where(among)
            tuning, judging = (FilteredQuestions(vectors, half, subset, depth) for half in halves)
            level = _level(index, tuning, judging, selectivity, least, target, clock)
            if level is not None:
                least = level.parameters
                levels.append(level)
    return FilterPlan(tuple(levels), seconds_a_row, k=target.k)


def _exact_seconds(
    vectors: FloatArray,
    queries: FloatArray,
    k: int,
    rng: np.random.Generator,
    clock: Callable[[], float],
) -> float:
    chosen = np.sort(rng.choice(len(vectors), min(_TIMED_ROWS, len(vectors)), replace=False))
    neighbours_among(vectors, chosen, queries[:1], k)  # the first touches memory for all
    before = clock()
    for position in range(_TIMED_QUERIES):
        one = queries[position % len(queries)][None]
        neighbours_among(vectors, chosen, one, k)
    return (clock() - before) / (_TIMED_QUERIES * len(chosen))


def _level(
    index: BuiltIndex,
    tuning: FilteredQuestions,
    judging: FilteredQuestions,
    selectivity: float,
    least: Parameters,
    target: Target,
    clock: Callable[[], float],
) -> FilterLevel | None:
    """Return the level for a part, with parameters of `least` or more; None if none will do.

    What the tuning queries pass with so little to spare that the others do not, is tuned again for
    half of the misses.
    """
    for goal in (target.recall, (1 + target.recall) / 2):
        found = _judged(index, tuning, judging, goal, least, clock)
        if found is not None and found[1].value >= target.recall:
            break
    else:
        return None
    parameters, recall = found
    ready = index.with_parameters(parameters)
    before = clock()
    for position in range(_TIMED_QUERIES):
        judging.answer_one(ready, position)
    seconds = (clock() - before) / _TIMED_QUERIES
    return FilterLevel(selectivity, parameters, recall, seconds, judging.k)


def _judged(
    index: BuiltIndex,
    tuning: FilteredQuestions,
    judging: FilteredQuestions,
    goal: float,
    least: Parameters,
    clock: Callable[[], float],
) -> tuple[Parameters, Recall] | None:
    """Return parameters of `least` or more that reach `goal`, and their recall on `judging`."""
    curve = Curve(index, tuning, goal, clock)
    parameters = tune(curve)
    if parameters is None:
        return None
    parameters = larger_of(parameters, least)
    if not curve.passes(parameters):  # more of everything seldom does worse, but it can
        return None
    return parameters, judging.recall(judging.answers(index.with_parameters(parameters)))


def larger_of(first: Parameters, second: Parameters) -> Parameters:
    """Return the larger value of each parameter."""

    def larger(a: int | None, b: int | None) -> int | None:
        return max((each for each in (a, b) if each is not None), default=None)

    return Parameters(
        larger(first.nprobe, second.nprobe),
        larger(first.k_factor, second.k_factor),
        larger(first.ef_search, second.ef_search),
    )


class FilteredQuestions:
    """Queries whose exact neighbours among some rows, drawn by chance, are known."""

    def __init__(self, vectors: FloatArray, queries: FloatArray, among: Subset, k: int) -> None:
        self._vectors = vectors
        self._queries = queries
        self._among = among
        self.k = k
        self._exact = neighbours_in(vectors, among, queries, k)[1]

    def __len__(self) -> int:
        return len(self._queries)

    def answers(self, index: BuiltIndex) -> IntArray:
        """Return the rows (n, k) that an index finds among them, -1 where it finds none."""
        return index.search_among(self._queries, self.k, self._among, by_chance=True)[0]

    def answer_one(self, index: BuiltIndex, position: int) -> None:
        """Search for one of the queries by itself."""
        one = self._queries[position % len(self)][None]
        index.search_among(one, self.k, self._among, by_chance=True)

    def recall(self, answers: IntArray) -> Recall:
        """Return the recall of answers, and its interval."""
        of_each = recall_of_each(self._vectors, self._queries, answers, self._exact)
        return recall_with_interval(of_each, self._exact.shape[1])
