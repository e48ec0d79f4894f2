from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from head_training import tagged_texts

from simsearch.encoder import Encoder
from simsearch.heads import TaggerConfig, span_calibration_error, tag_texts, train_tagger
from simsearch.heads.chain import Chain
from simsearch.heads.tagger import TaggedSpan
from simsearch.heads.tagger_calibration import UnseenTexts, fit_span_temperature, score_unseen
from simsearch.heads.words import legal_transitions
from simsearch.records import Span, TaggedText

LABELS = ("ANIMAL", "PLACE")
SMALL = TaggerConfig(hidden=16, epochs=20, batch_size=8, dropout=0.0, learning_rate=5e-3)

LONG = replace(SMALL, hidden=64, epochs=30)  # learns by heart


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir: Path) -> Encoder:
    return Encoder.load(tiny_encoder_dir)


def drawn_from_a_chain(texts: int, *, times: float) -> UnseenTexts:
    """Return texts whose tags are drawn from a chain, and that chain's scores, multiplied."""
    rng = np.random.default_rng(5)
    begin = rng.normal(size=5).astype(np.float32)
    follow = rng.normal(size=(5, 5)).astype(np.float32)
    may_begin, may_follow = legal_transitions(2)
    sequences = [
        tags
        for tags in itertools.product(range(5), repeat=4)
        if may_begin[tags[0]] and all(may_follow[pair] for pair in itertools.pairwise(tags))
    ]
    emissions, drawn = [], []
    for _ in range(texts):
        own = (rng.normal(size=(4, 5)) * 1.5).astype(np.float32)
        scores = np.array(
            [
                begin[tags[0]]
                + sum(own[word, tag] for word, tag in enumerate(tags))
                + sum(follow[pair] for pair in itertools.pairwise(tags))
                for tags in sequences
            ]
        )
        chances = np.exp(scores - scores.max())
        emissions.append(own * np.float32(times))
        drawn.append(np.array(sequences[rng.choice(len(sequences), p=chances / chances.sum())]))
    factor = np.float32(times)
    return UnseenTexts.of(Chain.of(begin * factor, follow * factor), emissions, drawn)


@pytest.mark.parametrize("times", [0.5, 1.0, 2.5])
def test_the_temperature_is_what_the_scores_were_multiplied_by(times):
    unseen = drawn_from_a_chain(600, times=times)
    assert fit_span_temperature([unseen]) == pytest.approx(times, rel=0.15)
    assert score_unseen([unseen], times)["ece"] < 0.05  # of 800 spans in 15 bins
    if times == 2.5:
        assert score_unseen([unseen], 1.0)["ece"] > 0.15


