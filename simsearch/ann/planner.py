"""The planner: which index, with which parameters, by measuring on the user's own vectors.

The kinds of index are tried from the smallest on. Where there are many vectors a kind is first
tried on a sample: what does not reach the recall there does not among more, and is not built. The
first that meets the target on queries that did not tune it, or the fastest of those about as
small, is the choice. Under one seed everything is the same but the times; and they decide only
among the equally small (`Target.slack`) and where there is a `max_latency`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import faiss
import numpy as np
import numpy.typing as npt

from simsearch.ann.built_index import BuiltIndex
from simsearch.ann.candidates import FLAT, Candidate, candidates_for
from simsearch.ann.plan import CurvePoint, Measurement, Plan, Target, TargetMissed
from simsearch.ann.questions import Questions, make_questions
from simsearch.ann.recall import Recall
from simsearch.ann.tuning import Curve, tune
from simsearch.errors import InvalidInput
from simsearch.wording import milliseconds

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

SAMPLE_ROWS: Final = 50_000
_TIMED_QUERIES: Final = 50


def plan_index(
    vectors: FloatArray,
    *,
    queries: FloatArray | None = None,
    target: Target | None = None,
    seed: int = 0,
    sample_rows: int = SAMPLE_ROWS,
    compare_all: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[BuiltIndex, Plan]:
    """Choose and build an index of unit vectors (n, dim), which may be memory-mapped.

    `queries` (m, dim) are real ones, 20 or more; without, documents are asked for their
    neighbours, on which no index is trained. `compare_all` measures also the kinds that are larger
    than the choice.

    Raises:
        InvalidInput: there is no vector, a value is not finite, or there are too few queries.
        TargetMissed: no index meets the target.
    """
    target = target or Target()
    if vectors.ndim != 2 or not len(vectors):
        raise InvalidInput(f"expected vectors of shape (n, dim), got {vectors.shape}")
    questions = make_questions(vectors, queries, target.k, seed=seed)
    search = _Search(vectors, queries, questions, target, seed, clock)
    if len(vectors) > sample_rows:
        search.take_sample(sample_rows)
    for candidate in _in_order(vectors, len(search.held_out(questions)), target):
        if compare_all or not search.settled(candidate):
            search.consider(candidate)
    index, chosen = search.choice()
    tuning, judging = search.halves
    measured = tuple(chosen if each.name == chosen.name else each for each in search.found)
    return index, Plan(
        target=target,
        rows=len(vectors),
        dim=vectors.shape[1],
        queries="documents" if queries is None else "given",
        tuning_queries=len(tuning),
        validation_queries=len(judging),
        seed=seed,
        threads=int(faiss.omp_get_max_threads()),
        faiss_version=str(faiss.__version__),
        chosen=chosen,
        measurements=measured,
    )


def _in_order(vectors: FloatArray, held_out: int, target: Target) -> list[Candidate]:
    rows, dim = vectors.shape
    kinds = [kind for kind in candidates_for(rows, dim) if kind.points_to_train <= rows - held_out]
    kinds.sort(key=lambda kind: kind.bytes_a_row(dim))
    if rows <= target.exact_below:
        kinds.remove(FLAT)
        kinds.insert(0, FLAT)
    return kinds


@dataclass(slots=True)
class _Search:
    """One run of the planner: what it asks, and what it has found."""

    vectors: FloatArray
    queries: FloatArray | None
    questions: Questions
    target: Target
    seed: int
    clock: Callable[[], float]
    found: list[Measurement] = field(default_factory=list)
    halves: tuple[Questions, Questions] = field(init=False)
    _sample: Questions | None = None
    _fitting: list[tuple[BuiltIndex, Measurement]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.halves = self.questions.halves(self.seed)

    def take_sample(self, rows: int) -> None:
        """Let kinds of index be tried on so many of the vectors first."""
        rng = np.random.default_rng(self.seed)
        chosen = np.sort(rng.choice(len(self.vectors), rows, replace=False))
        sample = np.ascontiguousarray(self.vectors[chosen])
        self._sample = make_questions(sample, self.queries, self.target.k, seed=self.seed)

    def held_out(self, questions: Questions) -> IntArray:
        """Return the rows that no index may be trained on, because they are asked."""
        return questions.skip if self.queries is None else np.empty(0, dtype=np.int64)

    def settled(self, candidate: Candidate) -> bool:
        """Whether a kind is larger than what counts as small, now that one meets the target."""
        if not self._fitting:
            return False
        index, first = self._fitting[0]
        if first.name == FLAT.name and len(self.vectors) <= self.target.exact_below:
            return True
        return candidate.bytes_a_row(index.dim) > self.target.slack * index.candidate.bytes_a_row(
            index.dim
        )

    def consider(self, candidate: Candidate) -> None:
        """Measure a kind of index, first on the sample if there is one."""
        rows, dim = self.vectors.shape
        limit = self.target.max_memory
        if limit is not None and candidate.bytes_a_row(dim) * rows > 1.1 * limit:
            size = candidate.bytes_a_row(dim) * rows
            finding = f"would take {_megabytes(size)}, over {_megabytes(limit)}"
            self.found.append(Measurement(candidate.name, candidate.factory, 0, finding))
            return
        if self._sample is not None and candidate is not FLAT:
            failed = self._tried_on_sample(candidate, self._sample)
            if failed is not None:
                self.found.append(failed)
                return
        self._measure(candidate)

    def _tried_on_sample(self, candidate: Candidate, sample: Questions) -> Measurement | None:
        """Return what failed on the sample, None if nothing did."""
        kinds = candidates_for(len(sample.vectors), sample.vectors.shape[1])
        small = next((kind for kind in kinds if kind.name == candidate.name), None)
        held_out = self.held_out(sample)
        if small is None or small.points_to_train > len(sample.vectors) - len(held_out):
            return None
        index = BuiltIndex.build(small, sample.vectors, seed=self.seed, held_out=held_out)
        curve = Curve(index, sample, self.target.recall, self.clock)
        if curve.passes(index.parameters):
            return None
        point = curve.point(index.parameters)
        return Measurement(
            candidate.name,
            small.factory,
            len(index),
            f"{_reached(point)} on a sample",
            curve=curve.points(),
            tuned=point.recall,
        )

    def _measure(self, candidate: Candidate) -> None:
        tuning, judging = self.halves
        before = self.clock()
        held_out = self.held_out(self.questions)
        index = BuiltIndex.build(candidate, self.vectors, seed=self.seed, held_out=held_out)
        measured = Measurement(
            candidate.name,
            candidate.factory,
            len(index),
            "",
            bytes=index.size_in_bytes(),
            build_seconds=self.clock() - before,
        )
        curve = Curve(index, tuning, self.target.recall, self.clock)
        parameters = index.parameters if index.exact else tune(curve)
        measured = replace(measured, curve=curve.points())
        if parameters is None:
            point = curve.point(index.parameters)
            self.found.append(replace(measured, finding=_reached(point), tuned=point.recall))
            return
        index = index.with_parameters(parameters)
        certain = Recall(1.0, 1.0, 1.0)
        measured = replace(
            measured,
            parameters=parameters,
            tuned=certain if index.exact else curve.point(parameters).recall,
            recall=certain if index.exact else judging.recall(judging.answers(index)),
            latency=_latency(index, judging.queries, self.target.k, self.clock),
        )
        measured = replace(measured, finding=self._shortcoming(measured) or "meets the target")
        self.found.append(measured)
        if self._shortcoming(measured) is None:
            self._fitting.append((index, measured))

    def _shortcoming(self, measured: Measurement) -> str | None:
        target = self.target
        if measured.recall and measured.recall.value < target.recall:
            return f"recall {measured.recall.value:.4f} on the queries that did not tune it"
        if target.max_memory and measured.bytes and measured.bytes > target.max_memory:
            return f"takes {_megabytes(measured.bytes)}, over {_megabytes(target.max_memory)}"
        if target.max_latency and measured.latency and measured.latency > target.max_latency:
            return (
                f"takes {milliseconds(measured.latency)} a query, "
                f"over {milliseconds(target.max_latency)}"
            )
        return None

    def choice(self) -> tuple[BuiltIndex, Measurement]:
        """Return the index that wins, and what was measured of it.

        Raises:
            TargetMissed: none meets the target; it says what each came to.
        """
        if not self._fitting:
            findings = "; ".join(f"{each.name}: {each.finding}" for each in self.found)
            raise TargetMissed(
                f"no index reaches recall {self.target.recall:g} within the limits ({findings}); "
                "ask for less recall, or allow more memory or time"
            )
        fitting = self._fitting
        first_is_exact = fitting[0][1].name == FLAT.name
        if first_is_exact and len(self.vectors) <= self.target.exact_below:
            index, chosen = fitting[0]
        else:
            smallest = min(_size(measured) for _, measured in fitting)
            small = [pair for pair in fitting if _size(pair[1]) <= self.target.slack * smallest]
            index, chosen = min(small, key=lambda pair: pair[1].latency or 0.0)
            if self.target.slack == 1:
                index, chosen = min(fitting, key=lambda pair: _size(pair[1]))
        return index, replace(chosen, finding="chosen")


def _size(measured: Measurement) -> int:
    return measured.bytes or 0


def _latency(index: BuiltIndex, queries: FloatArray, k: int, clock: Callable[[], float]) -> float:
    """Return the median seconds of single queries."""
    index.search(queries[:1], k)  # the first touches memory for all
    times = []
    for position in range(min(_TIMED_QUERIES, len(queries))):
        before = clock()
        index.search(queries[position : position + 1], k)
        times.append(clock() - before)
    return statistics.median(times) if times else 0.0


def _reached(point: CurvePoint) -> str:
    recall = point.recall
    return f"recall {recall.value:.4f} ({recall.low:.4f} to {recall.high:.4f}) at most"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"
