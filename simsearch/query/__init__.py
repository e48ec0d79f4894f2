"""What is asked for: the language of filters, and how rankings become one list of hits."""

from simsearch.query.diversity import diverse_order
from simsearch.query.fields import mismatch, unknown_field
from simsearch.query.fusion import (
    Candidates,
    Fusion,
    FusionWay,
    SearchMode,
    best_first,
    fused,
)
from simsearch.query.grammar import Filter, parse_filter
from simsearch.query.grouping import first_of_each

__all__ = [
    "Candidates",
    "Filter",
    "Fusion",
    "FusionWay",
    "SearchMode",
    "best_first",
    "diverse_order",
    "first_of_each",
    "fused",
    "mismatch",
    "parse_filter",
    "unknown_field",
]
