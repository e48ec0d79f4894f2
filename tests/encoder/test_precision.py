from __future__ import annotations

import pytest

from simsearch.encoder import Encoder, Precision, bulk_precision, precision
from simsearch.encoder.precision import cpu_has_bfloat16
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


# By torch from 15,000 texts, by OpenVINO, on the CPU, from 2,000.
@pytest.mark.parametrize(
    ("has", "device", "worth"),
    [
        ({"bfloat16", "openvino"}, None, 2_000),
        ({"bfloat16"}, None, 15_000),
        ({"gpu"}, None, 15_000),
        ({"gpu", "bfloat16", "openvino"}, None, 15_000),  # on the GPU: torch
        ({"gpu", "bfloat16", "openvino"}, "cpu", 2_000),
        ({"gpu", "openvino"}, "cpu", None),
        ({"bfloat16", "openvino"}, "cuda:1", 15_000),
        (set(), "cuda", 15_000),
    ],
)
def test_bf16_is_chosen_from_where_it_wins_back_its_start(monkeypatch, has, device, worth):
    machine(monkeypatch, **dict.fromkeys(has, True))
    assert bulk_precision((worth or 10**9) - 1, device=device) is Precision.FP32
    chosen = bulk_precision(worth or 10**9, device=device)
    assert chosen is (Precision.BF16 if worth else Precision.FP32)


@pytest.mark.parametrize(
    ("has", "worth"),
    [
        ({"bfloat16", "openvino"}, 2_000),
        ({"bfloat16"}, None),
        ({"gpu"}, None),
        ({"gpu", "bfloat16", "openvino"}, 2_000),
    ],
)
def test_an_export_alone_is_run_in_bf16_by_openvino_or_not_at_all(monkeypatch, has, worth):
    machine(monkeypatch, **dict.fromkeys(has, True))
    assert bulk_precision((worth or 10**9) - 1, full_model=False) is Precision.FP32
    chosen = bulk_precision(worth or 10**9, full_model=False)
    assert chosen is (Precision.BF16 if worth else Precision.FP32)


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


@pytest.mark.parametrize("name", ["fp64", "BF16", ""])
def test_an_unknown_precision_is_refused(tiny_encoder_dir, name):
    with pytest.raises(InvalidInput, match=r"no precision '.*' \(there are: fp32, bf16, int8\)"):
        Encoder.load(tiny_encoder_dir, precision=name)
