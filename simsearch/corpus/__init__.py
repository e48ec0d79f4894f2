"""What a corpus is like, by the vectors of its index: what says the same, what goes together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simsearch.lazy import lazy_names

if TYPE_CHECKING:
    from simsearch.corpus.clusters import Cluster, ClusterReport, cluster_documents
    from simsearch.corpus.duplicates import (
        Duplicate,
        DuplicateGroup,
        DuplicateReport,
        SimilarPair,
        SimilarPairs,
        check_threshold,
        find_duplicates,
        similar_pairs,
    )
    from simsearch.corpus.layout import Projection
    from simsearch.corpus.map import CorpusMap, check_map_target, map_documents, write_map

_HOMES = {
    "clusters": ("Cluster", "ClusterReport", "cluster_documents"),
    "duplicates": (
        "Duplicate",
        "DuplicateGroup",
        "DuplicateReport",
        "SimilarPair",
        "SimilarPairs",
        "check_threshold",
        "find_duplicates",
        "similar_pairs",
    ),
    "layout": ("Projection",),
    "map": ("CorpusMap", "check_map_target", "map_documents", "write_map"),
}
if not TYPE_CHECKING:  # a type checker would take every name for one of the package
    __getattr__ = lazy_names(__name__, _HOMES)

__all__ = [
    "Cluster",
    "ClusterReport",
    "CorpusMap",
    "Duplicate",
    "DuplicateGroup",
    "DuplicateReport",
    "Projection",
    "SimilarPair",
    "SimilarPairs",
    "check_map_target",
    "check_threshold",
    "cluster_documents",
    "find_duplicates",
    "map_documents",
    "similar_pairs",
    "write_map",
]
