"""Encoders over what one ONNX file can hold (2 GB), here with that limit lowered to 10 kB.

Their weights lie in one file beside the graph, which is checked and copied like the others; a
graph that names any other file is refused, because both runtimes would read it.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import sqlite3

import numpy as np
import onnx
import pytest
from conftest import write_tiny_encoder
from onnx import TensorProto, helper, numpy_helper

from simsearch.encoder import Encoder, export
from simsearch.encoder.export_files import read_export
from simsearch.encoder.int8 import int8_directory, note_gate, write_int8
from simsearch.encoder.layout import read_layout
from simsearch.encoder.openvino_runtime import OpenVinoRuntime, openvino_is_installed
from simsearch.errors import CorruptIndex, EncoderError
from simsearch.records import Document
from simsearch.search_index import SearchIndex
from simsearch.storage.checksums import settings_crc32
from simsearch.storage.schema import VARIABLES

FILES = ["encoder.json", "encoder.onnx", "encoder.onnx.data", "tokenizer.json"]
DOCUMENTS = [
    Document("card", "my card was swallowed by the machine"),
    Document("parcel", "the parcel came late"),
    Document("cat", "the cat sat on the mat"),
]
TEXTS = [document.text for document in DOCUMENTS]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("models") / "foreign", seed=5)


@pytest.fixture(scope="module")
def small(foreign, tmp_path_factory):
    """A model directory of ours whose export is one file."""
    directory = tmp_path_factory.mktemp("models") / "small"
    Encoder.load(foreign).save(directory)
    return directory


@pytest.fixture(scope="module")
def pristine(foreign, tmp_path_factory):
    """A model directory of ours whose export has its weights beside it."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "LARGEST_GRAPH", 10_000)
        patch.setenv("SIMSEARCH_CACHE", str(folder / "cache"))
        Encoder.load(foreign).save(folder / "large")
    return folder / "large"


@pytest.fixture
def large(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "large")


@pytest.fixture
def export_of(large):
    """The export of a large encoder."""
    return large / "onnx"


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def tensors_of(path):
    """The graph's weights by name, wherever they lie, as onnx reads them."""
    return {
        tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer
    }


def places_in(graph):
    """Where a graph's weights outside are: (name, first byte, number of bytes)."""
    model = onnx.load(graph, load_external_data=False)
    places = [
        {entry.key: entry.value for entry in tensor.external_data}
        for tensor in model.graph.initializer
        if tensor.external_data
    ]
    return [(one["location"], int(one["offset"]), int(one["length"])) for one in places]


# What is written.


def test_the_weights_of_a_large_encoder_are_one_file_beside_the_graph(export_of, small):
    assert names(export_of) == FILES
    assert names(small / "onnx") == ["encoder.json", "encoder.onnx", "tokenizer.json"]
    ours, whole = tensors_of(export_of / "encoder.onnx"), tensors_of(small / "onnx/encoder.onnx")
    assert ours.keys() == whole.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(ours[name], values)


def test_every_tensor_outside_begins_a_page_of_its_own(export_of):
    places = places_in(export_of / "encoder.onnx")
    # Of the fixture's tensors the 14 matrices have 1,024 bytes or more.
    assert len(places) == 14
    assert {name for name, _, _ in places} == {"encoder.onnx.data"}
    assert all(first % 4096 == 0 for _, first, _ in places)
    ends = [first + length for _, first, length in sorted(places, key=lambda place: place[1])]
    starts = sorted(first for _, first, _ in places)
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    assert ends[-1] == (export_of / "encoder.onnx.data").stat().st_size


def test_the_description_names_the_hash_of_each_file(export_of, small):
    content = json.loads((export_of / "encoder.json").read_text())
    for name, key in (
        ("encoder.onnx", "graph_sha256"),
        ("encoder.onnx.data", "data_sha256"),
        ("tokenizer.json", "tokenizer_sha256"),
    ):
        assert content[key] == hashlib.sha256((export_of / name).read_bytes()).hexdigest()
    assert "data_sha256" not in json.loads((small / "onnx/encoder.json").read_text())


