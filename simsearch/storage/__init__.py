"""Documents and vectors on disk."""

from simsearch.storage.locks import writer_lock
from simsearch.storage.store import Changes, DocumentStore

__all__ = ["Changes", "DocumentStore", "writer_lock"]
