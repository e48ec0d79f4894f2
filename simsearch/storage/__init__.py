"""Documents and vectors on disk."""

from simsearch.storage.locks import writer_lock
from simsearch.storage.schema import text_hash
from simsearch.storage.store import Changes, DocumentStore, PassageRows, StoredPassage
from simsearch.storage.upgrade import upgrade_store

__all__ = [
    "Changes",
    "DocumentStore",
    "PassageRows",
    "StoredPassage",
    "text_hash",
    "upgrade_store",
    "writer_lock",
]
