"""judge, judgements: which documents are right or wrong for a query, as people said."""

from typing import Annotated

import typer

from simsearch.cli.options import IndexDir, bundled
from simsearch.cli.output import Output, clean
from simsearch.errors import InvalidInput
from simsearch.wording import counted


@bundled
def judge(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What was asked.")],
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The documents judged.")],
    index_dir: IndexDir,
    output: Output,
    relevant: Annotated[
        bool | None, typer.Option("--right/--wrong", help="Whether they answer it.")
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Take back what was said of them.")
    ] = False,
) -> None:
    """Keep with an index whether documents answer a query; `finetune --from-feedback` learns it.

    What was said before of the same query and document is replaced.
    """
    from simsearch.records import Judgement
    from simsearch.search_index import SearchIndex

    ids = list(dict.fromkeys(ids))
    if remove == (relevant is not None):
        raise InvalidInput("say whether they are --right or --wrong, or take it back by --remove")
    with SearchIndex.open(index_dir) as index:
        if remove:
            removed = index.remove_judgements([(query, each) for each in ids])
        else:
            said = bool(relevant)
            index.judge_many([Judgement(query, each, said) for each in ids])
    if output.json_only:
        done = {"removed": removed} if remove else {"relevant": relevant}
        output.result({"query": query, "ids": ids, **done})
    elif remove:
        output.text(f"took back {counted(removed, 'judgement')}")
    else:
        output.text(f"judged {counted(len(ids), 'document')} {'right' if relevant else 'wrong'}")


@bundled
def judgements(index_dir: IndexDir, output: Output) -> None:
    """Print the judgements of an index, in the order in which they were made.

    Those of documents that were deleted or changed since are marked; they teach nothing.
    """
    from simsearch.search_index import JudgementState, SearchIndex

    with SearchIndex.open(index_dir) as index:
        found = index.judged_documents()
    if output.json_only:
        for each in found:
            judged = each.judgement
            output.result(
                {
                    "query": judged.query,
                    "id": judged.document_id,
                    "relevant": judged.relevant,
                    "state": each.state,
                }
            )
        return
    if not found:
        output.say("nothing was judged yet (`simsearch judge`, or `query --feedback`)")
    for each in found:
        judged = each.judgement
        state = "" if each.state is JudgementState.CURRENT else f"  (document {each.state})"
        said = "right" if judged.relevant else "wrong"
        output.text(f"{said}  {clean(judged.document_id)}  {clean(judged.query)}{state}")
