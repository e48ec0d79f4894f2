"""Every kind of index as a file: the same answers, and damage refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest

from simsearch.ann import BuiltIndex, IndexRecord, Parameters, candidates
from simsearch.ann.candidates import candidates_for
from simsearch.ann.index_file import read_index, write_index
from simsearch.errors import CorruptIndex

KINDS = {kind.name: kind for kind in candidates_for(3_000, 32)}


@pytest.fixture(scope="module")
def built(rows):
    return {name: BuiltIndex.build(kind, rows, seed=0) for name, kind in KINDS.items()}


def written(index):
    data = bytearray()
    write_index(index, lambda piece: data.extend(piece) or len(piece))
    return bytes(data)


@pytest.fixture
def read(rows):
    """A function that reads an index of these vectors."""

    def read(data, record):
        memory = np.frombuffer(data, dtype=np.uint8)
        return read_index(memory, record, vectors=rows, path=Path("i.faiss"))

    return read


@pytest.mark.parametrize("name", KINDS)
def test_an_index_that_was_read_answers_as_the_one_that_was_written(read, built, queries, name):
    data = written(built[name])
    again = read(data, IndexRecord.of(built[name]))
    for was, is_ in zip(built[name].search(queries, 10), again.search(queries, 10), strict=True):
        np.testing.assert_array_equal(was, is_)
    assert (again.candidate, again.parameters) == (KINDS[name], built[name].parameters)
    assert len(data) == built[name].size_in_bytes()


def test_lists_behind_a_projection_are_read_as_they_were_written(read, rows, queries, monkeypatch):
    monkeypatch.setattr(candidates, "_LISTS_PAY_FROM", 3_000)
    (kind,) = [each for each in candidates_for(3_000, 32) if each.name == "pca-ivf-pq4fs"]
    index = BuiltIndex.build(kind, rows, seed=0).with_parameters(Parameters(16, 8))
    again = read(written(index), IndexRecord.of(index))
    assert (again.candidate, again.parameters) == (kind, Parameters(16, 8))
    for was, is_ in zip(index.search(queries, 10), again.search(queries, 10), strict=True):
        np.testing.assert_array_equal(was, is_)


def test_the_memory_of_an_index_lives_as_long_as_the_index(read, built, queries):
    data = written(built["sq8"])
    again = read(bytearray(data), IndexRecord.of(built["sq8"]))
    again = again.with_parameters(Parameters(k_factor=64))
    np.testing.assert_array_equal(again.search(queries, 5)[0], built["sq8"].search(queries, 5)[0])


@pytest.mark.parametrize("name", ["flat", "ivf-pq4fs-1bit", "pca-pq4fs", "hnsw", "rabitq"])
def test_a_file_that_was_cut_is_damaged(read, built, name):
    whole = written(built[name])
    for kept in (0, 3, 40, len(whole) // 2, len(whole) - 1):
        with pytest.raises(CorruptIndex, match="is damaged"):
            read(whole[:kept], IndexRecord.of(built[name]))


@pytest.mark.parametrize(
    "change", [{"rows": 2_999}, {"dim": 64}, {"name": "sq8", "factory": "SQ8"}]
)
def test_a_file_of_another_index_is_refused(read, built, change):
    record = replace(IndexRecord.of(built["flat"]), **change)
    with pytest.raises(CorruptIndex, match=r"i\.faiss is another index: expected"):
        read(written(built["flat"]), record)


def test_a_file_whose_parts_do_not_fit_each_other_is_refused(read, built):
    index = faiss.index_factory(32, "PCAR12,PQ6x4fs_64", faiss.METRIC_INNER_PRODUCT)
    index.train(built["flat"].vectors)
    index.add(built["flat"].vectors)
    other = BuiltIndex(index, built["pca-pq4fs"].candidate, Parameters(), built["flat"].vectors)
    with pytest.raises(CorruptIndex, match=r"PCAMatrix 32 -> 16.* got .*PCAMatrix 32 -> 12"):
        read(written(other), IndexRecord.of(built["pca-pq4fs"]))


@pytest.mark.parametrize("claimed", [1 << 36, 1 << 61])
def test_a_file_cannot_make_faiss_use_more_than_it_holds(read, built, claimed):
    data = bytearray(written(built["flat"]))
    count = data.index((3_000 * 32).to_bytes(8, "little"))  # of the vector of codes, in floats
    data[count : count + 8] = claimed.to_bytes(8, "little")
    with pytest.raises(CorruptIndex, match="is damaged"):
        read(data, IndexRecord.of(built["flat"]))


def test_the_limit_of_the_process_is_as_before(read, built):
    before = faiss.get_deserialization_vector_byte_limit()
    with pytest.raises(CorruptIndex):
        read(b"IxFI", IndexRecord.of(built["flat"]))
    assert faiss.get_deserialization_vector_byte_limit() == before


def test_an_index_of_a_kind_that_is_not_built_any_more_is_refused(read, built):
    record = replace(IndexRecord.of(built["sq8"]), name="pq4fs+sq8", factory="PQ16x4fs,Refine(SQ8)")
    with pytest.raises(CorruptIndex, match=r"not built any more \(PQ16x4fs,Refine\(SQ8\)\)"):
        read(written(built["sq8"]), record)
