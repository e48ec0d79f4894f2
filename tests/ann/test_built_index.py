"""One battery for every kind of index that the planner knows."""

from __future__ import annotations

import numpy as np
import pytest
from ann.conftest import nearest, overlap

from simsearch.ann.built_index import BuiltIndex
from simsearch.ann.candidates import FLAT, Parameters, candidates_for, lists_for
from simsearch.ann.subset import Subset
from simsearch.errors import InvalidInput

KINDS = {kind.name: kind for kind in candidates_for(3_000, 32)}
# The least part of the neighbours that 8 bits a component find, and that 16 and 32 find.
LEAST = {
    name: 0.95 if kind.factory.endswith(("SQ8", "SQ8)")) else 0.99 for name, kind in KINDS.items()
}


@pytest.fixture(scope="module")
def built(rows):
    return {name: BuiltIndex.build(kind, rows, seed=0) for name, kind in KINDS.items()}


def test_the_kinds_are_those_of_the_design():
    assert list(KINDS) == [
        "flat",
        "sq8",
        "sqfp16",
        "pq4fs+sq8",
        "pq4fs+sqfp16",
        "ivf-pq4fs+sq8",
        "ivf-pq4fs+sqfp16",
        "hnsw-sq8",
        "hnsw",
        "rabitq+sq8",
        "ivf-rabitq+sq8",
    ]


@pytest.mark.parametrize("name", KINDS)
def test_an_index_that_sees_all_finds_the_neighbours_of_numpy(built, rows, queries, name):
    expected, _ = nearest(rows, queries, 10)
    found, similarities = built[name].search(queries, 10)
    assert found.shape == similarities.shape == (200, 10)
    assert overlap(found, expected) >= LEAST[name]
    assert (np.diff(similarities, axis=1) <= 0).all()


@pytest.mark.parametrize("name", KINDS)
def test_the_size_is_about_what_is_said_beforehand(built, name):
    guess = KINDS[name].bytes_a_row(32) * 3_000
    fixed = 3_000 * 8  # centroids, code books and ranges, which are few where it matters
    assert 0.98 * guess <= built[name].size_in_bytes() <= 1.02 * guess + fixed


@pytest.mark.parametrize("name", sorted(KINDS.keys() - {"pq4fs+sq8", "pq4fs+sqfp16"}))
def test_a_search_among_some_rows_finds_only_those(built, rows, queries, name):
    among = np.zeros(3_000, dtype=bool)
    among[::7] = True
    index = built[name]
    expected = np.flatnonzero(among)[nearest(rows[among], queries, 10)[0]]
    found, _ = index.search(queries, 10, among=Subset.where(among))
    assert among[found[found >= 0]].all()
    assert overlap(found, expected) >= LEAST[name] - 0.05


def test_those_that_cannot_be_told_which_rows_to_search_say_so(built, queries):
    assert {name for name, index in built.items() if not index.selects} == {
        "pq4fs+sq8",
        "pq4fs+sqfp16",
    }
    with pytest.raises(InvalidInput, match="cannot be told which rows to search"):
        built["pq4fs+sq8"].search(queries, 10, among=Subset.where(np.ones(3_000, dtype=bool)))


def test_fewer_lists_are_fewer_neighbours_and_the_rest_is_none(built, rows, queries):
    index = built["ivf-pq4fs+sqfp16"]
    few = index.with_parameters(Parameters(nprobe=1, k_factor=1))
    expected, _ = nearest(rows, queries, 500)
    found, _ = few.search(queries, 500)
    assert overlap(found, expected) < 0.7
    assert (found == -1).any()
    assert (np.diff((found == -1).astype(int), axis=1) >= 0).all()  # at the end
    assert index.parameters.nprobe == lists_for(3_000)  # as it was


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("shape", [(1, 31), (1, 33), (32,)])
def test_a_query_of_another_shape_is_refused_before_faiss_sees_it(built, name, shape):
    with pytest.raises(InvalidInput, match=r"expected vectors of shape \(n, 32\)"):
        built[name].search(np.ones(shape, np.float32), 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_neither_searched_nor_built(built, rows, bad):
    query = np.full((1, 32), bad, np.float32)
    with pytest.raises(InvalidInput, match="finite"):
        built["flat"].search(query, 1)
    with pytest.raises(InvalidInput, match="finite"):
        BuiltIndex.build(FLAT, np.vstack([rows[:5], query]), seed=0)


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(built, queries, k):
    with pytest.raises(InvalidInput, match="k must be at least 1"):
        built["hnsw"].search(queries, k)


def test_too_few_vectors_to_train_are_refused_with_the_number(rows):
    with pytest.raises(InvalidInput, match=r"pq4fs\+sq8 needs 624 vectors to be built, got 600"):
        BuiltIndex.build(KINDS["pq4fs+sq8"], rows[:600], seed=0)
    with pytest.raises(InvalidInput, match="flat needs 1 vectors"):
        BuiltIndex.build(FLAT, rows[:0], seed=0)


def test_a_dim_that_cannot_be_cut_has_no_product_quantizer():
    assert {kind.name for kind in candidates_for(3_000, 31)} == {
        name for name in KINDS if "pq4fs" not in name
    }
    assert [kind.factory for kind in candidates_for(1_000, 384) if kind.name == "pq4fs+sq8"] == [
        "PQ192x4fs,Refine(SQ8)"
    ]


@pytest.mark.parametrize(
    ("rows", "lists"), [(100, 16), (10_000, 128), (198_000, 512), (1_000_000, 1_024)]
)
def test_lists_are_about_the_square_root_of_the_rows(rows, lists):
    assert lists_for(rows) == lists
