"""The files of an export: their names, their description, and whether they are intact.

Apart from `export.py`, which makes them, because that imports torch.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from simsearch.cache import file_sha256
from simsearch.encoder.graph_weights import weight_files
from simsearch.errors import EncoderError

EXPORT_FORMAT = 1
GRAPH = "encoder.onnx"
DATA = "encoder.onnx.data"  # the weights of a graph that is too large to hold them
TOKENIZER = "tokenizer.json"
DESCRIPTION = "encoder.json"
# Where the description keeps the hash of each of the other files; without one for DATA there is
# no such file.
_HASHES = {GRAPH: "graph_sha256", TOKENIZER: "tokenizer_sha256", DATA: "data_sha256"}


class ExportRefused(EncoderError):
    """This encoder has no torch-free form that agrees with torch."""


class ModelMoved(EncoderError):
    """The full model that an export points to is not there any more, or is another one."""


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """What an encoder is, apart from its weights: the content of `encoder.json`.

    `precision` is that of the graph, fp32 or int8. `model` is set, to a directory or hub name,
    where an encoder cannot be exported: then there is no graph, and the full model is loaded from
    there.
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
    precision: str = "fp32"


def files_of(content: Mapping[str, Any]) -> list[str]:
    """Return the files that belong to an export of this description."""
    return [file for file, key in _HASHES.items() if file != DATA or key in content]


def file_hashes(directory: Path) -> dict[str, str]:
    """Return what the description of the files in a directory says of them."""
    found = {key: directory / file for file, key in _HASHES.items()}
    return {key: file_sha256(path) for key, path in found.items() if path.exists()}


def read_export(directory: Path) -> EncoderSpec:
    """Read an export's description and verify the files that it names.

    Somebody else may have made it: its graph may keep weights in the one file that is checked,
    and in no other.

    Raises:
        EncoderError: it is of another format, or a file is missing, malformed or damaged.
    """
    path = directory / DESCRIPTION
    try:
        _refuse_links(path)
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise EncoderError(f"{path}: expected a JSON object, got a {type(content).__name__}")
        if content.get("format") != EXPORT_FORMAT:
            raise EncoderError(f"{directory} holds an export of format {content.get('format')!r}")
        spec = _spec(path, content)
        if not spec.model:
            _verify(directory, content)
    except FileNotFoundError as error:
        raise EncoderError(f"{error.filename} is missing") from error
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderError(f"{path}: {error}") from error
    return spec


def _verify(directory: Path, content: Mapping[str, Any]) -> None:
    files = files_of(content)
    for file in files:
        path, expected = directory / file, content.get(_HASHES[file])
        if not isinstance(expected, str):
            raise EncoderError(
                f"{directory / DESCRIPTION}: {_HASHES[file]} must be a text, got {expected!r}"
            )
        _refuse_links(path)
        if file_sha256(path) != expected:
            raise EncoderError(f"{path} is damaged: its SHA-256 has changed")
    outside = weight_files(directory / GRAPH)
    if outside != [file for file in files if file == DATA]:
        raise EncoderError(
            f"{directory / GRAPH} keeps weights in {', '.join(map(repr, outside)) or 'itself'}, "
            f"expected {DATA if DATA in files else 'itself'}"
        )


def _refuse_links(path: Path) -> None:
    """Refuse a link, which may lead anywhere, and a device or a pipe, which may never end.

    Raises:
        FileNotFoundError: there is nothing.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise EncoderError(f"{path} is no regular file")


def _is_number(value: Any) -> bool:
    # True is an int in Python, and a library written in C takes no more.
    return type(value) is int and 0 <= value < 2**31


# What may stand in a field, by its type.
_EXPECTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "str": ("a text", lambda value: isinstance(value, str)),
    "int": ("a whole number from 0 on", _is_number),
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "tuple[int, ...]": (
        "a list of whole numbers",
        lambda value: isinstance(value, list) and all(map(_is_number, value)),
    ),
}


def _spec(path: Path, content: dict[str, Any]) -> EncoderSpec:
    values: dict[str, Any] = {}
    for field in fields(EncoderSpec):
        if field.name not in content:
            if field.default is MISSING:
                raise EncoderError(f"{path}: {field.name} is missing")
            continue  # what the first exports do not name has a default
        value = content[field.name]
        words, fits = _EXPECTED[str(field.type)]
        if not fits(value):
            raise EncoderError(f"{path}: {field.name} must be {words}, got {value!r}")
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return EncoderSpec(**values)
