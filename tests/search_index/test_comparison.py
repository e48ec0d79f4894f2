"""What changes for queries between two indexes, by numbers that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import HashEncoder

from simsearch.errors import InvalidData, InvalidInput
from simsearch.records import Document
from simsearch.search_index import SearchIndex, check_questions, compare_indexes

QUERIES = {"q1": "one", "q2": "two", "q3": "three"}
# Whose nearest documents each of two encoders takes which to be, best first.
OLD = {"one": "abc", "two": "bca", "three": "cab"}
NEW = {"one": "abd", "two": "bcd", "three": "dca"}


class Ranked(HashEncoder):
    """Knows for each query how near each of the documents a to d is."""

    dim = 4

    def __init__(self, order, fingerprint):
        super().__init__()
        self.order, self.fingerprint = order, fingerprint

    def encode_documents(self, texts, *, counts=None):
        return np.stack([np.eye(4, dtype=np.float32)["abcd".index(text)] for text in texts])

    def encode_queries(self, texts):
        rows = np.zeros((len(texts), 4), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[["abcd".index(name) for name in self.order[text]]] = (3, 2, 1)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def two(tmp_path):
    encoders = (Ranked(OLD, "old"), Ranked(NEW, "new"))
    indexes = [SearchIndex.create(tmp_path / each.fingerprint, encoder=each) for each in encoders]
    for index in indexes:
        index.add([Document(name, name) for name in "abcd"])
    yield indexes
    for index in indexes:
        index.close()


def test_overlap_counts_the_hits_that_both_have(two):
    found = compare_indexes(*two, QUERIES, k=3)
    # abc and abd share 2 of 3, bca and bcd 2, cab and dca 2
    assert found.overlap == pytest.approx(2 / 3)
    assert found.same_first == pytest.approx(2 / 3)
    assert (found.queries, found.k, found.difference) == (3, 3, {})
    assert compare_indexes(two[0], two[0], QUERIES).overlap == 1


def test_with_answers_the_scores_of_both_and_their_difference_are_given(two):
    qrels = {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"d": 1}, "q4": {"a": 1}}
    found = compare_indexes(*two, QUERIES, qrels=qrels, k=3)
    # The answers stand at the ranks 1, 3, 4 (the last of all) and 1, 4, 1.
    assert found.before["mrr@10"] == pytest.approx((1 + 1 / 3 + 1 / 4) / 3)
    assert found.after["mrr@10"] == pytest.approx((1 + 1 / 4 + 1) / 3)
    change = found.difference["mrr@10"]
    assert change.value == pytest.approx(found.after["mrr@10"] - found.before["mrr@10"])
    assert change.low <= change.value <= change.high
    assert set(found.difference) == {"ndcg@10", "mrr@10", "recall@10", "recall@100", "map"}


def test_only_queries_with_an_answer_are_asked(two):
    qrels = {"q1": {"a": 1}, "q2": {"a": 0, "b": 2}, "q3": {"d": 0}}
    assert compare_indexes(*two, QUERIES, qrels=qrels).queries == 2


def test_what_cannot_be_compared_is_refused(two):
    with pytest.raises(InvalidData, match="there is no query"):
        check_questions({}, None)
    with pytest.raises(InvalidInput, match="query 'q1' is empty"):
        check_questions({"q1": " "}, None)
    with pytest.raises(InvalidData, match="1 of 3 queries have an answer"):
        check_questions(QUERIES, {"q1": {"a": 1}, "q2": {"a": 0}})
    with pytest.raises(InvalidData, match="holds no judged document"):
        compare_indexes(*two, QUERIES, qrels={"q1": {"x": 1}, "q2": {"y": 1}})
