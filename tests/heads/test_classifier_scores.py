from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from simsearch.errors import InvalidData, InvalidInput
from simsearch.heads import (
    Classification,
    Classifier,
    EncoderReference,
    compare_classifiers,
    draw_confusion_matrix,
    score_classifier,
)
from simsearch.records import ClassifiedText

HEAD = Classifier(EncoderReference("a", "f", 1), ("a", "b", "c"), np.zeros((3, 1)), np.zeros(3))
GOLD = [ClassifiedText("t", (label,)) for label in "aabbb"]


def said(*labels: str | None, probability: float = 0.8) -> list[Classification]:
    """Return predictions; None is a rejected text whose likeliest class is a."""
    rest = (1 - probability) / 2
    return [
        Classification(
            () if label is None else (label,),
            probability,
            {name: probability if name == (label or "a") else rest for name in "abc"},
        )
        for label in labels
    ]


def test_the_scores_by_hand():
    scores = score_classifier(HEAD, GOLD, said("a", "b", "b", None, "b"))
    assert scores.metrics["accuracy"] == pytest.approx(3 / 5)
    # a: precision 1, recall 1/2; b: precision 2/3, recall 2/3; c is nowhere.
    assert scores.metrics["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert scores.metrics["ece"] == pytest.approx(0.8 - 3 / 5)
    assert scores.confusion.tolist() == [[1, 1, 0, 0], [0, 2, 0, 1], [0, 0, 0, 0]]
    assert scores.classes["b"].support == 3


def test_the_scores_of_several_labels_by_hand():
    head = replace(HEAD, several_labels=True)
    gold = [ClassifiedText("t", ("a", "b")), ClassifiedText("t", ())]
    values = {"a": 0.9, "b": 0.2, "c": 0.1}
    predicted = [
        Classification(("a",), 0.9, values),
        Classification((), 0.4, dict.fromkeys("abc", 0.4)),
    ]
    scores = score_classifier(head, gold, predicted)
    assert scores.metrics["accuracy"] == 0.5
    assert scores.metrics["micro_f1"] == pytest.approx(2 / 3)
    assert scores.metrics["macro_f1"] == pytest.approx((1 + 0) / 2)


def test_a_label_that_the_head_does_not_know_is_refused():
    with pytest.raises(InvalidData, match="label 'd' of the data is none of the head's"):
        score_classifier(HEAD, [ClassifiedText("t", ("d",))], said("a"))


def test_a_better_head_is_better_by_the_difference_of_the_scores():
    gold = GOLD * 20
    before, after = said(*"abbac" * 20), said(*"aabba" * 20)
    found = compare_classifiers(gold, before, after)
    assert found["accuracy"].value == pytest.approx(4 / 5 - 2 / 5)
    assert found["accuracy"].low > 0
    assert found["accuracy"].p < 0.01
    right = [each.labels[0] for each in gold]
    expected = f1_score(right, [each.label for each in after], average="macro") - f1_score(
        right, [each.label for each in before], average="macro"
    )
    assert found["macro_f1"].value == pytest.approx(expected)


def test_a_head_is_no_better_than_itself():
    found = compare_classifiers(GOLD, said(*"abbac"), said(*"abbac"))
    assert (found["accuracy"].value, found["accuracy"].p) == (0.0, 1.0)


def test_several_labels_against_one_are_refused():
    two = [replace(each, labels=("a", "b")) for each in said(*"abbac")]
    with pytest.raises(InvalidInput, match="several labels"):
        compare_classifiers(GOLD, two, said(*"abbac"))


def test_heads_of_several_labels_are_compared_where_every_text_happens_to_have_one():
    two = [replace(each, labels=("a", "b")) for each in said(*"abbac")]
    found = compare_classifiers(GOLD, two, said(*"aabba"), several_labels=True)
    assert found["accuracy"].value == pytest.approx(4 / 5)
    assert found.keys() == {"accuracy"}  # macro F1 is of one label a text
    none = compare_classifiers(GOLD, said(*"abbac"), said(*"aabba"), several_labels=True)
    assert none.keys() == {"accuracy"}


def test_the_confusion_matrix_is_drawn(tmp_path):
    scores = score_classifier(HEAD, GOLD, said("a", "b", "b", None, "b"))
    draw_confusion_matrix(tmp_path / "matrix.png", ("a $", "b" * 50, "c"), scores.confusion)
    assert (tmp_path / "matrix.png").read_bytes().startswith(b"\x89PNG")


def test_what_the_font_lacks_is_said_once(tmp_path, caplog):
    scores = score_classifier(HEAD, GOLD, said("a", "b", "b", None, "b"))
    draw_confusion_matrix(tmp_path / "m.png", ("中文", "韓國", "c"), scores.confusion)
    assert [record.getMessage() for record in caplog.records] == [
        "m.png: labels have characters that the font does not have"
    ]
