"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is."""

    NOTE = "note"  # what a killed process leaves behind; harmless
    WARNING = "warning"  # not as it should be, but every answer is right
    DAMAGE = "damage"  # something is lost or wrong


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    `code` is for programs, `what` for people; `path` is the file, `remedy` what to do.
    """

    severity: Severity
    code: str
    path: str
    what: str
    remedy: str = ""


def row_ranges(rows: list[int], *, shown: int = 5) -> str:
    """Return row numbers in ascending order as text: "3 to 7, 12", and how many more there are."""
    ranges: list[list[int]] = []
    for row in rows:
        if ranges and row == ranges[-1][1] + 1:
            ranges[-1][1] = row
        else:
            ranges.append([row, row])
    texts = [str(first) if first == last else f"{first} to {last}" for first, last in ranges]
    more = f" and {len(texts) - shown} more ranges" if len(texts) > shown else ""
    return ", ".join(texts[:shown]) + more
