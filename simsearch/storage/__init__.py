"""Documents and vectors on disk."""

from simsearch.storage.locks import writer_lock
from simsearch.storage.rows import Changes, PassageRows, StoredPassage
from simsearch.storage.schema import text_hash
from simsearch.storage.session import Checkpoint, Durability
from simsearch.storage.store import DocumentStore
from simsearch.storage.upgrade import upgrade_store

__all__ = [
    "Changes",
    "Checkpoint",
    "DocumentStore",
    "Durability",
    "PassageRows",
    "StoredPassage",
    "text_hash",
    "upgrade_store",
    "writer_lock",
]
