"""What users said of hits, as queries with known answers: what an index is measured on."""

from __future__ import annotations

from simsearch.errors import InvalidData
from simsearch.search_index.evaluate import RetrievalTask
from simsearch.search_index.index import SearchIndex
from simsearch.search_index.judging import JudgementState


def answers_of_judgements(index: SearchIndex, *, least: int) -> RetrievalTask:
    """Return the judgements of an index as a task whose corpus is the index, and empty here.

    A document that was found right answers its query, one that was found wrong does not. Queries
    without a right one say nothing of a ranking and are left out, and so are judgements of
    documents that were deleted or have another text now.

    Raises:
        InvalidData: there are fewer than `least` queries.
    """
    judged = index.judged_documents()
    qrels: dict[str, dict[str, int]] = {}
    for each in judged:
        if each.state is JudgementState.CURRENT:
            said = each.judgement
            qrels.setdefault(said.query, {})[said.document_id] = int(said.relevant)
    qrels = {query: documents for query, documents in qrels.items() if any(documents.values())}
    if len(qrels) < least:
        raise InvalidData(
            f"{index.path}: {len(qrels):,} queries have a document that was judged right, at least "
            f"{least:,} are needed (judge more hits: `simsearch judge`, or `query --feedback`)"
        )
    return RetrievalTask({query: query for query in qrels}, (), qrels, name="judgements")
