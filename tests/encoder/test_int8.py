"""The int8 form of an encoder: another encoder, which is only had where it was measured."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from conftest import WORDS, write_tiny_encoder

from simsearch.encoder import Encoder, Precision
from simsearch.encoder.int8 import find_int8, int8_directory, note_gate, write_int8
from simsearch.errors import EncoderError, EncoderMismatch
from simsearch.records import Document
from simsearch.search_index import SearchIndex

TEXTS = ["my card", "the cat sat on the mat", "where is my parcel"]
GATE = {"metric": "ndcg@10", "fp32": 0.5, "int8": 0.499, "measured_on": "100 texts"}


def quantise(encoder, *, gate=GATE):
    """Make the int8 form of an encoder, as if it had been measured."""
    export = encoder.export_directory()
    directory = int8_directory(export)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    write_int8(export, directory)
    note_gate(directory, gate)
    return directory


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model directory of ours with its int8 form, which no test may write to."""
    folder = tmp_path_factory.mktemp("models")
    Encoder.load(write_tiny_encoder(folder / "foreign", seed=3)).save(folder / "ours")
    quantise(Encoder.load(folder / "ours"))
    return folder / "ours"


@pytest.fixture
def own_model(model, tmp_path):
    return shutil.copytree(model, tmp_path / "model")


@pytest.fixture(scope="module")
def fp32(model):
    return Encoder.load(model)


@pytest.fixture(scope="module")
def int8(model):
    return Encoder.load(model, precision="int8")


def refuses_int8(model):
    with pytest.raises(EncoderError) as caught:
        Encoder.load(model, precision="int8")
    assert str(caught.value) == (
        f"there is no int8 of {model}: it was not measured yet, or did not rank as well as fp32 "
        f"(`simsearch model export {model} --precision int8 --eval DATA` measures it, and makes it "
        "if it does)"
    )
    return True


def test_int8_is_refused_before_it_was_measured_and_the_command_is_named(own_model):
    shutil.rmtree(own_model / "onnx-int8")
    assert refuses_int8(own_model)


def test_int8_that_was_made_and_not_measured_is_refused(own_model):
    description = own_model / "onnx-int8" / "encoder.json"
    content = json.loads(description.read_text())
    del content["gate"]
    description.write_text(json.dumps(content))
    assert refuses_int8(own_model)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"gate": {"int8": 1}}'])
def test_int8_without_a_readable_description_was_not_measured(own_model, content):
    (own_model / "onnx-int8" / "encoder.json").write_text(content)
    assert refuses_int8(own_model)


def test_int8_of_other_weights_is_refused(own_model, tmp_path):
    other = write_tiny_encoder(tmp_path / "other", seed=4)
    shutil.copy(other / "model.safetensors", own_model / "model.safetensors")
    assert refuses_int8(own_model)


def test_the_int8_form_lies_beside_the_export(model, fp32, private_cache, tmp_path):
    assert find_int8(fp32.export_directory(), name="x") == model / "onnx-int8"
    foreign = Encoder.load(write_tiny_encoder(tmp_path / "foreign", seed=3))
    in_cache = private_cache / "encoders" / f"{foreign.fingerprint}-int8"
    assert int8_directory(foreign.export_directory()) == in_cache


def test_int8_is_another_encoder_of_nearly_the_same_embeddings(fp32, int8):
    assert int8.fingerprint != fp32.fingerprint
    assert (int8.precision, fp32.precision) == (Precision.INT8, Precision.FP32)
    assert (int8.dim, int8.max_length, int8.runtime) == (32, 32, "onnx")
    texts = [" ".join(WORDS[start : start + 6]) for start in range(0, len(WORDS) - 6, 3)]
    cosines = (fp32.encode(texts) * int8.encode(texts)).sum(axis=1)
    assert cosines.min() > 0.99
    assert np.abs(fp32.encode(texts) - int8.encode(texts)).max() > 1e-6


