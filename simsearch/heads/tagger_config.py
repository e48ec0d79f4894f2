"""Settings of the training of a tagger."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from simsearch.errors import InvalidInput
from simsearch.heads.head_file import check_field

_LEAST_EPOCHS = 8
_LEAST_STEPS = 140  # what a hundred texts need


class Layers(StrEnum):
    """How the layers of the encoder come together."""

    CONCATENATED = "concatenated"  # each has a map of its own
    MIXED = "mixed"  # one map of their learned mean (Peters et al. 2018, ELMo)


@dataclass(frozen=True, slots=True)
class TaggerConfig:
    """Settings of a training.

    `layers` is "concatenated", of which a tagger sees so many principal `directions` (0: all
    numbers as they are), or "mixed". `epochs` None: 8, or as many as make 140 steps. `calibrate`:
    train once more without a part of the texts, to tell how probable spans are; up to five times
    without another part each, where there are few.

    Raises:
        InvalidInput: a setting is out of its range.
    """

    layers: str = "concatenated"
    directions: int = 384
    hidden: int = 256
    blocks: int = 2
    kernel: int = 5
    dropout: float = 0.3
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    batch_size: int = 8
    epochs: int | None = None
    seed: int = 0
    field: str = "entities"
    calibrate: bool = True

    def __post_init__(self) -> None:
        if self.layers not in tuple(Layers):
            raise InvalidInput(f"layers must be {' or '.join(Layers)}, got {self.layers!r}")
        for name, least, most in (
            ("directions", 0, 4096),
            ("hidden", 1, 4096),
            ("blocks", 0, 16),
            ("kernel", 1, 101),
            ("batch_size", 1, 4096),
            ("seed", 0, 2**63 - 1),
        ):
            value = getattr(self, name)
            if type(value) is not int:
                raise InvalidInput(f"{name} must be a whole number, got {value!r}")
            if not least <= value <= most:
                raise InvalidInput(f"{name} must be {least}..{most}, got {value}")
        if self.kernel % 2 == 0:
            raise InvalidInput(f"kernel must be odd, got {self.kernel}")
        if not 0 <= self.dropout < 1:
            raise InvalidInput(f"dropout must be 0 to below 1, got {self.dropout}")
        if not 0 < self.learning_rate < 1 or not 0 <= self.weight_decay < 1:
            raise InvalidInput("learning_rate must be above 0 and weight_decay at least 0, below 1")
        if self.epochs is not None and self.epochs < 1:
            raise InvalidInput(f"epochs must be at least 1, got {self.epochs}")
        if not isinstance(self.calibrate, bool):
            raise InvalidInput(f"calibrate must be True or False, got {self.calibrate!r}")
        check_field(self.field)

    def steps(self, texts: int) -> int:
        """Return how many steps a training on so many texts takes."""
        an_epoch = math.ceil(texts / self.batch_size)
        epochs = self.epochs or max(_LEAST_EPOCHS, math.ceil(_LEAST_STEPS / an_epoch))
        return epochs * an_epoch
