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
}
if not TYPE_CHECKING:  # a type checker would take every name for one of the package
    __getattr__ = lazy_names(__name__, _HOMES)

__all__ = [
    "Cluster",
    "ClusterReport",
    "Duplicate",
    "DuplicateGroup",
    "DuplicateReport",
    "SimilarPair",
    "SimilarPairs",
    "check_threshold",
    "cluster_documents",
    "find_duplicates",
    "similar_pairs",
]
