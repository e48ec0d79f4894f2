"""What an encoder directory says about itself, read as data and checked before any weight is.

Nothing here runs code from the directory: no `auto_map`, no dotted names, no pickles. Whether
the family is one that transformers has built in is asked when its weights are first loaded
(`torch_runtime.load_transformer`), because asking needs an import of seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simsearch.encoder.model_file import MODEL_FILE
from simsearch.encoder.modules import (
    Dense,
    DenseConnections,
    MissingFile,
    Normalize,
    Pooling,
    TokenConvolution,
    read_json,
    read_modules,
)
from simsearch.errors import EncoderError

# Of these, which also have a decoder, only the encoder is used.
ENCODER_OF = {
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "longt5": "LongT5EncoderModel",
}
# RoBERTa and its kin count positions from pad_token_id + 1, so that many fewer are of use.
_OFFSET_POSITIONS = frozenset(
    {
        "camembert",
        "data2vec-text",
        "ibert",
        "longformer",
        "luke",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)
# Their embedding of a text depends on the padding beside it, so it would depend on its company.
_PADDING_DEPENDENT = frozenset({"big_bird", "convbert", "fnet", "yoso"})
_ATTENTION = frozenset({"eager", "sdpa"})
# Far beyond any encoder there is: what is over it would only take memory before it is refused.
_LARGEST = {"vocab_size": 1 << 22, "num_hidden_layers": 512, "n_layer": 512, "num_layers": 512}
# What families call the width of a token vector, and the number of positions.
_WIDTHS = ("hidden_size", "d_model", "n_embd", "dim")
_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx")
_DEFAULT_POSITIONS = 512
# A tokenizer that is not saved in the fast format is converted from one of these.
SLOW_TOKENIZERS = ("vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model")


@dataclass(frozen=True, slots=True)
class Layout:
    """An encoder directory: where its files are and how its outputs become embeddings.

    `hidden` is the width of a token vector, `dim` that of an embedding, which may be the first
    part of a longer one, `full_dim` wide. `adaptations` stand between the transformer and the
    pooling, `projections` after it. `include_prompt` is false where the tokens of a prompt
    do not count for the embedding. `tokenizer` is None where the directory holds none in the fast
    format. `trained_dims` are the widths that the encoder says it may be cut to (Matryoshka).
    """

    directory: Path
    transformer: Path
    weights: tuple[Path, ...]
    tokenizer: Path | None
    config: dict[str, Any]
    hidden: int
    full_dim: int
    dim: int
    adaptations: tuple[DenseConnections | TokenConvolution, ...]
    pooling: tuple[Pooling, ...]
    projections: tuple[Dense | Normalize, ...]
    max_length: int
    lower_case: bool
    query_prompt: str
    document_prompt: str
    include_prompt: bool
    trained_dims: tuple[int, ...]
    described: tuple[Path, ...]

    @property
    def family(self) -> str:
        """What transformers calls the architecture."""
        return str(self.config["model_type"])

    @property
    def fast_tokenizer(self) -> Path:
        """The tokenizer in the fast format.

        Raises:
            EncoderError: there is none yet (see `tokenizer_conversion`).
        """
        if self.tokenizer is None:
            raise EncoderError(f"{self.transformer}: tokenizer.json is missing")
        return self.tokenizer

    @property
    def pad_id(self) -> int:
        """The token id that fills up a batch; masked, but some families count positions by it."""
        given = self.config.get("pad_token_id")
        return given if type(given) is int and given > 0 else 0  # -1 says that there is none

    @property
    def dense(self) -> tuple[Dense, ...]:
        """The dense modules among the projections."""
        return tuple(module for module in self.projections if isinstance(module, Dense))

    @property
    def tensor_files(self) -> tuple[Path, ...]:
        """The weights, those of dense modules and then of adaptations last."""
        modules = (*self.dense, *self.adaptations)
        return (*self.weights, *(module.weights for module in modules))

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that decides what the embeddings are."""
        config = self.transformer / "config.json"
        tokenizer = () if self.tokenizer is None else (self.tokenizer,)
        return (*self.tensor_files, *tokenizer, config, *self.described)