def test_a_large_encoder_gives_the_embeddings_of_its_small_form_and_of_torch(large, small):
    encoder = Encoder.load(large)
    assert encoder.runtime == "onnx"
    np.testing.assert_array_equal(encoder.encode(TEXTS), Encoder.load(small).encode(TEXTS))
    torch = Encoder.load(large, runtime="torch").encode(TEXTS)
    np.testing.assert_allclose(encoder.encode(TEXTS), torch, atol=1e-5)


@pytest.fixture
def scattering(monkeypatch):
    """Let torch's exporter do as above 2 GB, at any size: most tensors in files of their own."""
    import torch

    plain = torch.onnx.export

    def scatter(module, inputs, path, **settings):
        plain(module, inputs, path, **settings)
        onnx.save_model(
            onnx.load(path),
            path,
            save_as_external_data=True,
            all_tensors_to_one_file=False,
            size_threshold=1024,
            convert_attribute=True,
        )

    monkeypatch.setattr(torch.onnx, "export", scatter)


def test_weights_that_torch_scattered_are_gathered(
    scattering, foreign, small, tmp_path, monkeypatch
):
    monkeypatch.setenv("SIMSEARCH_CACHE", str(tmp_path / "cache"))
    encoder = Encoder.load(foreign)
    directory = encoder.export_directory()
    assert names(directory) == FILES
    assert {name for name, _, _ in places_in(directory / "encoder.onnx")} == {"encoder.onnx.data"}
    assert encoder.runtime == "onnx"
    np.testing.assert_array_equal(encoder.encode(TEXTS), Encoder.load(small).encode(TEXTS))


def test_a_file_that_torch_writes_beside_the_graph_and_does_not_name_is_refused(
    foreign, tmp_path, monkeypatch
):
    import torch

    plain = torch.onnx.export

    def spill(module, inputs, path, **settings):
        plain(module, inputs, path, **settings)
        pathlib.Path(path).with_name("embeddings.weight").write_bytes(b"weights")

    monkeypatch.setattr(torch.onnx, "export", spill)
    with pytest.raises(EncoderError, match=r"torch wrote 'embeddings\.weight', which the graph d"):
        export.export_encoder(read_layout(foreign), tmp_path / "export", description={})
    assert not (tmp_path / "export").exists()


def test_nothing_is_left_of_a_large_export_that_is_replaced_by_a_small_one(large, small):
    # Damaged, so that it is made anew, now under the true limit.
    (large / "onnx" / "encoder.onnx.data").write_bytes(b"damaged")
    assert Encoder.load(large).runtime == "onnx"
    assert names(large / "onnx") == names(small / "onnx")


# An index.


@pytest.fixture(scope="module")
def pristine_index(pristine, tmp_path_factory):
    path = tmp_path_factory.mktemp("indexes") / "index"
    with SearchIndex.create(path, encoder=Encoder.load(pristine)) as index:
        index.add(DOCUMENTS)
    return path


@pytest.fixture
def index_dir(pristine_index, tmp_path):
    return shutil.copytree(pristine_index, tmp_path / "index")


def search(index_dir):
    with SearchIndex.open(index_dir) as index:
        return {hit.id: hit.score for hit in index.search("where is the cat", k=3)}


def test_an_index_answers_by_its_copy_without_the_model(index_dir, small):
    assert names(index_dir / "encoder") == FILES
    vectors = Encoder.load(small).encode(["where is the cat", *TEXTS])
    expected = {d.id: score for d, score in zip(DOCUMENTS, vectors[1:] @ vectors[0], strict=True)}
    assert search(index_dir) == pytest.approx(expected, abs=1e-6)


def test_the_copy_of_the_copy_answers(index_dir, tmp_path):
    encoder = Encoder.load(index_dir / "encoder")
    with SearchIndex.create(tmp_path / "second", encoder=encoder) as index:
        index.add(DOCUMENTS)
    shutil.rmtree(index_dir)
    assert names(tmp_path / "second" / "encoder") == FILES
    assert len(search(tmp_path / "second")) == 3


