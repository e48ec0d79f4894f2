"""Segments and the rows beside them, searched as one, against numpy over the rows that live."""

from __future__ import annotations

import numpy as np
import pytest
from ann.conftest import clustered, nearest, overlap
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simsearch.ann import (
    BuiltIndex,
    FilterPlan,
    IndexRecord,
    SegmentedIndex,
    SegmentIndex,
    VectorIndex,
    append_index,
    map_segment,
    write_vectors,
)
from simsearch.ann.candidates import candidates_for
from simsearch.errors import CorruptIndex, InvalidInput, SystemFailure

DIM = 8
NO_LEVELS = FilterPlan((), seconds_a_row=1e-6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("segments")


def write(path, rows, vectors, index=None):
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        write_vectors(rows, [vectors[:7], vectors[7:]], file.write)
        if index is not None:
            append_index(index, file.write)
    return path


def segment(path, rows, vectors, *, indexed):
    """Return a segment; an indexed one finds what it finds by 8 bits a component."""
    index, record = None, None
    if indexed:
        kinds = {kind.name: kind for kind in candidates_for(len(rows), DIM)}
        index = BuiltIndex.build(kinds["sq8"], vectors, seed=0)
        record = IndexRecord.of(index)
    write(path, rows, vectors, index)
    file = map_segment(path, rows=len(rows), dim=DIM, record=record)
    return SegmentIndex(file, NO_LEVELS if indexed else None)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    gaps=st.booleans(),
    ends=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    dead=st.sets(st.integers(0, 119), max_size=110),
    chosen=st.one_of(st.none(), st.sets(st.integers(0, 119))),
    indexed=st.booleans(),
    k=st.integers(1, 130),
    n_queries=st.sampled_from([1, 25]),
)
def test_what_is_searched_exactly_is_what_numpy_finds(
    folder, gaps, ends, dead, chosen, indexed, k, n_queries
):
    vectors = clustered(120, DIM, seed=5)
    numbers = np.arange(120)
    if gaps:
        numbers = np.sort(np.random.default_rng(0).choice(400, 120, replace=False))
    first, second = ends[0], sum(ends)
    parts = [slice(0, first), slice(first, second)]
    rest = VectorIndex(DIM)
    rest.add(numbers[second:], vectors[second:])
    index = SegmentedIndex(
        [
            segment(folder / str(n), numbers[part], vectors[part], indexed=indexed)
            for n, part in enumerate(parts)
        ],
        rest,
    )
    died = np.array(sorted(dead), dtype=np.int64)
    index.remove(numbers[died])
    living = np.setdiff1d(np.arange(120), died)
    assert len(index) == len(living)
    among = None
    if chosen is not None:
        living = np.intersect1d(living, np.array(sorted(chosen), dtype=np.int64))
        among = numbers[living]
    queries = clustered(n_queries, DIM, seed=6)
    for _ in range(2):  # the second time, what was among is known
        found, similarities = index.search(queries, k, among=among, exact=True)
        expected, exact = nearest(vectors[living], queries, k)
        assert found.shape == (n_queries, min(k, len(living)))
        np.testing.assert_array_equal(found, numbers[living][expected])
        np.testing.assert_allclose(similarities, exact, atol=1e-5)


def test_an_index_finds_most_and_its_similarities_are_exact(folder):
    vectors, queries = clustered(500, DIM), clustered(50, DIM, seed=1)
    part = segment(folder / "sq8", np.arange(500), vectors, indexed=True)
    found, similarities = SegmentedIndex([part], VectorIndex(DIM)).search(queries, 10)
    assert overlap(found, nearest(vectors, queries, 10)[0]) >= 0.9
    exact = np.take_along_axis(queries @ vectors.T, found, axis=1)
    np.testing.assert_allclose(similarities, exact, atol=1e-6)


@pytest.mark.parametrize("row", [3, 20])
def test_a_row_that_died_or_never_was_is_not_searched_among(folder, row):
    part = segment(folder / "s", np.arange(10), clustered(10, DIM), indexed=False)
    index = SegmentedIndex([part], VectorIndex(DIM))
    index.remove(np.array([3]))
    with pytest.raises(InvalidInput, match="in the index"):
        index.search(clustered(1, DIM), 5, among=np.array([1, row]))


def test_a_file_is_mapped_as_it_was_written(folder):
    rows, vectors = np.arange(5, 40, 3), clustered(12, DIM)
    path = write(folder / "plain", rows, vectors)
    file = map_segment(path, rows=12, dim=DIM, record=None)
    np.testing.assert_array_equal(file.rows, rows)
    np.testing.assert_array_equal(file.vectors, vectors)
    assert not file.vectors.flags.writeable
    assert path.stat().st_size % 64 == 0


@pytest.mark.parametrize("rows", [11, 13, 20])
def test_a_file_of_another_size_is_refused(folder, rows):
    path = write(folder / "cut", np.arange(12), clustered(12, 64))
    with pytest.raises(CorruptIndex, match=r"has [\d,]+ bytes, expected"):
        map_segment(path, rows=rows, dim=64, record=None)


def test_a_file_that_is_not_there_is_named(folder):
    with pytest.raises(SystemFailure, match="none: No such file"):
        map_segment(folder / "none", rows=1, dim=DIM, record=None)


def test_vectors_are_those_of_the_rows_wherever_they_stand(folder):
    vectors = np.random.default_rng(0).standard_normal((30, DIM)).astype(np.float32)
    rest = VectorIndex(DIM)
    rest.add(np.arange(20, 30), vectors[20:])
    parts = [
        segment(folder / "at-1", np.arange(10), vectors[:10], indexed=True),
        segment(folder / "at-2", np.arange(10, 20), vectors[10:20], indexed=False),
    ]
    index = SegmentedIndex(parts, rest)
    rows = np.array([25, 3, 17, 3, 0])
    np.testing.assert_array_equal(index.vectors_at(rows), vectors[rows])
    with pytest.raises(InvalidInput, match="not in the index"):
        index.vectors_at(np.array([3, 30]))