def read_layout(directory: Path) -> Layout:
    """Read and check an encoder directory.

    Raises:
        EncoderError: a file is missing or not what it should be, a module is not supported, or
            loading it would mean to run code or a pickle from the directory.
    """
    try:
        return _read_layout(directory)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise EncoderError(f"{directory}: a setting is missing or malformed: {error!r}") from error


def _read_layout(directory: Path) -> Layout:
    modules = read_modules(directory)
    transformer = modules.transformer
    config = read_json(transformer / "config.json")
    tokenizer_config = read_json(transformer / "tokenizer_config.json", optional=True)
    for name, content in (("config.json", config), ("tokenizer_config.json", tokenizer_config)):
        if "auto_map" in content:
            raise EncoderError(
                f"{transformer / name} asks for code from the model (auto_map); "
                "simsearch never runs it: use an encoder of a built-in architecture"
            )
    _check_family(directory, config)
    _refuse_other_sources(transformer, config)
    limits = read_json(transformer / "sentence_bert_config.json", optional=True)
    settings = read_json(directory / "config_sentence_transformers.json", optional=True)
    prompts = settings.get("prompts") or {}
    query_prompt = str(prompts.get("query") or "")
    document_prompt = str(prompts.get("document", prompts.get("passage")) or "")
    hidden = _width(directory, config)
    _check_adaptations(modules.adaptations, hidden)
    width = _embedding_width(directory, hidden * len(modules.pooling), modules.projections)
    own = [directory / "config_sentence_transformers.json"]
    own.append(transformer / "sentence_bert_config.json")
    return Layout(
        directory=directory,
        transformer=transformer,
        weights=_find_weights(transformer),
        tokenizer=_find_tokenizer(transformer),
        config=config,
        hidden=hidden,
        full_dim=width,
        dim=_cut_width(directory, settings, width),
        adaptations=modules.adaptations,
        pooling=modules.pooling,
        projections=modules.projections,
        max_length=_max_length(directory, limits, tokenizer_config, config),
        lower_case=bool(limits.get("do_lower_case", False)),
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        include_prompt=modules.include_prompt or not (query_prompt or document_prompt),
        trained_dims=_trained_dims(directory, config),
        described=(*modules.configs, *(path for path in own if path.is_file())),
    )


def _check_family(directory: Path, config: dict[str, Any]) -> None:
    family = config.get("model_type")
    if not isinstance(family, str):
        raise EncoderError(f"{directory}: config.json names no architecture (model_type)")
    if family in _PADDING_DEPENDENT:
        raise EncoderError(
            f"{directory}: family {family!r} is not supported, because its embeddings depend on "
            "the other texts of a batch"
        )
    if config.get("is_encoder_decoder"):
        refuse_decoder(directory, family)


def refuse_decoder(directory: Path, family: str) -> None:
    """Refuse a family with a decoder that is not known how to leave out."""
    if family not in ENCODER_OF:
        raise EncoderError(
            f"{directory}: {family!r} has an encoder and a decoder; of such families "
            f"{', '.join(ENCODER_OF)} are supported"
        )


def _refuse_other_sources(transformer: Path, config: dict[str, Any]) -> None:
    """Refuse what would let transformers load other weights than those named here, or code."""
    for name in ("transformers_weights", "attn_implementation", "_attn_implementation"):
        value = config.get(name)
        if value is not None and value not in _ATTENTION:
            raise EncoderError(f"{transformer / 'config.json'}: {name}={value!r} is not supported")
    if (transformer / "adapter_config.json").exists():
        raise EncoderError(f"{transformer} holds an adapter (PEFT); merge it into its model first")
    for name, most in _LARGEST.items():
        if isinstance(config.get(name), int) and config[name] > most:
            raise EncoderError(
                f"{transformer / 'config.json'}: {name} is {config[name]}, more than {most}"
            )


