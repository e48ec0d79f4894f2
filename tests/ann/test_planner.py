"""The choice of an index, against what numpy finds."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict

import numpy as np
import pytest
from ann.conftest import clustered, nearest, overlap

from simsearch.ann import Target, plan_index
from simsearch.errors import InvalidInput

APPROXIMATE = {"exact_below": 0, "recall": 0.9}


def steady() -> itertools.count:
    """Return a clock on which everything takes one second."""
    return itertools.count()


def plan(rows, *, clock=None, **options):
    ticks = clock or steady()
    target = Target(**{**APPROXIMATE, **options.pop("target", {})})
    return plan_index(rows, target=target, clock=lambda: float(next(ticks)), **options)


def finding(made, name):
    return {each.name: each.finding for each in made.measurements}[name]


def test_few_vectors_are_searched_exactly(rows, queries):
    index, made = plan_index(rows)
    found, _ = index.search(queries, 10)
    np.testing.assert_array_equal(found, nearest(rows, queries, 10)[0])
    assert (made.chosen.name, made.chosen.finding) == ("flat", "chosen")
    assert (made.chosen.recall.value, made.chosen.recall.low) == (1.0, 1.0)
    assert [each.name for each in made.measurements] == ["flat"]


@pytest.mark.parametrize("recall", [0.8, 0.9, 0.97])
def test_the_choice_reaches_the_recall_on_queries_nobody_has_seen(rows, recall):
    index, made = plan(rows, target={"recall": recall})
    fresh = clustered(500, 32, seed=7)
    found, _ = index.search(fresh, 10)
    assert made.chosen.name != "flat"
    assert made.chosen.bytes < 3_000 * 32 * 4
    assert overlap(found, nearest(rows, fresh, 10)[0]) >= recall


def test_the_measured_recall_is_that_of_the_index(rows, queries):
    index, made = plan(rows, queries=queries)
    expected = overlap(index.search(queries, 10)[0], nearest(rows, queries, 10)[0])
    assert made.queries == "given"
    assert (made.tuning_queries, made.validation_queries) == (100, 100)
    mean = (made.chosen.tuned.value + made.chosen.recall.value) / 2
    assert mean == pytest.approx(expected, abs=1e-9)
    assert made.chosen.recall.low <= made.chosen.recall.value <= made.chosen.recall.high


def test_under_one_seed_everything_is_the_same(rows):
    first, second, other = (asdict(plan(rows, seed=seed)[1]) for seed in (3, 3, 4))
    assert first == second
    assert first != other


def test_with_a_slack_of_one_the_smallest_that_meets_the_target_is_taken(rows):
    _, made = plan(rows, target={"slack": 1.0}, compare_all=True)
    meeting = [each for each in made.measurements if each.recall and each.recall.value >= 0.9]
    assert len(meeting) > 5
    assert made.chosen.bytes == min(each.bytes for each in meeting)


def test_of_those_about_as_small_the_fastest_is_taken(rows):
    # A clock that runs ever slower: what is measured later takes less.
    ticks = itertools.accumulate(1 / (1 + n) for n in itertools.count())
    _, made = plan(rows, target={"slack": 4.0}, compare_all=True, clock=ticks)
    meeting = [each for each in made.measurements if each.finding in ("chosen", "meets the target")]
    smallest = min(each.bytes for each in meeting)
    small = [each for each in meeting if each.bytes <= 4 * smallest]
    assert len(small) > 1
    assert made.chosen.latency == min(each.latency for each in small)
    assert made.chosen.bytes > smallest


def test_memory_is_a_limit(rows):
    limit = 3_000 * 32 * 2
    _, made = plan(rows, target={"exact_below": 50_000, "max_memory": limit}, compare_all=True)
    assert made.chosen.bytes <= limit
    assert finding(made, "flat") == "would take 0.4 MB, over 0.2 MB"


def test_latency_is_a_limit(rows):
    with pytest.raises(InvalidInput, match=r"flat: takes 1,000.00 ms a query, over 500.00 ms"):
        plan(rows, target={"max_latency": 0.5})
    _, made = plan(rows, target={"max_latency": 1.5})
    assert made.chosen.latency == 1.0


def test_where_nothing_meets_the_target_it_is_said_what_each_came_to(rows):
    with pytest.raises(InvalidInput, match=r"no index reaches recall 1 within the limits \(.*sq8"):
        plan(rows, target={"recall": 1.0, "max_memory": 3_000 * 32 * 3})


def test_recall_one_is_the_exact_index(rows):
    _, made = plan(rows, target={"recall": 1.0})
    assert made.chosen.name == "flat"


def test_what_fails_on_a_sample_is_not_built(rows):
    _, made = plan(rows, target={"recall": 0.995}, sample_rows=1_000, compare_all=True)
    failed = [each for each in made.measurements if each.finding.endswith("on a sample")]
    assert failed
    assert {each.rows for each in failed} == {1_000}
    assert {each.bytes for each in failed} == {None}
    assert made.chosen.rows == 3_000


def test_the_curve_is_that_of_the_tuning_queries(rows):
    _, made = plan(rows, compare_all=True)
    (graph,) = [each for each in made.measurements if each.name == "hnsw"]
    recalls = {point.parameters.ef_search: point.recall.value for point in graph.curve}
    ordered = [recalls[value] for value in sorted(recalls)]
    assert len(ordered) >= 3
    assert ordered == sorted(ordered)
    assert graph.tuned.value == recalls[graph.parameters.ef_search]


def test_a_plan_is_json(rows):
    made = json.loads(json.dumps(asdict(plan(rows)[1])))
    assert made["chosen"]["parameters"].keys() == {"nprobe", "k_factor", "ef_search"}
    assert made["faiss_version"].startswith("1.")


def test_too_few_queries_are_refused(rows, queries):
    with pytest.raises(InvalidInput, match="19 queries cannot tune an index and judge it too"):
        plan_index(rows, queries=queries[:19])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"recall": 0}, "recall must be over 0"),
        ({"recall": 1.1}, "recall must be over 0"),
        ({"k": 0}, "k must be at least 1"),
        ({"slack": 0.9}, "slack must be at least 1"),
        ({"max_memory": 0}, "max_memory must be over 0"),
        ({"max_latency": -1.0}, "max_latency must be over 0"),
    ],
)
def test_a_target_that_cannot_be_is_refused(bad, message):
    with pytest.raises(InvalidInput, match=message):
        Target(**bad)


def test_vectors_that_are_none_or_not_finite_are_refused(rows):
    with pytest.raises(InvalidInput, match="expected vectors of shape"):
        plan_index(rows[:0])
    damaged = rows.copy()
    damaged[1_234, 5] = np.nan
    with pytest.raises(InvalidInput, match="finite"):
        plan_index(damaged)
