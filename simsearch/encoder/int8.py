"""An export with weights and products in eight-bit integers: another encoder, with its own name.

Dynamic quantisation of the matrix products, per channel. Its embeddings are not those of float32
(cosine 0.99 on ordinary text, less on odd text), so it has a fingerprint of its own, and is only
to be had where it was measured to rank as well (`simsearch model export --precision int8`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from dataclasses import replace as with_changes
from pathlib import Path
from typing import Any

from simsearch.encoder.export_files import (
    DATA,
    DESCRIPTION,
    EXPORT_FORMAT,
    GRAPH,
    TOKENIZER,
    file_hashes,
    read_export,
)
from simsearch.encoder.graph_weights import gather_weights
from simsearch.errors import EncoderError

# What the products of a transformer are exported as.
_PRODUCTS = ["MatMul", "Gemm"]


def int8_directory(export: Path) -> Path:
    """Return where the int8 form of an export is kept: beside it."""
    return export.with_name(f"{export.name}-int8")


def write_int8(export: Path, directory: Path) -> None:
    """Write the int8 form of an export into an empty directory.

    Raises:
        EncoderError: the graph cannot be quantised.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    large = (export / DATA).exists()  # so may this one be, which has embeddings in float32
    made = directory / (f"{GRAPH}.made" if large else GRAPH)
    try:
        with _quiet_root_logger():
            quantize_dynamic(
                str(export / GRAPH),
                str(made),
                per_channel=True,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=_PRODUCTS,
                use_external_data_format=large,
            )
        if large:  # it puts one tensor behind another, wherever that is
            gather_weights(made, directory / GRAPH, directory / DATA)
    except Exception as error:  # it has no common base for its failures
        raise EncoderError(f"{export / GRAPH} cannot be quantised: {error}") from error
    shutil.copyfile(export / TOKENIZER, directory / TOKENIZER)
    spec = read_export(export)
    hashes = file_hashes(directory)
    weights = " ".join(hashes[name] for name in ("graph_sha256", "data_sha256") if name in hashes)
    own = hashlib.sha256(f"{spec.fingerprint} int8 {weights}".encode()).hexdigest()
    content: dict[str, Any] = {
        "format": EXPORT_FORMAT,
        **asdict(with_changes(spec, fingerprint=own, precision="int8")),
        "float32_fingerprint": spec.fingerprint,
        **hashes,
    }
    _write(directory, content)


def note_gate(directory: Path, gate: Mapping[str, Any]) -> None:
    """Write into the description what the int8 form was measured to be worth."""
    content = json.loads((directory / DESCRIPTION).read_text(encoding="utf-8"))
    _write(directory, {**content, "gate": dict(gate)})


def find_int8(export: Path, *, name: str) -> Path:
    """Return the int8 form of an export, if it was made of this very one and passed its gate.

    Raises:
        EncoderError: there is none.
    """
    directory = int8_directory(export)
    try:
        content = json.loads((directory / DESCRIPTION).read_text(encoding="utf-8"))
        if content["gate"] and content["float32_fingerprint"] == read_export(export).fingerprint:
            return directory
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise EncoderError(
        f"there is no int8 of {name}: it was not measured yet, or did not rank as well as fp32 "
        f"(`simsearch model export {name} --precision int8 --eval DATA` measures it, and makes it "
        "if it does)"
    )


def _write(directory: Path, content: Mapping[str, Any]) -> None:
    (directory / DESCRIPTION).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """Keep advice about preparing the graph, given through the root logger, from the user."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
