from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from simsearch.ann import VectorIndex
from simsearch.errors import InvalidInput
from simsearch.records import Pair
from simsearch.training import negatives
from simsearch.training.examples import fold
from simsearch.training.negatives import mine_negatives


class TableEncoder:
    """An encoder of known vectors; a text has the same one as query and as document."""

    name = fingerprint = "table"

    def __init__(self, vectors):
        self.vectors = {text: np.asarray(vector, np.float32) for text, vector in vectors.items()}
        self.dim = len(next(iter(self.vectors.values())))
        self.queries: list[str] = []
        self.documents: list[str] = []

    def encode_queries(self, texts):
        self.queries += texts
        return self._stack(texts)

    def encode_documents(self, texts, *, counts=None):
        self.documents += texts
        return self._stack(texts)

    def _stack(self, texts):
        return np.array([self.vectors[text] for text in texts]).reshape(-1, self.dim)


def plane(degrees):
    """Return the unit vector (2,) at that angle, of which the anchor is at 0."""
    return np.cos(np.radians(degrees)), np.sin(np.radians(degrees))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def by_the_full_matrix(encoder, pairs, candidates, *, count, window, margin):
    """Mine as the rule says, with every similarity at hand: negatives, and the figures."""
    distinct = list({fold(text): text for text in reversed(candidates)}.values())[::-1]
    vector = {text: value.astype(np.float64) for text, value in encoder.vectors.items()}
    corpus = np.array([vector[text] for text in distinct])
    mined, known, near, copies, positive_values, values = [], 0, 0, 0, [], []
    for pair in pairs:
        positives = {fold(p.positive) for p in pairs if fold(p.anchor) == fold(pair.anchor)}
        similarities = corpus @ vector[pair.anchor]
        positive = vector[pair.anchor] @ vector[pair.positive]
        chosen = []
        for row in np.argsort(-similarities, kind="stable")[:window]:
            is_known = fold(distinct[row]) in {*positives, fold(pair.anchor)}
            is_near = similarities[row] > positive - margin * abs(positive)
            is_copy = corpus[row] @ vector[pair.positive] >= 0.95
            known += is_known
            near += is_near and not is_known
            copies += is_copy and not is_near and not is_known
            chosen += [] if is_known or is_near or is_copy else [row]
        mined.append(tuple(distinct[row] for row in chosen[:count]))
        values += [similarities[row] for row in chosen[:count]]
        positive_values.append(positive)
    return mined, (known, near, copies), np.mean(positive_values), np.mean(values)


def random_task(seed, *, queries=60, fillers=300, dim=12):
    """Return an encoder, pairs and candidates in which every reason to pass over occurs."""
    rng = np.random.default_rng(seed)
    anchors = unit(rng.standard_normal((queries, dim)))
    vectors = {f"filler {n}": unit(rng.standard_normal(dim)) for n in range(fillers)}
    pairs = []
    for number, anchor in enumerate(anchors):
        vectors[f"anchor {number}"] = vectors[f"Anchor {number}?"] = anchor
        for name, near in (("first", f"anchor {number}"), ("second", f"Anchor {number}?")):
            # The second positive of every third anchor points away from it.
            away = -1 if name == "second" and number % 3 == 0 else 1
            positive = unit(away * anchor + 0.25 * rng.standard_normal(dim))
            text = f"{name} positive of {number}"
            vectors[text] = positive
            pairs.append(Pair(near, text))
            vectors[f"copy of {text}"] = unit(positive + 0.07 * rng.standard_normal(dim))
    candidates = [text for text in vectors if not text.startswith("second positive of 1")]
    return TableEncoder(vectors), pairs, list(rng.permutation(candidates).tolist())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("count", "window", "margin"), [(1, 60, 0.05), (4, 60, 0.15), (10, 12, 0.0), (10, 1000, 0.1)]
)
def test_negatives_are_those_of_the_full_matrix(seed, count, window, margin):
    encoder, pairs, candidates = random_task(seed)
    settings = {"count": count, "window": window, "margin": margin}
    expected, passed_over, positive, negative = by_the_full_matrix(
        encoder, pairs, candidates, **settings
    )
    mined = mine_negatives(encoder, pairs, iter(candidates), **settings)
    assert mined.negatives == expected
    assert (mined.known, mined.too_near, mined.near_copies) == passed_over
    assert min(passed_over) > 0
    assert mined.pairs_without == sum(not chosen for chosen in expected)
    distinct = len({fold(text) for text in candidates})
    assert mined.looked_at == len(pairs) * min(window, distinct)
    assert mined.positive_similarity == pytest.approx(positive, abs=1e-6)
    assert mined.negative_similarity == pytest.approx(negative, abs=1e-6)


