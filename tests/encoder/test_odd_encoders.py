"""Encoders that say odd things of themselves, and what may be asked of any encoder."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from conftest import WORDS, write_tiny_encoder

from simsearch.encoder import Encoder, EncoderPool, UnencodableText
from simsearch.encoder import export as export_module
from simsearch.encoder.layout import read_layout
from simsearch.errors import EncoderError, InvalidInput


@pytest.fixture
def directory(tiny_encoder_dir, tmp_path):
    return shutil.copytree(tiny_encoder_dir, tmp_path / "encoder")


def edit(path, **changes):
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(content | changes))


# The window.


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ],
)
def test_a_negative_window_is_refused(directory, name, setting):
    (directory / "sentence_bert_config.json").unlink()
    edit(directory / name, **{setting: -3})
    with pytest.raises(EncoderError, match=r"the window \(max_seq_length, .* is -3 tokens, exp"):
        Encoder.load(directory)


@pytest.mark.parametrize("window", [1, 2])
def test_a_window_that_special_tokens_fill_is_refused(directory, window):
    edit(directory / "sentence_bert_config.json", max_seq_length=window)
    message = f"a window of {window} tokens leaves no room for text beside 2 special ones"
    for runtime in (None, "torch"):
        with pytest.raises(EncoderError, match=message):
            Encoder.load(directory, runtime=runtime)


def test_a_window_of_one_token_for_text_sees_that_one(directory):
    edit(directory / "sentence_bert_config.json", max_seq_length=3)
    first, same, other = Encoder.load(directory).encode(["my card", "my cat", "dog"])
    np.testing.assert_allclose(first, same, atol=1e-6)
    assert first @ other < 0.999


@pytest.mark.parametrize("kind", ["query", "document"])
def test_a_prompt_that_fills_the_window_is_refused(directory, kind):
    edit(directory / "sentence_bert_config.json", max_seq_length=6)
    prompts = {"query": "", "document": "", kind: "the cat sat "}
    edit(directory / "config_sentence_transformers.json", prompts=prompts)
    assert Encoder.load(directory).encode(["dog"]).shape == (1, 32)  # one token of 6 is left
    edit(directory / "config_sentence_transformers.json", prompts=prompts | {kind: "the " * 30})
    with pytest.raises(
        EncoderError, match=r"^the prompt 'the the .*\.\.\.' fills the window of 6 "
    ):
        Encoder.load(directory)


# Padding.


@pytest.mark.parametrize("pad", [-1, None, "x", True])
def test_what_is_no_token_never_pads(directory, pad):
    edit(directory / "config.json", pad_token_id=pad)
    assert read_layout(directory).pad_id == 0


def test_an_encoder_without_a_padding_token_is_exported_and_gives_the_same(directory):
    expected = Encoder.load(directory).encode(["cat", "my card was swallowed"])
    edit(directory / "config.json", pad_token_id=-1)
    changed = Encoder.load(directory)
    assert changed.runtime == "onnx"
    np.testing.assert_allclose(
        changed.encode(["cat", "my card was swallowed"]), expected, atol=1e-5
    )


# Vectors.


def test_a_vector_that_is_next_to_nothing_is_refused_as_a_zero_one_is(directory):
    from safetensors.torch import load_file, save_file

    tensors = load_file(directory / "model.safetensors")
    tensors["encoder.layer.1.output.LayerNorm.weight"] *= 1e-20
    tensors["encoder.layer.1.output.LayerNorm.bias"] *= 0
    modules = json.loads((directory / "modules.json").read_text())
    (directory / "modules.json").write_text(json.dumps(modules[:2]))  # it is scaled once
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    encoder = Encoder.load(directory, runtime="torch")
    for encode in (encoder.encode, encoder.encode_queries, encoder.read_documents):
        with pytest.raises(UnencodableText, match=r"for text 0$"):
            encode(["my card"])


# The parity gate.


def write_bytes_model(path, alphabet):
    """Write a GPT-2 whose tokenizer has no token but the letters of `alphabet`, and none for the
    unknown."""
    from tokenizers import Tokenizer, models
    from transformers import GPT2Config, GPT2Model

    letters = {letter: number for number, letter in enumerate(alphabet)}
    path.mkdir()
    Tokenizer(models.BPE(letters, [])).save(str(path / "tokenizer.json"))
    config = GPT2Config(
        vocab_size=len(letters),
        n_positions=48,
        n_embd=32,
        n_layer=1,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    GPT2Model(config).save_pretrained(path)
    return path


def test_texts_without_a_token_are_left_out_of_the_gate(tmp_path):
    import string

    encoder = Encoder.load(write_bytes_model(tmp_path / "model", string.ascii_letters))
    assert encoder.runtime == "onnx"
    description = json.loads((encoder.export_directory() / "encoder.json").read_text())
    assert 100 < description["parity"]["texts"] < 201


def test_a_gate_that_could_compare_few_texts_is_not_passed(tmp_path, caplog):
    encoder = Encoder.load(write_bytes_model(tmp_path / "model", "★☆♠♣♥♦♪♫"))
    assert encoder.runtime == "torch"
    assert "the tokenizer has tokens for 0 of 200 texts: too few to compare" in caplog.text


@pytest.mark.parametrize("window", [9, 64, 200])
def test_the_gate_compares_texts_of_one_token_and_of_the_whole_window(
    tmp_path, monkeypatch, window
):
    model = write_tiny_encoder(tmp_path / "model", window=window)
    edit(model / "config.json", max_position_embeddings=1000)
    chunks = export_module._parity_chunks(read_layout(model))
    lengths = [len(row) for chunk in chunks for row in chunk]
    assert (len(lengths), min(lengths), max(lengths), lengths[-1]) == (201, 3, window, window)
    monkeypatch.setattr(export_module, "_LONGEST_COMPARED", 150)
    assert len(export_module._parity_chunks(read_layout(model))[-1][0]) == min(window, 150)


# A decoder.


def test_a_family_with_a_decoder_is_refused_where_the_description_does_not_say_so(tmp_path):
    from conftest import write_tokenizer
    from transformers import BartConfig, BartModel

    model = tmp_path / "model"
    model.mkdir()
    write_tokenizer(model)
    config = BartConfig(
        vocab_size=len(set(WORDS)) + 5,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        decoder_start_token_id=3,
    )
    BartModel(config).save_pretrained(model)
    content = json.loads((model / "config.json").read_text())
    content.pop("is_encoder_decoder", None)
    (model / "config.json").write_text(json.dumps(content))
    for runtime in ("torch", "onnx"):
        with pytest.raises(EncoderError, match="'bart' has an encoder and a decoder"):
            Encoder.load(model, runtime=runtime)


# What may be asked.


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir):
    return Encoder.load(tiny_encoder_dir)


LISTS = ["encode", "encode_queries", "encode_tokens", "hidden_states", "read_documents"]


@pytest.mark.parametrize("method", [*LISTS, "read_layers"])
def test_a_generator_is_shown_the_way_to_the_stream(encoder, method):
    with pytest.raises(InvalidInput, match=r"list of texts, got a generator \(`encode_stream`"):
        getattr(encoder, method)(text for text in ["cat", "dog"])


@pytest.mark.parametrize("texts", [None, 5, b"cat", {"cat": 1}], ids=lambda value: type(value))
@pytest.mark.parametrize("method", [*LISTS, "encode_stream"])
def test_what_holds_no_texts_is_refused_by_its_type(encoder, method, texts):
    with pytest.raises(InvalidInput, match=f"several texts, got a {type(texts).__name__}"):
        getattr(encoder, method)(texts)


def test_an_array_and_a_tuple_of_texts_are_texts(encoder):
    expected = encoder.encode(["cat", "dog", "cat"])
    np.testing.assert_array_equal(encoder.encode(np.array(["cat", "dog", "cat"])), expected)
    np.testing.assert_array_equal(encoder.encode(("cat", "dog", "cat")), expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": 0}, r"no device 0 \(there are: cpu, cuda"),
        ({"max_length": "20"}, r"max_length must be 3\.\.32, .* got '20'"),
        ({"max_length": 20.5}, r"got 20\.5"),
        ({"max_length": True}, "got True"),
        ({"precision": 8}, "no precision 8"),
        ({"runtime": 8}, "no runtime 8"),
    ],
    ids=str,
)
def test_a_setting_of_a_wrong_type_is_refused(tiny_encoder_dir, settings, message):
    with pytest.raises(InvalidInput, match=message):
        Encoder.load(tiny_encoder_dir, **settings)


@pytest.mark.parametrize("name", [5, b"model", ["a"]])
def test_a_name_that_is_no_name_is_refused(name):
    with pytest.raises(InvalidInput, match=f"hub name, got a {type(name).__name__}$"):
        Encoder.load(name)


def test_an_empty_name_is_not_the_current_folder(tiny_encoder_dir, monkeypatch):
    monkeypatch.chdir(tiny_encoder_dir)
    with pytest.raises(InvalidInput, match="the name of the encoder is empty"):
        Encoder.load("")
    with pytest.raises(InvalidInput, match="the name of the encoder is empty"):
        EncoderPool("", devices=["cpu"])
    assert Encoder.load(".").dim == 32


# What is said.


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"num_hidden_layers": 5}),
        ("tokenizer.json", {"model": {"type": "WordPiece"}}),
        ("sentence_bert_config.json", {"max_seq_length": 1}),
    ],
)
def test_a_model_that_torch_cannot_run_either_is_refused_without_a_warning(
    directory, caplog, file, changes
):
    edit(directory / file, **changes)
    with pytest.raises(EncoderError):
        Encoder.load(directory)
    assert "torch is used instead" not in caplog.text


@pytest.mark.parametrize(
    ("changes", "tensor", "shapes"),
    [
        ({"vocab_size": 10}, r"embeddings\.word_embeddings\.weight", r"\(\d+, 32\), .* \(10, 32\)"),
        ({"max_position_embeddings": 99}, r"embeddings\.pos.*", r"\(64, 32\), expected \(99, 32\)"),
    ],
    ids=str,
)
def test_a_tensor_of_another_shape_is_named_with_both(directory, changes, tensor, shapes):
    edit(directory / "config.json", **changes)
    with pytest.raises(EncoderError, match=f"tensor '{tensor}' has shape {shapes} by config.json"):
        Encoder.load(directory, runtime="torch")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "the modules are none, expected Transformer"),
        ('["x"]', "a module is an object with type and path, got 'x'"),
    ],
)
def test_an_odd_list_of_modules_is_told_as_what_it_is(directory, content, message):
    (directory / "modules.json").write_text(content)
    with pytest.raises(EncoderError, match=message):
        read_layout(directory)


def test_a_module_without_its_settings_is_named(directory):
    (directory / "1_Pooling" / "config.json").unlink()
    with pytest.raises(EncoderError, match=r"1_Pooling/config\.json is missing: modules\.json na"):
        read_layout(directory)


def test_weights_in_files_of_any_name_that_the_list_of_them_has(directory, tiny_encoder_dir):
    from safetensors.torch import load_file, save_file

    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {"first.safetensors": names[::2], "second-part.safetensors": names[1::2]}
    for file, held in files.items():
        part = {name: tensors[name] for name in held}
        save_file(part, directory / file, metadata={"format": "pt"})
    weight_map = {name: file for file, held in files.items() for name in held}
    listing = directory / "model.safetensors.index.json"
    listing.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    found = Encoder.load(directory, runtime="torch")
    expected = Encoder.load(tiny_encoder_dir, runtime="torch")
    np.testing.assert_array_equal(found.encode(["my card"]), expected.encode(["my card"]))
    (directory / "second-part.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"second-part\.safetensors is missing, named by model"):
        read_layout(directory)


@pytest.mark.parametrize("name", ["../encoder/model.safetensors", "model.bin", "a/b.safetensors"])
def test_a_list_of_weights_names_only_safetensors_files_beside_it(directory, name):
    (directory / "model.safetensors").rename(directory / "part.safetensors")
    listing = directory / "model.safetensors.index.json"
    listing.write_text(json.dumps({"weight_map": {"a": "part.safetensors", "b": name}}))
    with pytest.raises(EncoderError, match="is no safetensors file beside it"):
        read_layout(directory)


def test_a_cache_that_cannot_be_written_is_told_with_its_setting(tmp_path, monkeypatch, caplog):
    model = write_tiny_encoder(tmp_path / "model", seed=11)  # one that has no export yet
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SIMSEARCH_CACHE", str(tmp_path / "file"))
    assert Encoder.load(model).runtime == "torch"
    assert "(SIMSEARCH_CACHE=FOLDER names another place for the cache)" in caplog.text


def test_a_device_that_is_not_there_is_an_error_with_a_next_step(tiny_encoder_dir):
    with pytest.raises(EncoderError, match=r"'cuda' cannot be used: .* \(name another, or none"):
        Encoder.load(tiny_encoder_dir, device="cuda")
