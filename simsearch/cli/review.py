"""review: the hits whose judgements would teach most."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simsearch.cli.feedback import ask, refuse_no_terminal
from simsearch.cli.input import read_queries
from simsearch.cli.options import IndexDir, bundled
from simsearch.cli.output import Output, clean
from simsearch.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simsearch.search_index import Proposal, SearchIndex

_PART = 256  # queries that are searched for together


@bundled
def review(
    index_dir: IndexDir,
    output: Output,
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries",
            help="A file with one query per line, or -; default: those judged so far.",
        ),
    ] = None,
    number: Annotated[
        int, typer.Option("-n", "--number", min=1, metavar="N", help="Hits to propose.")
    ] = 20,
    feedback: Annotated[
        bool,
        typer.Option("--feedback", help="Ask about each of them, and keep the answers."),
    ] = False,
) -> None:
    """Propose the hits whose judgements would teach most, best first.

    With a calibration, those that are as likely right as wrong; else those whose place among the
    hits hangs by the least. What was judged already is left out.
    """
    from simsearch.encoder import reading_by
    from simsearch.search_index import SearchIndex, propose_judgements

    if feedback:
        refuse_no_terminal(output, flag="--feedback")
    with SearchIndex.open(index_dir) as index:
        asked = (
            None
            if queries is None
            else list(read_queries(queries, reads=reading_by(lambda: index.encoder)))
        )
        found = propose_judgements(index, asked, n=number)
        if not found:
            output.say(_why_none(index, asked))
        if feedback:
            _ask_about(output, index, found)
        else:
            _print(output, found)


def _why_none(index: "SearchIndex", asked: "Sequence[str] | None") -> str:
    """Return what to say where there is nothing to propose."""
    if not index.count():
        return "the index has no documents, so there are no hits to judge"
    if asked is None:
        asked = [each.query for each in index.judgements()]
    distinct = list(dict.fromkeys(asked))
    parts = [distinct[at : at + _PART] for at in range(0, len(distinct), _PART)]
    without = sum(not hits for part in parts for hits in index.search_many(part, 1))
    if not without:
        return "all hits of these queries are judged"
    if without == len(distinct):
        return "these queries have no hits"
    return f"{counted(without, 'query', 'queries')} without hits; all hits of the others are judged"


def _print(output: Output, found: "Sequence[Proposal]") -> None:
    from simsearch.cli.query import hit_fields

    for rank, each in enumerate(found, start=1):
        if output.json_only:
            output.result({"query": each.query, "margin": each.margin, **hit_fields(each.hit)})
        else:
            output.text(f"{rank:3}  {_described(each)}")


def _described(proposal: "Proposal") -> str:
    from simsearch.cli.query import shown_text

    hit = proposal.hit
    if proposal.margin is None and hit.probability is None:
        why = "the only hit"
    elif proposal.margin is None:
        why = f"probability {hit.probability:.2f}"
    else:
        why = f"margin {proposal.margin:.4f}"
    return f"{why}  {clean(proposal.query)}\n     {clean(hit.id)}  {shown_text(hit)}"


def _ask_about(output: Output, index: "SearchIndex", found: "Sequence[Proposal]") -> None:
    """Show one proposal after the other, until somebody quits."""
    kept = 0
    for rank, each in enumerate(found, start=1):
        output.text(f"{rank:3}  {_described(each)}")
        answer = _answer(output)
        if answer == "q":
            break
        if answer:
            index.judge(each.query, each.hit.id, relevant=answer == "r")
            kept += 1
    output.say(f"{counted(kept, 'judgement')} kept")


def _answer(output: Output) -> str:
    """Return r, w, q, or nothing; the end of the input is a q."""
    while True:
        line = ask("r: right, w: wrong, Enter: next, q: quit: ")
        word = "q" if line is None else line.strip().lower()
        if word in ("r", "w", "q", ""):
            return word
        output.say(f"an answer is r, w, q or Enter, got {word}")
