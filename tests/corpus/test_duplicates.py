"""Documents that say the same, against a matrix of all by all."""

from __future__ import annotations

import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import HashEncoder

from simsearch.ann import NearPairs
from simsearch.corpus import find_duplicates, similar_pairs
from simsearch.corpus.duplicates import whole_pairs
from simsearch.corpus.grouping import Forest
from simsearch.errors import CorruptIndex, InvalidFilter, InvalidInput
from simsearch.records import Document
from simsearch.search_index import SearchIndex


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def vectors():
    """400 rows of which every tenth has a neighbour at a cosine of about 0.97."""
    rng = np.random.default_rng(0)
    rows = unit(rng.standard_normal((400, 256)))
    noise = unit(rng.standard_normal((40, 256)))
    rows[360:] = unit(rows[0:400:10] + 0.25 * noise)
    return rows


def made(path, vectors):
    index = SearchIndex.create(path, encoder=HashEncoder())
    documents = [Document(f"d{n}", f"text {n}", metadata={"n": n}) for n in range(len(vectors))]
    index.add(documents, vectors if documents else None)
    return index


def pairs_of(found):
    return {(pair.first, pair.second): pair.similarity for pair in found}


def test_every_pair_over_the_threshold_is_found_with_its_similarity(tmp_path, vectors):
    products = vectors.astype(np.float64) @ vectors.T
    first, second = np.nonzero(np.triu(products >= 0.9, 1))
    with made(tmp_path / "index", vectors) as index:
        found = similar_pairs(index, threshold=0.9)
        report = find_duplicates(index, threshold=0.9)
    assert pairs_of(found) == pytest.approx(
        {(f"d{a}", f"d{b}"): products[a, b] for a, b in zip(first, second, strict=True)}, abs=1e-6
    )
    assert len(found) == report.pairs >= 36
    assert report.documents == 400


def test_groups_are_the_connected_components_and_keep_the_first(tmp_path):
    # a - b - c in a row, each 0.9 to the next; a and c are 0.62.
    angle = np.arccos(0.9)
    rows = np.zeros((5, 256), dtype=np.float32)
    for place, turns in enumerate((1, 0, 2)):
        rows[place, :2] = np.cos(turns * angle), np.sin(turns * angle)
    rows[3, 2] = 1
    rows[4, 2] = 1
    with made(tmp_path / "index", rows) as index:
        report = find_duplicates(index, threshold=0.89)
    chain, copies = report.groups
    assert (chain.kept, [each.id for each in chain.others]) == ("d0", ["d1", "d2"])
    assert [each.similarity for each in chain.others] == pytest.approx([0.9, 0.9], abs=1e-6)
    assert (copies.kept, [(each.id, each.similarity) for each in copies.others]) == (
        "d3",
        [("d4", 1.0)],
    )
    assert (report.pairs, report.superfluous) == (3, 3)


def test_a_chained_document_says_how_unlike_the_kept_one_it_is(tmp_path):
    angle = np.arccos(0.9)
    rows = np.zeros((3, 256), dtype=np.float32)
    for turns in range(3):
        rows[turns, :2] = np.cos(turns * angle), np.sin(turns * angle)
    with made(tmp_path / "index", rows) as index:
        (group,) = find_duplicates(index, threshold=0.89).groups
    assert [each.similarity for each in group.others] == pytest.approx(
        [0.9, 2 * 0.81 - 1], abs=1e-6
    )


def test_the_same_is_found_in_segments_beside_them_and_after_deletions(tmp_path, vectors):
    with made(tmp_path / "index", vectors[:300]) as index:
        index.optimize(anew=True)
        documents = [Document(f"d{n}", f"text {n}") for n in range(300, 400)]
        index.add(documents, vectors[300:])
        assert len(similar_pairs(index, threshold=0.9)) >= 36
        index.delete(["d0", "d365"])
        found = pairs_of(similar_pairs(index, threshold=0.9))
    living = [n for n in range(400) if n not in (0, 365)]
    products = vectors[living].astype(np.float64) @ vectors[living].T
    first, second = np.nonzero(np.triu(products >= 0.9, 1))
    assert set(found) == {
        (f"d{living[a]}", f"d{living[b]}") for a, b in zip(first, second, strict=True)
    }


