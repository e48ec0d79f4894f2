"""The least parameters that reach a recall, on indexes whose recall is known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from simsearch.ann.candidates import Candidate, Parameters
from simsearch.ann.recall import Recall
from simsearch.ann.tuning import Curve, tune, work

EFS = (10, 20, 30, 40, 50, 60, 70, 80)
GRAPH = Candidate("graph", "HNSW16", ef_searches=EFS)
LISTS = Candidate("lists", "IVF64,PQ16x4fs_64", (1, 2, 4, 8, 16, 32, 64), (1, 2, 4, 8, 16, 32, 64))
MOST = Parameters(nprobe=64, k_factor=64, ef_search=80)


@dataclass
class KnownIndex:
    candidate: Candidate
    parameters: Parameters
    dim: int = 32

    def with_parameters(self, parameters: Parameters) -> KnownIndex:
        return replace(self, parameters=parameters)

    def __len__(self) -> int:
        return 10_000


@dataclass
class KnownQuestions:
    recall_of: Callable[[Parameters], float]

    def answers(self, index: KnownIndex) -> Parameters:
        return index.parameters

    def recall(self, answers: Parameters) -> Recall:
        value = self.recall_of(answers)
        return Recall(value, value - 0.01, value + 0.01)

    def __len__(self) -> int:
        return 100


def curve_of(candidate: Candidate, recall_of: Callable[[Parameters], float]) -> Curve:
    kept = {
        "nprobe": MOST.nprobe if candidate.nprobes else None,
        "k_factor": MOST.k_factor if candidate.k_factors else None,
        "ef_search": MOST.ef_search if candidate.ef_searches else None,
    }
    index = KnownIndex(candidate, Parameters(**kept))
    ticks = iter(range(1_000))
    return Curve(index, KnownQuestions(recall_of), 0.9, lambda: float(next(ticks)))  # type: ignore[arg-type]


@pytest.mark.parametrize("least", EFS)
def test_the_least_value_is_found_wherever_it_is(least):
    curve = curve_of(GRAPH, lambda p: 0.95 if p.ef_search >= least else 0.5)
    assert tune(curve) == Parameters(ef_search=least)
    assert len(curve.points()) <= 5  # the largest, and three halvings of eight


def test_the_lower_end_of_the_interval_decides():
    curve = curve_of(GRAPH, lambda p: 0.905 if p.ef_search < 50 else 0.911)
    assert tune(curve) == Parameters(ef_search=50)


def test_what_the_largest_values_do_not_reach_is_not_reached():
    curve = curve_of(GRAPH, lambda p: 0.9)
    assert tune(curve) is None
    assert [point.parameters for point in curve.points()] == [Parameters(ef_search=80)]


def test_of_two_parameters_the_pair_with_the_least_work_is_taken():
    # With 4 times k refined 16 lists are needed, from 16 times k on 4 are enough.
    def recall(p):
        return 0.95 if p.k_factor >= 4 and p.nprobe >= (16 if p.k_factor < 16 else 4) else 0.5

    curve = curve_of(LISTS, recall)
    found = tune(curve)
    passing = [
        Parameters(nprobe, k_factor)
        for nprobe in LISTS.nprobes
        for k_factor in LISTS.k_factors
        if recall(Parameters(nprobe, k_factor)) > 0.9
    ]
    assert found in passing
    assert work(curve.index, found) == min(work(curve.index, each) for each in passing)


def test_the_curve_keeps_every_point_once_with_its_time():
    curve = curve_of(GRAPH, lambda p: 0.95)
    tune(curve)
    tried = [point.parameters for point in curve.points()]
    assert len(tried) == len(set(tried))
    assert {point.seconds for point in curve.points()} == {0.01}  # one tick for 100 queries


def test_an_index_without_parameters_is_tuned_by_looking_at_it():
    plain = Candidate("plain", "SQ8")
    assert tune(curve_of(plain, lambda p: 0.95)) == Parameters()
    assert tune(curve_of(plain, lambda p: 0.85)) is None
