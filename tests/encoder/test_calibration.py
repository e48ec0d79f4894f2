"""A calibration: probabilities among any number of texts, thresholds, and what is kept of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simsearch.encoder import Calibration, ChanceCount, Encoder, calibration_of, keep_calibration
from simsearch.errors import EncoderError, InvalidInput
from simsearch.evaluation import CalibrationCurve, CalibrationMethod

PLATT = CalibrationCurve(CalibrationMethod.PLATT, slope=10.0, intercept=-5.0)
ISOTONIC = CalibrationCurve(CalibrationMethod.ISOTONIC, scores=(0.2, 0.6), probabilities=(0.1, 0.5))


def make(
    curve: CalibrationCurve = PLATT,
    *,
    candidates: int | None = 1000,
    counts: tuple[tuple[float, int, int], ...] = ((0.9, 9, 0), (0.8, 30, 2), (0.5, 40, 40)),
    fingerprint: str = "f",
    dim: int = 32,
) -> Calibration:
    return Calibration(
        curve=curve,
        weights=(1.0, 2.0),
        alone=curve,
        fingerprint=fingerprint,
        dim=dim,
        candidates=candidates,
        units=50,
        scored=80,
        matches=40,
        log_losses={"platt": 0.3, "isotonic": 0.31},
        error=0.02,
        counts=tuple(ChanceCount(*row) for row in counts),
    )


def test_among_as_many_texts_as_measured_the_curve_is_the_probability():
    found = make().probabilities([0.5, 0.7])
    np.testing.assert_allclose(found, [0.5, 1 / (1 + np.exp(-2))])
    np.testing.assert_array_equal(make().probabilities([0.5, 0.7], among=1000), found)


def test_a_lead_is_evidence_by_its_weight():
    # 0.5 + 2 * 0.1 = 0.7, of which the log-odds are 2; 0.5 - 2 * 0.2 = 0.1, with -4.
    found = make().probabilities([0.5, 0.5], [0.1, -0.2])
    np.testing.assert_allclose(found, [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(4))])


def test_among_a_hundred_times_the_texts_the_odds_are_a_tenth():
    assert make().probabilities(0.5, among=100_000) == pytest.approx(1 / 11)
    assert make().probabilities(0.5, among=10) == pytest.approx(10 / 11)
    assert make().probabilities(0.5, 0.0, among=100_000) == pytest.approx(1 / 11)


def test_pairs_know_no_number_of_texts():
    assert make(candidates=None).probabilities(0.5, among=10_000) == pytest.approx(0.5)


def test_the_threshold_is_the_lowest_that_reaches_the_precision_with_one_other_more():
    # 9 / (9 + 1) = 0.9; 30 / (30 + 3) = 0.909; 40 / 81.
    assert make().threshold(0.9) == pytest.approx(0.8)
    assert make().threshold(0.4) == pytest.approx(0.5)


def test_among_more_texts_more_others_pass_a_threshold_and_probabilities_are_lower():
    # Four times the texts, twice the others: 9 / (9 + 2), 30 / (30 + 6) = 0.833, 40 / 122. What
    # had a probability of 0.8, odds of 4, has odds of 2.
    assert make().threshold(0.83, among=4000) == pytest.approx(2 / 3)
    with pytest.raises(InvalidInput, match=r"shows 0\.833 at most"):
        make().threshold(0.9, among=4000)


def test_a_precision_that_nothing_is_known_to_reach_is_refused():
    with pytest.raises(InvalidInput, match=r"no threshold is known to reach.* 0\.95"):
        make().threshold(0.95)


@pytest.mark.parametrize("precision", [0.0, 1.0, -0.5, 95.0, float("nan")])
def test_what_is_no_precision_is_refused(precision):
    with pytest.raises(InvalidInput, match="above 0 and below 1"):
        make().threshold(precision)


@pytest.mark.parametrize("curve", [PLATT, ISOTONIC])
@pytest.mark.parametrize("candidates", [1000, None])
def test_what_is_written_is_read_again(curve, candidates):
    calibration = make(curve, candidates=candidates)
    text = json.dumps(calibration.as_dict(), allow_nan=False)
    assert calibration_of(json.loads(text), where="here") == calibration


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"curve": {"method": "platt", "slope": -1.0, "intercept": 0.0}},
        {"curve": {"method": "platt", "slope": float("inf"), "intercept": 0.0}},
        {"curve": {"method": "guess"}},
        {"curve": None},
        {"candidates": 0},
        {"weights": [1.0]},
        {"weights": [1.0, -1.0]},
        {"counts": [[1, 2]]},
        {"counts": [[1.0, 2, 3]]},
        {"dim": None},
        {"alone": {"method": "isotonic", "scores": [0.2, 0.6], "probabilities": [0.5, 0.1]}},
        {"alone": {"method": "isotonic", "scores": [0.2, 0.6], "probabilities": [0.0, 0.5]}},
        {"alone": {"method": "isotonic", "scores": [0.2, 0.6], "probabilities": [0.5, 1.0]}},
        {"alone": {"method": "isotonic", "scores": [0.2], "probabilities": [0.1, 0.5]}},
        {"alone": {"method": "isotonic", "scores": [], "probabilities": []}},
        {"alone": {"method": "isotonic", "scores": [float("nan")], "probabilities": [0.5]}},
    ],
)
def test_a_malformed_one_is_refused_by_name(change):
    with pytest.raises(EncoderError, match=r"here.*calibration"):
        calibration_of({**make().as_dict(), **change}, where="here")


def test_a_list_is_no_calibration():
    with pytest.raises(EncoderError, match="here"):
        calibration_of([], where="here")


def test_an_encoder_has_the_calibration_that_was_kept_in_its_directory(
    tiny_encoder_dir: Path, tmp_path: Path
):
    base = Encoder.load(tiny_encoder_dir)
    base.save(tmp_path / "model")
    assert Encoder.load(tmp_path / "model").calibration is None
    kept = make(fingerprint=base.fingerprint)
    keep_calibration(tmp_path / "model", kept)
    assert Encoder.load(tmp_path / "model").calibration == kept
    assert Encoder.load(tmp_path / "model").fingerprint == base.fingerprint
    other = replace(kept, error=0.5)
    keep_calibration(tmp_path / "model", other)
    assert Encoder.load(tmp_path / "model").calibration == other


def test_a_calibration_of_other_weights_is_none(tiny_encoder_dir: Path, tmp_path: Path):
    Encoder.load(tiny_encoder_dir).save(tmp_path / "model")
    keep_calibration(tmp_path / "model", make(fingerprint="of other weights"))
    assert Encoder.load(tmp_path / "model").calibration is None


def test_a_base_encoder_has_none_and_nothing_is_written_beside_it(tiny_encoder_dir: Path):
    assert Encoder.load(tiny_encoder_dir).calibration is None
    with pytest.raises(EncoderError, match=r"has no simsearch\.json.*-i INDEX_DIR"):
        keep_calibration(tiny_encoder_dir, make())
