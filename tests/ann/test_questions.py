from __future__ import annotations

import numpy as np
from ann.conftest import nearest, overlap

from simsearch.ann.built_index import BuiltIndex
from simsearch.ann.candidates import FLAT
from simsearch.ann.questions import Questions, make_questions


def test_a_document_is_no_answer_to_itself(rows):
    asked = np.array([5, 70, 2_999])
    expected, similarities = nearest(rows, rows[asked], 5)
    questions = Questions.of_documents(rows, asked, 4)
    answers = questions.answers(BuiltIndex.build(FLAT, rows, seed=0))
    np.testing.assert_allclose(questions.similarities, similarities[:, 1:], atol=1e-6)
    np.testing.assert_array_equal(answers, expected[:, 1:])
    assert questions.recall(answers).value == 1.0


def test_recall_is_what_numpy_says_of_the_answers(rows, queries):
    questions = Questions.of_queries(rows, queries, 10)
    expected, _ = nearest(rows, queries, 10)
    answers = expected.copy()
    answers[::2, :3] = 0  # a row that is no neighbour, but for chance
    assert questions.recall(answers).value == overlap(answers, expected)


def test_the_halves_share_no_query_and_lose_none(rows, queries):
    tuning, judging = Questions.of_queries(rows, queries, 3).halves(0)
    together = np.vstack([tuning.queries, judging.queries])
    assert (len(tuning), len(judging)) == (100, 100)
    assert {row.tobytes() for row in together} == {row.tobytes() for row in queries}


def test_of_many_queries_a_thousand_are_asked_and_of_few_documents_a_tenth(rows):
    assert len(make_questions(rows, rows[:1_500], 3, seed=0)) == 1_000
    assert len(make_questions(rows, None, 3, seed=0)) == 301
    assert len(make_questions(np.vstack([rows] * 4), None, 3, seed=0)) == 1_000
