from __future__ import annotations

import pytest

from simsearch.encoder import Encoder, Precision, bulk_device, bulk_precision, precision
from simsearch.encoder.precision import cpu_has_bfloat16, has_gpu
from simsearch.errors import InvalidInput


def machine(monkeypatch, *, gpu=False, bfloat16=False, openvino=False):
    """Let this machine be one with these."""
    monkeypatch.setattr(precision, "has_gpu", lambda: gpu)
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: bfloat16)
    monkeypatch.setattr(precision, "openvino_is_installed", lambda: openvino)


@pytest.mark.parametrize("openvino", [True, False])
def test_a_machine_that_is_not_fast_in_bf16_computes_in_fp32(monkeypatch, openvino):
    machine(monkeypatch, openvino=openvino)
    assert bulk_precision(10**9) is Precision.FP32


@pytest.mark.parametrize("fast", ["gpu", "bfloat16"])
@pytest.mark.parametrize(("openvino", "worth"), [(True, 2_000), (False, 15_000)])
def test_bf16_is_chosen_from_where_it_wins_back_its_start(monkeypatch, fast, openvino, worth):
    machine(monkeypatch, openvino=openvino, **{fast: True})
    assert bulk_precision(worth - 1) is Precision.FP32
    assert bulk_precision(worth) is Precision.BF16


@pytest.mark.parametrize(
    ("numbers", "gpu", "device"),
    [
        (Precision.BF16, True, "cuda"),
        (Precision.BF16, False, "cpu"),
        (Precision.FP32, True, "cpu"),
        (Precision.INT8, True, "cpu"),
    ],
)
def test_a_gpu_is_used_for_bf16_alone(monkeypatch, numbers, gpu, device):
    machine(monkeypatch, gpu=gpu)
    assert bulk_device(numbers) == device


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse avx512_bf16 avx512f\n", True),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("flags\t\t: fpu avx512f avx512_bf16x\n", False),
        ("model name\t: avx512_bf16 \u00ae\nflags\t\t: fpu avx2\n", False),
        ("Features\t: fp asimd bf16\n", False),  # of ARM, where nothing was measured
        ("", False),
    ],
)
def test_the_flags_of_the_cpu_say_whether_it_has_bfloat16(monkeypatch, tmp_path, lines, expected):
    (tmp_path / "cpuinfo").write_text(lines, encoding="utf-8")
    monkeypatch.setattr(precision, "_CPU", tmp_path / "cpuinfo")
    assert cpu_has_bfloat16() is expected


def test_a_system_that_tells_nothing_of_its_cpu_has_no_bfloat16(monkeypatch, tmp_path):
    monkeypatch.setattr(precision, "_CPU", tmp_path / "nowhere")
    assert cpu_has_bfloat16() is False


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
    monkeypatch.setattr(precision, "_DRIVER", tmp_path if driver else place)
    monkeypatch.setattr(precision, "version", lambda package: {"torch": torch}[package])
    assert has_gpu() is expected


@pytest.mark.parametrize("name", ["fp64", "BF16", ""])
def test_an_unknown_precision_is_refused(tiny_encoder_dir, name):
    with pytest.raises(InvalidInput, match=r"no precision '.*' \(there are: fp32, bf16, int8\)"):
        Encoder.load(tiny_encoder_dir, precision=name)
