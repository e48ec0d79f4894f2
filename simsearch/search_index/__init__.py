"""What a user holds: the index directory, and how well it or an encoder retrieves."""

from simsearch.search_index.bulk import (
    build_index,
    check_build,
    refuse_known_ids,
    remove_all_but,
    write_corpus,
)
from simsearch.search_index.checks import check_k, check_query
from simsearch.search_index.evaluate import (
    RetrievalTask,
    evaluate_index,
    evaluate_retrieval,
    evaluate_sts,
    pair_similarities,
)
from simsearch.search_index.index import (
    IndexInfo,
    SearchIndex,
    TextEncoder,
    WriteReport,
)

__all__ = [
    "IndexInfo",
    "RetrievalTask",
    "SearchIndex",
    "TextEncoder",
    "WriteReport",
    "build_index",
    "check_build",
    "check_k",
    "check_query",
    "evaluate_index",
    "evaluate_retrieval",
    "evaluate_sts",
    "pair_similarities",
    "refuse_known_ids",
    "remove_all_but",
    "write_corpus",
]
