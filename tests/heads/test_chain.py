from __future__ import annotations

import itertools

import numpy as np
import pytest

from simsearch.heads.chain import Chain
from simsearch.heads.words import tag_runs

RNG = np.random.default_rng(8)
CHAIN = Chain.of(RNG.normal(size=5).astype(np.float32), RNG.normal(size=(5, 5)).astype(np.float32))
EMISSIONS = [(RNG.normal(size=(length, 5)) * 2).astype(np.float32) for length in (4, 1, 3, 5, 2)]


def every_sequence(emissions):
    """Return every sequence of tags with its score, by addition: the oracle."""
    found = {}
    for tags in itertools.product(range(5), repeat=len(emissions)):
        score = float(CHAIN.begin[tags[0]]) + float(emissions[0, tags[0]])
        for step in range(1, len(tags)):
            score += float(CHAIN.follow[tags[step - 1], tags[step]]) + float(
                emissions[step, tags[step]]
            )
        found[tags] = score
    return found


def test_the_best_tags_are_the_best_of_all_sequences():
    for emissions, tags in zip(EMISSIONS, CHAIN.best(EMISSIONS), strict=True):
        scores = every_sequence(emissions)
        assert tuple(tags.tolist()) == max(scores, key=scores.get)


def test_what_is_no_iob2_never_comes_out_however_strong_the_evidence():
    inside = np.zeros((3, 5), dtype=np.float32)
    inside[:, 2] = 100.0  # I of the first label throughout
    inside[1] = [0, 0, 0, 0, 100.0]  # and once I of the second
    (tags,) = Chain.of(np.zeros(5, np.float32), np.zeros((5, 5), np.float32)).best([inside])
    assert tags[0] != 2
    assert tags[1] != 4 or tags[0] in (3, 4)
    legal = {(0, 0), (0, 1), (0, 3), (1, 2), (2, 2), (3, 4), (4, 4)}
    legal |= {(tag, begin) for tag in range(5) for begin in (0, 1, 3)}
    assert set(itertools.pairwise(tags.tolist())) <= legal


def test_the_probability_of_a_span_is_that_of_all_sequences_that_have_it():
    best = CHAIN.best(EMISSIONS)
    found = CHAIN.span_probabilities(EMISSIONS, best)
    checked = 0
    for emissions, tags, values in zip(EMISSIONS, best, found, strict=True):
        scores = every_sequence(emissions)
        total = sum(np.exp(score) for score in scores.values())
        for (first, behind), value in zip(tag_runs(tags), values, strict=True):
            own = tuple(tags[first:behind].tolist())
            with_it = sum(
                np.exp(score)
                for sequence, score in scores.items()
                if sequence[first:behind] == own and (first, behind) in tag_runs(np.array(sequence))
            )
            assert value == pytest.approx(with_it / total, abs=1e-5)
            checked += 1
    assert checked >= 4


def test_no_text_has_no_tags():
    assert CHAIN.best([]) == []
    assert CHAIN.span_probabilities([], []) == []


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_a_softened_chain_has_the_same_best_tags_with_other_probabilities(temperature):
    softened = CHAIN.softened(temperature)
    emissions = [each / np.float32(temperature) for each in EMISSIONS]
    best = softened.best(emissions)
    for tags, before in zip(best, CHAIN.best(EMISSIONS), strict=True):
        np.testing.assert_array_equal(tags, before)
    found = softened.span_probabilities(emissions, best)
    checked = 0
    for own, tags, values in zip(EMISSIONS, best, found, strict=True):
        weights = {
            sequence: np.exp(score / temperature) for sequence, score in every_sequence(own).items()
        }
        total = sum(weights.values())
        for (first, behind), value in zip(tag_runs(tags), values, strict=True):
            part = tuple(tags[first:behind].tolist())
            with_it = sum(
                weight
                for sequence, weight in weights.items()
                if sequence[first:behind] == part
                and (first, behind) in tag_runs(np.array(sequence))
            )
            assert value == pytest.approx(with_it / total, rel=1e-3)
            checked += 1
    assert checked
