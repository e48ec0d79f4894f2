"""Where torch may run an encoder."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

from simsearch.errors import InvalidInput

_DEVICE = re.compile(r"cpu|(cuda|mps|xpu)(:\d{1,3})?")
_DRIVER = Path("/proc/driver/nvidia/version")


def check_device(device: str) -> None:
    """Refuse what is the name of no device, before torch is imported.

    Raises:
        InvalidInput: naming it.
    """
    if not isinstance(device, str) or not _DEVICE.fullmatch(device):
        raise InvalidInput(f"no device {device!r} (there are: cpu, cuda, cuda:1, mps, xpu)")


def has_gpu() -> bool:
    """Return whether there is a GPU that torch may use, without importing torch."""
    return _DRIVER.exists() and not version("torch").endswith("+cpu")
