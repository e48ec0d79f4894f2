"""Documents and vectors on disk."""

from simsearch.storage.backup import copy_store
from simsearch.storage.database import stored_format
from simsearch.storage.findings import Finding, Severity
from simsearch.storage.inspection import Inspection, Salvaged
from simsearch.storage.locks import lock_holder, writer_lock
from simsearch.storage.rows import Changes, PassageRows, StoredPassage
from simsearch.storage.schema import FORMAT_VERSION, text_hash
from simsearch.storage.segments import Segment
from simsearch.storage.session import Checkpoint, Durability
from simsearch.storage.store import DocumentStore
from simsearch.storage.upgrade import upgrade_store

__all__ = [
    "FORMAT_VERSION",
    "Changes",
    "Checkpoint",
    "DocumentStore",
    "Durability",
    "Finding",
    "Inspection",
    "PassageRows",
    "Salvaged",
    "Segment",
    "Severity",
    "StoredPassage",
    "copy_store",
    "lock_holder",
    "stored_format",
    "text_hash",
    "upgrade_store",
    "writer_lock",
]
