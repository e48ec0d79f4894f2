"""The checksum of those settings of a store that never change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from simsearch.errors import CorruptIndex
from simsearch.storage.checksums import settings_crc32
from simsearch.storage.schema import VARIABLES

_CHECKSUM = "constants_crc32"


def is_number(value: str) -> bool:
    """Whether a setting is a number as it is written here: digits of ASCII, of 0 or more."""
    return value.isascii() and value.isdecimal()


def sealed(settings: Mapping[str, str]) -> dict[str, str]:
    """Return settings with the checksum of those that never change."""
    return {**settings, _CHECKSUM: str(settings_crc32(_constants(settings)))}


def verified_constants(settings: Mapping[str, str], path: Path) -> dict[str, str]:
    """Return those of the settings in the database `path` that never change.

    Raises:
        CorruptIndex: they are not those that were sealed.
    """
    constants = _constants(settings)
    if settings.get(_CHECKSUM) != str(settings_crc32(constants)):
        raise CorruptIndex(
            f"{path}: the settings of the index are damaged (restore a backup, or index the "
            "corpus again)"
        )
    return constants


def _constants(settings: Mapping[str, str]) -> dict[str, str]:
    return {key: settings[key] for key in settings.keys() - VARIABLES}
