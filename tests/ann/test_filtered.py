"""Searches among some rows: k if there are k, none that is not among them, exact where exact."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from ann.conftest import clustered, nearest, overlap
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simsearch.ann import (
    BuiltIndex,
    FilteredIndex,
    FilterLevel,
    FilterPlan,
    Parameters,
    Recall,
    Target,
    VectorIndex,
    plan_filters,
)
from simsearch.ann.candidates import candidates_for
from simsearch.ann.exact import fetch_depth, gathering_is_cheaper
from simsearch.ann.questions import documents_to_ask, make_questions
from simsearch.ann.subset import Subset
from simsearch.ann.tuning import Curve, tune
from simsearch.errors import InvalidInput

KINDS = {kind.name: kind for kind in candidates_for(3_000, 32)}
# A kind that is exact, and four that are not, of which one sees so little that it mostly finds too
# few.
KNOBS = {
    "flat": None,
    "pq4fs-2bit": Parameters(k_factor=4),
    "sq8": Parameters(k_factor=4),
    "ivf-pq4fs-2bit": Parameters(nprobe=1, k_factor=4),
    "hnsw": Parameters(ef_search=16),
}


def level_of(parameters):
    return FilterLevel(0.01, parameters, Recall(1, 1, 1), seconds=0.0, k=10_000)


@pytest.fixture(scope="module")
def forced(rows):
    """Return indexes whose plan takes the approximate way down to one row in a hundred."""
    made = {}
    for name, parameters in KNOBS.items():
        levels = () if parameters is None else (level_of(parameters),)
        plan = FilterPlan(levels, seconds_a_row=1.0, least_rows=30)
        made[name] = FilteredIndex(BuiltIndex.build(KINDS[name], rows, seed=0), plan)
    return made


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(sorted(KNOBS)),
    size=st.one_of(st.sampled_from([1, 2, 29, 30, 31, 3_000]), st.integers(1, 3_000)),
    clump=st.booleans(),
    k=st.sampled_from([1, 10, 200, 5_000]),
    n_queries=st.sampled_from([1, 25]),
    seed=st.integers(0, 99),
)
def test_k_rows_are_found_if_there_are_k_and_all_of_them_pass(
    forced, rows, queries, name, size, clump, k, n_queries, seed
):
    rng = np.random.default_rng(seed)
    # Rows drawn at random, or the farthest from the first query: a filter that is no chance.
    order = np.argsort(rows @ queries[0]) if clump else rng.permutation(3_000)
    among = np.sort(order[:size])
    found, similarities = forced[name].search(queries[:n_queries], k, among=Subset(among, 3_000))
    assert found.shape == similarities.shape == (n_queries, min(k, size))
    assert set(found.ravel().tolist()) <= set(among.tolist())
    assert all(len(set(line)) == len(line) for line in found.tolist())
    assert (np.diff(similarities, axis=1) <= 0).all()
    exact = np.take_along_axis(queries[:n_queries] @ rows.T, found, axis=1)
    np.testing.assert_allclose(similarities, exact, atol=1e-6)  # not those of half precision


@pytest.mark.parametrize("n_queries", [1, 25])
@pytest.mark.parametrize("size", [1, 29, 400, 3_000])
@pytest.mark.parametrize("name", ["flat", "hnsw"])
def test_what_is_searched_exactly_is_what_numpy_finds(forced, rows, queries, name, size, n_queries):
    index = replace(forced[name], plan=FilterPlan((), 1.0))
    among = np.sort(np.random.default_rng(size).choice(3_000, size, replace=False))
    found, _ = index.search(queries[:n_queries], 10, among=Subset(among, 3_000))
    assert index.compares(size)
    np.testing.assert_array_equal(found, among[nearest(rows[among], queries[:n_queries], 10)[0]])


@pytest.mark.parametrize(
    ("name", "deep"),
    [(name, (1.0, 0.9, 0.5)) for name in ("pq4fs-2bit", "ivf-pq4fs-2bit", "hnsw")],
)
def test_a_plan_reaches_the_recall_in_parts_it_was_not_tuned_on(rows, name, deep):
    asked = documents_to_ask(3_000, seed=0)
    index = BuiltIndex.build(KINDS[name], rows, seed=0, held_out=asked)
    ticks = itertools.count()
    plan = plan_filters(index, rows, target=Target(recall=0.9), clock=lambda: float(next(ticks)))
    assert [level.selectivity for level in plan.levels] == [
        *(1.0, 0.9, 0.5),  # 1,000 rows at least
        *deep,  # and for ten times as many neighbours
    ]
    assert all(level.recall.value >= 0.9 for level in plan.levels)
    searched = FilteredIndex(index, replace(plan, seconds_a_row=1.0))
    fresh = clustered(300, 32, seed=8)
    for seed, size in enumerate([1_500, 2_500, 3_000]):
        among = np.sort(np.random.default_rng(seed).choice(3_000, size, replace=False))
        expected = among[nearest(rows[among], fresh, 10)[0]]
        assert not searched.compares(size)
        assert overlap(searched.search(fresh, 10, among=Subset(among, 3_000))[0], expected) >= 0.9


@pytest.mark.parametrize("name", ["pq4fs-2bit", "ivf-pq4fs-2bit", "sq8", "hnsw"])
def test_the_recall_is_reached_where_the_filter_has_to_do_with_the_query(rows, name):
    index = BuiltIndex.build(KINDS[name], rows, seed=0)
    ticks = itertools.count()
    plan = plan_filters(index, rows, target=Target(recall=0.95), clock=lambda: float(next(ticks)))
    searched = FilteredIndex(index, replace(plan, seconds_a_row=1.0))
    fresh = clustered(60, 32, seed=8)
    shares = []
    for query in fresh:  # all but the nearest tenth, and all but the nearest half
        order = np.argsort(-(rows @ query))
        for left_out in (300, 1_500):
            among = np.sort(order[left_out:])
            found, _ = searched.search(query[None], 10, among=Subset(among, 3_000))
            assert not searched.compares(len(among))
            shares.append(overlap(found, order[None, left_out : left_out + 10]))
    assert np.mean(shares) >= 0.95


@pytest.mark.parametrize("name", ["pq4fs-1bit", "pq4fs-2bit"])
def test_the_recall_is_reached_where_a_filter_of_chance_leaves_out_the_nearest_too(rows, name):
    index = BuiltIndex.build(KINDS[name], rows, seed=0)
    ticks = itertools.count()
    plan = plan_filters(index, rows, target=Target(recall=0.95), clock=lambda: float(next(ticks)))
    searched = FilteredIndex(index, replace(plan, seconds_a_row=1.0))
    half = np.random.default_rng(5).random(3_000) < 0.55
    for left_out in (15, 30, 60):
        shares = []
        for query in clustered(60, 32, seed=8):
            mask = half.copy()
            mask[np.argsort(-(rows @ query))[:left_out]] = False
            among = np.flatnonzero(mask)
            found, _ = searched.search(query[None], 10, among=Subset.where(mask))
            expected = among[nearest(rows[among], query[None], 10)[0]]
            assert not searched.compares(len(among))
            shares.append(overlap(found, expected))
        assert np.mean(shares) >= 0.95


@pytest.mark.parametrize("name", ["pq4fs-1bit", "pq4fs-2bit", "sq8"])
def test_fewer_neighbours_than_were_measured_are_found_as_well(rows, name):
    questions = make_questions(rows, None, 10, seed=0)
    index = BuiltIndex.build(KINDS[name], rows, seed=0, held_out=questions.skip)
    ticks = itertools.count()
    parameters = tune(Curve(index, questions, 0.95, lambda: float(next(ticks))))
    assert parameters is not None
    index = index.with_parameters(parameters)
    plan = plan_filters(index, rows, target=Target(recall=0.95), clock=lambda: float(next(ticks)))
    searched = FilteredIndex(index, replace(plan, seconds_a_row=1.0))
    fresh = clustered(200, 32, seed=8)
    most = np.flatnonzero(np.random.default_rng(6).random(3_000) < 0.95)
    for k in (1, 2, 3, 10, 11, 20, 50, 100):
        found, _ = searched.search(fresh, k)
        assert overlap(found, nearest(rows, fresh, k)[0]) >= 0.95
        found, _ = searched.search(fresh, k, among=Subset(most, 3_000))
        assert overlap(found, most[nearest(rows[most], fresh, k)[0]]) >= 0.95


def test_a_flat_index_needs_no_levels(rows):
    plan = plan_filters(BuiltIndex.build(KINDS["flat"], rows, seed=0), rows, target=Target())
    assert plan.levels == ()
    assert plan.seconds_a_row > 0


def test_too_few_queries_cannot_tune_and_judge(rows, queries):
    index = BuiltIndex.build(KINDS["sq8"], rows, seed=0)
    with pytest.raises(InvalidInput, match="19 queries cannot tune an index and judge it too"):
        plan_filters(index, rows, target=Target(), queries=queries[:19])


LEVELS = tuple(
    FilterLevel(selectivity, Parameters(), Recall(1, 1, 1), seconds)
    for selectivity, seconds in [(1.0, 0.010), (0.5, 0.020), (0.1, 0.024)]
)


@pytest.mark.parametrize(
    ("among", "level"),
    [
        (100_000, 0),
        (99_999, 1),  # a level serves parts as large as it was measured on, or larger
        (50_000, 1),
        (49_999, 2),  # exact would take 0.025 s, by reading all rows in a row, this level 0.024
        (10_000, 2),
        (9_999, None),
        (999, None),
    ],
)
def test_the_way_is_the_quicker_of_those_that_were_proven(among, level):
    plan = FilterPlan(LEVELS, seconds_a_row=2.5e-6)
    assert plan.level_for(among, 100_000, k=10) == (None if level is None else LEVELS[level])


def test_what_is_as_quick_exactly_is_searched_exactly():
    plan = FilterPlan(LEVELS, seconds_a_row=2.4e-6)
    assert plan.level_for(49_999, 100_000, k=10) is None
    assert plan.level_for(50_000, 100_000, k=10) is LEVELS[1]


def test_a_part_that_is_small_is_searched_exactly_whatever_the_times_say():
    assert FilterPlan(LEVELS, seconds_a_row=1.0).level_for(999, 2_000, k=10) is None
    assert FilterPlan(LEVELS, seconds_a_row=1.0).level_for(1_000, 2_000, k=10) is LEVELS[1]


def test_enough_is_fetched_in_999_of_1000_random_parts():
    rng = np.random.default_rng(0)
    for k, selectivity in [(1, 0.5), (10, 0.1), (100, 0.02)]:
        passing = rng.binomial(fetch_depth(k, selectivity), selectivity, size=100_000)
        assert (passing < k).mean() < 0.002


@pytest.mark.parametrize("among", [[3, 2], [2, 2], [-1, 2], [2, 3_000]])
def test_rows_that_are_not_there_or_not_in_order_are_refused(among):
    with pytest.raises(InvalidInput, match="expected ascending rows of 0 to 2999"):
        Subset(np.array(among), 3_000)


def test_no_rows_and_no_queries_find_nothing(forced, queries):
    nothing, some = (Subset(np.arange(size), 3_000) for size in (0, 9))
    assert forced["hnsw"].search(queries, 3, among=nothing)[0].shape == (200, 0)
    assert forced["hnsw"].search(queries[:0], 3, among=some)[0].shape == (0, 3)


@pytest.mark.parametrize("shape", [(1, 31), (32,)])
def test_a_query_of_another_shape_is_refused(forced, shape):
    with pytest.raises(InvalidInput, match=r"expected vectors of shape \(n, 32\)"):
        forced["flat"].search(np.ones(shape, np.float32), 1)


@pytest.mark.parametrize(
    ("n_queries", "among", "cheaper"),
    [(1, 100, True), (1, 101, False), (3, 250, True), (3, 251, False), (20, 1_000, True)],
)
def test_rows_are_gathered_where_that_is_cheaper(n_queries, among, cheaper):
    assert gathering_is_cheaper(n_queries, among, 1_000) is cheaper


@settings(max_examples=60, deadline=None)
@given(
    st.permutations(range(40)),
    st.lists(st.integers(0, 39), max_size=10),
    st.integers(1, 40),
    st.integers(1, 45),
    st.sampled_from([1, 4, 25]),
)
def test_the_exact_index_searches_among_rows_under_any_numbers_and_after_removals(
    numbers, removed, size, k, n_queries
):
    vectors = clustered(40, 8, seed=3)
    index = VectorIndex(8)
    index.add(np.array(numbers) * 3, vectors)
    index.remove(np.unique(removed) * 3)
    left = np.array([n for n in range(40) if numbers[n] not in removed])
    chosen = left[:size]
    queries = clustered(n_queries, 8, seed=4)
    found, _ = index.search(queries, k, among=np.sort(np.array(numbers)[chosen] * 3))
    expected = nearest(vectors[chosen], queries, k)[0]
    assert found.tolist() == (np.array(numbers)[chosen] * 3)[expected].tolist()
