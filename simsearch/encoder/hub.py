"""Encoders by hub name: the hub's own client and cache, and only files that hold no code."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

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
    "simsearch.json",
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
# Seconds to wait for the hub's first answer: where there is no network the user is told within
# two; who asks for the download itself can wait for a slow one.
_PATIENCE = 1.5
_PATIENCE_WHEN_ASKED = 10.0


def is_hub_name(name: str) -> bool:
    """Return whether a name may be one of the hub: `model` or `owner/model`."""
    return _NAME.fullmatch(name) is not None


def hub_snapshot(name: str, *, refresh: bool = False) -> Path:
    """Return the directory of a hub model, from the hub's cache if it lies there whole.

    `refresh` asks the hub for a newer version first. Obeys HF_HOME, HF_HUB_OFFLINE and the rest
    of the client's settings. Of an interrupted download the files that came whole are kept.

    Raises:
        EncoderError: it is not in the cache, and the hub did not give it; or a file is not what
            the hub says it is.
    """
    snapshot = None if refresh else _in_cache(name)
    if snapshot is None:
        snapshot = _download(name, asked=refresh)
    _verify(snapshot)
    return snapshot


def cached_snapshot(name: str) -> Path:
    """Return the directory of a hub model in the hub's cache. Nothing is fetched.

    Raises:
        EncoderError: it does not lie there whole, or a file is not what the hub says it is.
    """
    snapshot = _in_cache(name)
    if snapshot is None:
        raise EncoderError(
            f"{name} is neither a directory nor a model in the hub's cache, and is not fetched "
            f"unasked (run `simsearch model pull {name}`)"
        )
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
    missing = [link for link in _fetched(found) if not link.exists()]
    whole = not missing and _has_an_encoder(found) and _has_all_settings(name, found)
    return found if whole else None


def _has_an_encoder(directory: Path) -> bool:
    try:
        read_layout(directory)
    except MissingFile:
        return False
    except EncoderError:  # whole, but refused, which is said when it is loaded
        return True
    return True


def _has_all_settings(name: str, snapshot: Path) -> bool:
    """Return whether a snapshot without modules.json is known to be so on the hub.

    Other tools fetch only the files that they need: taken for the whole model, what transformers
    leaves in the cache would be pooled in the wrong way.
    """
    from huggingface_hub import _CACHED_NO_EXIST, get_cached_repo_tree, try_to_load_from_cache
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    found = try_to_load_from_cache(name, "modules.json", revision=snapshot.name)
    if isinstance(found, str) or found is _CACHED_NO_EXIST:
        return True
    try:  # with the hub's list at hand, its client has compared the snapshot with it
        get_cached_repo_tree(name, revision=snapshot.name)
    except CachedRepoTreeNotFoundError:
        return False
    return True


def _download(name: str, *, asked: bool) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    patience = _PATIENCE_WHEN_ASKED if asked else _PATIENCE
    try:
        # Without an answer to its first request, snapshot_download would be content with an old
        # snapshot.
        with _quiet_client(), _impatient_client():
            HfApi().model_info(name, revision="main", timeout=patience)
            return Path(snapshot_download(name, allow_patterns=_FILES, etag_timeout=patience))
    except Exception as error:  # it lets through what its HTTP library raises, and asserts
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        if asked:
            raise EncoderError(f"the hub did not give {name}: {reason}") from error
        raise EncoderError(
            f"{name} is neither a directory nor a model in the hub's cache, and the hub did not "
            f"give it (if a directory was meant, there is none; a model of the hub is fetched by "
            f"`simsearch model pull {name}` where there is a network): {reason}"
        ) from error


@contextlib.contextmanager
def _quiet_client() -> Iterator[None]:
    """Keep the client's account of every retry from the user: the error at the end is enough."""
    client = logging.getLogger("huggingface_hub")
    level = client.level
    client.setLevel(logging.ERROR)
    try:
        yield
    finally:
        client.setLevel(level)


@contextlib.contextmanager
def _impatient_client() -> Iterator[None]:
    """Let no request wait for ever: the client has no limit for the list of a model's files.

    The limit is the one that it has for files (HF_HUB_DOWNLOAD_TIMEOUT, 10 s without an answer or
    the next bytes of it). It tries again five times, which may take a minute and a half.
    """
    from huggingface_hub import constants, get_session

    def limit(request: Any) -> None:
        phases = ("connect", "read", "write", "pool")
        given = request.extensions.get("timeout", {})
        seconds = {phase: given.get(phase) or constants.HF_HUB_DOWNLOAD_TIMEOUT for phase in phases}
        request.extensions = {**request.extensions, "timeout": seconds}

    hooks = get_session().event_hooks["request"]
    hooks.append(limit)
    try:
        yield
    finally:
        hooks.remove(limit)


def _verify(snapshot: Path) -> None:
    """Compare large files with their SHA-256, which the hub's cache names them by."""
    for link in _fetched(snapshot):
        # Not the file at the end of the links: where repositories share it, it has another name.
        name = Path(os.readlink(link)).name if link.is_symlink() else ""
        if _SHA256.fullmatch(name) and file_sha256(link) != name:
            raise EncoderError(
                f"{link} is damaged: its SHA-256 is not the hub's (delete {link.resolve()}, and "
                "run `simsearch model pull` again)"
            )


def _fetched(snapshot: Path) -> list[Path]:
    """Return those files of a snapshot that are ours to fetch; other tools fetch others, too."""
    return [
        path
        for path in sorted(snapshot.rglob("*"))
        if any(fnmatch(path.relative_to(snapshot).as_posix(), pattern) for pattern in _FILES)
    ]
