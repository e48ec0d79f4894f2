"""What is asked for, how rankings become one list of hits, and why something was found."""

from simsearch.query.diversity import diverse_order
from simsearch.query.explanation import (
    Contributions,
    TokenSum,
    contributions,
    likeness,
    token_sum,
    words_of_tokens,
)
from simsearch.query.fields import mismatch, near_fields, unknown_field
from simsearch.query.fusion import (
    Candidates,
    Fusion,
    FusionWay,
    SearchMode,
    best_first,
    fused,
    reciprocal_ranks,
)
from simsearch.query.grammar import Filter, parse_filter
from simsearch.query.grouping import first_of_each, value_key
from simsearch.query.late_interaction import maxsim, unit_rows

__all__ = [
    "Candidates",
    "Contributions",
    "Filter",
    "Fusion",
    "FusionWay",
    "SearchMode",
    "TokenSum",
    "best_first",
    "contributions",
    "diverse_order",
    "first_of_each",
    "fused",
    "likeness",
    "maxsim",
    "mismatch",
    "near_fields",
    "parse_filter",
    "reciprocal_ranks",
    "token_sum",
    "unit_rows",
    "unknown_field",
    "value_key",
    "words_of_tokens",
]