def test_the_same_call_gives_the_same_negatives():
    encoder, pairs, candidates = random_task(2)
    settings = {"count": 5, "window": 40, "margin": 0.05}
    first = mine_negatives(encoder, pairs, candidates, **settings)
    assert mine_negatives(encoder, pairs, candidates, **settings) == first


def test_no_text_that_answers_the_anchor_anywhere_is_its_negative():
    encoder = TableEncoder(
        {
            "late parcel": plane(0),
            "Late parcel?": plane(1),
            "it comes on monday": plane(20),
            "It comes on Monday!": plane(21),
            "call us": plane(40),
            "Call us!": plane(41),
            "wait": plane(60),
        }
    )
    pairs = [Pair("late parcel", "it comes on monday"), Pair("Late parcel?", "call us")]
    candidates = ["It comes on Monday!", "Call us!", "wait", "late parcel"]
    mined = mine_negatives(encoder, pairs, candidates, count=4, window=4, margin=0.05)
    assert mined.negatives == [("wait",), ("wait",)]
    assert (mined.looked_at, mined.known, mined.too_near, mined.near_copies) == (8, 6, 0, 0)


# The similarity of anchor and positive; the margin; the greatest that a negative may have.
LIMITS = [
    (0.5, 0.5, 0.25),
    (0.5, 0.0, 0.5),
    (-0.5, 0.5, -0.75),
    (0.0, 0.5, 0.0),
    (2**-20, 0.5, 2**-21),
    (0.5, 0.2, float(np.nextafter(np.float32(0.4), np.float32(0)))),  # float32(0.4) is above 0.4
]


@pytest.mark.parametrize(("positive", "margin", "limit"), LIMITS)
def test_the_margin_is_kept_to_the_last_bit(positive, margin, limit):
    # Similarities to the anchor are the first component, so they are exact in float32. The other
    # components keep the texts apart from each other and from the positive.
    above = float(np.nextafter(np.float32(limit), np.float32(2)))
    rest = np.eye(4)[1:]
    encoder = TableEncoder(
        {
            "anchor": np.eye(4)[0],
            "positive": [positive, *rest[0, 1:] * np.sqrt(1 - positive**2)],
            "at the limit": [limit, *rest[1, 1:] * np.sqrt(1 - limit**2)],
            "above it": [above, *rest[2, 1:] * np.sqrt(1 - above**2)],
        }
    )
    mined = mine_negatives(
        encoder,
        [Pair("anchor", "positive")],
        ["above it", "at the limit"],
        count=2,
        window=2,
        margin=margin,
    )
    assert mined.negatives == [("at the limit",)]
    assert mined.too_near == 1


def test_a_near_copy_of_the_positive_is_no_negative_however_far_from_the_anchor():
    # 18 degrees are a cosine of 0.951, 19 degrees one of 0.946.
    encoder = TableEncoder(
        {"anchor": plane(0), "positive": plane(40), "18": plane(58), "19": plane(59)}
    )
    mined = mine_negatives(
        encoder, [Pair("anchor", "positive")], ["18", "19"], count=2, window=2, margin=0.05
    )
    assert mined.negatives == [("19",)]
    assert (mined.too_near, mined.near_copies) == (0, 1)


def test_each_positive_of_an_anchor_has_its_own_limit():
    encoder = TableEncoder(
        {"anchor": plane(0), "near": plane(10), "far": plane(70), "a": plane(45), "b": plane(-80)}
    )
    pairs = [Pair("anchor", "near"), Pair("anchor", "far")]
    mined = mine_negatives(encoder, pairs, ["b", "a"], count=2, window=5, margin=0.05)
    assert mined.negatives == [("a", "b"), ("b",)]


def test_equal_texts_are_encoded_once_and_given_as_first_written():
    encoder = TableEncoder(
        {"q": plane(0), "p": plane(10), "x": plane(20), "Other text": plane(60), "far": plane(90)}
    )
    pairs = [Pair("q", "p"), Pair("q", "x"), Pair("q", "p")]
    candidates = ["Other text", "p", "OTHER text!", "p", "other text", "far"]
    mined = mine_negatives(encoder, pairs, candidates, count=5, window=10, margin=0.05)
    assert mined.negatives == [("Other text", "far")] * 3
    assert encoder.queries == ["q"]
    assert sorted(encoder.documents) == ["Other text", "far", "p", "x"]


def test_the_window_counts_what_is_passed_over():
    encoder = TableEncoder(
        {"q": plane(0), "p": plane(10), "a": plane(40), "b": plane(50), "c": plane(60)}
    )
    mined = mine_negatives(
        encoder, [Pair("q", "p")], ["a", "b", "c", "p"], count=3, window=3, margin=0.05
    )
    assert mined.negatives == [("a", "b")]
    assert (mined.looked_at, mined.known) == (3, 1)


