"""Every kind of index as a file: the same answers, and damage refused."""

from __future__ import annotations

from dataclasses import replace

import faiss
import numpy as np
import pytest

from simsearch.ann import BuiltIndex, IndexRecord, index_bytes, read_index_file
from simsearch.ann.candidates import candidates_for
from simsearch.errors import CorruptIndex, SystemFailure

KINDS = {kind.name: kind for kind in candidates_for(3_000, 32)}


@pytest.fixture(scope="module")
def built(rows):
    return {name: BuiltIndex.build(kind, rows, seed=0) for name, kind in KINDS.items()}


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_an_index_that_was_read_answers_as_the_one_that_was_written(
    built, queries, tmp_path, name, mapped
):
    path = tmp_path / "índex.faiss"
    path.write_bytes(index_bytes(built[name]))
    read = read_index_file(path, IndexRecord.of(built[name]), mapped=mapped)
    for was, is_ in zip(built[name].search(queries, 10), read.search(queries, 10), strict=True):
        np.testing.assert_array_equal(was, is_)
    assert (read.candidate, read.parameters) == (KINDS[name], built[name].parameters)
    assert path.stat().st_size == built[name].size_in_bytes()


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("name", ["flat", "ivf-pq4fs+sq8", "hnsw", "rabitq+sq8"])
def test_a_file_that_was_cut_is_damaged(built, tmp_path, name, mapped):
    path = tmp_path / "index.faiss"
    whole = index_bytes(built[name])
    for kept in (0, 3, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(CorruptIndex, match="is damaged"):
            read_index_file(path, IndexRecord.of(built[name]), mapped=mapped)


@pytest.mark.parametrize("change", [{"rows": 2_999}, {"dim": 64}, {"factory": "SQ8"}])
def test_a_file_of_another_index_is_refused(built, tmp_path, change):
    path = tmp_path / "index.faiss"
    path.write_bytes(index_bytes(built["flat"]))
    record = replace(IndexRecord.of(built["flat"]), **change)
    with pytest.raises(CorruptIndex, match="is another index: expected"):
        read_index_file(path, record)


def test_a_file_cannot_make_faiss_allocate_more_than_it_holds(built, tmp_path):
    path = tmp_path / "index.faiss"
    data = bytearray(index_bytes(built["flat"]))
    count = data.index((3_000 * 32).to_bytes(8, "little"))  # of the vector of codes, in floats
    data[count : count + 8] = (1 << 36).to_bytes(8, "little")
    path.write_bytes(data)
    with pytest.raises(CorruptIndex, match="byte_limit"):
        read_index_file(path, IndexRecord.of(built["flat"]), mapped=False)


def test_the_limit_of_the_process_is_as_before(built, tmp_path):
    before = faiss.get_deserialization_vector_byte_limit()
    path = tmp_path / "index.faiss"
    path.write_bytes(b"IxFI")
    with pytest.raises(CorruptIndex):
        read_index_file(path, IndexRecord.of(built["flat"]))
    assert faiss.get_deserialization_vector_byte_limit() == before


def test_a_file_that_is_not_there_is_named(built, tmp_path):
    with pytest.raises(SystemFailure, match=r"no\.faiss: No such file"):
        read_index_file(tmp_path / "no.faiss", IndexRecord.of(built["flat"]))


def test_an_index_of_a_kind_that_is_not_built_any_more_can_still_be_read(rows, queries, tmp_path):
    old = BuiltIndex.build(replace(KINDS["sq8"], name="old", factory="SQ6"), rows, seed=0)
    path = tmp_path / "index.faiss"
    path.write_bytes(index_bytes(old))
    read = read_index_file(path, IndexRecord.of(old))
    np.testing.assert_array_equal(read.search(queries, 5)[0], old.search(queries, 5)[0])
