"""Settings of the training of a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from simsearch.errors import InvalidInput
from simsearch.heads.head_file import check_field


class ClassWeight(StrEnum):
    """How much a text of each class counts."""

    EQUAL = "equal"  # every text the same
    BALANCED = "balanced"  # every class the same


@dataclass(frozen=True, slots=True)
class ClassifierConfig:
    """Settings of a training.

    `strength` is the inverse of the regularisation, scikit-learn's C. `shots`, if given, is how
    many texts of each class are used, drawn by `seed`. `scope`: learn to tell texts of no class.

    Raises:
        InvalidInput: a setting is out of its range.
    """

    strength: float = 10.0
    class_weight: ClassWeight = ClassWeight.EQUAL
    shots: int | None = None
    scope: bool = True
    seed: int = 0
    field: str = "label"

    def __post_init__(self) -> None:
        if not 0 < self.strength < float("inf"):
            raise InvalidInput(f"strength must be above 0, got {self.strength}")
        if not isinstance(self.class_weight, ClassWeight):
            raise InvalidInput(f"class_weight must be a ClassWeight, got {self.class_weight!r}")
        if self.shots is not None and self.shots < 1:
            raise InvalidInput(f"shots must be at least 1, got {self.shots}")
        if self.seed < 0:
            raise InvalidInput(f"seed must not be negative, got {self.seed}")
        check_field(self.field)
