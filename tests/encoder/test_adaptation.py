"""Modules on token embeddings: what they compute, in every runtime, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from encoder_families import FAMILIES, TEXTS
from safetensors.numpy import save_file
from scipy.special import erf, softmax

from simsearch.encoder import Encoder
from simsearch.encoder.fingerprint import fingerprint
from simsearch.encoder.int8 import write_int8
from simsearch.encoder.layout import read_layout
from simsearch.encoder.loading import read_whole_layout
from simsearch.encoder.openvino_runtime import OpenVinoRuntime
from simsearch.encoder.runtime import SENTENCE_EMBEDDING, TokenBatch
from simsearch.encoder.torch_runtime import TorchRuntime
from simsearch.errors import EncoderError

HIDDEN, LAYERS, KERNEL = 32, 3, 5
DENSE = "simsearch.training.trainable.DenseConnections"
CONVOLUTION = "simsearch.training.trainable.TokenConvolution"
POOLING = "sentence_transformers.models.Pooling"
TRANSFORMER = "sentence_transformers.models.Transformer"
NORMALIZE = "sentence_transformers.models.Normalize"


FOLDERS = {
    TRANSFORMER: "",
    DENSE: "1_DenseConnections",
    CONVOLUTION: "2_TokenConvolution",
    POOLING: "3_Pooling",
    NORMALIZE: "4_Normalize",  # a folder that is not there
}


def list_modules(directory, *kinds):
    """Write modules.json."""
    listing = [
        {"idx": number, "name": str(number), "path": FOLDERS[kind], "type": kind}
        for number, kind in enumerate(kinds)
    ]
    (directory / "modules.json").write_text(json.dumps(listing))


def make_tensors(seed, scale=0.3):
    """Return random weights of both modules."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(scale=scale, size=shape).astype(np.float32)

    dense = {"mix": draw(LAYERS) * 5, "linear.weight": draw(32, 32), "linear.bias": draw(32)}
    convolution = {
        "depthwise.weight": draw(32, 1, KERNEL),
        "depthwise.bias": draw(32),
        "pointwise.weight": draw(32, 32),
        "pointwise.bias": draw(32),
    }
    return dense, convolution


def adapt(directory, dense, convolution):
    """Make a plain transformer directory one with both modules before a mean pooling."""
    list_modules(directory, TRANSFORMER, DENSE, CONVOLUTION, POOLING)
    write(directory / FOLDERS[DENSE], {"hidden": HIDDEN, "layers": LAYERS}, dense)
    write(directory / FOLDERS[CONVOLUTION], {"hidden": HIDDEN, "kernel": KERNEL}, convolution)
    (directory / FOLDERS[POOLING]).mkdir()
    (directory / FOLDERS[POOLING] / "config.json").write_text('{"pooling_mode": "mean"}')
    return directory


def write(folder, config, tensors):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")


def normalised(rows):
    centred = rows - rows.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)


def oracle_tokens(layers, dense, convolution):
    """Return adapted token embeddings (t, hidden) of one text, from (layers, t, hidden)."""
    shares = softmax(dense["mix"].astype(np.float64))
    mixed = np.einsum("l,lth->th", shares, normalised(layers.astype(np.float64)))
    tokens = layers[-1] + mixed @ dense["linear.weight"].T + dense["linear.bias"]
    kernel = convolution["depthwise.weight"][:, 0]  # (hidden, 5)
    around = np.pad(tokens, ((2, 2), (0, 0)))
    context = np.stack(
        [(around[place : place + 5] * kernel.T).sum(axis=0) for place in range(len(tokens))]
    )
    context += convolution["depthwise.bias"]
    active = context * (1 + erf(context / np.sqrt(2))) / 2  # GELU
    return tokens + active @ convolution["pointwise.weight"].T + convolution["pointwise.bias"]


