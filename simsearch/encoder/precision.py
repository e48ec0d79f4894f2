"""In which numbers an encoder computes, and which this machine is fast in."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path

from simsearch.encoder.device import has_gpu
from simsearch.encoder.openvino_runtime import openvino_is_installed
from simsearch.errors import InvalidInput

# Texts from which on bulk work in bfloat16 wins back what its runtime takes to start:
# OpenVINO some 1.5 s, torch some 8 s (docs/log.md, 2026-11-22).
_WORTH_OPENVINO = 2_000
_WORTH_TORCH = 15_000
_CPU = Path("/proc/cpuinfo")


class Precision(StrEnum):
    """Numbers of the encoder's products. Embeddings are float32 in any case."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


def as_precision(name: Precision | str) -> Precision:
    """Return the member.

    Raises:
        InvalidInput: there is no precision of that name.
    """
    try:
        return Precision(name)
    except ValueError:
        raise InvalidInput(f"no precision {name!r} (there are: {', '.join(Precision)})") from None


def bulk_precision(texts: int, *, device: str | None = None, full_model: bool = True) -> Precision:
    """Return bf16 if this machine encodes so many documents faster with it, else fp32.

    `device` is as for `Encoder.load`. `full_model` is false where there is an export alone, as in
    an index: torch cannot run it.
    """
    gpu = has_gpu() if device is None else device != "cpu"
    if gpu and full_model:
        worth: float = _WORTH_TORCH
    elif not cpu_has_bfloat16():
        worth = math.inf
    elif openvino_is_installed():
        worth = _WORTH_OPENVINO
    else:
        worth = _WORTH_TORCH if full_model else math.inf
    return Precision.BF16 if texts >= worth else Precision.FP32


def cpu_has_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 itself (AMX or AVX512-BF16)."""
    try:
        text = _CPU.read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    return bool({"amx_bf16", "avx512_bf16"} & set(flags))
