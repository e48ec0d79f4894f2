"""In which numbers an encoder computes, and which this machine is fast in."""

from __future__ import annotations

from enum import StrEnum
from importlib.metadata import version
from pathlib import Path

from simsearch.encoder.openvino_runtime import openvino_is_installed

# Texts from which on bulk work in bfloat16 wins back what its runtime takes to start:
# OpenVINO some 1.5 s, torch some 8 s (docs/log.md, 2026-11-22).
_WORTH_OPENVINO = 2_000
_WORTH_TORCH = 15_000
_DRIVER = Path("/proc/driver/nvidia/version")
_CPU = Path("/proc/cpuinfo")


class Precision(StrEnum):
    """Numbers of the encoder's products. Embeddings are float32 in any case."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


def bulk_precision(texts: int) -> Precision:
    """Return bf16 if this machine encodes so many documents faster with it, else fp32."""
    worth = _WORTH_OPENVINO if openvino_is_installed() else _WORTH_TORCH
    fast = has_gpu() or cpu_has_bfloat16()
    return Precision.BF16 if fast and texts >= worth else Precision.FP32


def bulk_device(precision: Precision) -> str:
    """Return where documents are encoded in these numbers: `cuda` if it is there, else `cpu`."""
    return "cuda" if precision is Precision.BF16 and has_gpu() else "cpu"


def cpu_has_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 itself (AMX or AVX512-BF16)."""
    try:
        text = _CPU.read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    return bool({"amx_bf16", "avx512_bf16"} & set(flags))


def has_gpu() -> bool:
    """Return whether there is a GPU that torch may use, without importing torch."""
    return _DRIVER.exists() and not version("torch").endswith("+cpu")