def test_without_candidates_every_pair_is_without_negatives():
    encoder = TableEncoder({"q": plane(0), "p": plane(60)})
    mined = mine_negatives(encoder, [Pair("q", "p")], [], count=3, window=60, margin=0.05)
    assert (mined.negatives, mined.pairs_without, mined.looked_at) == ([()], 1, 0)
    assert mined.positive_similarity == pytest.approx(0.5)
    assert mined.negative_similarity is None


def test_without_pairs_nothing_is_encoded():
    encoder = TableEncoder({"a": plane(0)})
    mined = mine_negatives(encoder, [], ["a"], count=3, window=60, margin=0.05)
    assert (mined.negatives, mined.positive_similarity, encoder.documents) == ([], None, [])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"window": 2}, r"window must be at least count \(3\).* got 2"),
        ({"margin": 1.0}, "margin must be from 0 up to 1, got 1.0"),
        ({"margin": -0.1}, "margin must be from 0 up to 1, got -0.1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(hash_encoder, settings, message):
    with pytest.raises(InvalidInput, match=message):
        mine_negatives(
            hash_encoder, [Pair("a", "b")], [], **{"count": 3, "window": 60, "margin": 0} | settings
        )


class WavesEncoder:
    """A text is a number; its unit vector is computed when it is asked for."""

    dim = 128

    def encode_documents(self, texts, *, counts=None):
        numbers = np.array([int(text) for text in texts], dtype=np.float32)
        waves = np.cos(np.outer(numbers, np.sqrt(np.arange(1, self.dim + 1, dtype=np.float32))))
        return unit(waves).astype(np.float32)

    encode_queries = encode_documents


def test_memory_holds_the_vectors_once_and_never_all_similarities():
    candidates = [str(number) for number in range(20_000)]
    pairs = [Pair(f"{number}", f"{number + 1}") for number in range(100_000, 102_000)]
    tracemalloc.start()
    try:
        mined = mine_negatives(WavesEncoder(), pairs, candidates, count=3, window=10, margin=0.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert mined.looked_at == 20_000
    vectors = len(candidates) * WavesEncoder.dim * 4  # in FAISS's memory, which is not traced
    products = 256 * 16_384 * 4  # those of some queries and some rows at a time (ann/products.py)
    assert peak < 1.2 * vectors + 1.2 * products < len(pairs) * len(candidates) * 4 / 4


def test_anchors_are_searched_some_at_a_time_fewer_where_the_window_is_wide(monkeypatch):
    sizes = []

    class Watched(VectorIndex):
        def search(self, queries, k):
            sizes.append(len(queries))
            return super().search(queries, k)

    monkeypatch.setattr(negatives, "VectorIndex", Watched)
    encoder, pairs, candidates = random_task(0)
    expected = mine_negatives(encoder, pairs, candidates, count=2, window=60, margin=0.05)
    assert sizes == [120]
    sizes.clear()
    monkeypatch.setattr(negatives, "_CELLS", 60 * 50)
    assert expected == mine_negatives(encoder, pairs, candidates, count=2, window=60, margin=0.05)
    assert sizes == [50, 50, 20]


def test_with_a_seed_negatives_are_drawn_from_all_that_the_rule_leaves():
    encoder, pairs, candidates = random_task(0)
    window = {"window": 60, "margin": 0.05}
    allowed, *_ = by_the_full_matrix(encoder, pairs, candidates, count=60, **window)
    drawn = [
        mine_negatives(encoder, pairs, candidates, count=2, seed=seed, **window).negatives
        for seed in range(8)
    ]
    for each in drawn:
        for own, left in zip(each, allowed, strict=True):
            assert len(own) == min(2, len(left))
            assert set(own) <= set(left)
            assert len(set(own)) == len(own)
    # Eight draws of two reach far beyond the two nearest.
    reached = [{text for each in drawn for text in each[row]} for row in range(len(pairs))]
    many = [(own, left) for own, left in zip(reached, allowed, strict=True) if len(left) > 20]
    assert many
    assert min(len(own) for own, _ in many) > 5


def test_a_draw_does_not_depend_on_the_other_pairs():
    encoder, pairs, candidates = random_task(1)
    settings = {"count": 1, "window": 60, "margin": 0.05, "seed": 4}
    together = mine_negatives(encoder, pairs, candidates, **settings).negatives
    backwards = mine_negatives(encoder, pairs[::-1], candidates, **settings).negatives
    assert together == backwards[::-1]
    assert together == mine_negatives(encoder, pairs, candidates, **settings).negatives
