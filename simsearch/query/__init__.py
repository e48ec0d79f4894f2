"""The language of filters: a text becomes a condition on a document's metadata."""

from simsearch.query.fields import mismatch, unknown_field
from simsearch.query.grammar import Filter, parse_filter

__all__ = ["Filter", "mismatch", "parse_filter", "unknown_field"]
