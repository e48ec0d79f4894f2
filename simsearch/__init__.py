"""Embedded semantic search with encoders tuned to your own corpus.

    import simsearch
    with simsearch.SearchIndex.create("indexes/support") as index:
        index.add([simsearch.Document(id="1", text="My card was swallowed by the machine.")])
        hits = index.search("cash machine kept my card", k=5)

The names below are loaded when first used, so that importing simsearch costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simsearch.lazy import lazy_names
from simsearch.version import __version__

if TYPE_CHECKING:
    from simsearch.encoder import Encoder, EncodingCounts
    from simsearch.errors import (
        AlreadyExists,
        CorruptIndex,
        DuplicateId,
        EncoderError,
        EncoderMismatch,
        IncompatibleIndex,
        IndexLocked,
        InvalidData,
        InvalidInput,
        NotFound,
        SimsearchError,
        SystemFailure,
    )
    from simsearch.formats import (
        ReadOptions,
        read_beir,
        read_corpus,
        read_examples,
        read_labelled_texts,
        read_tagged_texts,
    )
    from simsearch.heads import (
        Annotation,
        Classification,
        Classifier,
        ClassifierConfig,
        TaggedSpan,
        Tagger,
        TaggerConfig,
        annotate,
        load_head,
        tag_texts,
        train_classifier,
        train_tagger,
    )
    from simsearch.records import (
        ClassifiedText,
        Document,
        Hit,
        LabelledPair,
        Pair,
        ScoredPair,
        Span,
        TaggedText,
        Triplet,
    )
    from simsearch.search_index import SearchIndex, WriteReport, evaluate_retrieval, evaluate_sts
    from simsearch.training import FinetuneResult, TrainingConfig, TrainingData, Verdict, finetune


_HOMES = {
    "encoder": ("Encoder", "EncodingCounts"),
    "errors": (
        "AlreadyExists",
        "CorruptIndex",
        "DuplicateId",
        "EncoderError",
        "EncoderMismatch",
        "IncompatibleIndex",
        "IndexLocked",
        "InvalidData",
        "InvalidInput",
        "NotFound",
        "SimsearchError",
        "SystemFailure",
    ),
    "formats": (
        "ReadOptions",
        "read_beir",
        "read_corpus",
        "read_examples",
        "read_labelled_texts",
        "read_tagged_texts",
    ),
    "heads": (
        "Annotation",
        "Classification",
        "Classifier",
        "ClassifierConfig",
        "TaggedSpan",
        "Tagger",
        "TaggerConfig",
        "annotate",
        "load_head",
        "tag_texts",
        "train_classifier",
        "train_tagger",
    ),
    "records": (
        "ClassifiedText",
        "Document",
        "Hit",
        "LabelledPair",
        "Pair",
        "ScoredPair",
        "Span",
        "TaggedText",
        "Triplet",
    ),
    "search_index": ("SearchIndex", "WriteReport", "evaluate_retrieval", "evaluate_sts"),
    "training": ("FinetuneResult", "TrainingConfig", "TrainingData", "Verdict", "finetune"),
}
if not TYPE_CHECKING:  # a type checker would take every name for one of the package
    __getattr__ = lazy_names(__name__, _HOMES)

__all__ = [
    "AlreadyExists",
    "Annotation",
    "Classification",
    "ClassifiedText",
    "Classifier",
    "ClassifierConfig",
    "CorruptIndex",
    "Document",
    "DuplicateId",
    "Encoder",
    "EncoderError",
    "EncoderMismatch",
    "EncodingCounts",
    "FinetuneResult",
    "Hit",
    "IncompatibleIndex",
    "IndexLocked",
    "InvalidData",
    "InvalidInput",
    "LabelledPair",
    "NotFound",
    "Pair",
    "ReadOptions",
    "ScoredPair",
    "SearchIndex",
    "SimsearchError",
    "Span",
    "SystemFailure",
    "TaggedSpan",
    "TaggedText",
    "Tagger",
    "TaggerConfig",
    "TrainingConfig",
    "TrainingData",
    "Triplet",
    "Verdict",
    "WriteReport",
    "__version__",
    "annotate",
    "evaluate_retrieval",
    "evaluate_sts",
    "finetune",
    "load_head",
    "read_beir",
    "read_corpus",
    "read_examples",
    "read_labelled_texts",
    "read_tagged_texts",
    "tag_texts",
    "train_classifier",
    "train_tagger",
]


def __dir__() -> list[str]:
    return __all__
