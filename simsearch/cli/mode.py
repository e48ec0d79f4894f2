"""mode: which search ranks best on an index, measured on queries with known answers."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsearch.cli.known_answers import FromFeedback, answers_in, check_one_source
from simsearch.cli.options import bundled
from simsearch.cli.output import Output
from simsearch.errors import SimsearchError
from simsearch.wording import counted

if TYPE_CHECKING:
    from simsearch.formats import ReadOptions
    from simsearch.search_index import ModeChoice, TextEncoder

_ASKED = 500  # held-out queries that choose the mode of a new index: seconds, not minutes


@bundled
def mode(
    index_dir: Annotated[Path, typer.Argument(metavar="INDEX_DIR", help="The index directory.")],
    output: Output,
    file_options: "ReadOptions",
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            help="Pairs of a query and the text that answers it, a BEIR folder, or a model "
            "directory: what its run held out.",
        ),
    ] = None,
    from_feedback: FromFeedback = False,
    split: Annotated[
        str, typer.Option("--split", help="Of a BEIR folder, the judgements: qrels/SPLIT.tsv.")
    ] = "dev",
) -> None:
    """Measure dense, lexical and hybrid search on known answers; keep the best as the default.

    Hybrid becomes the default if it is proved better than the other two on queries that did not
    choose its weight. DATA must not be what the encoder was trained on.
    """
    from simsearch.search_index import LEAST_QUERIES, SearchIndex, tune_mode
    from simsearch.training import answerable

    check_one_source(data, from_feedback=from_feedback)
    with SearchIndex.open(index_dir) as index:
        known = answers_in(index, data, split=split, options=file_options, least=LEAST_QUERIES)
        queries, qrels, left_out = answerable(index, known)
        choice = tune_mode(index, queries, qrels)
    if output.json_only:
        output.result(choice_facts(choice))
        return
    output.table(
        ("mode", "ndcg@10"), [(name, f"{score:.4f}") for name, score in choice.scores.items()]
    )
    output.text(
        f"{choice.compared}: {choice.low:+.4f} .. {choice.high:+.4f}, "
        f"p {choice.p:.4f} ({counted(choice.queries, 'query', 'queries')})"
    )
    output.text(f"default of this index from now on: {choice.mode}")
    if left_out:
        output.say(f"{counted(left_out, 'query', 'queries')} without an answer in the index")


def choice_facts(choice: "ModeChoice | None") -> dict[str, Any] | None:
    """Return a choice as the JSON output has it, None where nothing was measured."""
    return (
        None
        if choice is None
        else {**asdict(choice), "compared": choice.compared, "reason": choice.reason}
    )


def measured_by_run(
    index_dir: Path, model: str | None, output: Output, *, encoder: "TextEncoder"
) -> "ModeChoice | None":
    """Choose the mode of an index by what the run of its encoder held out, if it has a run.

    What stands in the way is told, and is no error: the index is searched by meaning then.
    """
    if model is None:
        return None
    import random

    from simsearch.search_index import SearchIndex, tune_mode
    from simsearch.training import is_run

    if not is_run(Path(model)):
        return None
    from simsearch.training import answerable, held_out_of_run  # with torch

    try:
        known = held_out_of_run(Path(model))
        with SearchIndex.open(index_dir, encoder=encoder) as index:
            queries, qrels, _ = answerable(index, known)
            asked = random.Random(0).sample(sorted(queries), min(len(queries), _ASKED))
            choice = tune_mode(index, {name: queries[name] for name in asked}, qrels)
    except SimsearchError as error:
        output.say(f"which mode is best was not measured on what {model} held out: {error}")
        return None
    output.say(f"searched by {choice.mode} from now on: {choice.reason}")
    return choice
