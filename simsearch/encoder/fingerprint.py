"""The identity of an encoder: one hash over all that decides its embeddings."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from simsearch.cache import remembered
from simsearch.encoder.layout import Layout
from simsearch.encoder.modules import Dense, DenseConnections, Normalize, TokenConvolution
from simsearch.encoder.tokenization import read_tokenizer
from simsearch.errors import EncoderError

_HEADER_LIMIT = 100_000_000  # the limit of the safetensors format
_CHUNK = 1 << 20
# Keys of config.json that say where a model comes from, not what it computes; saving it again
# changes them.
_NO_EFFECT = frozenset(
    {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache"}
    | {"gradient_checkpointing"}
)


def fingerprint(layout: Layout) -> str:
    """Return the SHA-256 (hex) of an encoder's weights, tokenizer and settings.

    Covered are the tensors' names, shapes, types and bytes, config.json without what only tells
    where the model comes from, the tokenizer without its truncation and padding (which we set
    ourselves), adaptations, pooling and projections, window, prompts and lower-casing. The part
    that has to read the weights is remembered for as long as no file changes.
    """
    settings = {
        "config": {key: layout.config[key] for key in layout.config if key not in _NO_EFFECT},
        "pooling": "+".join(layout.pooling),
        "max_length": layout.max_length,
        "lower_case": layout.lower_case,
        "query_prompt": layout.query_prompt,
        "document_prompt": layout.document_prompt,
        "files": remembered("fingerprint", layout.files, lambda: _hash_files(layout)),
    }
    # Every embedding ends in unit length; only what else follows the pooling makes a difference.
    if layout.dense:
        settings["projections"] = [_settings_of(module) for module in layout.projections]
    if layout.adaptations:
        settings["adaptations"] = [_settings_of(module) for module in layout.adaptations]
    if not layout.include_prompt:
        settings["include_prompt"] = False
    if layout.dim != layout.full_dim:
        settings["dim"] = layout.dim
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _hash_files(layout: Layout) -> str:
    digest = hashlib.sha256()
    for path in layout.tensor_files:
        for chunk in _tensors(path):
            digest.update(chunk)
    digest.update(json.dumps(_tokenizer(layout.fast_tokenizer), sort_keys=True).encode())
    return digest.hexdigest()


def _settings_of(
    module: Dense | Normalize | DenseConnections | TokenConvolution,
) -> list[str | int | bool]:
    match module:
        case Normalize():
            return ["normalize"]
        case DenseConnections():
            return ["dense connections", module.hidden, module.layers]
        case TokenConvolution():
            return ["token convolution", module.hidden, module.kernel]
        case Dense():
            sizes = (module.in_features, module.out_features)
            return ["dense", module.activation, *sizes, module.bias]


def _tokenizer(path: Path) -> Any:
    content = read_tokenizer(path)
    return {key: content[key] for key in content if key not in {"truncation", "padding"}}


def _tensors(path: Path) -> Iterator[bytes]:
    """Yield the header and the bytes of each tensor of a safetensors file, by name.

    Read here and not through the library because a bfloat16 tensor has no numpy type, and
    because the file is streamed: a fingerprint needs no memory for the weights.
    """
    with path.open("rb") as file:
        entries, start = _header(file, path)
        for name in sorted(entries):
            # position_ids is 0, 1, 2, ...: old checkpoints store it, a re-saved one does not.
            if name.endswith("position_ids"):
                continue
            entry = entries[name]
            first, last = entry["data_offsets"]
            yield json.dumps([name, entry["dtype"], entry["shape"]]).encode()
            file.seek(start + first)
            left = last - first
            while left:
                chunk = file.read(min(left, _CHUNK))
                if not chunk:
                    raise EncoderError(f"{path} ends inside tensor {name!r}: it is truncated")
                left -= len(chunk)
                yield chunk


def _header(file: BinaryIO, path: Path) -> tuple[dict[str, Any], int]:
    size = int.from_bytes(file.read(8), "little")
    if size > _HEADER_LIMIT:
        raise EncoderError(f"{path} is not a safetensors file: its header claims {size} bytes")
    try:
        entries = json.loads(file.read(size))
        entries.pop("__metadata__", None)
        for entry in entries.values():
            first, last = entry["data_offsets"]
            if not 0 <= first <= last or not math.isfinite(math.prod(entry["shape"])):
                raise ValueError(f"offsets {first}..{last}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EncoderError(f"{path} is not a safetensors file: {error}") from error
    return entries, 8 + size
