"""Documents and vectors on disk."""

from simsearch.storage.backup import copy_store
from simsearch.storage.checksums import read_with_checksum, with_checksum
from simsearch.storage.database import file_identity, stored_format
from simsearch.storage.findings import Finding, Severity
from simsearch.storage.inspection import Inspection, Salvaged
from simsearch.storage.locks import lock_holder, writer_lock
from simsearch.storage.rows import Changes, PassageRows, StoredPassage, rows_not_in
from simsearch.storage.schema import FORMAT_VERSION, text_hash
from simsearch.storage.segments import Segment, SegmentDraft, SegmentOvertaken
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
    "SegmentDraft",
    "SegmentOvertaken",
    "Severity",
    "StoredPassage",
    "copy_store",
    "file_identity",
    "lock_holder",
    "read_with_checksum",
    "rows_not_in",
    "stored_format",
    "text_hash",
    "upgrade_store",
    "with_checksum",
    "writer_lock",
]
