"""The files of an export: their names, their description, and whether they are intact.

Apart from `export.py`, which makes them, because that imports torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from simsearch.cache import file_sha256
from simsearch.errors import EncoderError

EXPORT_FORMAT = 1
GRAPH = "encoder.onnx"
TOKENIZER = "tokenizer.json"
DESCRIPTION = "encoder.json"
# Where the description keeps the hash of each of the other files.
CHECKED_FILES = {GRAPH: "graph_sha256", TOKENIZER: "tokenizer_sha256"}


class ExportRefused(EncoderError):
    """This encoder has no torch-free form that agrees with torch."""


class ModelMoved(EncoderError):
    """The full model that an export points to is not there any more, or is another one."""


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """What an encoder is, apart from its weights: the content of `encoder.json`.

    `model` is set, to a directory or hub name, where an encoder cannot be exported: then there is
    no graph, and the full model is loaded from there.
    """

    name: str
    fingerprint: str
    dim: int
    max_length: int
    pad_id: int
    lower_case: bool
    query_prompt: str
    document_prompt: str
    trained_dims: tuple[int, ...] = ()
    include_prompt: bool = True
    model: str = ""


def read_export(directory: Path) -> EncoderSpec:
    """Read an export's description and verify the files that it names.

    Raises:
        EncoderError: it is of another format, or a file is missing, malformed or damaged.
    """
    path = directory / DESCRIPTION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != EXPORT_FORMAT:
            raise EncoderError(f"{directory} holds an export of format {content['format']}")
        spec = _spec(content)
        if spec.model:
            return spec
        damaged = [
            file
            for file, name in CHECKED_FILES.items()
            if file_sha256(directory / file) != content[name]
        ]
    except FileNotFoundError as error:
        raise EncoderError(f"{error.filename} is missing") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EncoderError(f"{path}: {error!r}") from error
    if damaged:
        raise EncoderError(f"{directory / damaged[0]} is damaged: its SHA-256 has changed")
    return spec


def _spec(content: dict[str, Any]) -> EncoderSpec:
    # What the first exports do not name has a default.
    names = {field.name for field in fields(EncoderSpec)} & content.keys()
    values = {name: content[name] for name in names}
    return EncoderSpec(**{**values, "trained_dims": tuple(values.get("trained_dims", ()))})
