"""Texts that get no embedding, named by where they stand in the data of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

from simsearch.encoder import UnencodableText, UnreadableText
from simsearch.errors import EncoderError, InvalidData
from simsearch.formats import Example
from simsearch.formats.checks import quoted
from simsearch.records import has_word
from simsearch.search_index import RetrievalTask
from simsearch.training.data_counts import text_columns
from simsearch.training.examples import TrainingData, texts_of

Evaluation: TypeAlias = Sequence[Example] | RetrievalTask | None


@contextlib.contextmanager
def refused_texts_named(
    sets: Sequence[TrainingData], evaluation: Evaluation = None
) -> Iterator[None]:
    """Let the error of a text say where the text stands: FILE:LINE and field, if it has them.

    Else the row and the field; of a retrieval task the document or the query.

    Raises:
        InvalidData: the encoder reads nothing in a text.
        EncoderError: it has no vector for one.
    """
    try:
        yield
    except UnreadableText as error:
        if error.text is None:
            raise
        where = _where(error.text, sets, evaluation)
        raise InvalidData(f"{where} {error.reason} (leave it out)") from error
    except UnencodableText as error:
        if error.text is None:
            raise
        where = _where(error.text, sets, evaluation)
        raise EncoderError(
            f"{where}: {error.reason} (leave it out, or take another encoder)"
        ) from error


def refuse_unreadable(
    sets: Sequence[TrainingData], evaluation: Evaluation, reads: Callable[[str], bool]
) -> None:
    """Refuse data with a text of which an encoder `reads` nothing.

    Only a text without a word can be one (of words a tokenizer hardly ever drops all).

    Raises:
        UnreadableText: see `refused_texts_named`.
    """
    for position, (text, _) in enumerate(_located(sets, evaluation)):
        if not has_word(text) and not reads(text):
            raise UnreadableText(position, text=text)


def _where(text: str, sets: Sequence[TrainingData], evaluation: Evaluation) -> str:
    found = (place() for each, place in _located(sets, evaluation) if each == text)
    # Not of the data: made by augmentation, or of the general set.
    return next(found, f"the text {quoted(text)}")


def _located(
    sets: Sequence[TrainingData], evaluation: Evaluation
) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield every text with what says where it stands."""
    for data in sets:
        yield from _of_set(data)
    if isinstance(evaluation, RetrievalTask):
        for name, query in evaluation.queries.items():
            yield query, partial("query {!r}".format, name)
        for document in evaluation.corpus:
            yield document.content, partial("document {!r}".format, document.id)
    elif evaluation:
        yield from _of_set(TrainingData(evaluation, name="the evaluation data"))


def _of_set(data: TrainingData) -> Iterator[tuple[str, Callable[[], str]]]:
    for row, example in enumerate(data.examples):
        for column, text in enumerate(texts_of(example)):
            yield text, partial(_field, data, row, column)
    for number, text in enumerate(data.distractors, start=1):
        yield text, partial("text {:,} to search among".format, number)


def _field(data: TrainingData, row: int, column: int) -> str:
    return f"{data.place(row)}: field {text_columns(type(data.examples[row]))[column]!r}"
