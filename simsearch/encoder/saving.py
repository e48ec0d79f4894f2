"""What is written of an encoder: the full model, its export, or where the full model lies."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from dataclasses import replace as with_changes
from pathlib import Path

from simsearch.encoder.calibration import read_calibration
from simsearch.encoder.export_files import (
    DESCRIPTION,
    EXPORT_FORMAT,
    EncoderSpec,
    files_of,
)
from simsearch.encoder.layout import SLOW_TOKENIZERS, Layout
from simsearch.encoder.model_file import read_model_file, write_model_file
from simsearch.encoder.pair_scorer import PAIR_SCORER, find_pair_scorer
from simsearch.files import translated_os_errors

# What other tools read beside the files that decide the embeddings.
_BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "model.safetensors.index.json")

_OF_ANY_WEIGHTS = ("trained_dims",)


def copy_model(layout: Layout, directory: Path) -> None:
    """Copy the files of a model into an empty directory, in the same places."""
    beside = [layout.transformer / name for name in (*_BESIDE, *SLOW_TOKENIZERS)]
    for file in [*layout.files, *(path for path in beside if path.is_file())]:
        # A tokenizer that was converted lies in the user's cache.
        converted = not file.is_relative_to(layout.directory)
        place = layout.transformer / file.name if converted else file
        target = directory / place.relative_to(layout.directory)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def copy_knowledge(source: Path, directory: Path, spec: EncoderSpec) -> None:
    """Write `simsearch.json` of a copy in `directory`: all that `source` says which is true of it.

    Of an encoder whose weights have changed since, that is only what it may be cut to.
    """
    fingerprint = spec.fingerprint
    given = read_model_file(source)
    if given.get("fingerprint", fingerprint) != fingerprint:
        given = {key: given[key] for key in _OF_ANY_WEIGHTS if key in given}
    if find_pair_scorer(source, fingerprint, spec.dim) is not None:
        shutil.copyfile(source / PAIR_SCORER, directory / PAIR_SCORER)
    else:
        given.pop("pair_scorer", None)
    if read_calibration(source, fingerprint) is None:
        given.pop("calibration", None)
    write_model_file(directory, {"base": spec.name, **given, "fingerprint": fingerprint})


def copy_export(export: Path, directory: Path, spec: EncoderSpec) -> None:
    """Copy an export to `directory`, which must not exist, described by `spec`."""
    with translated_os_errors(directory):
        directory.mkdir(mode=0o700)
        content = json.loads((export / DESCRIPTION).read_text(encoding="utf-8"))
        for name in files_of(content):
            shutil.copyfile(export / name, directory / name)
        _describe(directory, {**content, **asdict(spec)})


def write_pointer(model: str, directory: Path, spec: EncoderSpec) -> None:
    """Write into `directory`, which must not exist, where the full model of an encoder lies."""
    with translated_os_errors(directory):
        directory.mkdir(mode=0o700)
        described = with_changes(spec, model=model)
        _describe(directory, {"format": EXPORT_FORMAT, **asdict(described)})


def _describe(directory: Path, content: dict[str, object]) -> None:
    text = json.dumps(content, indent=2) + "\n"
    (directory / DESCRIPTION).write_text(text, encoding="utf-8")
