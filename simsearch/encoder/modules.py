"""What comes after the transformer: the modules that an encoder directory lists in modules.json.

sentence-transformers defines most of them. Two are our own and stand before the pooling, on token
embeddings (`adaptation`).

Read as data, against an allow-list. The class names in the file are dotted names which other
tools import; here they are only compared.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from simsearch.errors import EncoderError

# sentence-transformers has moved its module classes between packages over the years; the class
# name alone tells what to do.
_PACKAGE = "sentence_transformers."
_KNOWN = ("Transformer", "Pooling", "Dense", "Normalize")
_OWN_PACKAGE = "simsearch."
_OWN = ("DenseConnections", "TokenConvolution")
_ORDER = (
    f"expected Transformer, then {' and '.join(_OWN)} or neither, then Pooling, "
    "then Dense and Normalize"
)
# Far beyond any encoder there is, as the sizes in `layout`.
_MOST_LAYERS = 512
_WIDEST_KERNEL = 63


class MissingFile(EncoderError):
    """A file that the encoder needs is not in its directory."""


class Pooling(StrEnum):
    """How token embeddings become one text embedding."""

    MEAN = "mean"
    CLS = "cls"
    MAX = "max"
    LAST_TOKEN = "lasttoken"
    WEIGHTED_MEAN = "weightedmean"
    MEAN_SQRT_LENGTH = "mean_sqrt_len_tokens"


# The keys of 1_Pooling/config.json before sentence-transformers 6, in the order in which it joins
# several modes.
_POOLING_FLAGS = {
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_max_tokens": Pooling.MAX,
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_mean_sqrt_len_tokens": Pooling.MEAN_SQRT_LENGTH,
    "pooling_mode_weightedmean_tokens": Pooling.WEIGHTED_MEAN,
    "pooling_mode_lasttoken": Pooling.LAST_TOKEN,
}


class Activation(StrEnum):
    """What follows the linear map of a dense module, by its class in torch."""

    IDENTITY = "Identity"
    TANH = "Tanh"
    RELU = "ReLU"
    GELU = "GELU"
    SILU = "SiLU"
    SIGMOID = "Sigmoid"


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear map with an activation, applied to the pooled embedding."""

    weights: Path
    in_features: int
    out_features: int
    bias: bool
    activation: Activation


@dataclass(frozen=True, slots=True)
class Normalize:
    """Scaling to unit length. An encoder's last step in any case; it matters before a Dense."""


@dataclass(frozen=True, slots=True)
class DenseConnections:
    """A map of every layer's output, added to token embeddings `hidden` wide.

    `layers` is the number of these outputs, that of the embeddings included.
    """

    weights: Path
    hidden: int
    layers: int


@dataclass(frozen=True, slots=True)
class TokenConvolution:
    """A convolution over `kernel` tokens, added to token embeddings `hidden` wide."""

    weights: Path
    hidden: int
    kernel: int


@dataclass(frozen=True, slots=True)
class Modules:
    """The modules of an encoder: where its transformer is, and what follows it, in order.

    `adaptations` stand before the pooling. `pooling` has several members where a model concatenates
    them; where nothing is said it is the mean. `include_prompt` is false where the tokens of a
    prompt are left out of it. `configs` are the files that were read.
    """

    transformer: Path
    adaptations: tuple[DenseConnections | TokenConvolution, ...]
    pooling: tuple[Pooling, ...]
    include_prompt: bool
    projections: tuple[Dense | Normalize, ...]
    configs: tuple[Path, ...]


def read_modules(directory: Path) -> Modules:
    """Read modules.json and what it names; without it the directory is a plain transformer.

    Raises:
        EncoderError: a module is not on the list or out of place, or lies outside the directory.
    """
    path = directory / "modules.json"
    if not path.exists():
        return Modules(directory, (), (Pooling.MEAN,), True, (), ())
    transformer, include_prompt = directory, True
    pooling: tuple[Pooling, ...] = (Pooling.MEAN,)
    adaptations: list[DenseConnections | TokenConvolution] = []
    projections: list[Dense | Normalize] = []
    configs = [path]
    names: list[str] = []
    for module in read_json(path, kind=list):
        name, folder = _checked(path, module)
        if name == "Transformer":
            transformer = folder
        elif name == "Pooling":
            pooling, include_prompt = _read_pooling(folder)
            configs.append(folder / "config.json")
        elif name == "Dense":
            projections.append(_read_dense(folder))
            configs.append(folder / "config.json")
        elif name in _OWN:
            adaptations.append(_read_adaptation(name, folder))
            configs.append(folder / "config.json")
        else:
            # It has no parameters; many directories name a folder for it that is not there.
            projections.append(Normalize())
        names.append(name)
    _check_order(path, names)
    return Modules(
        transformer=transformer,
        adaptations=tuple(adaptations),
        pooling=pooling,
        include_prompt=include_prompt,
        projections=tuple(projections),
        configs=tuple(configs),
    )


