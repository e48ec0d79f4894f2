"""Facets: how many documents have each value of a field, against counting in plain Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import HashEncoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simsearch.errors import InvalidFilter, InvalidInput
from simsearch.records import Document, FacetValue
from simsearch.search_index import SearchIndex

ABSENT = object()
SCALARS = st.one_of(
    st.sampled_from(
        ["a", "A", "é", "", 'quo"te', "back\\slash", "n\0ul", "n", "1", "true", "漢字"]
    ),
    st.sampled_from([0, 1, 1.0, -1, 1.5, 2**53, 2**53 + 1, True, False, None]),
)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=4),
    st.sampled_from([ABSENT, {}, {"a": 1}, [["a"], {"a": "b"}], []]),
)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchIndex]:
    path = tmp_path_factory.mktemp("facets") / "index"
    with SearchIndex.create(path, encoder=HashEncoder()) as index:
        yield index


def write(index: SearchIndex, values: list[Any]) -> None:
    """Let the index hold one document for each value of the field."""
    index.delete([document.id for document in index.iterate()])
    documents = [
        Document(str(n), f"t{n}", metadata={"half": n % 2} | ({} if v is ABSENT else {"f": v}))
        for n, v in enumerate(values)
    ]
    documents.append(Document("other", "t", metadata={"f": "of another half", "half": 9}))
    index.add(documents, embeddings=np.ones((len(documents), 256), dtype=np.float32))


def counted(values: list[Any]) -> Counter[tuple[str, Any]]:
    """Count values as docs/filters.md tells them apart; a value of a list once for each list."""
    counts: Counter[tuple[str, Any]] = Counter()
    for value in values:
        elements = value if isinstance(value, list) else [value]
        scalars = [each for each in elements if isinstance(each, str | int | float)]
        counts.update({(kind(each), each) for each in scalars})
    return counts


def kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"


def found(values: tuple[FacetValue, ...]) -> dict[tuple[str, Any], int]:
    return {(kind(each.value), each.value): each.count for each in values}


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(values=st.lists(VALUES, max_size=12))
def test_every_value_is_counted_once_for_each_document(
    index: SearchIndex, values: list[Any]
) -> None:
    write(index, values)
    expected = counted(values)
    facet = index.facet("f", 1000, where="half != 9")
    assert found(facet.values) == expected
    assert [each.count for each in facet.values] == sorted(expected.values(), reverse=True)
    assert (facet.documents, facet.distinct) == (len(values), len(expected))
    assert facet.missing == sum(not counted([value]) for value in values)


def test_only_what_a_filter_lets_through_is_counted(index: SearchIndex) -> None:
    write(index, ["a", "b", "a", "b", ["a", "c"]])
    assert found(index.facet("f", where="half = 0").values) == {
        ("string", "a"): 3,
        ("string", "c"): 1,
    }
    assert index.facet("f", where="f contains 'c'").values == (
        FacetValue("a", 1),
        FacetValue("c", 1),
    )
    nothing = index.facet("f", where="f = 'z'")
    assert (nothing.values, nothing.documents, nothing.missing) == ((), 0, 0)


def test_the_most_frequent_values_come_first_and_the_rest_is_counted(index: SearchIndex) -> None:
    write(index, ["b", "b", "c", "a", 1, 1])
    facet = index.facet("f", 2)
    assert facet.values == (FacetValue("b", 2), FacetValue(1, 2))
    assert (facet.distinct, facet.documents) == (5, 7)


def test_equally_frequent_values_are_in_order_of_kind_and_value(index: SearchIndex) -> None:
    write(index, [2, ["b", True], "a", False, -1.5])
    facet = index.facet("f", where="half != 9")
    assert [each.value for each in facet.values] == ["a", "b", False, True, -1.5, 2]
    assert [type(each.value) for each in facet.values] == [str, str, bool, bool, float, int]


def test_a_field_that_no_document_has_is_refused_with_near_names(index: SearchIndex) -> None:
    write(index, ["a"])
    with pytest.raises(
        InvalidInput, match=r"no document has the field 'halve' \(did you mean half"
    ):
        index.facet("halve")
    with pytest.raises(InvalidFilter, match="no document has a field g"):
        index.facet("f", where="g = 1")
    with pytest.raises(InvalidInput, match=r"k must be 1\.\.10000"):
        index.facet("f", 0)


def test_an_empty_index_has_no_values(tmp_path: Path, hash_encoder: HashEncoder) -> None:
    with SearchIndex.create(tmp_path / "index", encoder=hash_encoder) as index:
        facet = index.facet("f")
    assert (facet.values, facet.distinct, facet.documents, facet.missing) == ((), 0, 0, 0)