def test_searches_by_the_same_handle_go_on_meanwhile(tmp_path, vectors):
    with made(tmp_path / "index", vectors) as index, ThreadPoolExecutor(1) as pool:
        found = []

        def advance(done, count):
            searched = pool.submit(index.search_vectors, vectors[7:8], 1)
            found.append(searched.result(timeout=60)[0][0].id)

        assert find_duplicates(index, threshold=0.9, advance=advance).documents == 400
    assert set(found) == {"d7"}


def test_only_documents_that_pass_a_filter_are_compared(tmp_path, vectors):
    with made(tmp_path / "index", vectors) as index:
        report = find_duplicates(index, threshold=0.9, where="n < 360 and n != 3")
        assert (report.documents, report.groups) == (359, ())
        assert find_duplicates(index, threshold=0.9, where="n in (0, 360)").superfluous == 1
        with pytest.raises(InvalidFilter, match="m"):
            find_duplicates(index, where="m = 1")


@pytest.mark.parametrize("count", [0, 1])
def test_no_document_and_one_have_no_duplicates(tmp_path, vectors, count):
    with made(tmp_path / "index", vectors[:count]) as index:
        report = find_duplicates(index)
        assert (report.documents, report.pairs, report.groups) == (count, 0, ())
        assert list(similar_pairs(index)) == []


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, float("nan"), float("inf"), True, "0.9"])
def test_a_threshold_out_of_range_is_refused(tmp_path, vectors, threshold):
    with (
        made(tmp_path / "index", vectors[:2]) as index,
        pytest.raises(InvalidInput, match="threshold must be"),
    ):
        find_duplicates(index, threshold=threshold)


def test_a_damaged_id_is_refused_and_never_printed(tmp_path, vectors):
    made(tmp_path / "index", vectors).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "index" / "meta.db")) as database, database:
        database.execute("UPDATE documents SET id = 'd99999' WHERE id = 'd3'")
    with (
        SearchIndex.open(tmp_path / "index", encoder=HashEncoder()) as index,
        pytest.raises(CorruptIndex, match="the document of row 3 is damaged"),
    ):
        find_duplicates(index)


def test_more_pairs_than_may_be_kept_are_refused_and_groups_need_none(tmp_path):
    rows = np.zeros((100, 256), dtype=np.float32)
    rows[:, 0] = 1
    with made(tmp_path / "index", rows) as index:
        with pytest.raises(InvalidInput, match="more than 4,949 pairs"):
            similar_pairs(index, max_pairs=4_949)
        assert len(similar_pairs(index, max_pairs=4_950)) == 4_950
        report = find_duplicates(index)
    assert (report.pairs, report.superfluous, len(report.groups)) == (4_950, 99, 1)


def test_a_shared_passage_does_not_make_two_documents_the_same(tmp_path):
    shared = "nine ten eleven twelve thirteen fourteen"
    texts = {
        "a": f"one two three four five six seven eight {shared}",
        "b": f"red blue green pink grey black seven eight {shared}",
        "c": f"one two three four five six seven eight {shared}",
    }
    with SearchIndex.create(
        tmp_path / "index", encoder=HashEncoder(), long_texts="passages"
    ) as index:
        index.add([Document(name, text) for name, text in texts.items()])
        assert [hit.score for hit in index.similar("a")] == pytest.approx([1.0, 1.0])
        (group,) = find_duplicates(index, threshold=0.9).groups
    assert (group.kept, [each.id for each in group.others]) == ("a", ["c"])


def test_documents_of_passages_are_as_similar_as_their_worst_passage():
    # Passages 0, 1 | 2, 3 | 4 of three documents.
    rows = NearPairs(
        np.array([0, 0, 1, 0, 1]),
        np.array([2, 3, 3, 4, 4]),
        np.array([0.99, 0.97, 0.95, 0.96, 0.98]),
    )
    found = whole_pairs(rows, np.array([0, 0, 1, 1, 2]))
    assert list(zip(found.first, found.second, found.similarity, strict=True)) == [
        (0, 1, 0.95),
        (0, 2, 0.96),
    ]


def test_pairs_join_what_they_connect_in_any_order():
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 200, (2, 120))
    expected = list(range(200))
    for _ in range(200):  # what spreads until nothing changes is a component
        for one, other in zip(first, second, strict=True):
            expected[one] = expected[other] = min(expected[one], expected[other])
    forest = Forest(200)
    forest.join(first[:50], second[:50])
    forest.join(first[50:], second[50:])
    assert forest.roots().tolist() == expected
