"""Each method lets learn what it says and nothing else, and ends in a model that loads and runs."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from encoder_families import FAMILIES, TEXTS, library_embeddings
from torch import nn

from simsearch.encoder import Encoder
from simsearch.encoder.loading import read_whole_layout
from simsearch.errors import InvalidInput
from simsearch.records import Document
from simsearch.search_index import SearchIndex
from simsearch.training.adaptation import check_adaptation, find_layers, prepare_adaptation
from simsearch.training.config import TrainingConfig
from simsearch.training.trainable import load_trainable, save_model

PLAIN = ["full", "last-1", "gradual", "lora"]
METHODS = [*PLAIN, "dense", "conv"]
ARCHITECTURES = ["bert", "distilbert", "gpt2", "t5", "albert", "xlm-roberta"]
STEPS = 6


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Return a function that loads a family as a model to be trained, written once."""
    place = tmp_path_factory.mktemp("families")

    def load(name):
        directory = place / name
        if not directory.exists():
            FAMILIES[name].write(directory)
        return load_trainable(read_whole_layout(directory))

    return load


def loss_of(model):
    """Return the cosine of two texts, which is to fall."""
    first, second = model({**model.preprocess(["my card was late", "the cat sat"])})[
        "sentence_embedding"
    ]
    return torch.nn.functional.cosine_similarity(first, second, dim=0)


def train(model, adaptation, *, steps=range(STEPS)):
    """Take steps as a run of STEPS would, and return the loss before each."""
    model.eval()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-2, weight_decay=0.1)
    losses = []
    for step in steps:
        adaptation.set_phase(step, STEPS)
        loss = loss_of(model)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def snapshot(model):
    return {name: tensor.numpy(force=True).tobytes() for name, tensor in model.state_dict().items()}


def changed(model, before):
    after = snapshot(model)
    assert after.keys() == before.keys()
    return {name for name in after if after[name] != before[name]}


def names(model, *, containing):
    return {name for name, _ in model.named_parameters() if containing in name}


def learning(model):
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def embeddings(model, texts):
    with torch.no_grad():
        rows = [model({**model.preprocess([text])})["sentence_embedding"] for text in texts]
    return torch.nn.functional.normalize(torch.cat(rows), dim=-1).numpy()


def assert_same(found, expected, atol=1e-4):
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


# What learns.


def test_full_changes_every_tensor_that_an_embedding_depends_on(load):
    model = load("bert")
    adaptation = prepare_adaptation(model, TrainingConfig())
    before = snapshot(model)
    train(model, adaptation)
    expected = names(model, containing="") - names(model, containing="pooler")
    # The bias of the keys cancels in the softmax, but for rounding.
    assert changed(model, before) | names(model, containing="key.bias") == expected
    assert adaptation.trained == sum(model.get_parameter(name).numel() for name in expected)


@pytest.mark.parametrize(
    ("architecture", "top"),
    [
        ("bert", ["encoder.layer.1."]),
        ("distilbert", ["transformer.layer.1."]),
        ("gpt2", ["model.h.1.", "ln_f"]),
        ("t5", ["encoder.block.1.", "final_layer_norm"]),
        ("xlm-roberta", ["encoder.layer.1."]),
        ("albert", ["albert_layer_groups.0."]),  # the one layer that all share
        ("mpnet", ["encoder.layer.1."]),  # without its relative positions, which serve all layers
        ("old-dense", ["encoder.layer.1.", "2.linear"]),
    ],
)
def test_last_1_changes_the_top_layer_and_what_is_above_and_no_other_byte(load, architecture, top):
    model = load(architecture)
    adaptation = prepare_adaptation(model, TrainingConfig(adapt="last-1"))
    expected = set().union(*(names(model, containing=part) for part in top))
    assert learning(model) == expected
    before = snapshot(model)
    losses = train(model, adaptation)
    assert expected - names(model, containing=".k") <= changed(model, before) <= expected
    assert losses[-1] < losses[0]


