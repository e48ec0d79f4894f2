"""What is kept of a segment beside its file: how it is read and searched, and why it is as it is.

JSON under a checksum of its own, because a digit that changed in it would cost recall unnoticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from simsearch.ann import (
    FilterLevel,
    FilterPlan,
    IndexRecord,
    Parameters,
    Plan,
    Recall,
    Target,
)
from simsearch.errors import CorruptIndex
from simsearch.storage import read_with_checksum, with_checksum

_COUNTS = ("rows", "dim")


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """The description of a segment.

    `rows` are in the file, all that lived at `commit_number`. `index`, `filters` and `plan` (what
    was measured, plain data) are None where every row is compared.
    """

    rows: int
    dim: int
    commit_number: int
    index: IndexRecord | None = None
    filters: FilterPlan | None = None
    plan: Mapping[str, Any] | None = None

    def to_text(self) -> str:
        """Return the description as it is stored."""
        return with_checksum(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> SegmentRecord:
        """Return what a stored description says.

        Raises:
            CorruptIndex: it is not what was written.
        """
        try:
            content = read_with_checksum(text)
            if not all(isinstance(content[key], int) and content[key] > 0 for key in _COUNTS):
                raise ValueError("it has no rows")
            return cls(
                rows=content["rows"],
                dim=content["dim"],
                commit_number=content["commit_number"],
                index=None if content["index"] is None else _index_record(content["index"]),
                filters=None if content["filters"] is None else _filter_plan(content["filters"]),
                plan=content["plan"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptIndex(f"the description of a segment is damaged: {error}") from error


def plan_facts(plan: Plan) -> dict[str, Any]:
    """Return what is kept of a plan: the choice with its curve, and what became of the others."""
    facts = asdict(plan)
    others = facts.pop("measurements")
    facts["considered"] = [
        {name: each[name] for name in ("name", "factory", "rows", "finding", "bytes", "latency")}
        for each in others
    ]
    return facts


def target_to_text(target: Target) -> str:
    """Return a target as it is stored."""
    return with_checksum(asdict(target))


def target_from_text(text: str) -> Target:
    """Return the target that is stored.

    Raises:
        CorruptIndex: it is not what was written.
    """
    try:
        return Target(**read_with_checksum(text))
    except (ValueError, TypeError) as error:
        raise CorruptIndex(f"the target of the index is damaged: {error}") from error


def _index_record(content: Mapping[str, Any]) -> IndexRecord:
    return IndexRecord(**{**content, "parameters": Parameters(**content["parameters"])})


def _filter_plan(content: Mapping[str, Any]) -> FilterPlan:
    levels = tuple(
        FilterLevel(
            selectivity=level["selectivity"],
            parameters=Parameters(**level["parameters"]),
            recall=Recall(**level["recall"]),
            seconds=level["seconds"],
            k=level["k"],
        )
        for level in content["levels"]
    )
    return FilterPlan(levels, content["seconds_a_row"], content["least_rows"], content["k"])
