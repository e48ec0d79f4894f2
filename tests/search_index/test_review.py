"""Which hits are proposed for a judgement."""

from __future__ import annotations

import itertools
import math

import pytest
from conftest import HashEncoder

from simsearch.errors import InvalidInput
from simsearch.records import Document, Hit
from simsearch.search_index import SearchIndex, propose_judgements, review

DOCUMENTS = [Document(f"d{n}", f"text {n}") for n in range(5)]


@pytest.fixture
def index(tmp_path):
    with SearchIndex.create(tmp_path / "i", encoder=HashEncoder()) as index:
        index.add(DOCUMENTS)
        yield index


@pytest.fixture
def answer(index, monkeypatch):
    """Return a function that sets what a search of each query returns."""

    def prepare(hits, *, calibrated=False):
        monkeypatch.setattr(index, "search_many", lambda part, k: [hits[query] for query in part])
        monkeypatch.setattr(index, "calibration", lambda: object() if calibrated else None)

    return prepare


def probable(**chances):
    """Return hits of these probabilities."""
    return [Hit(name, 0.5, "text", probability=chance) for name, chance in chances.items()]


def scored(**scores):
    return [Hit(name, score, "text") for name, score in scores.items()]


def proposed(index, queries, n=20):
    found = propose_judgements(index, queries, n=n)
    return [(each.query, each.hit.id) for each in found]


def test_with_a_calibration_hits_nearest_to_an_even_chance_come_first(index, answer):
    answer({"q": probable(d0=0.97, d1=0.62, d2=0.45, d3=0.3, d4=None)}, calibrated=True)
    assert proposed(index, ["q"]) == [("q", "d2"), ("q", "d1"), ("q", "d3"), ("q", "d0")]
    assert proposed(index, ["q"], n=2) == [("q", "d2"), ("q", "d1")]
    assert [each.margin for each in propose_judgements(index, ["q"])] == [None] * 4


def test_without_one_those_come_first_whose_order_counts_most_and_hangs_by_the_least(index, answer):
    answer({"q": scored(d0=0.9, d1=0.8, d2=0.75, d3=0.749)})
    discounts = [1 / math.log2(rank + 1) for rank in range(1, 5)]
    costs = [above - below for above, below in itertools.pairwise(discounts)]
    by_hand = [0.1 / costs[0], 0.05 / costs[1], 0.001 / costs[2]]
    assert sorted(by_hand) == [by_hand[2], by_hand[0], by_hand[1]]
    found = propose_judgements(index, ["q"])
    assert [(each.hit.id, pytest.approx(each.margin)) for each in found] == [
        ("d2", 0.001),
        ("d3", 0.001),
        ("d0", 0.1),
        ("d1", 0.1),
    ]


def test_every_query_has_its_share(index, answer):
    answer(
        {
            "sure": probable(d0=0.9, d1=0.1, d2=0.05),
            "unsure": probable(d0=0.5, d1=0.51, d2=0.49),
            "other": probable(d3=0.7),
        },
        calibrated=True,
    )
    queries = ["sure", "unsure", "other"]
    assert proposed(index, queries, n=3) == [("unsure", "d0"), ("other", "d3"), ("sure", "d0")]
    assert proposed(index, queries, n=2) == [("unsure", "d0"), ("other", "d3")]
    all_ = proposed(index, queries, n=10)
    assert len(all_) == 7
    assert all_[:3] == [("unsure", "d0"), ("unsure", "d1"), ("unsure", "d2")]


def test_of_more_queries_than_are_searched_for_together_the_best_are_proposed(
    index, answer, monkeypatch
):
    monkeypatch.setattr(review, "_PART", 7)
    answer(
        {f"q{n}": probable(d0=0.5 + n / 200, d1=0.9) for n in range(100)},
        calibrated=True,
    )
    queries = [f"q{n}" for n in reversed(range(100))]
    assert proposed(index, queries, n=4) == [(f"q{n}", "d0") for n in range(4)]


def test_what_was_judged_is_left_out_unless_the_document_has_changed(index, answer):
    index.judge("q", "d0")
    index.judge("q", "d1", relevant=False)
    index.judge("p", "d2")
    answer({"q": probable(d0=0.5, d1=0.6, d2=0.7)}, calibrated=True)
    assert proposed(index, ["q"]) == [("q", "d2")]
    index.upsert([Document("d1", "another text")])
    assert proposed(index, ["q"]) == [("q", "d1"), ("q", "d2")]


def test_without_queries_those_that_were_judged_are_reviewed(index):
    index.judge("text 3", "d3")
    index.judge("text 3", "d1", relevant=False)
    index.judge("text 0", "d0")
    queries = {query for query, _ in proposed(index, None)}
    assert queries == {"text 3", "text 0"}
    assert {id_ for query, id_ in proposed(index, None) if query == "text 3"} == {"d0", "d2", "d4"}


def test_the_only_hit_of_a_query_is_proposed_after_all_others(tmp_path, index, answer):
    with SearchIndex.create(tmp_path / "one", encoder=HashEncoder()) as one:
        one.add(DOCUMENTS[:1])
        assert proposed(one, ["text"]) == [("text", "d0")]
    scored = [Hit("a", 0.9, "text"), Hit("b", 0.1, "text")]
    answer({"one": [Hit("only", 0.9, "text")], "two": scored})
    assert proposed(index, ["one", "two"])[-1] == ("one", "only")


def test_hits_without_a_probability_are_proposed_by_their_margins_also_when_calibrated(
    index, answer
):
    answer({"words": [Hit("a", 2.0, "text"), Hit("b", 1.0, "text")]}, calibrated=True)
    assert {id_ for _, id_ in proposed(index, ["words"])} == {"a", "b"}


def test_without_queries_and_judgements_the_ways_out_are_named(index):
    with pytest.raises(InvalidInput, match=r"no queries to review: give some \(--queries FILE\)"):
        propose_judgements(index)
    with pytest.raises(InvalidInput, match="no queries to review"):
        propose_judgements(index, [])
    with pytest.raises(InvalidInput, match="n must be at least 1, got 0"):
        propose_judgements(index, ["q"], n=0)
