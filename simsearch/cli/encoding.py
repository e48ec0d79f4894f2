"""How a command encodes many texts: in which numbers, and where."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from simsearch.cli.options import Precision
from simsearch.cli.output import Output
from simsearch.errors import InvalidInput

if TYPE_CHECKING:
    from simsearch.encoder import Encoder, EncoderPool
    from simsearch.encoder import Precision as EncoderPrecision
    from simsearch.search_index import SearchIndex


@dataclass(frozen=True, slots=True)
class Encoding:
    """The options of a command that encodes documents."""

    precision: Precision = Precision.AUTO
    device: str | None = None

    @contextlib.contextmanager
    def load(self, name: str | None, *, texts: int) -> Iterator[Encoder | EncoderPool]:
        """Load an encoder for so many texts; with several devices, as a pool that ends here."""
        from simsearch.encoder import Encoder, EncoderPool

        devices = self._devices()
        precision = self._precision(texts)
        if len(devices) > 1:
            with EncoderPool(name, devices=devices, precision=precision) as pool:
                yield pool
            return
        device = devices[0] if devices else None
        yield Encoder.load(name, precision=precision, device=device)

    @contextlib.contextmanager
    def open_index(self, path: Path, name: str | None, *, texts: int) -> Iterator[SearchIndex]:
        """Open an index to which so many texts will be written.

        They are encoded by its own copy of its encoder, or, on a device, by the full model `name`.
        """
        from simsearch.search_index import SearchIndex

        if name is not None:
            with (
                self.load(name, texts=texts) as encoder,
                SearchIndex.open(path, encoder=encoder) as index,
            ):
                yield index
            return
        if self._devices() not in ([], ["cpu"]):
            raise InvalidInput(
                f"an index's own copy of its encoder runs on the CPU: for --device {self.device} "
                "name the full model (--encoder)"
            )
        precision = None
        if self.precision is not Precision.AUTO:
            precision = self._precision(texts)
        else:
            with SearchIndex.open(path) as index:
                in_float32 = index.info().precision == Precision.FP32
            if in_float32:
                precision = self._precision(texts, full_model=False)
        with SearchIndex.open(path, precision=precision) as index:
            yield index

    def _devices(self) -> list[str]:
        if self.device is None:
            return []
        devices = [device.strip() for device in self.device.split(",")]
        if not all(devices):
            raise InvalidInput(f"--device {self.device!r} names an empty device")
        return devices

    def _precision(self, texts: int, *, full_model: bool = True) -> EncoderPrecision:
        from simsearch.encoder import Precision as EncoderPrecision
        from simsearch.encoder import bulk_precision

        if self.precision is not Precision.AUTO:
            return EncoderPrecision(self.precision)
        device = next(iter(self._devices()), None)
        return bulk_precision(texts, device=device, full_model=full_model)


def warn_of_untrained(dim: int, encoder: Encoder | EncoderPool, output: Output) -> None:
    """Warn of a number of components that an encoder was not trained to be cut to."""
    if dim not in (encoder.dim, *encoder.trained_dims):
        output.warn(
            f"this encoder does not say that it was trained for dim {dim} (Matryoshka); expect to "
            "lose quality, measure it with `simsearch evaluate retrieval -i`"
        )
