from __future__ import annotations

import shutil

import numpy as np
import pytest
from conftest import WORDS

from simsearch.encoder import Encoder, EncoderPool, bulk, device
from simsearch.encoder.device import check_device, has_gpu
from simsearch.encoder.int8 import int8_directory, note_gate, write_int8
from simsearch.encoder.loading import torch_runtime
from simsearch.errors import EncoderError, InvalidInput

TEXTS = [f"{first} {second}" for first in WORDS for second in WORDS[:8]]


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:0", "cuda:15", "mps", "xpu:1"])
def test_devices_of_torch_are_known_by_name(name):
    check_device(name)


@pytest.mark.parametrize("name", ["", "gpu", "foo", "cuda:", "cuda:x", "CUDA", "cpu:0", "cuda:0\n"])
def test_what_is_no_device_is_refused_before_anything_is_loaded(name):
    with pytest.raises(InvalidInput, match=r"no device '.*' \(there are: cpu, cuda, cuda:1"):
        Encoder.load("no/such/model", device=name)


def test_every_device_of_a_pool_is_looked_at_however_few_texts_there_are(tiny_encoder_dir):
    with pytest.raises(InvalidInput, match="no device 'foo'"):
        EncoderPool(tiny_encoder_dir, devices=("cpu", "foo"))


def test_the_devices_of_a_pool_are_several(tiny_encoder_dir):
    with pytest.raises(InvalidInput, match=r"several devices, got one string \(pass \['cpu'\]\)"):
        EncoderPool(tiny_encoder_dir, devices="cpu")


@pytest.mark.parametrize(
    ("driver", "torch", "expected"),
    [
        (True, "2.13.0", True),
        (True, "2.13.0+cu130", True),
        (True, "2.13.0+cpu", False),  # this torch cannot use it
        (False, "2.13.0", False),
    ],
)
def test_a_gpu_is_one_that_torch_can_use(monkeypatch, tmp_path, driver, torch, expected):
    place = tmp_path / "version"
    monkeypatch.setattr(device, "_DRIVER", tmp_path if driver else place)
    monkeypatch.setattr(device, "version", lambda package: {"torch": torch}[package])
    assert has_gpu() is expected


@pytest.mark.parametrize("options", [{}, {"precision": "bf16"}, {"runtime": "torch"}])
def test_a_device_that_cannot_be_used_is_an_error_and_not_the_cpu(tiny_encoder_dir, options):
    with pytest.raises(EncoderError, match="device 'cuda:7' cannot be used"):
        Encoder.load(tiny_encoder_dir, device="cuda:7", **options)


@pytest.mark.parametrize(
    ("options", "what"),
    [({"precision": "int8"}, "int8"), ({"runtime": "onnx"}, "the ONNX runtime")],
    ids=["int8", "onnx"],
)
def test_what_runs_on_the_cpu_alone_is_not_asked_for_elsewhere(tiny_encoder_dir, options, what):
    with pytest.raises(InvalidInput, match=f"{what} runs on the CPU alone, not on cuda"):
        Encoder.load(tiny_encoder_dir, device="cuda", **options)


def test_a_pool_in_int8_is_one_of_cpus(tiny_encoder_dir):
    with pytest.raises(InvalidInput, match="int8 runs on the CPU alone, not on cuda:1"):
        EncoderPool(tiny_encoder_dir, devices=("cpu", "cuda:1"), precision="int8")


def on_a_gpu(monkeypatch) -> list[str]:
    """Let there be GPUs, whose work the CPU does; return the names of those that were used."""
    used: list[str] = []

    def make(layout, name="cpu", *, bfloat16=False):
        used.append(f"{name} in {'bf16' if bfloat16 else 'fp32'}")
        return torch_runtime(layout, "cpu", bfloat16=bfloat16)

    monkeypatch.setattr(bulk, "has_gpu", lambda: True)
    monkeypatch.setattr(bulk, "torch_runtime", make)
    return used


def test_bf16_is_computed_on_a_gpu_where_there_is_one(tiny_encoder_dir, monkeypatch):
    used = on_a_gpu(monkeypatch)
    encoder = Encoder.load(tiny_encoder_dir, precision="bf16")
    assert used == []  # with the first documents
    vectors = encoder.encode(TEXTS)
    assert used == ["cuda in bf16"]
    assert (vectors * Encoder.load(tiny_encoder_dir).encode(TEXTS)).sum(axis=1).min() >= 0.999


def test_bf16_is_computed_on_the_cpu_where_that_is_named(tiny_encoder_dir, monkeypatch):
    used = on_a_gpu(monkeypatch)
    monkeypatch.setattr(bulk, "openvino_is_installed", lambda: False)
    Encoder.load(tiny_encoder_dir, precision="bf16", device="cpu").encode(TEXTS)
    assert used == ["cpu in bf16"]


def test_where_bf16_is_not_as_good_a_named_device_computes_in_fp32(
    tiny_encoder_dir, monkeypatch, caplog
):
    used = on_a_gpu(monkeypatch)
    monkeypatch.setattr(bulk, "BFLOAT16_COSINE", 1.1)
    encoder = Encoder.load(tiny_encoder_dir, precision="bf16", device="cuda:1")
    assert used == ["cuda:1 in bf16", "cuda:1 in fp32"]
    expected = Encoder.load(tiny_encoder_dir).encode(TEXTS)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-6)
    (record,) = caplog.records
    assert record.getMessage().endswith("documents are encoded in fp32")


@pytest.fixture
def int8_export(tiny_encoder_dir):
    """Return the int8 form of the export, and say that it was measured."""
    export = Encoder.load(tiny_encoder_dir).export_directory()
    directory = int8_directory(export)
    directory.mkdir()
    write_int8(export, directory)
    note_gate(directory, {"metric": "ndcg@10"})
    yield directory
    shutil.rmtree(directory)


def test_an_int8_export_is_in_int8_without_being_asked(tiny_encoder_dir, int8_export):
    by_name = Encoder.load(tiny_encoder_dir, precision="int8")
    assert (by_name.precision, by_name.name) == ("int8", f"{tiny_encoder_dir} (int8)")
    assert Encoder.load(int8_export).precision == "int8"
    assert Encoder.load(int8_export, precision="int8").fingerprint == by_name.fingerprint


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_int8_export_has_no_other_numbers(int8_export, precision):
    with pytest.raises(InvalidInput, match=f"is an export in int8: no {precision} of it"):
        Encoder.load(int8_export, precision=precision)
