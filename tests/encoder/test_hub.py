"""What is taken from the hub's cache, offline. tests/catalogue/test_models.py has the downloads.

A cache is laid out here by hand, as the hub's client and other tools leave it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator

import httpx2
import numpy as np
import pytest
from conftest import write_tiny_encoder

from simsearch.encoder import Encoder, ModelMoved, hub, pull_encoder
from simsearch.encoder.hub import is_hub_name
from simsearch.errors import EncoderError, InvalidInput
from simsearch.records import Document
from simsearch.search_index import SearchIndex

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


# An index of an encoder that cannot be exported names the model. It may be anybody's.


@pytest.fixture
def pointing(storage, tmp_path, monkeypatch):
    """An index that names the model of the cache."""
    from simsearch.encoder import export

    monkeypatch.setenv("SIMSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(export, "PARITY_COSINE", 1.1)
    with SearchIndex.create(tmp_path / "index", encoder=Encoder.load(NAME)) as index:
        index.add([Document(text, text) for text in TEXTS])
    content = json.loads((tmp_path / "index" / "encoder" / "encoder.json").read_text())
    assert content["model"] == NAME
    return tmp_path / "index"


@pytest.fixture
def downloads(monkeypatch):
    """The downloads that were begun; none succeeds."""
    begun = []

    def begin(name, *, asked):
        begun.append(name)
        raise EncoderError("a download was begun")

    monkeypatch.setattr(hub, "_download", begin)
    return begun


def test_an_index_answers_by_the_model_in_the_cache(pointing, downloads, tiny_encoder_dir):
    with SearchIndex.open(pointing) as index:
        found = {hit.id: hit.score for hit in index.search("the cat", k=2)}
    vectors = Encoder.load(tiny_encoder_dir).encode(["the cat", *TEXTS])
    expected = dict(zip(TEXTS, vectors[1:] @ vectors[0], strict=True))
    assert found == pytest.approx(expected, abs=1e-5)
    assert downloads == []


def test_opening_an_index_fetches_no_model_and_says_how_to(pointing, downloads, cache):
    shutil.rmtree(cache)
    with pytest.raises(ModelMoved) as caught, SearchIndex.open(pointing) as index:
        index.search("the cat")
    assert str(caught.value) == (
        "acme/tiny runs only from its full model: acme/tiny is neither a directory nor a model in "
        "the hub's cache, and is not fetched unasked (run `simsearch model pull acme/tiny`)"
    )
    assert downloads == []


def test_another_version_in_the_cache_is_not_the_model_of_the_index(pointing, storage, tmp_path):
    other = write_tiny_encoder(tmp_path / "other", seed=1)
    weights = storage / "snapshots" / COMMIT / "model.safetensors"
    weights.unlink()
    content = (other / "model.safetensors").read_bytes()
    put(storage, "model.safetensors", content, hashlib.sha256(content).hexdigest())
    with pytest.raises(ModelMoved, match="acme/tiny is not the model any more that acme/tiny was"):
        Encoder.load(pointing / "encoder")


def test_a_damaged_model_in_the_cache_is_not_that_of_the_index(pointing, storage):
    weights = (storage / "snapshots" / COMMIT / "model.safetensors").resolve()
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(
        ModelMoved, match=r"runs only from its full model: .*safetensors is damaged"
    ):
        Encoder.load(pointing / "encoder")


# A hub that answers the first requests and then says nothing more.

INFO, LISTING = f"/api/models/{NAME}/revision/main", f"/api/models/{NAME}/tree/{COMMIT}"
CONFIG = f"/{NAME}/resolve/{COMMIT}/config.json"
CONFIG_SIZE = 100


class StallingHub:
    """Answers with these, in turn for each path; for what has no answer left it lets time run out.

    `limits` are the seconds that each request would have waited, by its phases.
    """

    def __init__(self, answers: dict[str, list[bytes]]) -> None:
        self.answers = {path: list(contents) for path, contents in answers.items()}
        self.limits: list[dict[str, float | None]] = []

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.limits.append(request.extensions["timeout"])
        waiting = self.answers.get(request.url.path, [])
        if not waiting:
            raise self.silence
        content = waiting.pop(0)
        length = CONFIG_SIZE if request.url.path == CONFIG else len(content)
        headers = {"X-Repo-Commit": COMMIT, "ETag": '"abc"', "Content-Length": str(length)}
        sent = {"HEAD": b"", "GET": self._body(content, length)}[request.method]
        return httpx2.Response(200, headers=headers, content=sent)

    def _body(self, content: bytes, length: int) -> Iterator[bytes]:
        yield content
        if len(content) < length:
            raise self.silence

    @property
    def silence(self) -> Exception:
        return httpx2.ReadTimeout("timed out")


class Awake:
    """The module `time`, but that nobody sleeps between two attempts."""

    sleep = staticmethod(lambda seconds: None)

    def __getattr__(self, name):
        return getattr(time, name)


@pytest.fixture
def stalling(cache, monkeypatch):
    """Return a function that puts a hub with these answers in the place of the network.

    The client's limit for files is 3 s.
    """
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http

    def start(answers):
        hub = StallingHub(answers)
        monkeypatch.setattr(httpx2.HTTPTransport, "handle_request", hub.answer)
        return hub

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 3.0)
    for module in (_http, file_download):
        monkeypatch.setattr(module, "time", Awake())
    return start


ABOUT = json.dumps(
    {"id": NAME, "modelId": NAME, "sha": COMMIT, "private": False, "tags": [], "siblings": []}
).encode()
TREE = json.dumps(
    [{"type": "file", "path": "config.json", "size": CONFIG_SIZE, "oid": "abc"}]
).encode()


@pytest.mark.parametrize(
    "answers",
    [
        {INFO: [ABOUT]},
        {INFO: [ABOUT, ABOUT]},
        {INFO: [ABOUT, ABOUT], LISTING: [TREE], CONFIG: [b"head", b"half"]},
    ],
    ids=["before the listing", "in the listing", "in a file"],
)
def test_a_hub_that_stops_answering_is_not_waited_for(stalling, answers):
    hub = stalling(answers)
    with pytest.raises(EncoderError, match=r"the hub did not give it .*timed out") as caught:
        Encoder.load(NAME)
    assert "\n" not in str(caught.value)
    assert not any(hub.answers.values())
    limits = [limit for request in hub.limits for limit in request.values()]
    assert None not in limits
    assert max(limits) <= 3
    assert len(hub.limits) <= 10  # the client asks again, but not without end


@pytest.mark.parametrize(("ask", "seconds"), [(Encoder.load, 1.5), (pull_encoder, 10.0)])
def test_a_silent_hub_is_asked_once_and_told_of_within_two_seconds_unless_by_pull(
    stalling, ask, seconds
):
    hub = stalling({})
    with pytest.raises(EncoderError, match="timed out"):
        ask(NAME)
    (limits,) = hub.limits
    assert set(limits.values()) == {seconds}


def test_the_limit_on_the_hubs_client_ends_with_the_download(stalling):
    from huggingface_hub import get_session

    before = list(get_session().event_hooks["request"])
    stalling({INFO: [ABOUT]})
    with pytest.raises(EncoderError, match=r"the hub did not give acme/tiny: .*timed out"):
        pull_encoder(NAME)
    assert get_session().event_hooks["request"] == before


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
