"""From what is asked for to the parts of an encoder: what it is, what runs it, where it is from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from dataclasses import replace as with_changes
from pathlib import Path
from types import NoneType

from simsearch.encoder.device import check_device
from simsearch.encoder.export_files import (
    DESCRIPTION,
    TOKENIZER,
    EncoderSpec,
    ModelMoved,
    read_export,
)
from simsearch.encoder.int8 import find_int8
from simsearch.encoder.layout import Layout
from simsearch.encoder.loading import (
    RuntimeName,
    cap_window,
    describe,
    find_or_make_export,
    onnx_runtime,
    read_whole_layout,
    runtime_name,
    torch_runtime,
)
from simsearch.encoder.locate import EncoderFiles, locate_encoder
from simsearch.encoder.precision import Precision, as_precision
from simsearch.encoder.runtime import Runtime
from simsearch.errors import EncoderError, InvalidInput, SimsearchError, SystemFailure


@dataclass(frozen=True, slots=True)
class EncoderParts:
    """What an encoder is made of.

    `files` and `layout` are those of the full model, None where only an export was opened. `export`
    is None where torch runs it; `refusal` is then why it has to, None if it was asked for.
    `precision` is that in which documents are encoded.
    """

    spec: EncoderSpec
    runtime: Runtime
    tokenizer: Path
    files: EncoderFiles | None = None
    layout: Layout | None = None
    export: Path | None = None
    precision: Precision = Precision.FP32
    device: str | None = None
    refusal: SimsearchError | None = None


def open_parts(
    name: str | os.PathLike[str] | None,
    *,
    runtime: RuntimeName | str | None,
    precision: Precision | str | None,
    device: str | None,
    max_length: int | None,
) -> EncoderParts:
    """Find what `Encoder.load` was asked for; errors as there."""
    _check_name(name)
    wanted = runtime_name(runtime)
    numbers = None if precision is None else as_precision(precision)
    if device is not None:
        check_device(device)
    elsewhere = device not in (None, "cpu")
    if name is not None and (Path(name) / DESCRIPTION).is_file():
        if wanted is RuntimeName.TORCH or max_length is not None or elsewhere:
            raise InvalidInput(
                f"{name} is an export: it has its window, and runs without torch, on the CPU"
            )
        return _open_export(Path(name), numbers)
    if elsewhere and (wanted is RuntimeName.ONNX or numbers is Precision.INT8):
        what = "int8" if numbers is Precision.INT8 else "the ONNX runtime"
        raise InvalidInput(f"{what} runs on the CPU alone, not on {device}")
    files = locate_encoder(name)
    full = read_whole_layout(files.directory)
    layout = cap_window(full, max_length)
    spec = describe(files.name, layout)  # reads the weights: a damaged file is found here
    if elsewhere and numbers is not Precision.BF16:
        wanted = RuntimeName.TORCH
    # The graph does not depend on the window, so one export serves every cap of it.
    export, refusal = _find_export(files, full, wanted)
    if numbers is Precision.INT8:
        return _open_int8(files.name, None if max_length is not None else export)
    return EncoderParts(
        spec,
        torch_runtime(layout, device or "cpu") if export is None else onnx_runtime(export),
        tokenizer=layout.fast_tokenizer,
        files=files,
        layout=layout,
        export=export,
        precision=numbers or Precision.FP32,
        device=device,
        refusal=refusal,
    )


def _check_name(name: object) -> None:
    if not isinstance(name, (str, os.PathLike, NoneType)):
        raise InvalidInput(
            f"an encoder is named by a directory or hub name, got a {type(name).__name__}"
        )
    if name == "":  # to a Path, it is the current folder
        raise InvalidInput(
            "the name of the encoder is empty (name a directory or a hub model, or leave it out)"
        )


def _open_int8(name: str, export: Path | None) -> EncoderParts:
    if export is None:
        raise EncoderError(f"int8 of {name} needs its export, with its own window")
    found = find_int8(export, name=name)
    return _open_export(found, Precision.INT8, name=f"{name} (int8)")


def _open_export(directory: Path, precision: Precision | None, *, name: str = "") -> EncoderParts:
    spec = read_export(directory)
    own = Precision.INT8 if spec.precision == Precision.INT8 else Precision.FP32
    if precision not in (None, own) and Precision.INT8 in (precision, own):
        raise InvalidInput(f"{name or directory} is an export in {own}: no {precision} of it")
    precision = precision or own
    if spec.model:
        return _follow(spec, precision)
    return EncoderParts(
        with_changes(spec, name=name or spec.name or str(directory)),
        onnx_runtime(directory),
        tokenizer=directory / TOKENIZER,
        export=directory,
        precision=precision,
    )


def _follow(spec: EncoderSpec, precision: Precision) -> EncoderParts:
    """Load the full model of an encoder that has no export.

    Where it is may be what somebody else's index says: it is not fetched from the hub, and
    its fingerprint is known before it is run.
    """
    try:
        files = locate_encoder(spec.model, fetch=False)
        layout = read_whole_layout(files.directory)
        if spec.max_length < layout.max_length:
            layout = cap_window(layout, spec.max_length)
        found = describe(files.name, layout)
        if found.fingerprint != spec.fingerprint:
            raise ModelMoved(f"{spec.model} is not the model any more that {spec.name} was")
        runtime = torch_runtime(layout)
    except ModelMoved:
        raise
    except (EncoderError, InvalidInput) as error:
        raise ModelMoved(f"{spec.name} runs only from its full model: {error}") from error
    return EncoderParts(
        found,
        runtime,
        tokenizer=layout.fast_tokenizer,
        files=files,
        layout=layout,
        precision=precision,
    )


def _find_export(
    files: EncoderFiles, layout: Layout, wanted: RuntimeName | None
) -> tuple[Path | None, SimsearchError | None]:
    """Return the export to run, None where torch is asked for or has to do; and why it has to."""
    if wanted is RuntimeName.TORCH:
        return None, None
    try:
        return find_or_make_export(files, layout), None
    except (EncoderError, SystemFailure) as error:
        if wanted is RuntimeName.ONNX:
            raise
        return None, error
