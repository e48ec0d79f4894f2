"""An encoder as a model of sentence-transformers, to be trained, and back as a directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Module
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
)
from torch import Tensor

from simsearch.encoder import modules as encoder_modules
from simsearch.encoder.adaptation import (
    AdaptationModule,
    DenseConnectionsModule,
    load_adaptations,
    save_adaptation,
)
from simsearch.encoder.layout import Layout
from simsearch.encoder.torch_runtime import activation_module, load_linear, quiet_transformers
from simsearch.errors import EncoderError, SystemFailure

_TEXT_ONLY = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}


class _OnTokens(Module):  # type: ignore[misc]  # the library is untyped
    """A module on token embeddings, called as the modules of the library are.

    Its folder and its entry in modules.json are named by the class.
    """

    def __init__(self, module: AdaptationModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Put the adapted token embeddings in the place of those in `features`."""
        tokens: Tensor = self.module(
            features["token_embeddings"],
            features.get("all_layer_embeddings", ()),
            features["attention_mask"],
        )
        return {**features, "token_embeddings": tokens}

    def save(self, output_path: str, *args: Any, **options: Any) -> None:
        """Write the description and the weights."""
        save_adaptation(self.module, Path(output_path))


class DenseConnections(_OnTokens):
    """See `simsearch.encoder.adaptation.DenseConnectionsModule`."""


class TokenConvolution(_OnTokens):
    """See `simsearch.encoder.adaptation.TokenConvolutionModule`."""


TokenModule = DenseConnections | TokenConvolution


def load_trainable(layout: Layout, *, from_scratch: int | None = None) -> SentenceTransformer:
    """Return the encoder as a sentence-transformers model in float32, built module by module.

    With a seed for `from_scratch` only the tokenizer and the architecture are the encoder's: the
    weights are those that a new model begins with, the same for the same seed.

    The library's own loader would follow dotted names in the directory's modules.json
    (CVE-2026-68770); here nothing but weights, tokenizer and checked settings is taken from it.

    Raises:
        EncoderError: a file is damaged, or not what the encoder needs.
    """
    safe = {"trust_remote_code": False, "local_files_only": True}
    try:
        with quiet_transformers():
            transformer = Transformer(
                str(layout.transformer),
                max_seq_length=layout.max_length,
                do_lower_case=layout.lower_case,
                # Plain texts: a tokenizer with a chat template would otherwise put each into it.
                modality_config=_TEXT_ONLY,
                module_output_name="token_embeddings",
                model_kwargs={"use_safetensors": True, "dtype": torch.float32, **safe},
                processor_kwargs=safe,
                config_kwargs=safe,
            )
    except Exception as error:  # safetensors, transformers and torch each raise their own
        raise EncoderError(f"{layout.transformer}: {error}") from error
    _prepare_tokenizer(transformer.tokenizer)
    adaptations = load_adaptations(layout, transformer.model.config)
    modes = [str(mode) for mode in layout.pooling]
    modules = [
        transformer,
        *map(token_module, adaptations),
        Pooling(layout.hidden, modes, include_prompt=layout.include_prompt),
        *(
            _dense(module) if isinstance(module, encoder_modules.Dense) else Normalize()
            for module in layout.projections
        ),
    ]
    if not isinstance(modules[-1], Normalize):
        modules.append(Normalize())
    if from_scratch is not None:
        _begin_anew(modules, from_scratch)
    prompts = {"query": layout.query_prompt, "document": layout.document_prompt}
    dim = None if layout.dim == layout.full_dim else layout.dim
    model = SentenceTransformer(modules=modules, prompts=prompts, truncate_dim=dim)
    give_layers(model)
    return model


def token_module(module: AdaptationModule) -> TokenModule:
    """Return an adaptation as a module of the library."""
    if isinstance(module, DenseConnectionsModule):
        return DenseConnections(module)
    return TokenConvolution(module)


def give_layers(model: SentenceTransformer) -> None:
    """Let the transformer give the outputs of all layers if a module of the model needs them."""
    if _needs_layers(model):
        model[0].model.config.output_hidden_states = True


def _needs_layers(model: SentenceTransformer) -> bool:
    return any(isinstance(module, DenseConnections) for module in model)


def _prepare_tokenizer(tokenizer: Any) -> None:
    """Let the tokenizer pad as we do: on the right, where padding moves no position.

    GPT-2 and its kin have no padding token; any will do, for it is masked.
    """
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token


def _dense(module: encoder_modules.Dense) -> Dense:
    linear = load_linear(module)
    return Dense(
        module.in_features,
        module.out_features,
        bias=module.bias,
        activation_function=activation_module(module.activation),
        init_weight=linear.weight.data,
        init_bias=linear.bias.data if module.bias else None,
    )


def _begin_anew(modules: list[Any], seed: int) -> None:
    """Put the weights of new modules of the same architecture in the place of the present ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in modules:
            match module:
                case Transformer():
                    fresh = type(module.model)(module.model.config)
                    module.model.load_state_dict(fresh.state_dict())
                case Dense():
                    module.linear.reset_parameters()
                case DenseConnections() | TokenConvolution():
                    module.module = type(module.module)(**module.module.sizes)


def save_model(model: SentenceTransformer, directory: Path, *, lower_case: bool) -> None:
    """Write the model as a sentence-transformers directory, weights as safetensors.

    With a module of our own it loads through simsearch alone: the library imports no class of
    another package.

    Raises:
        SystemFailure: the disk is full, or the like.
    """
    try:
        with quiet_transformers(), _without_layers(model):
            model.save_pretrained(str(directory), create_model_card=False, safe_serialization=True)
        if lower_case:
            # The library reads the setting, and forgets to write it.
            path = directory / model[0].config_file_name
            content = {**json.loads(path.read_text(encoding="utf-8")), "do_lower_case": True}
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except Exception as error:  # a full disk is an OSError or an error of safetensors
        raise SystemFailure(f"{directory}: {error}") from error


@contextmanager
def _without_layers(model: SentenceTransformer) -> Iterator[None]:
    """Keep what `give_layers` has set out of config.json."""
    if not _needs_layers(model):
        yield
        return
    config = model[0].model.config
    config.output_hidden_states = False
    try:
        yield
    finally:
        config.output_hidden_states = True
