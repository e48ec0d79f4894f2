"""Texts to token ids: our own truncation and no padding, whatever the tokenizer file says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from simsearch.errors import EncoderError

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """One text as the encoder sees it: token ids (t,), special tokens included."""

    ids: IntArray
    truncated: bool
    _encoding: Encoding

    @property
    def offsets(self) -> IntArray:
        """Return (t, 2): the half-open character range of each token in the text.

        Special tokens have (0, 0).
        """
        return np.array(self._encoding.offsets, dtype=np.int64)


class TextTokenizer:
    """The tokenizer of one encoder, cut at the encoder's window."""

    def __init__(self, path: Path, *, max_length: int, lower_case: bool = False) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for any broken file
            raise EncoderError(f"{path}: {error}") from error
        # The default encoder's file asks for truncation at 128 and padding to a fixed 128.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length)
        self._lower_case = lower_case
        self.max_length = max_length
        self.unknown_id = _unknown_id(path, self._tokenizer)
        self.special_tokens = self._tokenizer.num_special_tokens_to_add(is_pair=False)

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Return one TokenizedText per text, in order."""
        if self._lower_case:
            texts = [text.lower() for text in texts]
        try:
            encodings = self._tokenizer.encode_batch(list(texts))
        except Exception as error:  # as above
            raise EncoderError(f"the tokenizer failed: {error}") from error
        return [
            TokenizedText(
                ids=np.array(encoding.ids, dtype=np.int64),
                truncated=bool(encoding.overflowing),
                _encoding=encoding,
            )
            for encoding in encodings
        ]


def _unknown_id(path: Path, tokenizer: Tokenizer) -> int | None:
    model: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")).get("model", {})
    if isinstance(model.get("unk_id"), int):  # Unigram
        return int(model["unk_id"])
    name = model.get("unk_token")
    return tokenizer.token_to_id(name) if isinstance(name, str) else None