def test_of_many_texts_some_are_enough(monkeypatch):
    unseen = drawn_from_a_chain(600, times=2.0)
    found = unseen.found
    assert len(unseen.probabilities(1.0)) == found > 600
    third = unseen.every(3)
    assert len(third.best) == 200
    assert third.found == len(third.probabilities(1.0)) == pytest.approx(found / 3, rel=0.1)
    monkeypatch.setattr("simsearch.heads.tagger_calibration._MOST_SPANS", found // 3)
    assert fit_span_temperature([unseen]) == fit_span_temperature([third])


def test_several_parts_count_as_one():
    first, second = (drawn_from_a_chain(200, times=times) for times in (1.0, 2.0))
    both = fit_span_temperature([first, second])
    assert fit_span_temperature([first]) < both < fit_span_temperature([second])


def test_that_all_were_right_makes_none_certain():
    tags = np.array([1, 2, 0])
    emissions = np.full((3, 5), -30.0, dtype=np.float32)
    emissions[np.arange(3), tags] = 30.0
    chain = Chain.of(np.zeros(5, np.float32), np.zeros((5, 5), np.float32))
    unseen = UnseenTexts.of(chain, [emissions] * 3, [tags] * 3)
    found = unseen.probabilities(fit_span_temperature([unseen]))
    np.testing.assert_allclose(found, 4 / 5, atol=0.01)


def test_scores_of_what_was_left_out_are_counted_by_hand():
    chain = Chain.of(np.zeros(3, np.float32), np.zeros((3, 3), np.float32))
    emissions = np.zeros((4, 3), dtype=np.float32)
    emissions[np.arange(4), [1, 0, 1, 2]] = 9.0  # found: words 0, and 2 to 3
    unseen = UnseenTexts.of(chain, [emissions], [np.array([1, 1, 1, 0])])
    scores = score_unseen([unseen], 1.0)
    assert (scores["precision"], scores["recall"]) == (1 / 2, 1 / 3)
    assert scores["span_f1"] == pytest.approx(2 / 5)
    first, second = unseen.probabilities(1.0)
    # Both in the last of 15 bins: the gap of their means.
    assert scores["ece"] == pytest.approx((first + second) / 2 - 1 / 2)


def test_nothing_found_has_no_error_of_calibration():
    chain = Chain.of(np.zeros(3, np.float32), np.zeros((3, 3), np.float32))
    emissions = np.zeros((2, 3), dtype=np.float32)
    emissions[:, 0] = 9.0
    unseen = UnseenTexts.of(chain, [emissions], [np.array([1, 0])])
    assert fit_span_temperature([unseen]) == 1.0
    assert score_unseen([unseen], 1.0) == {"span_f1": 0.0, "precision": 0.0, "recall": 0.0}
    assert span_calibration_error([[Span(0, 3, "A")]], [[]]) is None


def test_the_error_of_calibration_is_over_all_spans_found():
    gold = [[Span(0, 3, "A")], [Span(4, 7, "B")]]
    found = [
        [TaggedSpan(0, 3, "A", 0.95)],
        [TaggedSpan(4, 7, "A", 0.95), TaggedSpan(0, 2, "B", 0.1)],
    ]
    # The bin of 0.95 has two, one right: 0.45 away; that of 0.1 has one, wrong.
    expected = (2 * 0.45 + 0.1) / 3
    assert span_calibration_error(gold, found) == pytest.approx(expected)


def with_noise(texts: list[TaggedText], share: float) -> list[TaggedText]:
    """Return texts of whose spans some have a label by chance: nobody can be sure of them."""
    rng = np.random.default_rng(9)
    return [
        TaggedText(
            text.text,
            tuple(
                Span(span.start, span.end, str(rng.choice(LABELS)))
                if rng.random() < share
                else span
                for span in text.spans
            ),
        )
        for text in texts
    ]


def test_texts_left_out_make_probabilities_true(encoder):
    texts = with_noise(tagged_texts(120), 0.6)
    test = with_noise(tagged_texts(600, seed=1), 0.6)
    training = train_tagger(texts, encoder, config=LONG)
    plain = train_tagger(texts, encoder, config=replace(LONG, calibrate=False))
    assert plain.metrics == {}
    gold = [text.spans for text in test]
    found, before = (
        tag_texts(each.head, encoder, [text.text for text in test]) for each in (training, plain)
    )
    assert [[span.span for span in spans] for spans in found] == [
        [span.span for span in spans] for spans in before
    ]
    error = span_calibration_error(gold, found)
    assert error is not None
    assert error < 0.1 < span_calibration_error(gold, before) - 0.05
    # What was left out is a fair picture of what comes.
    right = sum(span.span in own for own, spans in zip(gold, found, strict=True) for span in spans)
    precision = right / sum(map(len, found))
    assert training.metrics["precision"] == pytest.approx(precision, abs=0.1)


def test_texts_that_are_equal_are_left_out_together(encoder):
    """Else what was learnt by heart looks known: labels of chance are all right on copies."""
    texts = with_noise(tagged_texts(40), 1.0)
    copies = [TaggedText(text.text.upper(), text.spans) for text in texts]
    training = train_tagger([*texts, *copies], encoder, config=LONG)
    assert training.metrics["precision"] < 0.75


def test_texts_without_spans_are_not_left_out_for_nothing(encoder):
    texts = [TaggedText("the cat sat", (Span(4, 7, "ANIMAL"),))]
    texts += [TaggedText(f"money was {word}", ()) for word in ("late", "red", "lost", "my")]
    training = train_tagger(texts, encoder, config=TaggerConfig(hidden=8, epochs=2))
    assert training.metrics == {}  # and no scores of 0


def test_what_stands_once_is_never_left_out(encoder):
    texts = [
        TaggedText("the cat sat", (Span(4, 7, "ANIMAL"),)),
        TaggedText("my bank", (Span(3, 7, "PLACE"),)),
    ]
    training = train_tagger(texts, encoder, config=TaggerConfig(hidden=8, epochs=2))
    assert training.metrics == {}
    assert len(training.losses) == 2


def test_texts_of_their_own_calibrate_in_the_place_of_those_left_out(encoder):
    texts, held = tagged_texts(80), with_noise(tagged_texts(200, seed=4), 0.6)
    held.append(TaggedText("my dog", (Span(3, 6, "UNKNOWN"),)))
    steps: list[tuple[int, int]] = []
    training = train_tagger(
        texts, encoder, config=SMALL, calibration=held, training=lambda *done: steps.append(done)
    )
    assert steps[-1] == (SMALL.steps(80), SMALL.steps(80))  # no other head was trained
    found = tag_texts(training.head, encoder, [text.text for text in held])
    gold = [text.spans for text in held]
    assert training.metrics["ece"] == pytest.approx(span_calibration_error(gold, found), abs=0.01)
    assert span_calibration_error(gold, found) < 0.1
    plain = train_tagger(texts, encoder, config=replace(SMALL, calibrate=False), calibration=held)
    assert plain.metrics == {}


def test_progress_counts_the_steps_of_every_head(encoder):
    steps: list[tuple[int, int]] = []
    train_tagger(
        tagged_texts(100), encoder, config=SMALL, training=lambda *done: steps.append(done)
    )
    assert [done for done, _ in steps] == list(range(1, len(steps) + 1))
    assert {total for _, total in steps} == {len(steps)}
    assert len(steps) > SMALL.steps(100)