def test_last_2_of_2_layers_freezes_the_embeddings(load):
    model = load("bert")
    prepare_adaptation(model, TrainingConfig(adapt="last-2"))
    assert learning(model) == names(model, containing="encoder.layer.")


@pytest.mark.parametrize("method", ["dense", "conv"])
@pytest.mark.parametrize("architecture", ["bert", "gpt2", "t5", "old-dense"])
def test_frozen_dense_and_conv_change_what_they_add_and_no_other_byte(load, architecture, method):
    model = load(architecture)
    adaptation = prepare_adaptation(model, TrainingConfig(adapt=method, freeze=True))
    own = names(model, containing="1.module.")
    before = snapshot(model)
    losses = train(model, adaptation)
    assert changed(model, before) == own == learning(model)
    assert losses[-1] < losses[0]
    # hidden 32: a linear map, and 3 shares or 5 weights and a bias for each feature
    assert adaptation.trained == 32 * 32 + 32 + {"dense": 3, "conv": 32 * 5 + 32}[method]


def test_gradual_goes_from_the_top_layer_to_the_embeddings_in_equal_phases(load):
    model = load("bert")
    adaptation = prepare_adaptation(model, TrainingConfig(adapt="gradual"))
    top, bottom = (names(model, containing=f"encoder.layer.{n}.") for n in (1, 0))
    embedding = names(model, containing="embeddings")
    assert learning(model) == top | bottom | embedding  # in the end
    found = []
    for step in range(7):
        adaptation.set_phase(step, 7)
        found.append(learning(model))
    two, three = top | bottom, top | bottom | embedding
    assert found == [top, top, top, two, two, three, three]


def test_in_the_first_phase_of_gradual_no_byte_below_the_top_changes(load):
    model = load("gpt2")
    adaptation = prepare_adaptation(model, TrainingConfig(adapt="gradual"))
    before = snapshot(model)
    losses = train(model, adaptation, steps=range(2))
    expected = names(model, containing="model.h.1.") | names(model, containing="ln_f")
    assert changed(model, before) == expected
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lora_changes_the_linear_maps_of_the_layers_and_no_other_byte(load, architecture):
    model = load(architecture)
    before = snapshot(model)
    parts = ("layer.", "layer_groups.", ".h.", "block.")
    inside = set().union(*(names(model, containing=part) for part in parts))
    tables = names(model, containing="relative_attention_bias")
    maps = {name for name in inside - tables if model.get_parameter(name).ndim == 2}
    sides = sum(sum(model.get_parameter(name).shape) for name in maps)
    adaptation = prepare_adaptation(model, TrainingConfig(adapt="lora"))
    assert adaptation.trained == 16 * sides  # rank 16: (16, in) and (out, 16)
    losses = train(model, adaptation)
    adaptation.finish()
    assert changed(model, before) == maps
    assert losses[-1] < losses[0]
    assert learning(model) == names(model, containing="")


@pytest.mark.parametrize("method", METHODS)
def test_a_method_by_itself_leaves_every_embedding_as_it_was(load, method):
    model = load("bert")
    before = embeddings(model, TEXTS)
    prepare_adaptation(model, TrainingConfig(adapt=method)).finish()
    assert_same(embeddings(model, TEXTS), before, atol=1e-6)


@pytest.mark.parametrize("method", ["lora", "conv"])
def test_what_is_added_is_the_same_for_the_same_seed_and_no_other_random_number_is_drawn(
    load, method
):
    made = []
    for seed in (1, 1, 2):
        model = load("bert").train()
        torch.manual_seed(9)
        prepare_adaptation(model, TrainingConfig(adapt=method, seed=seed))
        assert all(module.training for module in model.modules())
        following = torch.rand(3)
        added = [name for name in learning(model) if "lora_A" in name or "depthwise.weight" in name]
        made.append((model.get_parameter(min(added)).detach(), following))
    torch.manual_seed(9)
    assert all(following.equal(made[0][1]) for _, following in made)
    assert made[0][1].equal(torch.rand(3))
    assert (made[0][0].equal(made[1][0]), made[0][0].equal(made[2][0])) == (True, False)


