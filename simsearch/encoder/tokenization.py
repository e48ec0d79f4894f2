"""Texts to token ids: our own truncation and no padding, whatever the tokenizer file says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer, normalizers

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
        self._whole: Tokenizer | None = None
        if lower_case:
            given = self._tokenizer.normalizer
            steps = [normalizers.Lowercase(), *([] if given is None else [given])]
            self._tokenizer.normalizer = normalizers.Sequence(steps)
        self.max_length = max_length
        self.unknown_id = _unknown_id(path, self._tokenizer)
        self.special_tokens = self._tokenizer.num_special_tokens_to_add(is_pair=False)

    def offsets(self, texts: Sequence[str]) -> list[IntArray]:
        """Return for each text the character range of each of its tokens, (t, 2), none cut off.

        Special tokens are not among them.
        """
        if self._whole is None:
            self._whole = Tokenizer.from_str(self._tokenizer.to_str())
            self._whole.no_truncation()
        found = self._encode(self._whole, texts, special=False)
        return [np.array(one.offsets, dtype=np.int64).reshape(-1, 2) for one in found]

    def prompt_length(self, prompt: str) -> int:
        """Return how many tokens of a text stand before what follows the prompt."""
        encoding = self._tokenizer.encode(prompt)
        trailing = bool(encoding.ids) and encoding.special_tokens_mask[-1] == 1
        return len(encoding.ids) - trailing

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Return one TokenizedText per text, in order."""
        return [
            TokenizedText(
                ids=np.array(encoding.ids, dtype=np.int64),
                truncated=bool(encoding.overflowing),
                _encoding=encoding,
            )
            for encoding in self._encode(self._tokenizer, texts)
        ]

    def _encode(
        self, tokenizer: Tokenizer, texts: Sequence[str], *, special: bool = True
    ) -> list[Encoding]:
        try:
            return tokenizer.encode_batch(list(texts), add_special_tokens=special)
        except Exception as error:  # as above
            raise EncoderError(f"the tokenizer failed: {error}") from error


def _unknown_id(path: Path, tokenizer: Tokenizer) -> int | None:
    model: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")).get("model", {})
    if isinstance(model.get("unk_id"), int):  # Unigram
        return int(model["unk_id"])
    name = model.get("unk_token")
    return tokenizer.token_to_id(name) if isinstance(name, str) else None
