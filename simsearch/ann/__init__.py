"""Nearest neighbours by FAISS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simsearch.lazy import lazy_names

if TYPE_CHECKING:
    from simsearch.ann.axes import principal_axes
    from simsearch.ann.built_index import BuiltIndex
    from simsearch.ann.candidates import Parameters
    from simsearch.ann.exact import without_own
    from simsearch.ann.filter_plan import FilterLevel, FilterPlan, plan_filters
    from simsearch.ann.filtered import FilteredIndex
    from simsearch.ann.index_file import IndexRecord
    from simsearch.ann.kmeans import kmeans
    from simsearch.ann.near_pairs import NearPairs, PairFinder, blocks, rounded
    from simsearch.ann.plan import CurvePoint, Measurement, Plan, Target, TargetMissed
    from simsearch.ann.planner import plan_index
    from simsearch.ann.questions import check_enough
    from simsearch.ann.recall import Recall, recall_with_interval, recalled
    from simsearch.ann.segment_file import (
        SegmentFile,
        append_index,
        map_segment,
        write_vectors,
    )
    from simsearch.ann.segmented import SegmentedIndex, SegmentIndex
    from simsearch.ann.vector_index import VectorIndex, set_threads

_HOMES = {
    "axes": ("principal_axes",),
    "built_index": ("BuiltIndex",),
    "candidates": ("Parameters",),
    "exact": ("without_own",),
    "filter_plan": ("FilterLevel", "FilterPlan", "plan_filters"),
    "filtered": ("FilteredIndex",),
    "index_file": ("IndexRecord",),
    "kmeans": ("kmeans",),
    "near_pairs": ("NearPairs", "PairFinder", "blocks", "rounded"),
    "plan": ("CurvePoint", "Measurement", "Plan", "Target", "TargetMissed"),
    "planner": ("plan_index",),
    "questions": ("check_enough",),
    "recall": ("Recall", "recall_with_interval", "recalled"),
    "segment_file": ("SegmentFile", "append_index", "map_segment", "write_vectors"),
    "segmented": ("SegmentIndex", "SegmentedIndex"),
    "vector_index": ("VectorIndex", "set_threads"),
}
if not TYPE_CHECKING:  # a type checker would take every name for one of the package
    __getattr__ = lazy_names(__name__, _HOMES)

__all__ = [
    "BuiltIndex",
    "CurvePoint",
    "FilterLevel",
    "FilterPlan",
    "FilteredIndex",
    "IndexRecord",
    "Measurement",
    "NearPairs",
    "PairFinder",
    "Parameters",
    "Plan",
    "Recall",
    "SegmentFile",
    "SegmentIndex",
    "SegmentedIndex",
    "Target",
    "TargetMissed",
    "VectorIndex",
    "append_index",
    "blocks",
    "check_enough",
    "kmeans",
    "map_segment",
    "plan_filters",
    "plan_index",
    "principal_axes",
    "recall_with_interval",
    "recalled",
    "rounded",
    "set_threads",
    "without_own",
    "write_vectors",
]
