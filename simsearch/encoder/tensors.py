"""Named arrays in one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from simsearch.encoder.runtime import FloatArray
from simsearch.errors import EncoderError
from simsearch.files import translated_os_errors


def write_tensors(path: Path, tensors: Mapping[str, FloatArray]) -> None:
    """Write arrays to a file, which must not be read by anybody yet.

    Raises:
        SystemFailure: the disk is full, or the like.
    """
    # Not by ascontiguousarray, which makes a row of a single number.
    contiguous = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    with translated_os_errors(path):
        # One write of our own: the library tells a full disk by an error of its own making.
        path.write_bytes(safetensors.numpy.save(contiguous))


def read_tensors(path: Path) -> dict[str, FloatArray]:
    """Read what `write_tensors` wrote.

    Raises:
        EncoderError: the file is missing or damaged.
    """
    try:
        tensors: dict[str, FloatArray] = safetensors.numpy.load_file(path)
    except Exception as error:  # safetensors has errors of its own
        raise EncoderError(f"{path}: {error}") from error
    return tensors