def _width(directory: Path, config: dict[str, Any]) -> int:
    for name in _WIDTHS:
        if isinstance(config.get(name), int):
            return int(config[name])
    raise EncoderError(
        f"{directory}: config.json gives no width of a token vector ({', '.join(_WIDTHS)}); "
        "this is no text encoder"
    )


def _check_adaptations(
    adaptations: tuple[DenseConnections | TokenConvolution, ...], hidden: int
) -> None:
    for module in adaptations:
        if module.hidden != hidden:
            raise EncoderError(
                f"{module.weights.parent}: hidden is {module.hidden}, "
                f"but the token vectors of this encoder are {hidden} wide"
            )


def _embedding_width(
    directory: Path, pooled: int, projections: tuple[Dense | Normalize, ...]
) -> int:
    width = pooled
    for module in projections:
        if isinstance(module, Dense):
            if module.in_features != width:
                raise EncoderError(
                    f"{directory}: a Dense takes {module.in_features} features, it is given {width}"
                )
            width = module.out_features
    return width


def _cut_width(directory: Path, settings: dict[str, Any], width: int) -> int:
    """Return the width that embeddings are cut to; as in sentence-transformers, any from `width` on
    cuts nothing."""
    dim = settings.get("truncate_dim")
    if dim is None:
        return width
    if type(dim) is not int or dim < 1:
        raise EncoderError(
            f"{directory / 'config_sentence_transformers.json'}: truncate_dim must be a whole "
            f"number from 1 on, got {dim!r}"
        )
    return min(dim, width)


def _find_weights(transformer: Path) -> tuple[Path, ...]:
    single = transformer / "model.safetensors"
    if single.is_file():
        return (single,)
    listing = transformer / "model.safetensors.index.json"
    if listing.is_file():
        return _listed_weights(listing)
    shards = tuple(sorted(transformer.glob("model-*-of-*.safetensors")))
    if not shards:
        raise MissingFile(
            f"{transformer}: no model.safetensors (pickled weights are not read; "
            "convert them to safetensors first)"
        )
    return shards


def _listed_weights(listing: Path) -> tuple[Path, ...]:
    names = sorted(set(read_json(listing)["weight_map"].values()))
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise EncoderError(
                f"{listing}: {name!r} is no safetensors file beside it, and nothing else is read"
            )
        if not (listing.parent / name).is_file():
            raise MissingFile(f"{listing.parent / name} is missing, named by {listing.name}")
    if not names:
        raise EncoderError(f"{listing} names no file")
    return tuple(listing.parent / name for name in names)


def _find_tokenizer(transformer: Path) -> Path | None:
    fast = transformer / "tokenizer.json"
    if fast.is_file():
        return fast
    if any((transformer / name).is_file() for name in SLOW_TOKENIZERS):
        return None
    raise MissingFile(f"{fast} is missing, and there is no vocabulary to make it from")


def _max_length(
    directory: Path,
    limits: dict[str, Any],
    tokenizer_config: dict[str, Any],
    config: dict[str, Any],
) -> int:
    given = [int(config[name]) for name in _POSITIONS if config.get(name) is not None]
    positions = next((number for number in given if number > 0), _DEFAULT_POSITIONS)
    if config["model_type"] in _OFFSET_POSITIONS:
        positions -= int(config.get("pad_token_id", 1)) + 1
    # sentence-transformers keeps the window in its own file up to version 5, with the tokenizer
    # from version 6 on. A tokenizer without a window claims 10^30.
    asked = limits.get("max_seq_length") or tokenizer_config.get("model_max_length") or positions
    window = min(int(asked), positions)
    if window < 1:
        raise EncoderError(
            f"{directory}: the window (max_seq_length, model_max_length or {_POSITIONS[0]}) is "
            f"{window} tokens, expected 1 or more"
        )
    return window


def _trained_dims(directory: Path, config: dict[str, Any]) -> tuple[int, ...]:
    """Return the widths named by simsearch.json or, as some models do it, by config.json."""
    ours = read_json(directory / MODEL_FILE, optional=True)
    dims = ours.get("trained_dims") or config.get("matryoshka_dimensions") or ()
    return tuple(int(dim) for dim in dims)