def test_the_products_of_the_int8_form_are_of_integers(model):
    import onnx

    def operations(folder):
        graph = onnx.load(str(model / folder / "encoder.onnx")).graph
        return [node.op_type for node in graph.node]

    assert "MatMulInteger" not in operations("onnx")
    # Of each of two layers: query, key, value and output of attention, and the two maps after it.
    assert operations("onnx-int8").count("MatMulInteger") >= 12
    sizes = [(model / folder / "encoder.onnx").stat().st_size for folder in ("onnx", "onnx-int8")]
    assert sizes[1] < sizes[0]


def test_making_it_again_gives_the_same_encoder(own_model):
    before = Encoder.load(own_model, precision="int8").fingerprint
    quantise(Encoder.load(own_model))
    assert Encoder.load(own_model, precision="int8").fingerprint == before


def test_what_it_was_measured_to_be_worth_is_kept_with_it(model):
    content = json.loads((model / "onnx-int8" / "encoder.json").read_text())
    assert content["gate"] == GATE
    assert content["float32_fingerprint"] == Encoder.load(model).fingerprint


def test_queries_and_documents_are_both_encoded_in_int8(int8):
    np.testing.assert_array_equal(int8.encode_queries(TEXTS), int8.encode_documents(TEXTS))


def test_a_damaged_int8_graph_is_refused(own_model):
    graph = own_model / "onnx-int8" / "encoder.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(bytes(data))
    with pytest.raises(EncoderError, match=r"onnx-int8/encoder\.onnx is damaged"):
        Encoder.load(own_model, precision="int8")


@pytest.mark.parametrize("settings", [{"runtime": "torch"}, {"max_length": 16}])
def test_int8_is_had_only_of_the_whole_export(model, settings):
    with pytest.raises(EncoderError, match="needs its export, with its own window"):
        Encoder.load(model, precision="int8", **settings)


@pytest.fixture(scope="module")
def index_of(fp32, int8, tmp_path_factory):
    """The index that each of the two has built."""

    def build(encoder, name):
        path = tmp_path_factory.mktemp("indexes") / name
        with SearchIndex.create(path, encoder=encoder) as index:
            index.add([Document(f"{number}", text) for number, text in enumerate(TEXTS)])
        return path

    return {"fp32": build(fp32, "fp32"), "int8": build(int8, "int8")}


@pytest.mark.parametrize("builder", ["fp32", "int8"])
def test_an_index_of_either_refuses_the_other(index_of, fp32, int8, builder):
    own, other = {"fp32": (fp32, int8), "int8": (int8, fp32)}[builder]
    with SearchIndex.open(index_of[builder], encoder=own) as index:
        assert index.search(TEXTS[1], k=1)[0].id == "1"
    with pytest.raises(EncoderMismatch, match="was built with encoder") as caught:
        SearchIndex.open(index_of[builder], encoder=other).search(TEXTS[1])
    assert caught.value.exit_code == 8
    assert own.fingerprint[:12] in str(caught.value)
    assert other.fingerprint[:12] in str(caught.value)


def test_an_index_of_int8_answers_by_itself_in_int8(own_model, tmp_path):
    int8 = Encoder.load(own_model, precision="int8")
    with SearchIndex.create(tmp_path / "index", encoder=int8) as index:
        index.add([Document(f"{number}", text) for number, text in enumerate(TEXTS)])
    expected = int8.encode(TEXTS) @ int8.encode(["my parcel"])[0]
    shutil.rmtree(own_model)
    with SearchIndex.open(tmp_path / "index") as index:
        hits = {hit.id: hit.score for hit in index.search("my parcel", k=3)}
        index.add([Document("3", "the bird sings")])
    np.testing.assert_allclose([hits["0"], hits["1"], hits["2"]], expected, atol=1e-6)


def test_an_encoder_without_an_export_has_no_int8(tmp_path):
    from encoder_families import MAMBA

    MAMBA(tmp_path / "mamba")
    with pytest.raises(EncoderError, match="needs its export"):
        Encoder.load(tmp_path / "mamba", precision="int8")
