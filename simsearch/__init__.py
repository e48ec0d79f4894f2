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
    from simsearch.encoder import Calibration, Encoder, EncodingCounts, PairScorer, load_pair_scorer
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
    from simsearch.query import Fusion, SearchMode
    from simsearch.records import (
        ClassifiedText,
        ClassPair,
        Document,
        Explanation,
        Facet,
        FacetValue,
        Hit,
        Judgement,
        LabelledPair,
        LabelledText,
        Pair,
        ScoredPair,
        Span,
        TaggedText,
        Triplet,
        UnlabelledText,
        WordShare,
    )
    from simsearch.search_index import (
        RetrievalTask,
        SearchIndex,
        WriteReport,
        evaluate_retrieval,
        evaluate_sts,
    )
    from simsearch.training import (
        DataSource,
        FinetuneResult,
        TrainingConfig,
        TrainingData,
        Verdict,
        calibrate_index,
        calibrate_model,
        finetune,
        load_evaluation_data,
        load_training_data,
    )

_HOMES = {
    "encoder": ("Calibration", "Encoder", "EncodingCounts", "PairScorer", "load_pair_scorer"),
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
    "query": ("Fusion", "SearchMode"),
    "records": (
        "ClassPair",
        "ClassifiedText",
        "Document",
        "Explanation",
        "Facet",
        "FacetValue",
        "Hit",
        "Judgement",
        "LabelledPair",
        "LabelledText",
        "Pair",
        "ScoredPair",
        "Span",
        "TaggedText",
        "Triplet",
        "UnlabelledText",
        "WordShare",
    ),
    "search_index": (
        "RetrievalTask",
        "SearchIndex",
        "WriteReport",
        "evaluate_retrieval",
        "evaluate_sts",
    ),
    "training": (
        "DataSource",
        "FinetuneResult",
        "TrainingConfig",
        "TrainingData",
        "Verdict",
        "calibrate_index",
        "calibrate_model",
        "finetune",
        "load_evaluation_data",
        "load_training_data",
    ),
}
if not TYPE_CHECKING:  # a type checker would take every name for one of the package
    __getattr__ = lazy_names(__name__, _HOMES)

__all__ = [
    "AlreadyExists",
    "Annotation",
    "Calibration",
    "ClassPair",
    "Classification",
    "ClassifiedText",
    "Classifier",
    "ClassifierConfig",
    "CorruptIndex",
    "DataSource",
    "Document",
    "DuplicateId",
    "Encoder",
    "EncoderError",
    "EncoderMismatch",
    "EncodingCounts",
    "Explanation",
    "Facet",
    "FacetValue",
    "FinetuneResult",
    "Fusion",
    "Hit",
    "IncompatibleIndex",
    "IndexLocked",
    "InvalidData",
    "InvalidInput",
    "Judgement",
    "LabelledPair",
    "LabelledText",
    "NotFound",
    "Pair",
    "PairScorer",
    "ReadOptions",
    "RetrievalTask",
    "ScoredPair",
    "SearchIndex",
    "SearchMode",
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
    "UnlabelledText",
    "Verdict",
    "WordShare",
    "WriteReport",
    "__version__",
    "annotate",
    "calibrate_index",
    "calibrate_model",
    "evaluate_retrieval",
    "evaluate_sts",
    "finetune",
    "load_evaluation_data",
    "load_head",
    "load_pair_scorer",
    "load_training_data",
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
