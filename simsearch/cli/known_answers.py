"""Where a command takes known answers from: a file, a folder, a run, or what users said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simsearch.errors import InvalidInput

if TYPE_CHECKING:
    from simsearch.formats import Example, ReadOptions
    from simsearch.formats.checks import Reads
    from simsearch.search_index import RetrievalTask, SearchIndex

FromFeedback = Annotated[
    bool,
    typer.Option(
        "--from-feedback",
        help="In the place of DATA: the judgements of the index, which must not have trained its "
        "encoder.",
    ),
]


def check_one_source(data: Path | None, *, from_feedback: bool) -> None:
    """Refuse a command line that names no known answers, or two kinds of them."""
    if (data is None) != from_feedback:
        raise InvalidInput(
            "measure on what? (a file of pairs, a BEIR folder or a model directory; or "
            "--from-feedback)"
        )


def known_answers(
    data: Path, *, split: str, options: ReadOptions, reads: Reads | None = None
) -> Sequence[Example] | RetrievalTask:
    """Read known answers: pairs, a split of a BEIR folder, or what a run has held out.

    A text of which an encoder `reads` nothing is as bad as a blank one.
    """
    from simsearch.training import held_out_of_run, is_run, load_evaluation_data

    if data.is_dir() and is_run(data):
        return held_out_of_run(data)
    return load_evaluation_data(data, split=split, options=options, reads=reads)


def answers_in(
    index: SearchIndex, data: Path | None, *, split: str, options: ReadOptions, least: int
) -> Sequence[Example] | RetrievalTask:
    """Read known answers, or take the judgements of an index where no data is named.

    Raises:
        InvalidData: fewer than `least` queries were judged.
    """
    from simsearch.encoder import reading_by
    from simsearch.search_index import answers_of_judgements

    if data is None:
        return answers_of_judgements(index, least=least)
    reads = reading_by(lambda: index.encoder)
    return known_answers(data, split=split, options=options, reads=reads)
