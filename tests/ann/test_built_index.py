"""One battery for every kind of index that the planner knows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ann.conftest import clustered, nearest, overlap

from simsearch.ann.built_index import BuiltIndex
from simsearch.ann.candidates import FLAT, Parameters, candidates_for, lists_for
from simsearch.ann.subset import Subset
from simsearch.errors import CorruptIndex, InvalidInput

FEW = {kind.name: kind for kind in candidates_for(3_000, 32)}
MANY = {kind.name: kind for kind in candidates_for(500_000, 32)}
KINDS = {
    **FEW,
    "pca-ivf-pq4fs": replace(
        MANY["pca-ivf-pq4fs"],
        factory="PCAR16,IVF64,PQ4x4fs_64",
        nprobes=FEW["ivf-pq4fs-1bit"].nprobes,
        points_to_train=FEW["ivf-pq4fs-1bit"].points_to_train,
    ),
}
# The least part of the neighbours that 8 bits a component find without a second look.
LEAST = {name: 0.95 if name == "hnsw-sq8" else 0.99 for name in KINDS}


@pytest.fixture(scope="module")
def built(rows):
    return {name: BuiltIndex.build(kind, rows, seed=0) for name, kind in KINDS.items()}


def test_the_kinds_are_those_of_the_design():
    assert {name: kind.factory for name, kind in FEW.items()} == {
        "flat": "Flat",
        "sq8": "SQ8",
        "pq4fs-2bit": "PQ16x4fs_64",
        "ivf-pq4fs-2bit": "IVF64,PQ16x4fs_64",
        "pq4fs-1bit": "PQ8x4fs_64",
        "ivf-pq4fs-1bit": "IVF64,PQ8x4fs_64",
        "pca-pq4fs": "PCAR16,PQ4x4fs_64",
        "hnsw-sq8": "HNSW16_SQ8",
        "hnsw": "HNSW16",
        "rabitq": "RaBitQfs",
        "ivf-rabitq": "IVF64,RaBitQfs",
    }
    assert MANY.keys() - FEW.keys() == {"pca-ivf-pq4fs"}
    kind = MANY["pca-ivf-pq4fs"]
    assert (kind.factory, kind.bytes_a_row(32)) == ("PCAR16,IVF256,PQ4x4fs_64", 10)
    assert {kind.name for kind in candidates_for(499_999, 32)} == FEW.keys()


@pytest.mark.parametrize("name", KINDS)
def test_an_index_that_sees_all_finds_the_neighbours_of_numpy(built, rows, queries, name):
    expected, _ = nearest(rows, queries, 10)
    found, similarities = built[name].search(queries, 10)
    assert found.shape == similarities.shape == (200, 10)
    assert overlap(found, expected) >= LEAST[name]
    assert (np.diff(similarities, axis=1) <= 0).all()
    exact = np.take_along_axis(queries.astype(np.float64) @ rows.T, found, axis=1)
    np.testing.assert_allclose(similarities, exact, atol=1e-6)  # not those of the codes


def test_the_vectors_say_which_of_what_the_codes_find_is_best(built, rows, queries):
    index, depth = built["pq4fs-1bit"], 40
    found, _ = index.with_parameters(Parameters(k_factor=4)).search(queries, 10)
    _, by_codes = index.faiss_index.search(queries, depth)
    products = np.take_along_axis(queries.astype(np.float64) @ rows.T, by_codes, axis=1)
    best = np.take_along_axis(by_codes, np.argsort(-products, axis=1)[:, :10], axis=1)
    np.testing.assert_array_equal(found, best)
    assert overlap(found, nearest(rows, queries, 10)[0]) > overlap(
        by_codes[:, :10], nearest(rows, queries, 10)[0]
    )


@pytest.mark.parametrize("name", ["flat", "pq4fs-1bit", "hnsw"])
def test_a_row_that_is_left_out_costs_no_other_its_place(built, rows, name):
    index, asked = built[name], np.arange(0, 3_000, 30)
    skip = np.where(asked % 60 == 0, asked, -1)
    found, _ = index.search(rows[asked], 10, skip=skip)
    own = (found == asked[:, None]).any(axis=1)
    assert own.tolist() == (skip == -1).tolist()
    expected = [
        [row for row in line if row != left_out][:10]
        for line, left_out in zip(nearest(rows, rows[asked], 11)[0].tolist(), skip, strict=True)
    ]
    assert overlap(found, np.array(expected)) >= 0.99


def test_a_row_that_an_index_was_not_built_of_is_no_reason_to_read_there(built, rows, queries):
    whole = built["ivf-pq4fs-1bit"]
    fewer = BuiltIndex(whole.faiss_index, whole.candidate, whole.parameters, rows[:1_000])
    with pytest.raises(CorruptIndex, match="names a row that it was not built of"):
        fewer.search(queries, 10)


@pytest.mark.parametrize("name", KINDS)
def test_the_size_is_about_what_is_said_beforehand(built, name):
    guess = KINDS[name].bytes_a_row(32) * 3_000
    fixed = 3_000 * 8  # centroids, code books and ranges, which are few where it matters
    assert 0.98 * guess <= built[name].size_in_bytes() <= 1.02 * guess + fixed


@pytest.mark.parametrize("name", ["pq4fs-1bit", "ivf-pq4fs-2bit", "rabitq", "hnsw"])
@pytest.mark.parametrize("every", [2, 7])
def test_enough_is_fetched_that_some_rows_are_found_among_others(built, rows, queries, name, every):
    among = np.zeros(3_000, dtype=bool)
    among[::every] = True
    index = built[name].with_parameters(replace(built[name].parameters, k_factor=8))
    found, similarities = index.search_among(queries, 10, Subset.where(among))
    expected = np.flatnonzero(among)[nearest(rows[among], queries, 10)[0]]
    assert among[found[found >= 0]].all()
    assert np.isneginf(similarities[found == -1]).all()
    given = found[:, 0] >= 0  # one query in ten, where it may be no chance what is missing
    assert given.mean() >= 0.88
    assert overlap(found[given], expected[given]) >= 0.97


def test_what_a_filter_leaves_out_near_a_query_is_made_up_for_or_nothing_is_given(rows, queries):
    many = clustered(20_000, 32, seed=3)
    index = BuiltIndex.build(KINDS["pq4fs-2bit"], many, seed=0).with_parameters(
        Parameters(k_factor=10)
    )
    for left_out, least, none in [(0, 0.9, 0), (3, 0.95, 0), (10, 0.95, 0), (2_000, 1.0, 50)]:
        shares, given_none = [], 0
        for query in queries[:50]:
            order = np.argsort(-(many @ query))[left_out:]
            found, similarities = index.search_among(
                query[None], 10, Subset(np.sort(order), 20_000)
            )
            assert ((found == -1) == np.isneginf(similarities)).all()
            given_none += int((found == -1).all())
            shares.append(1.0 if (found == -1).all() else overlap(found, order[None, :10]))
        assert np.mean(shares) >= least
        assert given_none == none


@pytest.mark.parametrize("name", ["ivf-pq4fs-2bit", "hnsw"])
def test_lists_and_graphs_give_nothing_where_a_filter_leaves_out_what_is_near(
    built, rows, queries, name
):
    for query in queries[:20]:
        order = np.argsort(-(rows @ query))[30:]
        found, _ = built[name].search_among(query[None], 10, Subset(np.sort(order), 3_000))
        assert (found == -1).all()


def test_fewer_lists_are_fewer_neighbours_and_the_rest_is_none(built, rows, queries):
    index = built["ivf-pq4fs-2bit"]
    few = index.with_parameters(Parameters(nprobe=1, k_factor=1))
    expected, _ = nearest(rows, queries, 500)
    found, similarities = few.search(queries, 500)
    assert overlap(found, expected) < 0.7
    assert (found == -1).any()
    assert np.isneginf(similarities[found == -1]).all()
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
    with pytest.raises(InvalidInput, match=r"pq4fs-1bit needs 624 vectors to be built, got 600"):
        BuiltIndex.build(KINDS["pq4fs-1bit"], rows[:600], seed=0)
    with pytest.raises(InvalidInput, match="flat needs 1 vectors"):
        BuiltIndex.build(FLAT, rows[:0], seed=0)


def test_a_dim_that_cannot_be_cut_has_no_product_quantizer():
    assert {kind.name for kind in candidates_for(3_000, 31)} == {
        name for name in FEW if "pq4fs" not in name
    }
    large = {kind.name: kind.factory for kind in candidates_for(1_000, 384)}
    assert (large["pq4fs-2bit"], large["pq4fs-1bit"]) == ("PQ192x4fs_64", "PQ96x4fs_64")
    assert large["pca-pq4fs"] == "PCAR192,PQ64x4fs_64"
    # Cut into 2 parts of 3 components; there are no 2 of 4 or more beside.
    assert [name for kind in candidates_for(100, 6) if "pq" in (name := kind.name)] == [
        "pq4fs-2bit",
        "ivf-pq4fs-2bit",
    ]


@pytest.mark.parametrize(
    ("rows", "lists"), [(100, 16), (10_000, 128), (198_000, 512), (1_000_000, 1_024)]
)
def test_lists_are_about_the_square_root_of_the_rows(rows, lists):
    assert lists_for(rows) == lists
