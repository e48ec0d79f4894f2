"""Encoders by hub name: the hub's own client and cache, and only files that hold no code."""

from __future__ import annotations

import re
from pathlib import Path

from simsearch.cache import file_sha256
from simsearch.encoder.layout import read_layout
from simsearch.encoder.modules import MissingFile
from simsearch.errors import EncoderError, InvalidInput

_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
# What is fetched. Code (*.py) and pickles (*.bin, *.pt) never are; `*` matches folders, too.
_FILES = [
    "*config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "*tokenizer.json",
    "*special_tokens_map.json",
    "*added_tokens.json",
    "*vocab.txt",
    "*vocab.json",
    "*merges.txt",
    "*spiece.model",
    "*sentencepiece.bpe.model",
]
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Seconds to wait for the hub's first answer: without a network the user is told within two.
_PATIENCE = 1.5


def is_hub_name(name: str) -> bool:
    """Return whether a name may be one of the hub: `model` or `owner/model`."""
    return _NAME.fullmatch(name) is not None


def hub_snapshot(name: str, *, refresh: bool = False) -> Path:
    """Return the directory of a hub model, from the hub's cache if it lies there whole.

    `refresh` asks the hub for a newer version first. Obeys HF_HOME, HF_HUB_OFFLINE and the rest
    of the client's settings; an interrupted download is taken up where it stopped.

    Raises:
        EncoderError: it is not in the cache, and the hub did not give it; or a file is not what
            the hub says it is.
    """
    snapshot = None if refresh else _in_cache(name)
    if snapshot is None:
        snapshot = _download(name)
    _verify(snapshot)
    return snapshot


def pull_encoder(name: str) -> Path:
    """Fetch a hub model, or what is new of it, and return its directory.

    Raises:
        InvalidInput: the name is none of the hub.
        EncoderError: the hub did not give it.
    """
    if not is_hub_name(name) or Path(name).exists():
        raise InvalidInput(f"{name} is no hub name (owner/model), or is a directory here")
    return hub_snapshot(name, refresh=True)


def _in_cache(name: str) -> Path | None:
    """Return the snapshot in the cache, None if there is none or it is not whole."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = Path(snapshot_download(name, allow_patterns=_FILES, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    # A download that was cut short leaves a snapshot with some of its files.
    missing = [link for link in found.rglob("*") if link.is_symlink() and not link.exists()]
    return found if not missing and _has_an_encoder(found) else None


def _has_an_encoder(directory: Path) -> bool:
    try:
        read_layout(directory)
    except MissingFile:
        return False
    except EncoderError:  # whole, but refused, which is said when it is loaded
        return True
    return True


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(name, allow_patterns=_FILES, etag_timeout=_PATIENCE))
    except (HfHubHTTPError, OSError, ValueError) as error:
        first_line = str(error).strip().split("\n", 1)[0]
        raise EncoderError(
            f"{name} is neither a directory nor a model in the hub's cache, and the hub did not "
            f"give it (`simsearch model pull {name}` where there is a network): {first_line}"
        ) from error


def _verify(snapshot: Path) -> None:
    """Compare large files with their SHA-256, which the hub's cache names them by."""
    for link in sorted(snapshot.rglob("*.safetensors")):
        blob = link.resolve()
        if _SHA256.fullmatch(blob.name) and file_sha256(blob) != blob.name:
            raise EncoderError(
                f"{link} is damaged: its SHA-256 is not the hub's (delete {blob}, and run "
                "`simsearch model pull` again)"
            )
