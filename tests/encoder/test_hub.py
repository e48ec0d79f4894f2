"""What is taken from the hub's cache, offline. tests/catalogue/test_models.py has the downloads.

A cache is laid out here by hand, as the hub's client and other tools leave it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import numpy as np
import pytest
from conftest import write_tiny_encoder

from simsearch.encoder import Encoder, pull_encoder
from simsearch.encoder.hub import is_hub_name
from simsearch.errors import EncoderError, InvalidInput

NAME = "acme/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEXTS = ["my card", "the cat sat on the mat"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The hub's cache of this test, empty."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def storage(cache, tiny_encoder_dir):
    """The cache's folder of a model that was fetched whole, with the hub's list of its files."""
    folder = cache / "models--acme--tiny"
    listing = {}
    for source in sorted(path for path in tiny_encoder_dir.rglob("*") if path.is_file()):
        name = source.relative_to(tiny_encoder_dir).as_posix()
        content = source.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        put(folder, name, content, digest if name.endswith(".safetensors") else digest[:40])
        listing[name] = {"size": len(content), "blob_id": digest[:40]}
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "trees").mkdir()
    tree = {"format_version": 1, "files": listing}
    (folder / "trees" / f"{COMMIT}.json").write_text(json.dumps(tree))
    return folder


def put(folder, name, content, blob_name):
    """Put a file into the cache's folder of a model, as the client does."""
    blob, link = folder / "blobs" / blob_name, folder / "snapshots" / COMMIT / name
    blob.parent.mkdir(parents=True, exist_ok=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link.symlink_to(os.path.relpath(blob, link.parent))


def without_a_list(storage):
    """Make the cache one that another tool filled, a file at a time."""
    shutil.rmtree(storage / "trees")
    return storage / "snapshots" / COMMIT


def refused(name=NAME):
    with pytest.raises(EncoderError, match="neither a directory nor a model in the hub's cache"):
        Encoder.load(name)
    return True


def test_a_model_in_the_cache_is_the_encoder_of_its_files(storage, tiny_encoder_dir):
    encoder, expected = Encoder.load(NAME), Encoder.load(tiny_encoder_dir)
    assert (encoder.name, encoder.fingerprint) == (NAME, expected.fingerprint)
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected.encode(TEXTS))


@pytest.mark.parametrize("name", ["tokenizer_config.json", "sentence_bert_config.json"])
def test_a_snapshot_without_a_file_of_the_hubs_list_is_not_the_model(storage, name):
    # The rest could be loaded, with another window.
    (storage / "snapshots" / COMMIT / name).unlink()
    assert refused()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "1_Pooling/config.json"])
def test_a_snapshot_without_a_file_that_it_needs_is_not_the_model(storage, name):
    (without_a_list(storage) / name).unlink()
    assert refused()


@pytest.mark.parametrize("name", ["model.safetensors", "sentence_bert_config.json"])
def test_a_snapshot_with_a_link_to_nothing_is_not_the_model(storage, name):
    (without_a_list(storage) / name).resolve().unlink()
    assert refused()


def test_what_other_tools_fetch_and_delete_beside_the_model_does_not_matter(storage):
    put(storage, "pytorch_model.bin", b"a pickle", "f" * 40)
    (storage / "blobs" / ("f" * 40)).unlink()
    without_a_list(storage)
    assert Encoder.load(NAME).dim == 32


def test_a_snapshot_that_sentence_transformers_fetched_is_taken(storage, tiny_encoder_dir):
    without_a_list(storage)
    assert Encoder.load(NAME).fingerprint == Encoder.load(tiny_encoder_dir).fingerprint


def test_a_part_that_transformers_fetched_is_not_taken_for_a_model_with_mean_pooling(storage):
    """AutoModel.from_pretrained leaves a model directory without its pooling and prompts."""
    snapshot = without_a_list(storage)
    for name in ("modules.json", "sentence_bert_config.json", "1_Pooling/config.json"):
        (snapshot / name).unlink()
    assert refused()


def test_a_plain_transformer_is_taken_where_the_hub_is_known_to_have_no_modules(
    storage, tiny_encoder_dir, tmp_path
):
    snapshot = without_a_list(storage)
    for name in ("modules.json", "sentence_bert_config.json", "1_Pooling/config.json"):
        (snapshot / name).unlink()
    absent = storage / ".no_exist" / COMMIT / "modules.json"
    absent.parent.mkdir(parents=True)
    absent.touch()
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_encoder_dir / name, plain)
    assert Encoder.load(NAME).fingerprint == Encoder.load(plain).fingerprint


def share(storage, name):
    """Move a blob to where the client keeps what repositories share, under the hash of xet."""
    blob = (storage / "snapshots" / COMMIT / name).resolve()
    shared = storage.parent / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(os.path.relpath(shared, blob.parent))
    return shared


def test_weights_that_the_client_shares_between_models_are_what_their_sha256_says(storage):
    shared = share(storage, "model.safetensors")
    assert Encoder.load(NAME).dim == 32
    data = bytearray(shared.read_bytes())
    data[-1] ^= 1
    shared.write_bytes(bytes(data))
    with pytest.raises(EncoderError, match=f"safetensors is damaged: .* \\(delete {shared}, and"):
        Encoder.load(NAME)


def test_any_large_file_is_compared_with_its_sha256(storage):
    """The hub keeps large tokenizers in the same way as weights."""
    tokenizer = storage / "snapshots" / COMMIT / "tokenizer.json"
    content = tokenizer.read_bytes()
    tokenizer.unlink()
    put(storage, "tokenizer.json", content, hashlib.sha256(content).hexdigest())
    assert Encoder.load(NAME).dim == 32
    tokenizer.resolve().write_bytes(content.replace(b"cat", b"dog", 1))
    with pytest.raises(EncoderError, match=r"tokenizer\.json is damaged"):
        Encoder.load(NAME)


def test_a_model_that_is_refused_is_not_looked_for_again(storage):
    config = storage / "snapshots" / COMMIT / "config.json"
    content = json.loads(config.read_text()) | {"auto_map": {"AutoModel": "evil.Model"}}
    config.resolve().write_text(json.dumps(content))
    with pytest.raises(EncoderError, match="auto_map"):
        Encoder.load(NAME)


def test_a_directory_comes_before_a_hub_name(storage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = write_tiny_encoder(tmp_path / "acme" / "tiny", seed=1)
    assert Encoder.load(NAME).fingerprint == Encoder.load(other).fingerprint


def test_nothing_is_written_into_the_hubs_cache(storage, cache):
    before = sorted(cache.rglob("*"))
    Encoder.load(NAME).encode(TEXTS)
    assert sorted(cache.rglob("*")) == before


@pytest.mark.parametrize("name", ["bert-base-uncased", "BAAI/bge-small-zh-v1.5", "a/b_c", "gpt2"])
def test_a_name_with_or_without_an_owner_may_be_one_of_the_hub(name):
    assert is_hub_name(name)


@pytest.mark.parametrize(
    "name", ["", "a/b/c", "../model", "./model", "/abs", "a b", "owner/", "/name", "a/../b", "a\n"]
)
def test_a_path_is_no_hub_name(name):
    assert not is_hub_name(name)
    with pytest.raises(InvalidInput, match="is no hub name"):
        pull_encoder(name)


def test_a_directory_that_is_here_is_not_pulled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "acme").mkdir()
    with pytest.raises(InvalidInput, match=r"is no hub name .*, or is a directory here"):
        pull_encoder("acme")
