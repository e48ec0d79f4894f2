"""Texts that get no embedding, whatever asks for it."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
from conftest import without_accents, write_tiny_encoder

from simsearch import Document, SearchIndex
from simsearch.encoder import Encoder, UnencodableText, UnreadableText
from simsearch.encoder.tokenization import TextTokenizer
from simsearch.errors import EncoderError, InvalidData, InvalidInput
from simsearch.search_index import check_index

ACCENT = "\u0301"  # alone: some tokenizers leave it out, and then nothing is left


@pytest.fixture(scope="module")
def accentless(tmp_path_factory):
    """An encoder whose tokenizer leaves out combining accents."""
    return Encoder.load(
        without_accents(write_tiny_encoder(tmp_path_factory.mktemp("models") / "accentless"))
    )


@pytest.fixture(scope="module")
def rectified_dir(tiny_encoder_dir, tmp_path_factory):
    """An encoder of dim 8, of which the first 2 components are 0 in every embedding."""
    from safetensors.torch import save_file
    from torch import full, ones

    model = tmp_path_factory.mktemp("models") / "rectified"
    shutil.copytree(tiny_encoder_dir, model)
    modules = json.loads((model / "modules.json").read_text())
    modules[2] = {
        "idx": 2,
        "name": "2",
        "path": "2_Dense",
        "type": "sentence_transformers.models.Dense",
    }
    (model / "modules.json").write_text(json.dumps(modules))
    (model / "2_Dense").mkdir()
    settings = {
        "in_features": 32,
        "out_features": 8,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.ReLU",
    }
    (model / "2_Dense" / "config.json").write_text(json.dumps(settings))
    bias = ones(8)
    bias[:2] = -100
    tensors = {"linear.weight": full((8, 32), 0.1), "linear.bias": bias}
    save_file(tensors, model / "2_Dense" / "model.safetensors")
    return model


WAYS = ["encode", "encode_queries", "encode_tokens", "hidden_states", "read_queries"]


@pytest.mark.parametrize("way", [*WAYS, "encode_documents", "read_documents"])
def test_a_text_of_which_the_tokenizer_leaves_nothing_is_refused_by_its_position(accentless, way):
    with pytest.raises(UnreadableText, match=r"^text 2 holds nothing that the encoder reads$") as e:
        getattr(accentless, way)(["cat", "dog", ACCENT * 3])
    assert (e.value.position, e.value.exit_code) == (2, 3)


def test_a_stream_and_the_layers_refuse_it_beyond_the_first_thousands_too(accentless):
    texts = ["cat"] * 4500 + [ACCENT]
    with pytest.raises(UnreadableText, match=r"^text 4500 holds nothing"):
        list(accentless.encode_stream(texts))
    with pytest.raises(UnreadableText, match=r"^text 4500 holds nothing"):
        list(accentless.read_layers(texts))


@pytest.mark.parametrize("prompt", ["find : ", "my card : "])
def test_behind_a_prompt_it_is_refused_as_well(tmp_path, prompt):
    model = without_accents(write_tiny_encoder(tmp_path / "model"))
    settings = {"prompts": {"query": prompt, "document": prompt}}
    (model / "config_sentence_transformers.json").write_text(json.dumps(settings))
    encoder = Encoder.load(model)
    assert encoder.encode(["cat", "."]).shape == (2, 32)
    with pytest.raises(UnreadableText, match=r"^text 1 holds nothing"):
        encoder.encode_queries(["cat", ACCENT])
    with pytest.raises(UnreadableText, match=r"^text 0 holds nothing"):
        encoder.encode([ACCENT])


def test_what_sentencepiece_writes_for_a_space_is_nothing_to_read(tmp_path):
    model = without_accents(write_tiny_encoder(tmp_path / "model"))
    path = model / "tokenizer.json"
    content = json.loads(path.read_text())
    space = {"replacement": "\u2581", "prepend_scheme": "always", "split": True}
    content["pre_tokenizer"] = {"type": "Metaspace", **space}
    content["normalizer"] = {"type": "Replace", "pattern": {"String": ACCENT}, "content": " "}
    vocabulary = content["model"]["vocab"]
    vocabulary["\u2581"] = vocabulary.pop("cat")
    path.write_text(json.dumps(content))
    with pytest.raises(UnreadableText, match="text 0"):
        Encoder.load(model).encode([ACCENT])


def test_an_encoder_says_whether_it_reads_anything_in_a_text(accentless):
    found = [accentless.reads(text) for text in ("cat", "zzz", "🙂", ".", ACCENT, "")]
    assert found == [True, True, True, True, False, False]


INVISIBLE = ["\u200b", "\u200d\ufe0f", "\u200c \u00ad", "\u2060\n", "\x01\x02"]


@pytest.mark.parametrize("text", INVISIBLE, ids=ascii)
def test_a_text_without_a_visible_character_is_empty_to_every_encoder(accentless, text):
    with pytest.raises(InvalidData, match=r"^text 1 is empty$"):
        accentless.encode(["cat", text])


@pytest.mark.parametrize("way", [*WAYS, "encode_stream", "read_documents", "read_layers"])
def test_a_nul_is_refused_by_its_place(accentless, way):
    with pytest.raises(InvalidData, match=r"^text 1 has the NUL character U\+0000 at position 2$"):
        list(getattr(accentless, way)(["cat", "my\0card"]))


def test_a_query_of_which_nothing_is_left_is_refused_like_an_empty_one(accentless, tmp_path):
    with SearchIndex.create(tmp_path / "ix", encoder=accentless) as index:
        index.add([Document(id="a", text="my card")])
        with pytest.raises(InvalidInput, match=r"^query holds nothing that the encoder reads$"):
            index.search(ACCENT)
        with pytest.raises(InvalidInput, match=r"^query 1 holds nothing that the encoder reads$"):
            index.search_many(["cat", ACCENT])
        with pytest.raises(InvalidInput, match=r"^query is empty$"):
            index.search("\u200b")


def test_a_document_of_which_nothing_is_left_is_named_and_nothing_is_added(accentless, tmp_path):
    with SearchIndex.create(tmp_path / "ix", encoder=accentless) as index:
        with pytest.raises(
            InvalidData, match=r"^document 'b' holds nothing that the encoder reads"
        ):
            index.add([Document(id="a", text="my card"), Document(id="b", text=ACCENT)])
        assert index.count() == 0


def test_embeddings_that_are_zero_when_cut_are_refused_by_their_text(rectified_dir, tmp_path):
    encoder = Encoder.load(rectified_dir)
    assert np.abs(encoder.encode(["my card"])[0, :2]).max() == 0
    with SearchIndex.create(tmp_path / "ix", encoder=encoder, dim=2) as index:
        message = r"^document 'a': .* first 2 components are 0: take a larger dim\)$"
        with pytest.raises(EncoderError, match=message):
            index.add([Document(id="a", text="my card")])
        index.add(
            [Document(id="b", text="the cat")], embeddings=np.array([[1, 0]], dtype=np.float32)
        )
        with pytest.raises(UnencodableText, match=r"for text 0 \(all of its first 2 comp"):
            index.search("my card")


@pytest.mark.parametrize(
    "error", [UnreadableText(7), UnencodableText(7), UnencodableText(7, dim=2)]
)
def test_an_error_crosses_between_processes_with_its_position(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.position, str(again)) == (type(error), 7, str(error))
    assert str(again.at(8)) == str(error).replace("text 7", "text 8")


def test_an_index_that_holds_such_a_text_from_before_can_be_checked(
    accentless, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(TextTokenizer, "reads", lambda self, text: True)
        with SearchIndex.create(tmp_path / "ix", encoder=accentless) as index:
            index.add([Document(id="a", text="my card"), Document(id="b", text=ACCENT)])
    assert check_index(tmp_path / "ix").findings == ()
