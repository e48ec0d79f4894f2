"""A tokenizer in the fast format for an encoder that has only a vocabulary."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import tempfile
from pathlib import Path

from simsearch.cache import cache_directory, elsewhere, file_sha256
from simsearch.encoder.layout import SLOW_TOKENIZERS
from simsearch.errors import EncoderError, SystemFailure
from simsearch.files import replace_file, translated_os_errors

_SETTINGS = ("config.json", "tokenizer_config.json", "special_tokens_map.json")
_SENTENCEPIECE = {"spiece.model", "sentencepiece.bpe.model"}
_VOCABULARY = (*SLOW_TOKENIZERS, "merges.txt", "added_tokens.json")


def converted_tokenizer(transformer: Path) -> Path:
    """Return a tokenizer.json, converted by transformers once and kept in the user's cache.

    Raises:
        EncoderError: transformers cannot convert it.
        SystemFailure: the cache cannot be written.
    """
    names = [name for name in (*_SETTINGS, *_VOCABULARY) if (transformer / name).is_file()]
    content = "".join(f"{name} {file_sha256(transformer / name)}\n" for name in names)
    key = hashlib.sha256(content.encode()).hexdigest()
    converted = cache_directory() / "tokenizers" / key / "tokenizer.json"
    if converted.is_file():
        return converted
    from transformers import AutoTokenizer

    from simsearch.encoder.torch_runtime import quiet_transformers  # torch: only this once

    # A copy of what is needed: nothing else in the directory is looked at.
    with tempfile.TemporaryDirectory(prefix="simsearch-") as folder:
        for name in names:
            shutil.copyfile(transformer / name, Path(folder) / name)
        try:
            with quiet_transformers():
                tokenizer = AutoTokenizer.from_pretrained(
                    folder, trust_remote_code=False, local_files_only=True
                )
            text = tokenizer.backend_tokenizer.to_str()
        except Exception as error:  # the library and its converters each raise their own
            reason = str(error)
            if _SENTENCEPIECE & set(names) and importlib.util.find_spec("sentencepiece") is None:
                reason = "reading a SentencePiece model needs `pip install sentencepiece`"
            raise EncoderError(
                f"{transformer}: its tokenizer cannot be converted to tokenizer.json: {reason}"
            ) from error
    try:
        with translated_os_errors(converted):
            converted.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with replace_file(converted) as stream:
                stream.write(text.encode())
    except SystemFailure as error:
        raise elsewhere(error) from error
    return converted
