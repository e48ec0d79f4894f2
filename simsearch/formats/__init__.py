"""Files become records: everything that simsearch reads comes in through here, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simsearch.lazy import lazy_names

if TYPE_CHECKING:
    from simsearch.formats.beir import (
        BeirSet,
        is_beir,
        read_beir,
        read_beir_corpus,
        read_beir_queries,
        read_qrels,
    )
    from simsearch.formats.checks import (
        Reads,
        checked_id,
        checked_text,
        is_field_name,
    )
    from simsearch.formats.documents import (
        BlankDocument,
        DocumentCounts,
        UnreadableDocument,
        check_document,
        content_id,
        read_corpus,
        read_documents,
    )
    from simsearch.formats.labelled_texts import (
        LabelledTexts,
        read_labelled_texts,
    )
    from simsearch.formats.lines import (
        Source,
        StdinCopy,
        read_lines,
        source_name,
        stdin_bytes,
    )
    from simsearch.formats.options import (
        Duplicates,
        ReadOptions,
    )
    from simsearch.formats.pairs import (
        Example,
        read_examples,
    )
    from simsearch.formats.row import (
        OnReject,
        Row,
    )
    from simsearch.formats.rows import (
        read_rows,
    )
    from simsearch.formats.tagged_texts import (
        read_tagged_texts,
    )
    from simsearch.formats.vectors import (
        check_vectors,
        read_vectors,
    )

_HOMES = {
    "beir": (
        "BeirSet",
        "is_beir",
        "read_beir",
        "read_beir_corpus",
        "read_beir_queries",
        "read_qrels",
    ),
    "checks": (
        "Reads",
        "checked_id",
        "checked_text",
        "is_field_name",
    ),
    "documents": (
        "BlankDocument",
        "DocumentCounts",
        "UnreadableDocument",
        "check_document",
        "content_id",
        "read_corpus",
        "read_documents",
    ),
    "labelled_texts": (
        "LabelledTexts",
        "read_labelled_texts",
    ),
    "lines": (
        "Source",
        "StdinCopy",
        "read_lines",
        "source_name",
        "stdin_bytes",
    ),
    "options": (
        "Duplicates",
        "ReadOptions",
    ),
    "pairs": (
        "Example",
        "read_examples",
    ),
    "row": (
        "OnReject",
        "Row",
    ),
    "rows": ("read_rows",),
    "tagged_texts": ("read_tagged_texts",),
    "vectors": (
        "check_vectors",
        "read_vectors",
    ),
}
if not TYPE_CHECKING:  # a type checker would take every name for one of the package
    __getattr__ = lazy_names(__name__, _HOMES)

__all__ = [
    "BeirSet",
    "BlankDocument",
    "DocumentCounts",
    "Duplicates",
    "Example",
    "LabelledTexts",
    "OnReject",
    "ReadOptions",
    "Reads",
    "Row",
    "Source",
    "StdinCopy",
    "UnreadableDocument",
    "check_document",
    "check_vectors",
    "checked_id",
    "checked_text",
    "content_id",
    "is_beir",
    "is_field_name",
    "read_beir",
    "read_beir_corpus",
    "read_beir_queries",
    "read_corpus",
    "read_documents",
    "read_examples",
    "read_labelled_texts",
    "read_lines",
    "read_qrels",
    "read_rows",
    "read_tagged_texts",
    "read_vectors",
    "source_name",
    "stdin_bytes",
]
