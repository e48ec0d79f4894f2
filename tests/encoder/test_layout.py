"""What an encoder directory may hold, and what is refused before a weight is read."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from conftest import write_tiny_encoder

from simsearch.encoder import Encoder
from simsearch.encoder.fingerprint import fingerprint
from simsearch.encoder.layout import read_layout
from simsearch.encoder.modules import Pooling
from simsearch.errors import EncoderError


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def directory(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "model")


def edit(path, **changes):
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(content | changes))


def test_a_sentence_transformers_directory_is_understood(directory):
    layout = read_layout(directory)
    assert (layout.dim, layout.max_length, layout.pooling) == (32, 32, (Pooling.MEAN,))
    assert layout.weights == (directory / "model.safetensors",)


def test_a_plain_transformer_directory_has_mean_pooling_and_its_own_window(directory):
    (directory / "modules.json").unlink()
    (directory / "sentence_bert_config.json").unlink()
    layout = read_layout(directory)
    # The tokenizer says 128, the model has 64 positions.
    assert (layout.pooling, layout.max_length) == ((Pooling.MEAN,), 64)


def test_a_tokenizer_without_a_window_leaves_it_to_the_model(directory):
    (directory / "sentence_bert_config.json").unlink()
    edit(directory / "tokenizer_config.json", model_max_length=10**30)
    assert read_layout(directory).max_length == 64


@pytest.mark.parametrize(
    "kind",
    [
        "sentence_transformers.models.Transformer",
        "sentence_transformers.base.modules.transformer.Transformer",
    ],
)
def test_module_names_of_old_and_new_versions_are_known(directory, kind):
    modules = json.loads((directory / "modules.json").read_text())
    modules[0]["type"] = kind
    (directory / "modules.json").write_text(json.dumps(modules))
    assert read_layout(directory).dim == 32


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, [Pooling.CLS]),
        ({"pooling_mode": "max"}, [Pooling.MAX]),
        ({"pooling_mode": ["cls"]}, [Pooling.CLS]),
        ({"pooling_mode": ["mean", "cls"]}, [Pooling.MEAN, Pooling.CLS]),
        # sentence-transformers joins the flags of old files in an order of its own.
        (
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            [Pooling.CLS, Pooling.MEAN],
        ),
        ({"pooling_mode_lasttoken": True}, [Pooling.LAST_TOKEN]),
        ({"word_embedding_dimension": 32}, [Pooling.MEAN]),
    ],
)
def test_pooling_is_read_in_both_forms(directory, config, pooling):
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(config))
    layout = read_layout(directory)
    assert layout.pooling == tuple(pooling)
    assert layout.dim == 32 * len(pooling)


@pytest.mark.parametrize(
    "config", [{"pooling_mode": "attention"}, {"pooling_mode_attention": True}]
)
def test_pooling_that_we_do_not_have_is_refused_by_name(directory, config):
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderError, match=r"pooling '.*' is not supported \(supported: mean"):
        read_layout(directory)


def test_pooling_that_leaves_the_prompt_out_makes_a_difference_only_where_there_is_one(directory):
    edit(directory / "1_Pooling" / "config.json", include_prompt=False)
    assert read_layout(directory).include_prompt
    prompts = directory / "config_sentence_transformers.json"
    prompts.write_text(json.dumps({"prompts": {"query": "query: "}}))
    assert not read_layout(directory).include_prompt


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_from_the_model_is_never_run(directory, name):
    edit(directory / name, auto_map={"AutoModel": "evil.Model"})
    with pytest.raises(EncoderError, match="never runs it"):
        read_layout(directory)


@pytest.mark.parametrize(
    "kind",
    ["evil.Transformer", "sentence_transformers.models.LSTM", "os.system", "Transformer"],
)
def test_a_module_that_is_not_on_the_list_is_refused_by_name(directory, kind):
    modules = json.loads((directory / "modules.json").read_text())
    modules[2]["type"] = kind
    (directory / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderError, match=f"module '{kind}' is not supported"):
        read_layout(directory)


def test_a_module_folder_outside_the_directory_is_refused(directory):
    modules = json.loads((directory / "modules.json").read_text())
    modules[1]["path"] = "../../etc"
    (directory / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderError, match="outside the encoder"):
        read_layout(directory)


def test_pickled_weights_are_not_read(directory):
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="pickled weights are not read"):
        read_layout(directory)


def test_a_family_that_transformers_does_not_have_is_refused(directory):
    edit(directory / "config.json", model_type="evil")
    with pytest.raises(EncoderError, match="has no encoder family 'evil' of its own"):
        Encoder.load(directory, runtime="torch")


def test_a_family_with_a_decoder_that_cannot_be_left_out_is_refused(directory):
    edit(directory / "config.json", model_type="bart", is_encoder_decoder=True)
    with pytest.raises(EncoderError, match="'bart' has an encoder and a decoder"):
        read_layout(directory)


def test_an_architecture_without_a_width_is_no_text_encoder(directory):
    config = json.loads((directory / "config.json").read_text())
    del config["hidden_size"]
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderError, match="this is no text encoder"):
        read_layout(directory)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_missing_file_is_named(directory, name):
    (directory / name).unlink()
    with pytest.raises(EncoderError, match=f"{name} is missing"):
        read_layout(directory)


@pytest.mark.parametrize("content", ["[]", "{", "\x00", '"text"'])
def test_a_broken_file_is_named(directory, content):
    (directory / "config.json").write_text(content)
    with pytest.raises(EncoderError, match=r"config\.json"):
        read_layout(directory)


def test_the_same_files_elsewhere_have_the_same_fingerprint(directory, pristine):
    assert fingerprint(read_layout(directory)) == fingerprint(read_layout(pristine))


def test_one_changed_bit_of_a_weight_changes_the_fingerprint(directory):
    before = fingerprint(read_layout(directory))
    weights = directory / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert fingerprint(read_layout(directory)) != before


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("sentence_bert_config.json", {"max_seq_length": 16}),
        ("sentence_bert_config.json", {"do_lower_case": True}),
        ("config_sentence_transformers.json", {"prompts": {"query": "query: "}}),
        ("config_sentence_transformers.json", {"prompts": {"document": "passage: "}}),
        ("1_Pooling/config.json", {"pooling_mode": "cls"}),
        ("tokenizer.json", {"normalizer": None}),
    ],
)
def test_every_setting_that_decides_the_vectors_changes_the_fingerprint(directory, name, changes):
    before = fingerprint(read_layout(directory))
    edit(directory / name, **changes)
    assert fingerprint(read_layout(directory)) != before


@pytest.mark.parametrize("change", [{"num_attention_heads": 4}, {"hidden_act": "relu"}])
def test_what_the_weights_are_used_for_changes_the_fingerprint(directory, change):
    before = fingerprint(read_layout(directory))
    edit(directory / "config.json", **change)
    assert fingerprint(read_layout(directory)) != before


def test_where_a_model_comes_from_does_not_matter(directory):
    before = fingerprint(read_layout(directory))
    edit(directory / "config.json", _name_or_path="elsewhere", transformers_version="9.9")
    assert fingerprint(read_layout(directory)) == before


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("config.json", {"hidden_size": None}),
        ("config.json", {"max_position_embeddings": "many"}),
        ("sentence_bert_config.json", {"max_seq_length": "long"}),
        ("config_sentence_transformers.json", {"prompts": ["query: "]}),
        ("1_Pooling/config.json", {"pooling_mode": 3}),
    ],
)
def test_a_malformed_setting_is_an_error_of_the_encoder(directory, name, changes):
    edit(directory / name, **changes)
    with pytest.raises(EncoderError, match=r"malformed|not supported|no text encoder"):
        read_layout(directory)


def test_a_module_list_of_something_else_is_an_error_of_the_encoder(directory):
    (directory / "modules.json").write_text('["Transformer"]')
    with pytest.raises(EncoderError, match="is an object with type and path, got 'Transformer'"):
        read_layout(directory)


def test_padding_and_truncation_of_the_tokenizer_file_do_not_matter(directory):
    before = fingerprint(read_layout(directory))
    edit(directory / "tokenizer.json", padding=None, truncation=None)
    assert fingerprint(read_layout(directory)) == before


def test_stored_position_ids_do_not_matter(directory):
    import torch
    from safetensors.torch import load_file, save_file

    before = fingerprint(read_layout(directory))
    tensors = load_file(directory / "model.safetensors")
    tensors["embeddings.position_ids"] = torch.arange(64).unsqueeze(0)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    assert fingerprint(read_layout(directory)) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-10],
        lambda data: (10**15).to_bytes(8, "little") + data[8:],
        lambda data: data[:8] + b"x" + data[9:],
        lambda data: b"",
    ],
    ids=["truncated", "header of a petabyte", "broken header", "empty"],
)
def test_a_damaged_weight_file_is_named(directory, damage):
    weights = directory / "model.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(EncoderError, match=r"model\.safetensors"):
        fingerprint(read_layout(directory))


@pytest.mark.parametrize(("given", "dim"), [(16, 16), (1, 1), (32, 32), (33, 32), (None, 32)])
def test_embeddings_are_cut_to_the_width_that_the_directory_names(directory, given, dim):
    """As in sentence-transformers a width that they do not have cuts nothing."""
    from sentence_transformers import SentenceTransformer

    edit(directory / "config_sentence_transformers.json", truncate_dim=given)
    library = SentenceTransformer(str(directory), device="cpu").encode(["my card"])
    assert library.shape == (1, dim)
    layout = read_layout(directory)
    assert (layout.dim, layout.full_dim) == (dim, 32)
    expected = library / np.linalg.norm(library)
    found = Encoder.load(directory, runtime="torch").encode(["my card"])
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("given", [-1, 0, "16", 16.0, True, [16], {}, "", False])
def test_a_width_that_cannot_be_is_refused(directory, given):
    path = directory / "config_sentence_transformers.json"
    edit(path, truncate_dim=given)
    with pytest.raises(EncoderError) as caught:
        read_layout(directory)
    assert str(caught.value) == (
        f"{path}: truncate_dim must be a whole number from 1 on, got {given!r}"
    )
