"""Searches with a filter: exact on what it lets through, k hits if k exist."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import HashEncoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simsearch.errors import InvalidFilter
from simsearch.records import Document
from simsearch.search_index import SearchIndex

DIM = 256


@pytest.fixture
def index(tmp_path: Path, hash_encoder: HashEncoder) -> Iterator[SearchIndex]:
    with SearchIndex.create(tmp_path / "index", encoder=hash_encoder) as index:
        index.add(
            [
                Document("card", "my card was swallowed", metadata={"lang": "en", "year": 2020}),
                Document("karte", "my card card", metadata={"lang": "de", "tags": ["a", "urgent"]}),
                Document("cat", "the cat sat", metadata={"lang": "en", "year": 2023}),
                Document("bare", "my card sat"),
            ]
        )
        yield index


@pytest.fixture
def numbered(tmp_path: Path, hash_encoder: HashEncoder) -> Iterator[tuple[SearchIndex, Any]]:
    """Yield an index of 500 documents with random unit vectors, numbered by n, and the vectors."""
    rows = np.random.default_rng(0).standard_normal((500, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with SearchIndex.create(tmp_path / "numbered", encoder=hash_encoder) as index:
        documents = [Document(str(n), f"t{n}", metadata={"n": n}) for n in range(500)]
        index.add(documents, embeddings=rows)
        yield index, rows


def ids(hits: list[Any]) -> list[str]:
    return [hit.id for hit in hits]


def test_only_documents_that_the_filter_lets_through_are_hits(index: SearchIndex) -> None:
    assert ids(index.search("my card", k=1)) == ["karte"]
    assert ids(index.search("my card", k=9, where="lang = 'en'")) == ["card", "cat"]
    assert ids(index.search("my card", k=1, where="lang != 'de' and year = null")) == ["bare"]
    assert ids(index.search("cat", where="tags contains 'urgent'")) == ["karte"]
    many = index.search_many(["cat", "card"], k=1, where="year >= 2020")
    assert [ids(hits) for hits in many] == [["cat"], ["card"]]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    low=st.integers(0, 499),
    size=st.one_of(st.integers(1, 3), st.integers(1, 500)),
    k=st.sampled_from([1, 10, 600]),
    n_queries=st.sampled_from([1, 25]),
)
def test_results_equal_exact_search_of_the_subset(
    numbered: tuple[SearchIndex, Any], low: int, size: int, k: int, n_queries: int
) -> None:
    index, rows = numbered
    high = min(500, low + size)
    queries = rows[:n_queries] + 0.05
    found = index.search_vectors(queries, k=k, where=f"n >= {low} and n < {high}")
    cosines = queries.astype(np.float64) @ rows[low:high].T.astype(np.float64)
    nearest = low + np.argsort(-cosines, axis=1)[:, :k]
    assert [[int(hit.id) for hit in hits] for hits in found] == nearest.tolist()


def test_a_filter_sees_what_was_written_since_the_last_search(index: SearchIndex) -> None:
    where = "lang = 'en'"
    assert ids(index.search("cat", where=where)) == ["cat", "card"]
    index.upsert([Document("card", "my card was swallowed", metadata={"lang": "fr"})])
    index.add([Document("new", "the cat", metadata={"lang": "en"})])
    assert ids(index.search("the cat", where=where)) == ["new", "cat"]
    index.delete(["cat"])
    assert ids(index.search("the cat", where=where)) == ["new"]


def test_true_and_one_are_different_filters(index: SearchIndex) -> None:
    index.add(
        [
            Document("yes", "cat", metadata={"flag": True}),
            Document("one", "cat", metadata={"flag": 1}),
        ]
    )
    assert ids(index.search("cat", where="flag = true")) == ["yes"]
    assert ids(index.search("cat", where="flag = 1")) == ["one"]


def test_a_document_is_one_hit_of_a_filtered_search_too(
    tmp_path: Path, hash_encoder: HashEncoder
) -> None:
    with SearchIndex.create(tmp_path / "p", encoder=hash_encoder, long_texts="passages") as index:
        long = " ".join(["cat"] * 40)
        index.add([Document(f"long{n}", f"{long} {n}", metadata={"n": n}) for n in range(5)])
        index.add([Document(f"dog{n}", f"dog {n}", metadata={"n": n}) for n in range(5)])
        hits = index.search("cat", k=4, where="n >= 1 and n <= 2")
    assert sorted(ids(hits)) == ["dog1", "dog2", "long1", "long2"]


def test_documents_are_counted_and_deleted_by_a_filter(index: SearchIndex) -> None:
    assert index.count() == 4
    assert index.count(where="lang = 'en'") == 2
    assert index.delete_where("lang = 'en' and year < 2021") == 1
    assert index.get("card") is None
    assert index.count() == 3


def test_an_unknown_field_is_an_error_and_deletes_nothing(index: SearchIndex) -> None:
    for ask in (index.count, index.delete_where, lambda where: index.search("cat", where=where)):
        with pytest.raises(InvalidFilter, match=r"no document has a field lagn \(did you mean la"):
            ask("not lagn = 'en'")
    assert len(index) == 4


def test_an_index_without_documents_knows_no_field_and_finds_nothing(index: SearchIndex) -> None:
    index.delete(["card", "karte", "cat", "bare"])
    assert index.search("cat", where="lang = 'en'") == []
    assert index.count(where="lang = 'en'") == 0


def test_a_filter_on_the_wrong_type_finds_nothing_and_says_why(
    index: SearchIndex, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="simsearch"):
        assert index.search("cat", where="year >= '2020'") == []
    assert caplog.messages == [
        "the filter lets no document through: field year never holds a string, but number "
        "(write a number without quotes)"
    ]


def test_a_bad_filter_is_refused_before_anything_is_encoded(
    index: SearchIndex, hash_encoder: HashEncoder
) -> None:
    hash_encoder.encoded.clear()
    with pytest.raises(InvalidFilter, match="column 6"):
        index.search("cat", where="lang 'en'")
    assert hash_encoder.encoded == []
