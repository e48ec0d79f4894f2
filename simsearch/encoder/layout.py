"""What an encoder directory says about itself, read as data and checked before any weight is.

Nothing here runs code from the directory: no `auto_map`, no dotted names, no pickles.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from simsearch.errors import EncoderError

# Families whose forward pass takes ids, mask and token types, and returns token embeddings.
SUPPORTED_FAMILIES = frozenset(
    {"albert", "bert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta"}
)
# sentence-transformers has moved its module classes between packages over the years; the class
# name alone tells what to do, and the class itself is never imported from the name.
_MODULE_PACKAGE = "sentence_transformers."
_MODULES = frozenset({"Transformer", "Pooling", "Normalize"})


class Pooling(StrEnum):
    """How token embeddings become one text embedding."""

    MEAN = "mean"
    CLS = "cls"
    MAX = "max"


# The keys of 1_Pooling/config.json before sentence-transformers 6, which names the mode instead.
_POOLING_FLAGS = {
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_max_tokens": Pooling.MAX,
}


@dataclass(frozen=True, slots=True)
class Layout:
    """An encoder directory: where its files are and how its outputs become embeddings."""

    directory: Path
    transformer: Path
    weights: tuple[Path, ...]
    tokenizer: Path
    config: dict[str, Any]
    dim: int
    pooling: Pooling
    max_length: int
    lower_case: bool
    query_prompt: str
    document_prompt: str

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that decides what the embeddings are."""
        names = ("modules.json", "config_sentence_transformers.json")
        described = [self.directory / name for name in names]
        described += [self.transformer / "sentence_bert_config.json"]
        described += sorted(self.directory.glob("*_Pooling/config.json"))
        present = [path for path in described if path.is_file()]
        return (*self.weights, self.tokenizer, self.transformer / "config.json", *present)


def read_layout(directory: Path) -> Layout:
    """Read and check an encoder directory.

    Raises:
        EncoderError: a file is missing or not what it should be, the family or a module is not
            supported, or loading it would mean to run code or a pickle from the directory.
    """
    try:
        return _read_layout(directory)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise EncoderError(f"{directory}: a setting is missing or malformed: {error!r}") from error


def _read_layout(directory: Path) -> Layout:
    transformer, pooling_config = _read_modules(directory)
    config = _read_json(transformer / "config.json")
    tokenizer_config = _read_json(transformer / "tokenizer_config.json", optional=True)
    for name, content in (("config.json", config), ("tokenizer_config.json", tokenizer_config)):
        if "auto_map" in content:
            raise EncoderError(
                f"{transformer / name} asks for code from the model (auto_map); "
                "simsearch never runs it: use an encoder of a built-in architecture"
            )
    family = config.get("model_type")
    if family not in SUPPORTED_FAMILIES:
        raise EncoderError(
            f"{directory}: encoder family {family!r} is not supported "
            f"(supported: {', '.join(sorted(SUPPORTED_FAMILIES))})"
        )
    tokenizer = transformer / "tokenizer.json"
    if not tokenizer.is_file():
        raise EncoderError(f"{tokenizer} is missing (save the tokenizer in its fast format)")
    limits = _read_json(transformer / "sentence_bert_config.json", optional=True)
    prompts = _read_json(directory / "config_sentence_transformers.json", optional=True)
    prompts = prompts.get("prompts") or {}
    return Layout(
        directory=directory,
        transformer=transformer,
        weights=_find_weights(transformer),
        tokenizer=tokenizer,
        config=config,
        dim=int(config.get("hidden_size") or config["dim"]),
        pooling=_read_pooling(directory, pooling_config),
        max_length=_max_length(limits, tokenizer_config, config),
        lower_case=bool(limits.get("do_lower_case", False)),
        query_prompt=str(prompts.get("query") or ""),
        document_prompt=str(prompts.get("document") or prompts.get("passage") or ""),
    )


def _read_modules(directory: Path) -> tuple[Path, dict[str, Any]]:
    """Return the transformer's directory and the pooling configuration ({}: mean)."""
    path = directory / "modules.json"
    if not path.is_file():
        return directory, {}
    transformer, pooling_config = directory, {}
    for module in _read_json(path, kind=list):
        type_name, folder = str(module.get("type")), str(module.get("path") or "")
        name = type_name.rpartition(".")[2]
        if not type_name.startswith(_MODULE_PACKAGE) or name not in _MODULES:
            raise EncoderError(
                f"{path}: module {type_name!r} is not supported "
                f"(supported: {', '.join(sorted(_MODULES))})"
            )
        inside = (directory / folder).resolve()
        if not inside.is_relative_to(directory.resolve()):
            raise EncoderError(f"{path}: module folder {folder!r} lies outside the encoder")
        if name == "Transformer":
            transformer = directory / folder
        elif name == "Pooling":
            pooling_config = _read_json(directory / folder / "config.json")
        # Normalize has no parameters; many directories name a folder for it that is not there.
    return transformer, pooling_config


def _read_pooling(directory: Path, config: dict[str, Any]) -> Pooling:
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [
            key for key, on in config.items() if key.startswith("pooling_mode_") and on is True
        ]
        modes = [_POOLING_FLAGS.get(key, key) for key in modes] or [Pooling.MEAN]
    modes = [modes] if isinstance(modes, str) else list(modes)
    try:
        (mode,) = modes
        return Pooling(mode)
    except ValueError:
        raise EncoderError(
            f"{directory}: pooling {'+'.join(map(str, modes))!r} is not supported "
            f"(supported: {', '.join(Pooling)})"
        ) from None


def _find_weights(transformer: Path) -> tuple[Path, ...]:
    single = transformer / "model.safetensors"
    if single.is_file():
        return (single,)
    shards = tuple(sorted(transformer.glob("model-*-of-*.safetensors")))
    if not shards:
        raise EncoderError(
            f"{transformer}: no model.safetensors (pickled weights are not read; "
            "convert them to safetensors first)"
        )
    return shards


def _max_length(
    limits: dict[str, Any], tokenizer_config: dict[str, Any], config: dict[str, Any]
) -> int:
    positions = int(config.get("max_position_embeddings", 512))
    # RoBERTa and its kin count positions from pad_token_id + 1.
    if config["model_type"] in {"roberta", "xlm-roberta", "mpnet"}:
        positions -= int(config.get("pad_token_id", 1)) + 1
    # sentence-transformers keeps the window in its own file up to version 5, with the tokenizer
    # from version 6 on. A tokenizer without a window claims 10^30.
    asked = limits.get("max_seq_length") or tokenizer_config.get("model_max_length") or positions
    return min(int(asked), positions)


def _read_json(path: Path, *, optional: bool = False, kind: type = dict) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if optional:
            return kind()
        rejected = "; its model was rejected" if (path.parent / "run").is_dir() else ""
        raise EncoderError(
            f"{path.parent} is not an encoder directory: {path.name} is missing{rejected}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderError(f"{path}: {error}") from error
    if not isinstance(content, kind):
        raise EncoderError(f"{path}: expected a JSON {kind.__name__}, got {type(content).__name__}")
    return content