def test_the_layers_are_the_longest_list_that_is_in_no_other():
    def layer():
        return nn.ModuleDict({"parts": nn.ModuleList(nn.Linear(1, 1) for _ in range(5))})

    network = nn.ModuleDict(
        {
            "characters": nn.ModuleDict({"layer": nn.ModuleList([layer()])}),
            "words": nn.ModuleDict({"layer": nn.ModuleList([layer(), layer(), layer()])}),
            "heads": nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)]),
        }
    )
    assert find_layers(network) == ("words.layer", list(network["words"]["layer"]))
    assert find_layers(nn.Linear(1, 1)) == ("", [])


# From the first step to an encoder that answers.


@pytest.mark.parametrize("method", METHODS)
def test_every_method_lowers_the_loss_and_ends_in_an_encoder_that_an_index_answers_with(
    load, method, tmp_path
):
    model = load("bert")
    adaptation = prepare_adaptation(model, TrainingConfig(adapt=method))
    losses = train(model, adaptation)
    assert losses[-1] < losses[0] - 0.3
    adaptation.finish()
    save_model(model, tmp_path / "model", lower_case=False)
    expected = embeddings(model, TEXTS)
    assert_same(Encoder.load(tmp_path / "model", runtime="torch").encode(TEXTS), expected)
    # An export is accepted only with a cosine of 0.9999 to torch.
    encoder = Encoder.load(tmp_path / "model", runtime="onnx")
    assert_same(encoder.encode(TEXTS), expected)
    with SearchIndex.create(tmp_path / "index", encoder=encoder) as index:
        index.add(Document(f"d{n}", text) for n, text in enumerate(TEXTS))
    (tmp_path / "model").rename(tmp_path / "moved")
    with SearchIndex.open(tmp_path / "index") as index:
        scores = {hit.id: hit.score for hit in index.search(TEXTS[1], k=len(TEXTS))}
    assert_same([scores[f"d{n}"] for n in range(len(TEXTS))], expected @ expected[1])


@pytest.mark.parametrize(
    ("architecture", "method"),
    [("gpt2", "dense"), ("t5", "conv"), ("t5", "lora"), ("albert", "dense"), ("albert", "lora")],
)
def test_other_architectures_end_in_the_same_embeddings_too(load, architecture, method, tmp_path):
    model = load(architecture)
    adaptation = prepare_adaptation(model, TrainingConfig(adapt=method))
    losses = train(model, adaptation)
    assert losses[-1] < losses[0]
    adaptation.finish()
    save_model(model, tmp_path / "model", lower_case=False)
    found = Encoder.load(tmp_path / "model", runtime="torch").encode(TEXTS)
    assert_same(found, embeddings(model, TEXTS))


@pytest.mark.parametrize("method", PLAIN)
def test_a_method_that_adds_no_module_ends_in_a_plain_model_of_the_library(load, method, tmp_path):
    model = load("gpt2")
    adaptation = prepare_adaptation(model, TrainingConfig(adapt=method))
    train(model, adaptation)
    adaptation.finish()
    save_model(model, tmp_path / "model", lower_case=False)
    expected = embeddings(model, TEXTS)
    assert_same(library_embeddings(tmp_path / "model", TEXTS), expected)
    assert_same(Encoder.load(tmp_path / "model", runtime="torch").encode(TEXTS), expected)


@pytest.mark.parametrize("method", ["dense", "conv"])
def test_a_module_that_is_there_goes_on_learning_and_no_second_is_put_in(load, method, tmp_path):
    first = load("bert")
    adaptation = prepare_adaptation(first, TrainingConfig(adapt=method))
    train(first, adaptation)
    save_model(first, tmp_path / "model", lower_case=False)
    model = load_trainable(read_whole_layout(tmp_path / "model"))
    adaptation = prepare_adaptation(model, TrainingConfig(adapt=method, freeze=True))
    assert len(model) == len(first) == 4  # transformer, module, pooling, normalisation
    before = snapshot(model)
    assert before == snapshot(first)
    train(model, adaptation)
    assert changed(model, before) == names(model, containing="1.module.")