class Made:
    """One family's directory, plain and adapted, and the encoders of both."""

    def __init__(self, name, place):
        self.plain_directory = place / "plain"
        FAMILIES[name].write(self.plain_directory)
        self.tensors = make_tensors(seed=7)
        self.directory = adapt(
            shutil.copytree(self.plain_directory, place / "adapted"), *self.tensors
        )
        self.plain = Encoder.load(self.plain_directory, runtime="torch")
        self.on_torch = Encoder.load(self.directory, runtime="torch")
        self.exported = Encoder.load(self.directory, runtime="onnx")

    def oracle(self, texts):
        """Return embeddings (n, 32) from the plain transformer's layers, text by text."""
        rows = [
            oracle_tokens(self.plain.hidden_states([text])[0], *self.tensors).mean(axis=0)
            for text in texts
        ]
        return np.vstack([row / np.linalg.norm(row) for row in rows])


@pytest.fixture(scope="module", params=["bert", "gpt2", "t5"])
def made(request, tmp_path_factory):
    return Made(request.param, tmp_path_factory.mktemp("adapted"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return Made("bert", tmp_path_factory.mktemp("adapted"))


@pytest.fixture
def directory(bert, tmp_path):
    return shutil.copytree(bert.directory, tmp_path / "encoder")


def assert_same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def batch_of(encoder_directory, texts):
    """Return a padded batch of texts, as the runtimes are given it."""
    from simsearch.encoder.batching import pad
    from simsearch.encoder.tokenization import TextTokenizer

    layout = read_whole_layout(encoder_directory)
    rows = [row.ids for row in TextTokenizer(layout.tokenizer, max_length=32).tokenize(texts)]
    return TokenBatch(pad(rows, value=layout.pad_id), pad([np.ones_like(row) for row in rows]))


def test_embeddings_are_those_of_the_formulas(made):
    expected = made.oracle(TEXTS)
    assert_same(made.on_torch.encode(TEXTS), expected)
    cosines = (made.exported.encode(TEXTS) * expected).sum(axis=1)
    assert (made.exported.runtime, bool(cosines.min() >= 0.9999)) == ("onnx", True)


@pytest.mark.parametrize("runtime", ["on_torch", "exported"])
def test_a_text_has_the_same_vector_in_any_company(made, runtime):
    encoder = getattr(made, runtime)
    together = encoder.encode(TEXTS)
    assert_same(together, np.vstack([encoder.encode([text]) for text in TEXTS]))
    assert_same(encoder.encode(TEXTS[::-1])[::-1], together)


@pytest.mark.parametrize("runtime", ["on_torch", "exported"])
def test_token_embeddings_are_adapted_and_hidden_states_are_the_transformers(made, runtime):
    encoder = getattr(made, runtime)
    layers = encoder.hidden_states(["my card was late"])[0]
    np.testing.assert_allclose(
        layers, made.plain.hidden_states(["my card was late"])[0], rtol=1e-5, atol=1e-4
    )
    tokens = encoder.encode_tokens(["my card was late"])[0].vectors
    np.testing.assert_allclose(tokens, oracle_tokens(layers, *made.tensors), rtol=1e-5, atol=1e-4)


def test_a_saved_copy_is_the_same_encoder(made, tmp_path):
    made.exported.save(tmp_path / "copy")
    copy = Encoder.load(tmp_path / "copy", runtime="torch")
    assert copy.fingerprint == made.exported.fingerprint
    np.testing.assert_array_equal(copy.encode(TEXTS), made.on_torch.encode(TEXTS))


def test_modules_whose_last_map_is_zero_change_nothing(made, tmp_path):
    dense, convolution = make_tensors(seed=8)
    for tensors, name in ((dense, "linear"), (convolution, "pointwise")):
        tensors[f"{name}.weight"][:] = 0
        tensors[f"{name}.bias"][:] = 0
    directory = adapt(shutil.copytree(made.plain_directory, tmp_path / "zero"), dense, convolution)
    found = Encoder.load(directory, runtime="torch").encode(TEXTS)
    np.testing.assert_array_equal(found, made.plain.encode(TEXTS))


def test_bfloat16_leaves_the_modules_in_float32_and_gives_the_same_embeddings(bert):
    runtime = TorchRuntime(read_layout(bert.directory), bfloat16=True)
    assert {str(weight.dtype) for weight in runtime.module.adaptations.parameters()} == {
        "torch.float32"
    }
    batch = batch_of(bert.directory, TEXTS)
    for found in (runtime, OpenVinoRuntime(bert.exported.export_directory() / "encoder.onnx")):
        cosines = (found.run(batch, SENTENCE_EMBEDDING) * bert.oracle(TEXTS)).sum(axis=1)
        assert cosines.min() > 0.999


def test_the_int8_form_ranks_by_adapted_embeddings(bert, tmp_path):
    write_int8(bert.exported.export_directory(), tmp_path)
    cosines = (Encoder.load(tmp_path).encode(TEXTS) * bert.oracle(TEXTS)).sum(axis=1)
    # A CPU without VNNI adds products of eight bits in sixteen, which saturate: 0.968 there.
    has_vnni = "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    assert cosines.min() > (0.98 if has_vnni else 0.95)
    assert cosines.mean() > 0.98


def test_a_query_needs_no_torch(bert, tmp_path):
    bert.exported.save_export(tmp_path / "export")
    script = (
        "import sys, simsearch\n"
        f"row = simsearch.Encoder.load({str(tmp_path / 'export')!r}).encode_queries(['my card'])\n"
        "print('torch' in sys.modules, *row[0, :3])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    imported, *numbers = done.stdout.split()
    assert imported == "False"
    np.testing.assert_allclose(
        [float(number) for number in numbers], bert.oracle(["my card"])[0, :3], atol=1e-5
    )


# The fingerprint.


def write_by_hand(path):
    """Write a directory whose every byte is given, for a fingerprint that is known."""
    path.mkdir()
    config = {"model_type": "bert", "hidden_size": 4, "max_position_embeddings": 8}
    (path / "config.json").write_text(json.dumps(config))
    tokens = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    (path / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": tokens}))
    save_file({"weight": np.arange(4, dtype=np.float32)}, path / "model.safetensors")
    return path


def test_an_encoder_without_adaptations_keeps_the_fingerprint_that_it_had_before_there_were_any(
    tmp_path,
):
    found = fingerprint(read_layout(write_by_hand(tmp_path / "encoder")))
    assert found == "03ad2753f4f2b30b173887c7482cb40e303d7643a551d62133a8e7eb04e7ee26"


def change_weight(directory):
    path = directory / "2_TokenConvolution" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def swap(directory):
    modules = json.loads((directory / "modules.json").read_text())
    modules[1], modules[2] = modules[2], modules[1]
    (directory / "modules.json").write_text(json.dumps(modules))


def leave_out(directory):
    modules = json.loads((directory / "modules.json").read_text())
    del modules[1]
    (directory / "modules.json").write_text(json.dumps(modules))


@pytest.mark.parametrize("change", [change_weight, swap, leave_out])
def test_every_change_of_an_adaptation_changes_the_fingerprint(directory, change):
    before = fingerprint(read_layout(directory))
    change(directory)
    assert fingerprint(read_layout(directory)) != before


# What is refused.


@pytest.mark.parametrize(
    "kinds",
    [
        (TRANSFORMER, POOLING, DENSE),
        (TRANSFORMER, POOLING, NORMALIZE, CONVOLUTION),
        (DENSE, TRANSFORMER, POOLING),
        (TRANSFORMER, DENSE),
        (TRANSFORMER, DENSE, DENSE, POOLING),
    ],
    ids=lambda kinds: " ".join(kind.rpartition(".")[2] for kind in kinds),
)
def test_an_adaptation_out_of_place_is_refused(directory, kinds):
    list_modules(directory, *kinds)
    with pytest.raises(EncoderError) as caught:
        read_layout(directory)
    found = " > ".join(kind.rpartition(".")[2] for kind in kinds)
    assert str(caught.value) == (
        f"{directory / 'modules.json'}: the modules are {found}, expected Transformer, then "
        "DenseConnections and TokenConvolution or neither, then Pooling, then Dense and Normalize"
    )


@pytest.mark.parametrize(
    "kind",
    [
        "sentence_transformers.models.DenseConnections",
        "simsearch_evil.DenseConnections",
        "DenseConnections",
        "simsearch.encoder.adaptation.Pooling",
        "simsearch.encoder.adaptation.os.system",
    ],
)
def test_a_module_of_another_package_is_refused_by_name(directory, kind):
    modules = json.loads((directory / "modules.json").read_text())
    modules[1]["type"] = kind
    (directory / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderError, match=f"module '{kind}' is not supported"):
        read_layout(directory)


def refused(directory):
    """Return the one line that both runtimes refuse a directory with."""
    lines = set()
    for runtime in ("torch", None):
        with pytest.raises(EncoderError) as caught:
            Encoder.load(directory, runtime=runtime).encode(["my card"])
        lines.add(str(caught.value))
    (line,) = lines
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("kind", "changes", "told"),
    [
        (DENSE, {"hidden": 31}, "hidden is 31, but the token vectors of this encoder are 32 wide"),
        (DENSE, {"layers": 4}, "layers is 4, but this encoder has the outputs of 3"),
        (DENSE, {"layers": 10**9}, "layers must be a whole number of 1..513, got 1000000000"),
        (DENSE, {"layers": True}, "layers must be a whole number of 1..513, got True"),
        (CONVOLUTION, {"hidden": 10**9}, "hidden must be a whole number of 1..1048576, got 1000"),
        (CONVOLUTION, {"hidden": None}, "hidden must be a whole number of 1..1048576, got None"),
        (CONVOLUTION, {"kernel": 65}, "kernel must be a whole number of 1..63, got 65"),
        (CONVOLUTION, {"kernel": 4}, "kernel must be odd, to have a middle, got 4"),
        (CONVOLUTION, {"kernel": 3}, "depthwise.weight is F32 [32, 1, 5], expected F32 [32, 1, 3]"),
    ],
    ids=str,
)
def test_a_size_that_does_not_fit_is_refused(directory, kind, changes, told):
    path = directory / FOLDERS[kind] / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    line = refused(directory)
    assert (FOLDERS[kind] in line, told in line) == (True, True)


def without(name):
    return lambda tensors: {key: tensors[key] for key in tensors if key != name}


def with_tensor(name, tensor):
    return lambda tensors: {**tensors, name: tensor}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("linear.bias"), "linear.bias is missing, or not expected"),
        (with_tensor("evil", np.zeros(1, np.float32)), "evil is missing, or not expected"),
        (with_tensor("mix", np.zeros(9, np.float32)), "mix is F32 [9], expected F32 [3]"),
        (with_tensor("mix", np.zeros(3, np.int64)), "mix is I64 [3], expected F32 [3]"),
    ],
    ids=["missing", "more", "too large", "integers"],
)
def test_other_tensors_are_refused_by_name(directory, bert, change, told):
    path = directory / FOLDERS[DENSE] / "model.safetensors"
    save_file(change(bert.tensors[0]), path)
    assert refused(directory) == f"{path}: {told}"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-10],
        lambda data: (10**15).to_bytes(8, "little") + data[8:],
        lambda data: b"\x80\x04.",
    ],
    ids=["cut off", "header of a petabyte", "a pickle"],
)
def test_a_damaged_file_is_refused_by_name(directory, damage):
    path = directory / FOLDERS[CONVOLUTION] / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    assert str(path) in refused(directory)


def test_pickled_weights_are_not_read(directory):
    folder = directory / FOLDERS[DENSE]
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert refused(directory) == (f"{folder}: no model.safetensors (pickled weights are not read)")


def test_a_folder_outside_the_encoder_is_refused(directory, tmp_path):
    shutil.move(directory / FOLDERS[DENSE], tmp_path / "elsewhere")
    (directory / FOLDERS[DENSE]).symlink_to(tmp_path / "elsewhere")
    assert "outside the encoder" in refused(directory)
