"""Text to vectors: finding, trusting, running and exporting encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simsearch.lazy import lazy_names

if TYPE_CHECKING:
    from simsearch.encoder.batching import (
        text_chunks,
    )
    from simsearch.encoder.calibration import (
        Calibration,
        ChanceCount,
        calibration_of,
        keep_calibration,
    )
    from simsearch.encoder.encoder import (
        EncodedTokens,
        Encoder,
    )
    from simsearch.encoder.export_files import (
        ModelMoved,
        read_export,
    )
    from simsearch.encoder.forward_pass import (
        MOST_UNKNOWN,
        EncodingCounts,
        LayerReading,
        TokenReading,
    )
    from simsearch.encoder.hub import (
        pull_encoder,
    )
    from simsearch.encoder.locate import (
        DEFAULT_ENCODER,
        locate_encoder,
    )
    from simsearch.encoder.matryoshka import (
        truncate_embeddings,
    )
    from simsearch.encoder.model_file import (
        MODEL_FILE,
        read_model_file,
        write_model_file,
    )
    from simsearch.encoder.pair_scorer import (
        PairScorer,
        load_pair_scorer,
        pair_features,
        pair_scorer_from,
        pair_scorer_text,
        write_pair_scorer,
    )
    from simsearch.encoder.pool import (
        EncoderPool,
    )
    from simsearch.encoder.precision import (
        Precision,
        as_precision,
        bulk_precision,
    )
    from simsearch.encoder.reading import (
        reading_by,
        reading_of,
    )
    from simsearch.encoder.refusals import (
        UnencodableText,
        UnreadableText,
    )
    from simsearch.encoder.stand_in import (
        StandIn,
    )
    from simsearch.encoder.threads import (
        set_threads,
    )

_HOMES = {
    "batching": ("text_chunks",),
    "calibration": (
        "Calibration",
        "ChanceCount",
        "calibration_of",
        "keep_calibration",
    ),
    "encoder": (
        "EncodedTokens",
        "Encoder",
    ),
    "export_files": (
        "ModelMoved",
        "read_export",
    ),
    "forward_pass": (
        "MOST_UNKNOWN",
        "EncodingCounts",
        "LayerReading",
        "TokenReading",
    ),
    "hub": ("pull_encoder",),
    "locate": (
        "DEFAULT_ENCODER",
        "locate_encoder",
    ),
    "matryoshka": ("truncate_embeddings",),
    "model_file": (
        "MODEL_FILE",
        "read_model_file",
        "write_model_file",
    ),
    "pair_scorer": (
        "PairScorer",
        "load_pair_scorer",
        "pair_features",
        "pair_scorer_from",
        "pair_scorer_text",
        "write_pair_scorer",
    ),
    "pool": ("EncoderPool",),
    "precision": (
        "Precision",
        "as_precision",
        "bulk_precision",
    ),
    "reading": ("reading_by", "reading_of"),
    "refusals": (
        "UnencodableText",
        "UnreadableText",
    ),
    "stand_in": ("StandIn",),
    "threads": ("set_threads",),
}
if not TYPE_CHECKING:  # a type checker would take every name for one of the package
    __getattr__ = lazy_names(__name__, _HOMES)

__all__ = [
    "DEFAULT_ENCODER",
    "MODEL_FILE",
    "MOST_UNKNOWN",
    "Calibration",
    "ChanceCount",
    "EncodedTokens",
    "Encoder",
    "EncoderPool",
    "EncodingCounts",
    "LayerReading",
    "ModelMoved",
    "PairScorer",
    "Precision",
    "StandIn",
    "TokenReading",
    "UnencodableText",
    "UnreadableText",
    "as_precision",
    "bulk_precision",
    "calibration_of",
    "keep_calibration",
    "load_pair_scorer",
    "locate_encoder",
    "pair_features",
    "pair_scorer_from",
    "pair_scorer_text",
    "pull_encoder",
    "read_export",
    "read_model_file",
    "reading_by",
    "reading_of",
    "set_threads",
    "text_chunks",
    "truncate_embeddings",
    "write_model_file",
    "write_pair_scorer",
]
