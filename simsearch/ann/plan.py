"""What was asked of an index, what was measured, and what was chosen. Plain records."""

from __future__ import annotations

from dataclasses import dataclass

from simsearch.ann.candidates import Parameters
from simsearch.ann.recall import Recall
from simsearch.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Target:
    """What an index has to be.

    `recall` is the least part of the `k` exact neighbours that it finds; `max_memory` in bytes,
    `max_latency` in seconds for a query by itself (median). Up to `exact_below` vectors a flat
    index is taken if it meets the rest: it answers in milliseconds and misses nothing. Of the
    indexes that meet all, those up to `slack` times the smallest count as equally small, and the
    fastest of them is taken; with a slack of 1 the smallest.
    """

    recall: float = 0.99
    k: int = 10
    max_memory: int | None = None
    max_latency: float | None = None
    exact_below: int = 50_000
    slack: float = 1.3

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1:
            raise InvalidInput(f"recall must be over 0 and at most 1, got {self.recall}")
        if self.k < 1:
            raise InvalidInput(f"k must be at least 1, got {self.k}")
        if self.slack < 1:
            raise InvalidInput(f"slack must be at least 1, got {self.slack}")
        for name, value in (("max_memory", self.max_memory), ("max_latency", self.max_latency)):
            if value is not None and not value > 0:
                raise InvalidInput(f"{name} must be over 0, got {value}")


class TargetMissed(InvalidInput):
    """No index is what was asked for; the message says what each came to."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Recall on the tuning queries under some parameters, and seconds a query in one batch."""

    parameters: Parameters
    recall: Recall
    seconds: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one kind of index was found to be.

    `rows` were in it: all, or those of the sample on which it was found that it cannot do.
    `tuned` is its recall on the queries that chose its parameters, `recall` on queries that did
    not; `latency` in seconds, the median of single queries; None where it did not come to that.
    `finding` says in words what came of it.
    """

    name: str
    factory: str
    rows: int
    finding: str
    bytes: int | None = None
    build_seconds: float | None = None
    parameters: Parameters | None = None
    curve: tuple[CurvePoint, ...] = ()
    tuned: Recall | None = None
    recall: Recall | None = None
    latency: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The choice of an index and all that led to it.

    `queries` says what was asked: `given`, or `documents` that were left out of their own results.
    """

    target: Target
    rows: int
    dim: int
    queries: str
    tuning_queries: int
    validation_queries: int
    seed: int
    threads: int
    faiss_version: str
    chosen: Measurement
    measurements: tuple[Measurement, ...]
