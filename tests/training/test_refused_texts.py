"""Data that was read from no file: a text that gets no embedding is named by row and field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import without_accents, write_tiny_encoder
from training_runs import make_pairs

from simsearch.encoder import Encoder, UnencodableText, UnreadableText
from simsearch.errors import EncoderError, InvalidData
from simsearch.records import Document, LabelledPair, Pair
from simsearch.search_index import RetrievalTask
from simsearch.training import TrainingData, finetune, inspect
from simsearch.training.refused_texts import refuse_unreadable, refused_texts_named

ACCENT = "\u0301"
SETS = [
    TrainingData([Pair("a", "b"), Pair("c", "d")], distractors=["x"], name="pairs"),
    TrainingData([LabelledPair("e", "f", 1)], name="more", places=["more.jsonl:7"]),
]
TASK = RetrievalTask({"q1": "asked"}, [Document("d1", "answer", title="an")], {"q1": {"d1": 1}})


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a", "row 1 of pairs: field 'anchor'"),
        ("d", "row 2 of pairs: field 'positive'"),
        ("f", "more.jsonl:7: field 'sentence2'"),
        ("x", "text 1 to search among"),
        ("asked", "query 'q1'"),
        ("an answer", "document 'd1'"),
        ("of the general set", "the text 'of the general set'"),
    ],
)
def test_a_refused_text_is_named_by_where_it_stands(text: str, where: str) -> None:
    with (
        pytest.raises(InvalidData, match=rf"^{re.escape(where)} holds nothing .*\(leave it out\)$"),
        refused_texts_named(SETS, TASK),
    ):
        raise UnreadableText(5, text=text)
    with (
        pytest.raises(EncoderError, match=rf"^{re.escape(where)}: the encoder gives no finite"),
        refused_texts_named(SETS, TASK),
    ):
        raise UnencodableText(5, text=text)


def test_an_error_that_does_not_know_its_text_is_left_as_it_is() -> None:
    with pytest.raises(UnreadableText, match=r"^text 5 holds"), refused_texts_named(SETS):
        raise UnreadableText(5)


def test_only_texts_without_a_word_are_asked_about() -> None:
    asked: list[str] = []
    sets = [TrainingData([Pair("a", "?"), Pair("!", "4")])]

    def reads(text: str) -> bool:
        asked.append(text)
        return True

    refuse_unreadable(sets, None, reads)
    assert asked == ["?", "!"]


def test_training_data_and_evaluation_data_are_looked_at_before_anything_is_trained(
    tmp_path: Path,
) -> None:
    model = without_accents(write_tiny_encoder(tmp_path / "accentless"))
    Encoder.load(model)
    pairs = make_pairs(20)
    bad = [*pairs, Pair("my card", ACCENT)]
    with pytest.raises(InvalidData, match=r"^row 21: field 'positive' holds nothing"):
        finetune(TrainingData(bad), tmp_path / "tuned", encoder=model)
    assert not (tmp_path / "tuned").exists()
    evaluation = [*make_pairs(5, seed=1), Pair(ACCENT, "my card")]
    with pytest.raises(InvalidData, match=r"^row 6 of the evaluation data: field 'anchor' holds"):
        inspect(TrainingData(pairs), encoder=model, evaluation=evaluation)
