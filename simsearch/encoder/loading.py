"""From a name to what an encoder is made of: a checked directory, an export, a runtime."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import asdict
from dataclasses import replace as with_changes
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path

from simsearch.cache import cache_directory, elsewhere
from simsearch.encoder.export_files import (
    EXPORT_FORMAT,
    GRAPH,
    EncoderSpec,
    ExportRefused,
    read_export,
)
from simsearch.encoder.fingerprint import fingerprint
from simsearch.encoder.layout import Layout, read_layout
from simsearch.encoder.locate import EncoderFiles
from simsearch.encoder.runtime import Runtime
from simsearch.errors import EncoderError, InvalidInput, SystemFailure
from simsearch.files import replace_text
from simsearch.version import __version__

logger = logging.getLogger("simsearch")


# Another version of one of these may export what was refused.
_EXPORTED_WITH = ("torch", "transformers", "onnx", "onnxruntime")


class RuntimeName(StrEnum):
    """What runs the encoder."""

    ONNX = "onnx"
    TORCH = "torch"


def runtime_name(name: RuntimeName | str | None) -> RuntimeName | None:
    """Return the member, None for None.

    Raises:
        InvalidInput: there is no runtime of that name.
    """
    try:
        return None if name is None else RuntimeName(name)
    except ValueError:
        raise InvalidInput(f"no runtime {name!r} (there are: {', '.join(RuntimeName)})") from None


def read_whole_layout(directory: Path) -> Layout:
    """Read an encoder directory, with a tokenizer in the fast format, made if there is none."""
    layout = read_layout(directory)
    if layout.tokenizer is not None:
        return layout
    from simsearch.encoder.tokenizer_conversion import converted_tokenizer  # transformers

    return with_changes(layout, tokenizer=converted_tokenizer(layout.transformer))


def cap_window(layout: Layout, max_length: int | None) -> Layout:
    """Return the layout with a smaller window.

    Raises:
        InvalidInput: it is no window of this encoder.
    """
    if max_length is None:
        return layout
    # Below 3 there is no room for a token between the special ones.
    if type(max_length) is not int or not 3 <= max_length <= layout.max_length:
        raise InvalidInput(
            f"max_length must be 3..{layout.max_length}, the encoder's window, got {max_length!r}"
        )
    return with_changes(layout, max_length=max_length)


def describe(name: str, layout: Layout) -> EncoderSpec:
    """Return what an encoder is, apart from its weights."""
    return EncoderSpec(
        name=name,
        fingerprint=fingerprint(layout),
        dim=layout.dim,
        max_length=layout.max_length,
        pad_id=layout.pad_id,
        lower_case=layout.lower_case,
        query_prompt=layout.query_prompt,
        document_prompt=layout.document_prompt,
        trained_dims=layout.trained_dims,
        include_prompt=layout.include_prompt,
    )


def find_or_make_export(files: EncoderFiles, layout: Layout) -> Path:
    """Return the export of an encoder, made and checked if there is none yet.

    Raises:
        ExportRefused: the encoder cannot be exported. That is remembered for these versions of
            the libraries, because trying takes seconds.
        EncoderError: the encoder cannot be loaded.
    """
    spec = describe(files.name, layout)
    directory = files.export_directory(spec.fingerprint)
    # A damaged export is made anew: it is derived, and the model is at hand.
    with contextlib.suppress(EncoderError):
        if read_export(directory).fingerprint == spec.fingerprint:
            return directory
    _make_export(files, layout, directory, spec)
    return directory


def _make_export(files: EncoderFiles, layout: Layout, directory: Path, spec: EncoderSpec) -> None:
    refusal = cache_directory() / "encoders" / f"{spec.fingerprint}.refused"
    libraries = ", ".join(f"{name} {version(name)}" for name in _EXPORTED_WITH)
    tried_with = f"simsearch {__version__}, {libraries}\n"
    with contextlib.suppress(OSError):
        tried, _, reason = refusal.read_text(encoding="utf-8").partition("\n")
        if f"{tried}\n" == tried_with:
            raise ExportRefused(reason)
    from simsearch.encoder.export import export_encoder  # imports torch

    # Said where it surprises: at the first use of an encoder, not at the end of a training run.
    level = logging.DEBUG if files.ours_to_write else logging.INFO
    logger.log(level, "exporting %s for use without torch, once", spec.name)
    # Inside a model directory the export is named by that directory, wherever it is moved to.
    described = with_changes(spec, name="") if files.ours_to_write else spec
    try:
        export_encoder(
            layout, directory, description={"format": EXPORT_FORMAT, **asdict(described)}
        )
    except SystemFailure as error:
        raise (error if files.ours_to_write else elsewhere(error)) from error
    except ExportRefused as error:
        with contextlib.suppress(OSError):
            refusal.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_text(refusal, tried_with + str(error))
        raise


def torch_runtime(layout: Layout, device: str = "cpu", *, bfloat16: bool = False) -> Runtime:
    """Return the runtime on torch, which it imports."""
    from simsearch.encoder.torch_runtime import TorchRuntime

    return TorchRuntime(layout, device=device, bfloat16=bfloat16)


def onnx_runtime(export: Path) -> Runtime:
    """Return the torch-free runtime."""
    from simsearch.encoder.onnx_runtime import OnnxRuntime

    return OnnxRuntime(export / GRAPH)