def test_dense_and_conv_stand_together_in_the_order_in_which_they_came(load, tmp_path):
    model = load("bert")
    prepare_adaptation(model, TrainingConfig(adapt="conv"))
    prepare_adaptation(model, TrainingConfig(adapt="dense", freeze=True))
    assert learning(model) == names(model, containing="2.module.")
    save_model(model, tmp_path / "model", lower_case=False)
    layout = read_whole_layout(tmp_path / "model")
    assert [type(module).__name__ for module in layout.adaptations] == [
        "TokenConvolution",
        "DenseConnections",
    ]


# Learning rates.


@pytest.mark.parametrize(
    ("architecture", "method", "expected"),
    [
        (
            "old-dense",
            "conv",
            {
                "encoder.layer.1.output.dense.weight": 1.0,
                "encoder.layer.0.output.dense.weight": 0.5,
                "word_embeddings.weight": 0.25,
                "1.module.pointwise.weight": 1.0,
                "3.linear.weight": 1.0,
            },
        ),
        ("gpt2", "full", {"h.1.ln_1.bias": 1.0, "h.0.ln_1.bias": 0.5, "wte": 0.25, "ln_f.bias": 1}),
        ("mpnet", "full", {"relative_attention_bias": 0.25}),
        ("deberta-v2", "full", {"rel_embeddings": 0.25}),
        ("albert", "full", {"ffn.weight": 1.0, "hidden_mapping_in.weight": 0.5}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_rate_falls_from_layer_to_layer_down_to_the_embeddings(
    load, architecture, method, expected
):
    model = load(architecture)
    adaptation = prepare_adaptation(model, TrainingConfig(adapt=method, layer_decay=0.5))
    found = {}
    for part in expected:
        (name,) = names(model, containing=part)
        found[part] = adaptation.rate_factor(name)
    assert found == expected


def test_without_decay_and_for_weights_of_others_the_rate_is_the_runs(load):
    model = load("bert")
    adaptation = prepare_adaptation(model, TrainingConfig())
    factors = {adaptation.rate_factor(name) for name, _ in model.named_parameters()}
    assert (factors, adaptation.rate_factor("loss.0.decoder.weight")) == ({1.0}, 1.0)


# What is refused.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"freeze": True},
            "freeze goes with adapt dense or conv, got full (last-N freezes layers)",
        ),
        (
            {"adapt": "last-1", "freeze": True},
            "freeze goes with adapt dense or conv, got last-1 (last-N freezes layers)",
        ),
        (
            {"adapt": "lora", "layer_decay": 0.9},
            "layer_decay needs layers that learn, got 0.9 with adapt lora, where they do not "
            "(leave it at 1)",
        ),
        (
            {"adapt": "conv", "freeze": True, "layer_decay": 0.9},
            "layer_decay needs layers that learn, got 0.9 with freeze, where they do not "
            "(leave it at 1)",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(InvalidInput) as caught:
        check_adaptation(TrainingConfig(**settings))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("architecture", "method", "message"),
    [
        (
            "bert",
            "last-3",
            "last-3 needs 3 layers, this encoder has 2 with weights of their own (last-2 is the "
            "most)",
        ),
        (
            "albert",
            "last-2",
            "last-2 needs 2 layers, this encoder has 1 with weights of their own, which 2 layers "
            "share (last-1 is the most)",
        ),
    ],
)
def test_more_layers_than_there_are_is_refused(load, architecture, method, message):
    with pytest.raises(InvalidInput) as caught:
        prepare_adaptation(load(architecture), TrainingConfig(adapt=method))
    assert str(caught.value) == message


def test_without_peft_lora_is_refused_and_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput) as caught:
        check_adaptation(TrainingConfig(adapt="lora"))
    assert str(caught.value) == (
        "adapt lora needs the package peft, which is not installed (pip install 'simsearch[lora]')"
    )
