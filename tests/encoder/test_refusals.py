"""A model directory is data: what would run code, or cannot be what it says, is refused.

`test_layout.py` has what is refused from the descriptions alone; here a hostile or broken
directory is handed to `Encoder.load`, as a user would.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import write_tiny_encoder
from encoder_families import FAMILIES

from simsearch.encoder import Encoder
from simsearch.errors import EncoderError, InvalidData
from simsearch.records import Pair
from simsearch.training import TrainingConfig, TrainingData, finetune

TEXTS = ["the cat sat", "my dog"]
DEEP = "[" * 100_000


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def place(tmp_path_factory):
    """A folder that is not named after the test, as its name would match in a message."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture
def directory(pristine, place):
    return shutil.copytree(pristine, place / "encoder")


@pytest.fixture(scope="module")
def pristine_dense(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models") / "dense"
    FAMILIES["old-dense"].write(directory)
    return directory


@pytest.fixture
def dense(pristine_dense, place):
    return shutil.copytree(pristine_dense, place / "encoder")


@pytest.fixture
def marker(place):
    """A file that appears when something from the model directory is executed."""
    return place / "executed"


def code(marker):
    return f"import pathlib\npathlib.Path({str(marker)!r}).write_text(__name__)\n"


class Explosive:
    """Unpickled, it writes the marker."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def edit(path, **changes):
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(content | changes))


def set_module(directory, position, **changes):
    modules = json.loads((directory / "modules.json").read_text())
    modules[position] |= changes
    (directory / "modules.json").write_text(json.dumps(modules))


def rewrite_header(weights, change):
    """Put `change(header)` in the place of the header of a safetensors file."""
    data = weights.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(change(json.loads(data[8:start]))).encode()
    weights.write_bytes(len(header).to_bytes(8, "little") + header + data[start:])


def assert_refused(directory, match):
    """Both ways to load a directory end in an error of the encoder, with its exit code."""
    for runtime in ("torch", None):
        with pytest.raises(EncoderError, match=match) as caught:
            Encoder.load(directory, runtime=runtime).encode(TEXTS)
        assert caught.value.exit_code == 7


# Code.


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_class_of_its_own_is_refused_and_not_imported(directory, marker, name):
    (directory / "modeling_evil.py").write_text(code(marker))
    edit(directory / name, auto_map={"AutoModel": "modeling_evil.Model"})
    assert_refused(directory, "never runs it")
    assert not marker.exists()


def test_auto_map_in_a_transformer_folder_is_refused(place):
    FAMILIES["old-transformer-folder"].write(place / "encoder")
    config = place / "encoder" / "0_Transformer" / "config.json"
    edit(config, auto_map={"AutoModel": "evil.Model"})
    assert_refused(place / "encoder", "never runs it")


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize(
    "kind",
    [
        "evil_package.Transformer",
        "sentence_transformers.models.Foo",
        "sentence_transformers.models.Transformer.Foo",
        "sentence_transformers.util.misc.os.system",
        "sentence_transformers_evil.Transformer",
        "transformers_modules.evil.Pooling",
        "",
    ],
)
def test_a_foreign_module_is_refused_and_not_imported(
    directory, marker, monkeypatch, position, kind
):
    for name in ("evil_package", "sentence_transformers_evil"):
        (directory / f"{name}.py").write_text(code(marker))
    monkeypatch.syspath_prepend(directory)
    set_module(directory, position, type=kind)
    assert_refused(directory, "is not supported")
    assert not marker.exists()


@pytest.mark.parametrize("kind", [None, 3, ["os.system"], {"a": 1}])
def test_a_module_type_that_is_no_name_is_refused(directory, kind):
    set_module(directory, 1, type=kind)
    assert_refused(directory, r"modules\.json|malformed")


@pytest.mark.parametrize("folder", ["../x", "..", "1_Pooling/../../x", "/etc", "/"])
@pytest.mark.parametrize("position", [0, 1])
def test_a_module_folder_outside_is_refused(directory, position, folder):
    shutil.copytree(directory, directory.parent / "x")
    set_module(directory, position, path=folder)
    assert_refused(directory, "outside the encoder")


def test_a_module_folder_that_is_a_link_to_the_outside_is_refused(directory, place):
    shutil.move(directory / "1_Pooling", place / "elsewhere")
    (directory / "1_Pooling").symlink_to(place / "elsewhere")
    assert_refused(directory, "outside the encoder")


def test_python_files_and_pickles_beside_are_never_run(directory, marker, place):
    names = ["__init__", "sitecustomize", "modeling_bert", "tokenization_bert", "evil"]
    for folder in (directory, directory / "1_Pooling"):
        for name in names:
            (folder / f"{name}.py").write_text(code(marker))
        for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt"):
            (folder / name).write_bytes(pickle.dumps(Explosive(marker)))
    expected = Encoder.load(directory, runtime="torch").encode(TEXTS)
    np.testing.assert_allclose(Encoder.load(directory).encode(TEXTS), expected, atol=1e-5)
    finetune(
        TrainingData([Pair(f"the cat {n}", f"my dog {n}") for n in range(12)]),
        place / "tuned",
        encoder=directory,
        config=TrainingConfig(epochs=1, batch_size=4),
        force=True,
    )
    assert not marker.exists()
    assert list((place / "tuned").rglob("*.py")) == []


def test_only_pickled_weights_are_refused_and_not_read(directory, marker):
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps(Explosive(marker)))
    assert_refused(directory, "pickled weights are not read")
    assert not marker.exists()


@pytest.mark.parametrize(
    "activation",
    ["os.system", "builtins.eval", "torch.hub.load", "torch.nn.modules.activation.Evil", "Tanh", 3],
)
def test_an_activation_that_is_not_on_the_list_is_refused(dense, activation):
    edit(dense / "2_Dense" / "config.json", activation_function=activation)
    assert_refused(dense, r"activation")


def test_a_dense_layer_with_pickled_weights_alone_is_refused_and_not_read(dense, marker):
    (dense / "2_Dense" / "model.safetensors").unlink()
    (dense / "2_Dense" / "pytorch_model.bin").write_bytes(pickle.dumps(Explosive(marker)))
    assert_refused(dense, "pickled weights are not read")
    assert not marker.exists()


# What would be loaded from somewhere else than the files whose hash is the fingerprint.


def test_weights_of_another_name_are_refused(directory):
    shutil.copyfile(directory / "model.safetensors", directory / "other.safetensors")
    edit(directory / "config.json", transformers_weights="other.safetensors")
    assert_refused(directory, "transformers_weights")


def test_an_adapter_on_another_model_is_refused(directory):
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "someone/else"}
    (directory / "adapter_config.json").write_text(json.dumps(adapter))
    assert_refused(directory, "adapter")


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation"])
def test_attention_code_from_a_hub_is_refused(directory, name):
    edit(directory / "config.json", **{name: "someone/kernel"})
    assert_refused(directory, "attn_implementation")


def test_linked_weights_are_fine(directory, place):
    expected = Encoder.load(directory).encode(TEXTS)
    blob = place / "blob"
    shutil.move(directory / "model.safetensors", blob)
    (directory / "model.safetensors").symlink_to(blob)
    np.testing.assert_array_equal(Encoder.load(directory).encode(TEXTS), expected)


def test_a_link_to_weights_that_are_gone_is_refused(directory):
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors").symlink_to(directory / "gone")
    assert_refused(directory, r"no model\.safetensors")


# Damage.


def half(data):
    return data[: len(data) // 2]


def half_of_the_header(data):
    return data[: 8 + int.from_bytes(data[:8], "little") // 2]


def header_of(size):
    return lambda data: size.to_bytes(8, "little") + data[8:]


@pytest.mark.parametrize(
    "damage",
    [
        half,
        half_of_the_header,
        header_of(100 * 10**9),
        header_of(90 * 10**6),
        header_of(2**64 - 1),
        lambda data: header_of(len(DEEP))(data)[:8] + DEEP.encode() + data[8:],
        lambda data: b"\x80\x04.",
    ],
    ids=["half", "half of the header", "100 GB", "90 MB", "all", "nested", "a pickle"],
)
@pytest.mark.parametrize("name", ["model.safetensors", "2_Dense/model.safetensors"])
def test_a_damaged_weight_file_is_refused_by_name(dense, name, damage):
    (dense / name).write_bytes(damage((dense / name).read_bytes()))
    assert_refused(dense, name.replace(".", r"\."))


@pytest.mark.parametrize(
    "entry",
    [
        {"data_offsets": [0, 10**12]},
        {"data_offsets": [-8, 8]},
        {"data_offsets": "all"},
        {"shape": [10**12, 32]},
        {"shape": [-1, 32]},
        {"shape": [2**63, 2**63]},
        {"dtype": "F99"},
        {"dtype": None},
    ],
    ids=str,
)
def test_a_tensor_that_cannot_be_is_refused(directory, entry):
    def change(header):
        header["embeddings.word_embeddings.weight"] |= entry
        return header

    rewrite_header(directory / "model.safetensors", change)
    assert_refused(directory, "header|tensor|offset")


def test_a_header_that_is_no_object_is_refused(directory):
    rewrite_header(directory / "model.safetensors", lambda header: list(header))
    assert_refused(directory, r"model\.safetensors is not a safetensors file")


def save_without(weights, name):
    from safetensors.torch import load_file, save_file

    tensors = load_file(weights)
    del tensors[name]
    save_file(tensors, weights, metadata={"format": "pt"})


@pytest.mark.parametrize(
    "name",
    ["embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.query.bias"],
)
def test_a_missing_tensor_is_refused_by_name(directory, name):
    save_without(directory / "model.safetensors", name)
    assert_refused(directory, f"missing.*{name}")


@pytest.mark.parametrize("name", ["linear.weight", "linear.bias"])
def test_a_missing_tensor_of_a_dense_layer_is_refused_by_name(dense, name):
    save_without(dense / "2_Dense" / "model.safetensors", name)
    assert_refused(dense, name)


@pytest.mark.parametrize("changes", [{"hidden_size": 64}, {"vocab_size": 7}, {"vocab_size": 10**5}])
def test_weights_of_another_size_are_refused(directory, changes):
    edit(directory / "config.json", **changes)
    assert_refused(directory, "size|shape")


@pytest.mark.parametrize(
    "changes", [{"in_features": 31}, {"out_features": 7}, {"out_features": 0}, {"bias": "yes"}]
)
def test_a_dense_layer_that_does_not_fit_is_refused(dense, changes):
    edit(dense / "2_Dense" / "config.json", **changes)
    assert_refused(dense, "2_Dense|Dense")


def test_a_dense_layer_without_its_description_is_refused(dense):
    (dense / "2_Dense" / "config.json").unlink()
    assert_refused(dense, r"config\.json")


@pytest.mark.parametrize(
    "content",
    [DEEP, '{"a": ' * 100_000, "NaN", "[1]", '"text"', "null"],
    ids=["nested lists", "nested objects", "NaN", "list", "text", "null"],
)
@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "modules.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
    ],
)
def test_a_description_of_another_shape_is_refused_by_name(dense, name, content):
    (dense / name).write_text(content)
    assert_refused(dense, name.replace(".", r"\.") + "|malformed")


@pytest.mark.parametrize("name", ["config.json", "modules.json", "tokenizer.json"])
def test_a_description_that_is_no_text_or_no_file_is_refused(directory, name):
    (directory / name).write_bytes(b"\xff\xfe{}")
    assert_refused(directory, name.replace(".", r"\."))
    (directory / name).unlink()
    (directory / name).mkdir()
    assert_refused(directory, name.replace(".", r"\."))


# The tokenizer. Its library is written in Rust, and raises a BaseException where it panics.


def special_token_that_is_not_there(content):
    content["post_processor"]["special_tokens"] = {}


def second_text_that_is_not_there(content):
    content["post_processor"]["single"] = [{"Sequence": {"id": "B", "type_id": 0}}]


def broken_character_map(content):
    content["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}


def character_map_that_points_outside(content):
    content["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAAAAAAA"}


def pieces_of_no_length(content):
    content["pre_tokenizer"] = {"type": "FixedLength", "length": 0}


def prefix_longer_than_the_tokens(content):
    content["model"] = {
        "type": "BPE",
        "vocab": {"a": 0, "b": 1},
        "merges": [["a", "b"]],
        "continuing_subword_prefix": "bbb",
    }


@pytest.mark.parametrize(
    "break_it",
    [
        special_token_that_is_not_there,
        second_text_that_is_not_there,
        broken_character_map,
        character_map_that_points_outside,
        pieces_of_no_length,
        prefix_longer_than_the_tokens,
    ],
)
def test_a_tokenizer_that_panics_is_refused(directory, break_it):
    path = directory / "tokenizer.json"
    content = json.loads(path.read_text())
    break_it(content)
    path.write_text(json.dumps(content))
    assert_refused(directory, "tokenizer")


def test_a_tokenizer_that_would_abort_the_process_is_refused(directory):
    # The prefix is cut off the second half of a merge, here within a letter of two bytes.
    model = {"type": "BPE", "vocab": {"a": 0, "é": 1, "aé": 2}, "merges": [["a", "é"]]}
    edit(directory / "tokenizer.json", model=model | {"continuing_subword_prefix": "x"})
    command = [sys.executable, "-m", "simsearch", "encode", "a", "--encoder", str(directory)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 7
    assert "tokenizer" in finished.stderr


@pytest.mark.parametrize(
    "changes",
    [
        {"model": None},
        {"model": {}},
        {"model": {"type": "Evil", "vocab": {}}},
        {"model": {"type": "Unigram", "unk_id": 99, "vocab": [["<unk>", 0.0]]}},
        {"model": {"type": "Unigram", "unk_id": 0, "vocab": []}},
        {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}},
        {"model": {"type": "WordLevel", "vocab": {"cat": 0}, "unk_token": "nope"}},
        {"version": "99"},
        {"added_tokens": 3},
        {"normalizer": {"type": "os.system"}},
    ],
    ids=str,
)
def test_a_tokenizer_that_is_malformed_is_refused(directory, changes):
    edit(directory / "tokenizer.json", **changes)
    assert_refused(directory, "tokenizer")


def test_a_token_that_the_weights_do_not_have_is_refused(directory):
    content = json.loads((directory / "tokenizer.json").read_text())
    content["model"]["vocab"]["dog"] = 9999
    (directory / "tokenizer.json").write_text(json.dumps(content))
    assert_refused(directory, "token")


def test_a_text_without_a_single_token_is_refused_with_its_position(directory):
    nothing = {"type": "Replace", "pattern": {"String": "my dog"}, "content": ""}
    edit(directory / "tokenizer.json", post_processor=None, normalizer=nothing)
    with pytest.raises(InvalidData, match=r"^text 1 holds nothing that the encoder reads$"):
        Encoder.load(directory).encode(["the cat", "my dog"])