@pytest.mark.parametrize("position", [0, -1])
def test_a_damaged_weight_file_is_damage_of_the_index(index_dir, position):
    data = index_dir / "encoder" / "encoder.onnx.data"
    content = bytearray(data.read_bytes())
    content[position] ^= 1
    data.write_bytes(bytes(content))
    with pytest.raises(CorruptIndex, match=r"encoder\.onnx\.data is damaged: its SHA-256 has"):
        search(index_dir)


def test_a_missing_weight_file_is_damage_of_the_index(index_dir):
    (index_dir / "encoder" / "encoder.onnx.data").unlink()
    with pytest.raises(CorruptIndex, match=r"encoder\.onnx\.data is missing"):
        search(index_dir)


def test_an_index_that_is_replaced_by_one_of_a_small_encoder_keeps_no_weights(index_dir, small):
    with SearchIndex.create(index_dir, encoder=Encoder.load(small), replace=True) as index:
        index.add(DOCUMENTS)
    assert names(index_dir / "encoder") == ["encoder.json", "encoder.onnx", "tokenizer.json"]
    assert len(search(index_dir)) == 3


# Other numbers.


@pytest.mark.skipif(not openvino_is_installed(), reason="OpenVINO is an optional extra")
def test_openvino_reads_the_weights_beside_the_graph(export_of):
    encoder = Encoder.load(export_of, precision="bf16")
    runtime = encoder._documents.bulk()
    assert isinstance(runtime, OpenVinoRuntime)
    cosines = (encoder.encode_documents(TEXTS) * encoder.encode(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.999


@pytest.fixture
def int8_of(large):
    """The int8 form of the large encoder, as if it had been measured."""
    directory = int8_directory(large / "onnx")
    directory.mkdir()
    write_int8(large / "onnx", directory)
    note_gate(directory, {"metric": "ndcg@10", "fp32": 0.5, "int8": 0.5, "measured_on": "-"})
    return directory


def test_int8_of_a_large_encoder_has_its_weights_beside_it_too(large, int8_of):
    assert names(int8_of) == names(large / "onnx") == FILES
    graph = onnx.load(int8_of / "encoder.onnx").graph
    assert [node.op_type for node in graph.node].count("MatMulInteger") >= 12
    places = places_in(int8_of / "encoder.onnx")
    assert {name for name, _, _ in places} == {"encoder.onnx.data"}
    assert all(first % 4096 == 0 for _, first, _ in places)


def test_int8_of_a_large_encoder_is_that_of_its_small_form(large, int8_of, small, tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    write_int8(small / "onnx", whole)
    encoder = Encoder.load(large, precision="int8")
    np.testing.assert_array_equal(encoder.encode(TEXTS), Encoder.load(whole).encode(TEXTS))
    assert encoder.fingerprint != Encoder.load(large).fingerprint


def test_the_weights_of_int8_are_part_of_its_fingerprint(large, int8_of):
    graph, data = (
        hashlib.sha256((int8_of / name).read_bytes()).hexdigest()
        for name in ("encoder.onnx", "encoder.onnx.data")
    )
    float32 = read_export(large / "onnx").fingerprint
    expected = hashlib.sha256(f"{float32} int8 {graph} {data}".encode()).hexdigest()
    assert read_export(int8_of).fingerprint == expected


def test_an_index_of_int8_answers(large, int8_of, tmp_path):
    encoder = Encoder.load(large, precision="int8")
    with SearchIndex.create(tmp_path / "index", encoder=encoder) as index:
        index.add(DOCUMENTS)
    assert names(tmp_path / "index" / "encoder") == FILES
    assert len(search(tmp_path / "index")) == 3


# A graph that somebody else may have made.


def rename_weights(graph, to):
    """Let every tensor that lies outside lie in another file."""
    model = onnx.load(graph, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = to
    graph.write_bytes(model.SerializeToString())


def describe_anew(directory):
    """Make an export agree with itself again, as who sends it would."""
    content = json.loads((directory / "encoder.json").read_text())
    for name, key in (("encoder.onnx", "graph_sha256"), ("encoder.onnx.data", "data_sha256")):
        if key in content:
            content[key] = hashlib.sha256((directory / name).read_bytes()).hexdigest()
    (directory / "encoder.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "name",
    [
        "beside.data",
        "./encoder.onnx.data",
        "sub/../encoder.onnx.data",
        "../encoder.onnx.data",
        "/etc/passwd",
        "tokenizer.json",
        "encoder.onnx",
        "*/_ORT_MEM_ADDR_/*",
        "",
        "a\nb",
    ],
)
def test_a_graph_that_keeps_weights_in_another_file_is_refused(export_of, name):
    for place in (export_of / "beside.data", export_of.parent / "encoder.onnx.data"):
        shutil.copyfile(export_of / "encoder.onnx.data", place)
    (export_of / "sub").mkdir()
    rename_weights(export_of / "encoder.onnx", name)
    describe_anew(export_of)
    with pytest.raises(EncoderError) as caught:
        Encoder.load(export_of)
    assert str(caught.value) == (
        f"{export_of / 'encoder.onnx'} keeps weights in {name!r}, expected encoder.onnx.data"
    )


def test_one_tensor_in_another_file_is_enough(export_of):
    graph = export_of / "encoder.onnx"
    model = onnx.load(graph, load_external_data=False)
    (last,) = [t for t in model.graph.initializer if t.external_data][-1:]
    last.external_data[0].value = "beside.data"
    graph.write_bytes(model.SerializeToString())
    describe_anew(export_of)
    with pytest.raises(
        EncoderError, match=r"weights in 'beside\.data', 'encoder\.onnx\.data', exp"
    ):
        read_export(export_of)


def outside(name="w"):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="beside.data")
    return tensor


def in_an_initializer(model):
    model.graph.initializer.append(outside())


def in_a_constant(model):
    model.graph.node.append(helper.make_node("Constant", [], ["w"], value=outside()))


def in_a_branch(model):
    branch = helper.make_graph([], "branch", [], [], [outside()])
    node = helper.make_node("If", ["c"], ["w"], then_branch=branch, else_branch=branch)
    model.graph.node.append(node)


def in_a_branch_of_a_branch(model):
    inner = helper.make_graph([], "inner", [], [], [outside()])
    node = helper.make_node("If", ["c"], ["w"], then_branch=inner, else_branch=inner)
    outer = helper.make_graph([node], "outer", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["w"], then_branch=outer))


def in_a_function(model):
    node = helper.make_node("Constant", [], ["w"], value=outside())
    imports = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("own", "F", [], ["w"], [node], imports))


def in_a_sparse_tensor(model):
    model.graph.sparse_initializer.add(values=outside(), dims=[4])


def in_a_list_of_tensors(model):
    node = helper.make_node("Odd", [], ["w"])
    node.attribute.add(name="w", type=onnx.AttributeProto.TENSORS, tensors=[outside()])
    model.graph.node.append(node)


@pytest.mark.parametrize(
    "put",
    [
        in_an_initializer,
        in_a_constant,
        in_a_branch,
        in_a_branch_of_a_branch,
        in_a_function,
        in_a_sparse_tensor,
        in_a_list_of_tensors,
    ],
)
def test_a_small_graph_with_weights_outside_is_refused_wherever_they_stand(small, tmp_path, put):
    directory = shutil.copytree(small / "onnx", tmp_path / "export")
    shutil.copyfile(directory / "tokenizer.json", directory / "beside.data")
    model = onnx.load(directory / "encoder.onnx")
    put(model)
    (directory / "encoder.onnx").write_bytes(model.SerializeToString())
    describe_anew(directory)
    with pytest.raises(EncoderError, match=r"keeps weights in 'beside\.data', expected itself"):
        read_export(directory)


def test_a_weight_file_that_the_description_does_not_name_is_refused(export_of):
    content = json.loads((export_of / "encoder.json").read_text())
    del content["data_sha256"]
    (export_of / "encoder.json").write_text(json.dumps(content))
    with pytest.raises(EncoderError, match=r"weights in 'encoder\.onnx\.data', expected itself"):
        read_export(export_of)


def test_a_weight_file_that_the_graph_does_not_use_is_refused(export_of, small):
    shutil.copyfile(small / "onnx" / "encoder.onnx", export_of / "encoder.onnx")
    describe_anew(export_of)
    with pytest.raises(EncoderError, match=r"weights in itself, expected encoder\.onnx\.data"):
        read_export(export_of)


def test_the_word_location_in_a_small_graph_is_no_weight_file(small, tmp_path):
    directory = shutil.copytree(small / "onnx", tmp_path / "export")
    model = onnx.load(directory / "encoder.onnx")
    model.graph.doc_string = "location, allocation, relocation"
    (directory / "encoder.onnx").write_bytes(model.SerializeToString())
    describe_anew(directory)
    assert read_export(directory).dim == 32


@pytest.mark.parametrize("junk", [b"location", b"\xff" * 100 + b"location"])
def test_a_graph_that_is_none_is_refused(export_of, junk):
    (export_of / "encoder.onnx").write_bytes(junk)
    describe_anew(export_of)
    with pytest.raises(EncoderError, match=r"encoder\.onnx is no ONNX graph: "):
        read_export(export_of)


def test_the_name_is_found_across_the_parts_that_a_graph_is_read_in(small, tmp_path, monkeypatch):
    from simsearch.encoder import graph_weights

    directory = shutil.copytree(small / "onnx", tmp_path / "export")
    model = onnx.load(directory / "encoder.onnx")
    in_an_initializer(model)
    content = model.SerializeToString()
    (directory / "encoder.onnx").write_bytes(content)
    describe_anew(directory)
    place = content.index(b"location")
    for size in range(place - 8, place + 10):  # the first part ends before, within, after the word
        monkeypatch.setattr(graph_weights, "_CHUNK", size)
        assert graph_weights._named(directory / "encoder.onnx") == ["beside.data"]


@pytest.mark.parametrize("name", FILES)
def test_a_link_in_the_place_of_a_file_is_refused(export_of, tmp_path, name):
    (export_of / name).rename(tmp_path / name)
    (export_of / name).symlink_to(tmp_path / name)
    with pytest.raises(EncoderError, match=f"{name} is no regular file"):
        read_export(export_of)


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(export_of, name):
    (export_of / name).unlink()
    os.mkfifo(export_of / name)
    with pytest.raises(EncoderError, match=f"{name} is no regular file"):
        read_export(export_of)


@pytest.mark.parametrize("lead", [lambda path: path.symlink_to("/dev/zero"), os.mkfifo])
def test_an_index_whose_description_never_ends_is_damaged(index_dir, lead):
    path = index_dir / "encoder" / "encoder.json"
    path.unlink()
    lead(path)
    with pytest.raises(CorruptIndex, match="encoder is missing or damaged"):
        search(index_dir)


def test_an_index_that_agrees_with_itself_and_names_another_file_is_refused(index_dir, tmp_path):
    secret = tmp_path / "secret"
    shutil.copyfile(index_dir / "encoder" / "encoder.onnx.data", secret)
    rename_weights(index_dir / "encoder" / "encoder.onnx", "../../secret")
    describe_anew(index_dir / "encoder")
    digest = hashlib.sha256((index_dir / "encoder" / "encoder.json").read_bytes()).hexdigest()
    with sqlite3.connect(index_dir / "meta.db") as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'encoder_sha256'", (digest,))
        settings = dict(connection.execute("SELECT key, value FROM meta"))
        constants = {key: settings[key] for key in settings.keys() - VARIABLES}
        checksum = str(settings_crc32(constants))
        connection.execute("UPDATE meta SET value = ? WHERE key = 'constants_crc32'", (checksum,))
    connection.close()
    with pytest.raises(CorruptIndex, match=r"keeps weights in '\.\./\.\./secret', expected"):
        search(index_dir)
