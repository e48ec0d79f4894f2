"""The calibration of an encoder: what its similarity says about the chance of a match.

Measured on hits, it holds for hits: the texts nearest to a query among so many others. What counts
is how similar a hit is, and its lead: how much more similar than the best of the other hits (below
0 for all but the first). A cosine that is high because everything is near to a query is no answer.

The more texts a query is compared with, the more of them come near it by chance, while its answers
stay as many. Were the similarity all that counts, Bayes' rule would divide the odds of a match by
as much as there are more texts (as for another share of classes: Saerens, Latinne & Decaestecker
2002). A lead says a part of that already: measured, they fall with the square root (docs/log.md,
2026-11-26). Measured on given pairs of texts, a calibration holds for pairs like them, and knows
neither number nor lead.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.encoder.model_file import MODEL_FILE, read_model_file
from simsearch.errors import EncoderError, InvalidInput
from simsearch.evaluation import CalibrationCurve, CalibrationMethod, sigmoid
from simsearch.files import replace_text

DoubleArray = npt.NDArray[np.float64]

_FORMAT = 1
_CROWDING = 0.5  # the power of the number of texts by which the odds of a match fall


@dataclass(frozen=True, slots=True)
class ChanceCount:
    """How many held-out matches, and others, have at least this probability."""

    probability: float
    matches: int
    others: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """Curves to the probability of a match, and what they were measured on.

    `curve` is over the evidence, `weights` times similarity and lead; without a lead, and for
    pairs, `alone` is over the similarity. It holds for the encoder of the `fingerprint`, cut to
    `dim`. `candidates` are the texts that each query was compared with, None where pairs were
    given. `scored` similarities of `units` (queries or pairs), `matches` of them of matches.
    `log_losses` and the expected calibration
    `error` are cross-validated. `counts` have falling probabilities.
    """

    curve: CalibrationCurve
    weights: tuple[float, float]
    alone: CalibrationCurve
    fingerprint: str
    dim: int
    candidates: int | None
    units: int
    scored: int
    matches: int
    log_losses: Mapping[str, float]
    error: float
    counts: tuple[ChanceCount, ...]

    @property
    def measured_on(self) -> str:
        """What the probabilities are those of: "hits" of queries, or "pairs"."""
        return "pairs" if self.candidates is None else "hits"

    def fits(self, fingerprint: str, dim: int) -> bool:
        """Whether it is of the encoder with this fingerprint, cut to `dim`."""
        return (self.fingerprint, self.dim) == (fingerprint, dim)

    def probabilities(
        self,
        similarities: npt.ArrayLike,
        leads: npt.ArrayLike | None = None,
        *,
        among: int | None = None,
    ) -> DoubleArray:
        """Return the probability of a match for each similarity, in the same shape.

        `leads`, in the same shape, where there were other hits. `among`: the number of texts that
        the query was compared with; None is as measured.
        """
        found = np.asarray(similarities, dtype=np.float64)
        if leads is None:
            log_odds = self.alone.log_odds(found)
        else:
            of_similarity, of_lead = self.weights
            evidence = of_similarity * found + of_lead * np.asarray(leads, dtype=np.float64)
            log_odds = self.curve.log_odds(evidence)
        return sigmoid(log_odds - math.log(self._growth(among)))

    def threshold(self, precision: float, *, among: int | None = None) -> float:
        """Return the lowest probability from which on so large a share of what is found matches.

        One other more is counted than were met, as in the control of false discoveries by
        held-out scores (Barber & Candès 2015; Jin & Candès 2023): else the lowest of many
        thresholds would be one that was lucky. `among` as in `probabilities`.

        Raises:
            InvalidInput: `precision` is not between 0 and 1, or no threshold is known to reach it.
        """
        if not 0 < precision < 1:
            raise InvalidInput(f"a precision is above 0 and below 1, got {precision:g}")
        growth = self._growth(among)
        reached = [
            (row.matches / (row.matches + growth * (row.others + 1)), row.probability)
            for row in self.counts
        ]
        enough = [chance for share, chance in reached if share >= precision]
        if not enough:
            best = max((share for share, _ in reached), default=0.0)
            raise InvalidInput(
                f"no threshold is known to reach a precision of {precision:g}: the calibration "
                f"shows {best:.3f} at most (ask for less, or calibrate on more pairs than "
                f"{self.units:,})"
            )
        odds = min(enough) / (1 - min(enough)) / growth
        return odds / (1 + odds)

    def _growth(self, among: int | None) -> float:
        if among is None or self.candidates is None:
            return 1.0
        return float((max(1, among) / self.candidates) ** _CROWDING)

    def as_dict(self) -> dict[str, Any]:
        """Return what `calibration_of` reads."""
        return {
            "format": _FORMAT,
            "fingerprint": self.fingerprint,
            "dim": self.dim,
            "curve": _as_dict(self.curve),
            "weights": list(self.weights),
            "alone": _as_dict(self.alone),
            "measured_on": self.measured_on,
            "candidates": self.candidates,
            "units": self.units,
            "scored": self.scored,
            "matches": self.matches,
            "log_loss": {str(name): loss for name, loss in self.log_losses.items()},
            "expected_calibration_error": self.error,
            "counts": [[row.probability, row.matches, row.others] for row in self.counts],
        }


def calibration_of(content: Any, *, where: str) -> Calibration:
    """Return a calibration read from JSON; `where` says in an error what was read.

    Raises:
        EncoderError: it is of another format, or malformed.
    """
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise EncoderError(f"{where}: expected a calibration of format {_FORMAT}")
    try:
        candidates = content["candidates"]
        found = Calibration(
            curve=_curve(content["curve"]),
            weights=_weights(content["weights"]),
            alone=_curve(content["alone"]),
            fingerprint=str(content["fingerprint"]),
            dim=int(content["dim"]),
            candidates=None if candidates is None else int(candidates),
            units=int(content["units"]),
            scored=int(content["scored"]),
            matches=int(content["matches"]),
            log_losses={str(name): float(each) for name, each in content["log_loss"].items()},
            error=float(content["expected_calibration_error"]),
            counts=tuple(ChanceCount(_chance(p), int(m), int(o)) for p, m, o in content["counts"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise EncoderError(f"{where}: the calibration is malformed: {error!r}") from error
    if found.candidates is not None and found.candidates < 1:
        raise EncoderError(f"{where}: the calibration is of {found.candidates} candidates")
    return found


def _as_dict(curve: CalibrationCurve) -> dict[str, Any]:
    if curve.method is CalibrationMethod.PLATT:
        return {"method": "platt", "slope": curve.slope, "intercept": curve.intercept}
    return {
        "method": "isotonic",
        "scores": list(curve.scores),
        "probabilities": list(curve.probabilities),
    }


def _weights(values: Any) -> tuple[float, float]:
    first, second = (float(value) for value in values)
    _require(0 <= first < math.inf and 0 <= second < math.inf, "weights of 0 or more")
    return first, second


def _chance(value: Any) -> float:
    _require(0 < float(value) < 1, "probabilities between 0 and 1")
    return float(value)


def _curve(content: Mapping[str, Any]) -> CalibrationCurve:
    """Return the curve, which must give a probability between 0 and 1 and never fall."""
    method = CalibrationMethod(content["method"])
    if method is CalibrationMethod.PLATT:
        slope, intercept = float(content["slope"]), float(content["intercept"])
        _require(math.isfinite(slope) and math.isfinite(intercept) and slope >= 0, "its slope")
        return CalibrationCurve(method, slope=slope, intercept=intercept)
    scores, probabilities = _rising(content["scores"]), _rising(content["probabilities"])
    _require(0 < len(scores) == len(probabilities), "as many scores as probabilities")
    _require(probabilities[0] > 0 and probabilities[-1] < 1, "probabilities between 0 and 1")
    return CalibrationCurve(method, scores=scores, probabilities=probabilities)


def _rising(values: Any) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    rises = all(first <= second for first, second in itertools.pairwise(numbers))
    _require(rises and all(map(math.isfinite, numbers)), "finite numbers that rise")
    return numbers


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"expected {what}")


def read_calibration(directory: Path | None, fingerprint: str) -> Calibration | None:
    """Return the calibration in a model directory; None without one, or if it is of other weights.

    Raises:
        EncoderError: it is malformed.
    """
    content = {} if directory is None else read_model_file(directory)
    if directory is None or content.get("calibration") is None:
        return None
    found = calibration_of(content["calibration"], where=str(directory / MODEL_FILE))
    return found if found.fingerprint == fingerprint else None


def keep_calibration(directory: Path, calibration: Calibration) -> None:
    """Write a calibration into `simsearch.json` of a model directory, over an earlier one.

    Raises:
        EncoderError: it is no model directory of ours.
    """
    content = read_model_file(directory)
    if not content:
        raise EncoderError(
            f"{directory} has no {MODEL_FILE}, where a calibration is kept (make it a model "
            "directory of ours with `Encoder.save`, or calibrate an index: -i INDEX_DIR)"
        )
    changed = {**content, "calibration": calibration.as_dict()}
    text = json.dumps(changed, indent=2, ensure_ascii=False, allow_nan=False)
    replace_text(directory / MODEL_FILE, text + "\n")
