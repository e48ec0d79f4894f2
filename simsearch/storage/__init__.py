"""Documents and vectors on disk."""

from simsearch.storage.store import Changes, DocumentStore

__all__ = ["Changes", "DocumentStore"]
