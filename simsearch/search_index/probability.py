"""Hits with the chance that they are answers, and those alone whose chance is good enough."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from numbers import Real

import numpy as np

from simsearch.encoder import Calibration, calibration_of
from simsearch.errors import CorruptIndex, EncoderError, EncoderMismatch, InvalidInput
from simsearch.records import Hit
from simsearch.search_index.binding import CALIBRATION
from simsearch.storage import DocumentStore

_NO_CALIBRATION = (
    "this index has no calibration, so its hits have no probability (`simsearch calibrate PAIRS "
    "-i INDEX_DIR` measures one; so does `simsearch finetune`, for indexes that its model builds)"
)


def stored_calibration(store: DocumentStore) -> Calibration | None:
    """Return the calibration that an index keeps; None without one that fits its vectors.

    Raises:
        CorruptIndex: it is malformed.
    """
    text = store.settings.find_constant(CALIBRATION)
    if not text:
        return None
    found = _read(text)
    return found if found.fits(store.settings.constants["fingerprint"], store.dim) else None


@lru_cache(maxsize=8)  # every search asks for it, and reading it takes longer than comparing rows
def _read(text: str) -> Calibration:
    try:
        return calibration_of(json.loads(text), where="the index")
    except (ValueError, EncoderError) as error:
        raise CorruptIndex(f"the setting {CALIBRATION!r} of the index: {error}") from error


def required_calibration(store: DocumentStore) -> Calibration:
    """Return the calibration that an index keeps.

    Raises:
        InvalidInput: it has none.
    """
    found = stored_calibration(store)
    if found is None:
        raise InvalidInput(_NO_CALIBRATION)
    return found


def keep_calibration(store: DocumentStore, calibration: Calibration) -> None:
    """Write a calibration, over an earlier one; inside a transaction.

    Raises:
        EncoderMismatch: it is not of the vectors of the index.
    """
    fingerprint = store.settings.constants["fingerprint"]
    if not calibration.fits(fingerprint, store.dim):
        raise EncoderMismatch(
            f"the calibration is of encoder {calibration.fingerprint[:12]}, dim {calibration.dim}; "
            f"the index has vectors of {fingerprint[:12]}, dim {store.dim}"
        )
    store.settings.write_constant(CALIBRATION, json.dumps(calibration.as_dict()))


def leads_of(similarities: Sequence[float]) -> list[float]:
    """Return how far each is above the highest of the others; 0.0 of one that is alone."""
    if len(similarities) < 2:
        return [0.0] * len(similarities)
    second, first = sorted(similarities)[-2:]
    # Of two that are equally high each is the other's best.
    return [each - (second if each == first else first) for each in similarities]


def with_probabilities(
    hits: Sequence[Hit], leads: Sequence[float | None], calibration: Calibration, *, among: int
) -> list[Hit]:
    """Return the hits of a query with their probability, found `among` so many documents.

    It is that of similarity and lead: a hit without a similarity has none, and the only one that
    there is has no lead.
    """
    places = [place for place, hit in enumerate(hits) if hit.dense is not None]
    similarities = np.array([hits[place].dense for place in places], dtype=np.float64)
    known = [leads[place] for place in places]
    each = None if None in known else np.array(known, dtype=np.float64)
    chances = calibration.probabilities(similarities, each, among=among)
    found = list(hits)
    for place, chance in zip(places, chances.tolist(), strict=True):
        found[place] = replace(found[place], probability=chance)
    return found


def check_min_probability(store: DocumentStore, least: float) -> None:
    """Refuse a least probability that no hit can be held against.

    Raises:
        InvalidInput: it is not from 0 to 1, or the index has no calibration.
    """
    check_probability(least)
    required_calibration(store)


def check_probability(least: float) -> None:
    """Refuse a least probability that is not 0 to 1."""
    if not (isinstance(least, Real) and 0 <= least <= 1):
        raise InvalidInput(f"min_probability must be from 0 to 1, got {least!r}")


def probable(found: Sequence[Sequence[Hit]], least: float) -> list[list[Hit]]:
    """Return those hits alone that have at least this probability."""
    return [
        [hit for hit in hits if hit.probability is not None and hit.probability >= least]
        for hits in found
    ]
