"""What a user holds: the index directory, and how well it or an encoder retrieves."""

from simsearch.search_index.binding import TextEncoder
from simsearch.search_index.bulk import (
    build_index,
    check_build,
    refuse_known_ids,
    remove_all_but,
    write_corpus,
)
from simsearch.search_index.checks import check_dim, check_k, check_query
from simsearch.search_index.evaluate import (
    RetrievalTask,
    evaluate_index,
    evaluate_retrieval,
    evaluate_sts,
    pair_similarities,
)
from simsearch.search_index.index import SearchIndex
from simsearch.search_index.passages import LongTexts
from simsearch.search_index.reports import IndexInfo, WriteReport
from simsearch.search_index.upgrade import upgrade_index

__all__ = [
    "IndexInfo",
    "LongTexts",
    "RetrievalTask",
    "SearchIndex",
    "TextEncoder",
    "WriteReport",
    "build_index",
    "check_build",
    "check_dim",
    "check_k",
    "check_query",
    "evaluate_index",
    "evaluate_retrieval",
    "evaluate_sts",
    "pair_similarities",
    "refuse_known_ids",
    "remove_all_but",
    "upgrade_index",
    "write_corpus",
]
