"""Text to vectors: finding, trusting, running and exporting encoders."""

from simsearch.encoder.encoder import (
    EncodedTokens,
    Encoder,
    EncodingCounts,
    UnencodableText,
)
from simsearch.encoder.locate import DEFAULT_ENCODER
from simsearch.encoder.model_file import MODEL_FILE, read_model_file, write_model_file
from simsearch.encoder.threads import set_threads

__all__ = [
    "DEFAULT_ENCODER",
    "MODEL_FILE",
    "EncodedTokens",
    "Encoder",
    "EncodingCounts",
    "UnencodableText",
    "read_model_file",
    "set_threads",
    "write_model_file",
]