def _check_order(path: Path, names: list[str]) -> None:
    own = [name for name in names if name in _OWN]
    after = names[1 + len(own) :]  # pooling and what follows it
    in_place = names[: 1 + len(own)] == ["Transformer", *own] and len(own) == len(set(own))
    if not in_place or set(after[1:]) - {"Dense", "Normalize"} or (own and not after):
        raise EncoderError(f"{path}: the modules are {' > '.join(names) or 'none'}, {_ORDER}")
    if after and after[0] != "Pooling":
        raise EncoderError(f"{path}: {after[0]} stands where Pooling is expected")


def _checked(path: Path, module: Any) -> tuple[str, Path]:
    """Return a module's name and folder, both as they may be."""
    if not isinstance(module, dict):
        raise EncoderError(f"{path}: a module is an object with type and path, got {module!r}")
    type_name, folder = str(module.get("type")), str(module.get("path") or "")
    name = type_name.rpartition(".")[2]
    package = _OWN_PACKAGE if name in _OWN else _PACKAGE
    if not type_name.startswith(package) or name not in (*_KNOWN, *_OWN):
        known = ", ".join((*_KNOWN, *_OWN))
        raise EncoderError(f"{path}: module {type_name!r} is not supported (supported: {known})")
    directory = path.parent
    if not (directory / folder).resolve().is_relative_to(directory.resolve()):
        raise EncoderError(f"{path}: module folder {folder!r} lies outside the encoder")
    return name, directory / folder


def _read_pooling(folder: Path) -> tuple[tuple[Pooling, ...], bool]:
    config = _settings(folder)
    modes = config.get("pooling_mode")
    if modes is None:
        on = [key for key in config if key.startswith("pooling_mode_") and config[key] is True]
        known = [mode for key, mode in _POOLING_FLAGS.items() if key in on]
        modes = [*known, *(key for key in on if key not in _POOLING_FLAGS)] or [Pooling.MEAN]
    modes = [modes] if isinstance(modes, str) else list(modes)
    try:
        pooling = tuple(Pooling(mode) for mode in modes)
    except ValueError:
        raise EncoderError(
            f"{folder.parent}: pooling {'+'.join(map(str, modes))!r} is not supported "
            f"(supported: {', '.join(Pooling)})"
        ) from None
    return pooling, config.get("include_prompt") is not False


def _read_dense(folder: Path) -> Dense:
    config = _settings(folder)
    where = folder / "config.json"
    target = config.get("module_input_name", "sentence_embedding")
    if target != "sentence_embedding" or config.get("module_output_name", target) != target:
        raise EncoderError(f"{where}: only a Dense of the sentence embedding is supported")
    if config.get("use_residual"):
        raise EncoderError(f"{where}: a residual Dense (use_residual) is not supported")
    package, _, name = str(config.get("activation_function", "torch.nn.Tanh")).rpartition(".")
    if not package.startswith("torch.nn") or name not in list(Activation):
        raise EncoderError(
            f"{where}: activation {name!r} is not supported (supported: {', '.join(Activation)})"
        )
    weights = _weights(folder)
    sizes, bias = (config["in_features"], config["out_features"]), config.get("bias", True)
    if not all(isinstance(size, int) and size > 0 for size in sizes) or not isinstance(bias, bool):
        raise EncoderError(f"{where}: a size of the Dense, or whether it has a bias, is malformed")
    return Dense(
        weights=weights,
        in_features=sizes[0],
        out_features=sizes[1],
        bias=bias,
        activation=Activation(name),
    )


def _read_adaptation(name: str, folder: Path) -> DenseConnections | TokenConvolution:
    where = folder / "config.json"
    config = _settings(folder)
    weights = _weights(folder)
    hidden = _size(where, config, "hidden")
    if name == "DenseConnections":
        layers = _size(where, config, "layers", most=_MOST_LAYERS + 1)
        return DenseConnections(weights, hidden, layers)
    kernel = _size(where, config, "kernel", most=_WIDEST_KERNEL)
    if kernel % 2 == 0:
        raise EncoderError(f"{where}: kernel must be odd, to have a middle, got {kernel}")
    return TokenConvolution(weights, hidden, kernel)


def _size(where: Path, config: dict[str, Any], name: str, *, most: int = 1 << 20) -> int:
    size = config.get(name)
    if type(size) is not int or not 1 <= size <= most:
        raise EncoderError(f"{where}: {name} must be a whole number of 1..{most}, got {size!r}")
    return size


def _settings(folder: Path) -> dict[str, Any]:
    """Return config.json of a module's folder."""
    path = folder / "config.json"
    if not path.exists():
        raise MissingFile(f"{path} is missing: modules.json names that folder")
    settings: dict[str, Any] = read_json(path)
    return settings


def _weights(folder: Path) -> Path:
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise MissingFile(f"{folder}: no model.safetensors (pickled weights are not read)")
    return weights


def read_json(path: Path, *, optional: bool = False, kind: type = dict) -> Any:
    """Return the JSON of a file of the encoder; {} for an optional one that is not there.

    Raises:
        EncoderError: it is missing, no JSON, or JSON of another kind.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if optional:
            return kind()
        rejected = "; its model was rejected" if (path.parent / "run").is_dir() else ""
        raise MissingFile(
            f"{path.parent} is not an encoder directory: {path.name} is missing{rejected}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderError(f"{path}: {error}") from error
    if not isinstance(content, kind):
        raise EncoderError(f"{path}: expected a JSON {kind.__name__}, got {type(content).__name__}")
    return content
