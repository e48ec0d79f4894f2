"""How a command encodes many texts: in which numbers, and where."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simsearch.cli.options import Precision
from simsearch.errors import InvalidInput

if TYPE_CHECKING:
    from simsearch.encoder import Encoder, EncoderPool
    from simsearch.encoder import Precision as EncoderPrecision


@dataclass(frozen=True, slots=True)
class Encoding:
    """The options of a command that encodes documents."""

    precision: Precision = Precision.AUTO
    device: str | None = None

    @contextlib.contextmanager
    def load(self, name: str | None, *, texts: int) -> Iterator[Encoder | EncoderPool]:
        """Load an encoder for so many texts; with several devices, as a pool that ends here."""
        from simsearch.encoder import Encoder, EncoderPool, bulk_device

        precision = encoder_precision(self.precision, texts)
        asked = bulk_device(precision) if self.device is None else self.device
        devices = [device.strip() for device in asked.split(",")]
        if not all(devices):
            raise InvalidInput(f"--device {self.device!r} names an empty device")
        if len(devices) == 1:
            yield Encoder.load(name, precision=precision, device=devices[0])
            return
        with EncoderPool(name, devices=devices, precision=precision) as pool:
            yield pool


def encoder_precision(asked: Precision, texts: int) -> EncoderPrecision:
    """Return the numbers for so many texts."""
    from simsearch.encoder import Precision as EncoderPrecision
    from simsearch.encoder import bulk_precision

    return bulk_precision(texts) if asked is Precision.AUTO else EncoderPrecision(asked)
