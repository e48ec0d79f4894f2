"""Nearest neighbours by FAISS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simsearch.lazy import lazy_names

if TYPE_CHECKING:
    from simsearch.ann.built_index import BuiltIndex
    from simsearch.ann.candidates import Parameters
    from simsearch.ann.filter_plan import FilterLevel, FilterPlan, Way, plan_filters
    from simsearch.ann.filtered import FilteredIndex
    from simsearch.ann.index_file import IndexRecord, index_bytes, read_index_file
    from simsearch.ann.plan import CurvePoint, Measurement, Plan, Target
    from simsearch.ann.planner import plan_index
    from simsearch.ann.recall import Recall
    from simsearch.ann.vector_index import VectorIndex, set_threads

_HOMES = {
    "built_index": ("BuiltIndex",),
    "candidates": ("Parameters",),
    "filter_plan": ("FilterLevel", "FilterPlan", "Way", "plan_filters"),
    "filtered": ("FilteredIndex",),
    "index_file": ("IndexRecord", "index_bytes", "read_index_file"),
    "plan": ("CurvePoint", "Measurement", "Plan", "Target"),
    "planner": ("plan_index",),
    "recall": ("Recall",),
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
    "Parameters",
    "Plan",
    "Recall",
    "Target",
    "VectorIndex",
    "Way",
    "index_bytes",
    "plan_filters",
    "plan_index",
    "read_index_file",
    "set_threads",
]
