"""Texts to token ids: our own truncation and no padding, whatever the tokenizer file says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer, normalizers

from simsearch.encoder.layout import Layout
from simsearch.encoder.modules import read_json
from simsearch.errors import EncoderError

IntArray = npt.NDArray[np.int64]

# Of a longer text no more than this is tokenized at first: what lies far beyond the window takes
# time and memory for nothing. Few texts have as many characters for each token.
_CHARACTERS_A_TOKEN = 16
_TOKENS_BEYOND = 100
_SHOWN = 40  # characters of a prompt, in a message
_SPACE = "\u2581"  # what SentencePiece writes for a space


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """One text as the encoder sees it: token ids (t,), special tokens included.

    `offsets` (t, 2), where they were asked for, are the half-open character ranges of the tokens
    in the text, (0, 0) of special ones.
    """

    ids: IntArray
    truncated: bool
    offsets: IntArray | None = None


class TextTokenizer:
    """The tokenizer of one encoder, cut at the encoder's window.

    `include_prompt` is false where the tokens of a prompt do not count for the embedding.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_length: int,
        lower_case: bool = False,
        include_prompt: bool = True,
    ) -> None:
        content = read_tokenizer(path)
        with _translated(str(path)):
            self._tokenizer = Tokenizer.from_file(str(path))
        # The default encoder's file asks for truncation at 128 and padding to a fixed 128.
        self._tokenizer.no_padding()
        self.special_tokens = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        if max_length <= self.special_tokens:
            raise EncoderError(
                f"{path}: a window of {max_length} tokens leaves no room for text beside "
                f"{self.special_tokens} special ones"
            )
        self._tokenizer.enable_truncation(max_length)
        self._whole: Tokenizer | None = None
        if lower_case:
            given = self._tokenizer.normalizer
            steps = [normalizers.Lowercase(), *([] if given is None else [given])]
            self._tokenizer.normalizer = normalizers.Sequence(steps)
        self.max_length = max_length
        self._include_prompt = include_prompt
        self._most = _CHARACTERS_A_TOKEN * max_length
        self.unknown_id = _unknown_id(content["model"], self._tokenizer)

    @classmethod
    def of(cls, layout: Layout) -> TextTokenizer:
        """Return the tokenizer of an encoder directory.

        Raises:
            EncoderError: there is none in the fast format, or it is none.
        """
        return cls(
            layout.fast_tokenizer,
            max_length=layout.max_length,
            lower_case=layout.lower_case,
            include_prompt=layout.include_prompt,
        )

    def offsets(self, texts: Sequence[str]) -> list[IntArray]:
        """Return for each text the character range of each of its tokens, (t, 2), none cut off.

        Special tokens are not among them.
        """
        if self._whole is None:
            with _translated("the tokenizer"):
                self._whole = Tokenizer.from_str(self._tokenizer.to_str())
            self._whole.no_truncation()
        found = self._encode(self._whole, texts, special=False)
        return [np.array(one.offsets, dtype=np.int64).reshape(-1, 2) for one in found]

    def prompt_length(self, prompt: str) -> int:
        """Return how many tokens of a text stand before what follows the prompt."""
        with _translated("the tokenizer failed"):
            encoding = self._tokenizer.encode(prompt)
        trailing = bool(encoding.ids) and encoding.special_tokens_mask[-1] == 1
        return len(encoding.ids) - trailing

    def refuse_full(self, prompt: str) -> None:
        """Refuse a prompt that fills the window: behind it every text would have the same vector.

        Raises:
            EncoderError: naming it.
        """
        if prompt and self.length(prompt) == self.max_length:
            shown = prompt if len(prompt) <= _SHOWN else f"{prompt[:_SHOWN]}..."
            raise EncoderError(
                f"the prompt {shown!r} fills the window of {self.max_length} tokens and leaves no "
                "room for a text (take a shorter prompt, or a larger window)"
            )

    def length(self, text: str) -> int:
        """Return how many tokens a text has, special ones included, up to the window."""
        return len(self._encode(self._tokenizer, [text])[0].ids)

    def reads(self, text: str) -> bool:
        """Whether anything is left of a text: a token that is neither special nor a mere space."""
        tokens = self._encode(self._tokenizer, [text], special=False)[0].tokens
        return any(token.strip(_SPACE) for token in tokens)

    def left_out(self, prompt: str) -> int:
        """Return how many tokens at the beginning of a text do not count for its embedding."""
        return 0 if self._include_prompt else self.prompt_length(prompt)

    def tokenize(self, texts: Sequence[str], *, offsets: bool = False) -> list[TokenizedText]:
        """Return one TokenizedText per text, in order."""
        encodings = self._encode(self._tokenizer, [self._beginning(text) for text in texts])
        whole = [
            position
            for position, (text, encoding) in enumerate(zip(texts, encodings, strict=True))
            if len(text) > self._most and not self._goes_beyond(encoding)
        ]
        again = self._encode(self._tokenizer, [texts[position] for position in whole])
        for position, encoding in zip(whole, again, strict=True):
            encodings[position] = encoding
        return [
            TokenizedText(
                ids=np.array(encoding.ids, dtype=np.int64),
                truncated=bool(encoding.overflowing),
                offsets=np.array(encoding.offsets, dtype=np.int64) if offsets else None,
            )
            for encoding in encodings
        ]

    def _beginning(self, text: str) -> str:
        """Return as much of a long text as should fill the window, up to white space."""
        if len(text) <= self._most:
            return text
        cut = max(text.rfind(space, 0, self._most) for space in " \n")
        return text[:cut] if cut > 0 else text

    def _goes_beyond(self, encoding: Encoding) -> bool:
        """Return whether the tokens in the window are those of the whole text, too.

        A tokenizer goes from word to word; should one look further, then no hundred tokens.
        """
        beyond = sum(len(part.ids) - self.special_tokens for part in encoding.overflowing)
        return beyond >= _TOKENS_BEYOND

    def _encode(
        self, tokenizer: Tokenizer, texts: Sequence[str], *, special: bool = True
    ) -> list[Encoding]:
        with _translated("the tokenizer failed"):
            return tokenizer.encode_batch(list(texts), add_special_tokens=special)


def read_tokenizer(path: Path) -> dict[str, Any]:
    """Return the content of a tokenizer.json, checked for what would end the process.

    Raises:
        EncoderError: it is no tokenizer.
    """
    content: dict[str, Any] = read_json(path)
    model = content.get("model")
    if not isinstance(model, dict):
        raise EncoderError(f"{path} describes no tokenizer: it has no model")
    prefix = model.get("continuing_subword_prefix")
    if prefix and model.get("merges"):
        # The library cuts as many bytes as the prefix has off the second half of every merge,
        # whatever they are; within a letter that is an abort, which no caller can catch.
        for merge in model["merges"]:
            halves = merge.split(" ", 1) if isinstance(merge, str) else merge
            if not isinstance(halves, list) or not str(halves[-1]).startswith(str(prefix)):
                raise EncoderError(f"{path}: merge {merge!r} lacks the prefix {prefix!r}")
    return content


@contextlib.contextmanager
def _translated(where: str) -> Iterator[None]:
    """The one place where the tokenizer library's exceptions become ours."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # bare Exception, and where it panics a BaseException
        raise EncoderError(f"{where}: {error}") from error


def _unknown_id(model: dict[str, Any], tokenizer: Tokenizer) -> int | None:
    if isinstance(model.get("unk_id"), int):  # Unigram
        return int(model["unk_id"])
    name = model.get("unk_token")
    return tokenizer.token_to_id(name) if isinstance(name, str) else None
