"""Documents and vectors on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simsearch.lazy import lazy_names

if TYPE_CHECKING:
    from simsearch.storage.backup import copy_store
    from simsearch.storage.checksums import read_with_checksum, with_checksum
    from simsearch.storage.database import (
        MANIFEST,
        file_identity,
        is_backup,
        refuse_read_only,
        stored_format,
    )
    from simsearch.storage.findings import Finding, Severity
    from simsearch.storage.forms import forms_found
    from simsearch.storage.inspection import Inspection, Salvaged
    from simsearch.storage.judgements import StoredJudgement
    from simsearch.storage.locks import lock_holder, writer_lock
    from simsearch.storage.rows import Changes, PassageRows, StoredPassage, rows_not_in
    from simsearch.storage.schema import FORMAT_VERSION, text_hash
    from simsearch.storage.segments import Segment, SegmentDraft, SegmentOvertaken
    from simsearch.storage.session import Checkpoint, Durability
    from simsearch.storage.store import DocumentStore
    from simsearch.storage.terms import (
        PlacedTerm,
        document_terms,
        placed_document_terms,
        placed_query_terms,
    )
    from simsearch.storage.upgrade import upgrade_store

_HOMES = {
    "backup": ("copy_store",),
    "checksums": ("read_with_checksum", "with_checksum"),
    "database": ("MANIFEST", "file_identity", "is_backup", "refuse_read_only", "stored_format"),
    "findings": ("Finding", "Severity"),
    "forms": ("forms_found",),
    "inspection": ("Inspection", "Salvaged"),
    "judgements": ("StoredJudgement",),
    "locks": ("lock_holder", "writer_lock"),
    "rows": ("Changes", "PassageRows", "StoredPassage", "rows_not_in"),
    "schema": ("FORMAT_VERSION", "text_hash"),
    "segments": ("Segment", "SegmentDraft", "SegmentOvertaken"),
    "session": ("Checkpoint", "Durability"),
    "store": ("DocumentStore",),
    "terms": ("PlacedTerm", "document_terms", "placed_document_terms", "placed_query_terms"),
    "upgrade": ("upgrade_store",),
}
if not TYPE_CHECKING:  # a type checker would take every name for one of the package
    __getattr__ = lazy_names(__name__, _HOMES)

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST",
    "Changes",
    "Checkpoint",
    "DocumentStore",
    "Durability",
    "Finding",
    "Inspection",
    "PassageRows",
    "PlacedTerm",
    "Salvaged",
    "Segment",
    "SegmentDraft",
    "SegmentOvertaken",
    "Severity",
    "StoredJudgement",
    "StoredPassage",
    "copy_store",
    "document_terms",
    "file_identity",
    "forms_found",
    "is_backup",
    "lock_holder",
    "placed_document_terms",
    "placed_query_terms",
    "read_with_checksum",
    "refuse_read_only",
    "rows_not_in",
    "stored_format",
    "text_hash",
    "upgrade_store",
    "with_checksum",
    "writer_lock",
]
