"""What a text is, read off the encoder's outputs: heads are trained here, and predict in numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simsearch.lazy import lazy_names

if TYPE_CHECKING:
    from simsearch.heads.annotation import (
        Annotation,
        Annotator,
        Head,
        annotate,
        load_head,
    )
    from simsearch.heads.classifier import (
        Classification,
        Classifier,
    )
    from simsearch.heads.classifier_config import (
        ClassifierConfig,
        ClassWeight,
    )
    from simsearch.heads.classifier_scores import (
        ClassifierScores,
        ScopeScores,
        compare_classifiers,
        difference_as_json,
        score_classifier,
        score_scope,
        scores_as_json,
    )
    from simsearch.heads.classifier_training import (
        ClassifierTraining,
        draw_shots,
        train_classifier,
    )
    from simsearch.heads.head_file import (
        EncoderReference,
        HeadKind,
        check_head_place,
    )
    from simsearch.heads.plots import (
        draw_confusion_matrix,
    )
    from simsearch.heads.tagger import (
        TaggedSpan,
        Tagger,
        tag_texts,
    )
    from simsearch.heads.tagger_calibration import (
        span_calibration_error,
    )
    from simsearch.heads.tagger_config import (
        TaggerConfig,
    )
    from simsearch.heads.tagger_training import (
        TaggerTraining,
        train_tagger,
    )
    from simsearch.heads.word_vectors import (
        TextReading,
        pieces_of_words,
        read_texts,
    )
    from simsearch.heads.words import (
        split_words,
        tags_of_spans,
    )

_HOMES = {
    "annotation": (
        "Annotation",
        "Annotator",
        "Head",
        "annotate",
        "load_head",
    ),
    "classifier": ("Classification", "Classifier"),
    "classifier_scores": (
        "ClassifierScores",
        "ScopeScores",
        "compare_classifiers",
        "difference_as_json",
        "score_classifier",
        "score_scope",
        "scores_as_json",
    ),
    "classifier_config": ("ClassWeight", "ClassifierConfig"),
    "classifier_training": (
        "ClassifierTraining",
        "draw_shots",
        "train_classifier",
    ),
    "head_file": (
        "EncoderReference",
        "HeadKind",
        "check_head_place",
    ),
    "plots": ("draw_confusion_matrix",),
    "tagger": ("TaggedSpan", "Tagger", "tag_texts"),
    "tagger_calibration": ("span_calibration_error",),
    "tagger_config": ("TaggerConfig",),
    "tagger_training": (
        "TaggerTraining",
        "train_tagger",
    ),
    "word_vectors": ("TextReading", "pieces_of_words", "read_texts"),
    "words": ("split_words", "tags_of_spans"),
}
if not TYPE_CHECKING:  # a type checker would take every name for one of the package
    __getattr__ = lazy_names(__name__, _HOMES)

__all__ = [
    "Annotation",
    "Annotator",
    "ClassWeight",
    "Classification",
    "Classifier",
    "ClassifierConfig",
    "ClassifierScores",
    "ClassifierTraining",
    "EncoderReference",
    "Head",
    "HeadKind",
    "ScopeScores",
    "TaggedSpan",
    "Tagger",
    "TaggerConfig",
    "TaggerTraining",
    "TextReading",
    "annotate",
    "check_head_place",
    "compare_classifiers",
    "difference_as_json",
    "draw_confusion_matrix",
    "draw_shots",
    "load_head",
    "pieces_of_words",
    "read_texts",
    "score_classifier",
    "score_scope",
    "scores_as_json",
    "span_calibration_error",
    "split_words",
    "tag_texts",
    "tags_of_spans",
    "train_classifier",
    "train_tagger",
]
