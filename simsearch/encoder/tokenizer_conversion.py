"""A tokenizer in the fast format for an encoder that has only a vocabulary."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from simsearch.cache import cache_directory, file_sha256
from simsearch.encoder.layout import SLOW_TOKENIZERS
from simsearch.encoder.torch_runtime import quiet_transformers
from simsearch.errors import EncoderError
from simsearch.files import replace_file

_SETTINGS = ("config.json", "tokenizer_config.json", "special_tokens_map.json")
_VOCABULARY = (*SLOW_TOKENIZERS, "merges.txt", "added_tokens.json")


def converted_tokenizer(transformer: Path) -> Path:
    """Return a tokenizer.json, converted by transformers once and kept in the user's cache.

    Raises:
        EncoderError: transformers cannot convert it.
    """
    names = [name for name in (*_SETTINGS, *_VOCABULARY) if (transformer / name).is_file()]
    key = "-".join(file_sha256(transformer / name)[:10] for name in names)
    converted = cache_directory() / "tokenizers" / key / "tokenizer.json"
    if converted.is_file():
        return converted
    from transformers import AutoTokenizer

    converted.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
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
            raise EncoderError(
                f"{transformer}: its tokenizer cannot be converted to tokenizer.json: {error}"
            ) from error
    with replace_file(converted) as stream:
        stream.write(text.encode())
    return converted
