"""An encoder becomes a model of sentence-transformers, and a directory again, and stays itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from encoder_families import FAMILIES, TEXTS, library_embeddings
from sentence_transformers.sentence_transformer.modules import Transformer

from simsearch.encoder import Encoder
from simsearch.encoder.adaptation import DenseConnectionsModule, TokenConvolutionModule
from simsearch.encoder.layout import read_layout
from simsearch.encoder.loading import read_whole_layout
from simsearch.errors import SystemFailure
from simsearch.training.trainable import (
    give_layers,
    load_trainable,
    save_model,
    token_module,
)


def load(name, place, **options):
    """Return a family as a trainable model."""
    directory = place / f"base-{name}"
    if not directory.exists():
        FAMILIES[name].write(directory)
    return load_trainable(read_whole_layout(directory), **options)


def embeddings(model, texts):
    """Return unit vectors (n, dim), text by text."""
    with torch.no_grad():
        rows = [model({**model.preprocess([text])})["sentence_embedding"] for text in texts]
    vectors = torch.cat(rows)[:, : model.truncate_dim]
    return torch.nn.functional.normalize(vectors, dim=-1).numpy()


def with_both_adaptations(model):
    """Put both modules, with random weights, before the pooling."""
    torch.manual_seed(3)
    for position, module in enumerate(
        [DenseConnectionsModule(32, layers=3), TokenConvolutionModule(32)], start=1
    ):
        for weight in module.parameters():
            torch.nn.init.normal_(weight, std=0.3)
        model.insert(position, token_module(module))
    give_layers(model)
    return model


def assert_same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5", "old-dense", "truncated-dim"])
def test_a_model_without_adaptations_is_the_same_here_and_in_the_library(name, tmp_path):
    model = load(name, tmp_path)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.01)
    save_model(model, tmp_path / "model", lower_case=False)
    expected = embeddings(model, TEXTS)
    assert_same(Encoder.load(tmp_path / "model", runtime="torch").encode(TEXTS), expected)
    assert_same(library_embeddings(tmp_path / "model", TEXTS), expected)


def test_lower_casing_is_written(tmp_path):
    model = load("old-lower-case", tmp_path)
    save_model(model, tmp_path / "model", lower_case=True)
    assert read_layout(tmp_path / "model").lower_case
    assert_same(library_embeddings(tmp_path / "model", TEXTS), embeddings(model, TEXTS))


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_a_model_with_adaptations_is_the_same_encoder(name, tmp_path):
    model = with_both_adaptations(load(name, tmp_path))
    save_model(model, tmp_path / "model", lower_case=False)
    expected = embeddings(model, TEXTS)
    assert_same(Encoder.load(tmp_path / "model", runtime="torch").encode(TEXTS), expected)
    again = load_trainable(read_layout(tmp_path / "model"))
    assert_same(embeddings(again, TEXTS), expected)


def test_the_directory_of_an_adapted_model_names_its_modules_and_leaves_its_config_alone(tmp_path):
    model = with_both_adaptations(load("bert", tmp_path))
    save_model(model, tmp_path / "model", lower_case=False)
    modules = json.loads((tmp_path / "model" / "modules.json").read_text())
    assert [module["path"] for module in modules] == [
        "",
        "1_DenseConnections",
        "2_TokenConvolution",
        "3_Pooling",
        "4_Normalize",
    ]
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config.get("output_hidden_states", False) is False
    assert model[0].model.config.output_hidden_states is True


def test_padding_changes_no_embedding_of_an_adapted_model(tmp_path):
    model = with_both_adaptations(load("bert", tmp_path))
    with torch.no_grad():
        together = model({**model.preprocess(TEXTS)})["sentence_embedding"].numpy()
    assert_same(
        together / np.linalg.norm(together, axis=1, keepdims=True), embeddings(model, TEXTS)
    )


def test_weights_stored_in_bfloat16_are_trained_in_float32(tmp_path):
    FAMILIES["bert"].write(tmp_path / "base")
    transformer = Transformer(str(tmp_path / "base"))
    transformer.model.to(torch.bfloat16).save_pretrained(tmp_path / "base")
    model = load_trainable(read_layout(tmp_path / "base"))
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5", "albert", "old-dense"])
def test_from_scratch_only_the_architecture_and_the_tokenizer_stay(name, tmp_path):
    base, first, again, other = (
        load(name, tmp_path, **options)
        for options in ({}, {"from_scratch": 1}, {"from_scratch": 1}, {"from_scratch": 2})
    )
    assert first.state_dict().keys() == base.state_dict().keys()
    np.testing.assert_array_equal(embeddings(first, TEXTS), embeddings(again, TEXTS))
    for different in (base, other):
        assert np.abs(embeddings(first, TEXTS) - embeddings(different, TEXTS)).max() > 0.01
    matrices = [
        name
        for name, weight in first.named_parameters()
        if weight.ndim > 1 and torch.equal(weight, base.get_parameter(name))
    ]
    assert matrices == []
    assert first.preprocess(TEXTS)["input_ids"].equal(base.preprocess(TEXTS)["input_ids"])


def test_from_scratch_an_adaptation_begins_anew_too(tmp_path):
    save_model(with_both_adaptations(load("bert", tmp_path)), tmp_path / "model", lower_case=False)
    model = load_trainable(read_layout(tmp_path / "model"), from_scratch=1)
    assert not model[1].module.linear.weight.any()
    assert not model[2].module.pointwise.weight.any()


def test_from_scratch_leaves_the_random_numbers_of_others_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    FAMILIES["bert"].write(tmp_path / "base")
    torch.manual_seed(5)
    load_trainable(read_layout(tmp_path / "base"), from_scratch=1)
    assert torch.equal(torch.rand(3), expected)


def test_a_place_that_cannot_be_written_is_a_failure_of_the_system(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemFailure, match="file"):
        save_model(load("bert", tmp_path), tmp_path / "file" / "model", lower_case=False)
