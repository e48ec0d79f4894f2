"""What an encoder forgets is seen, and weights are mixed as they should be."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from importlib import resources

import numpy as np
import pytest
import torch

from simsearch.encoder import Encoder
from simsearch.encoder.locate import locate_encoder
from simsearch.errors import InvalidInput
from simsearch.training.examples import fold
from simsearch.training.forgetting import (
    MixPoint,
    choose_share,
    general_task,
    mix,
    mixing_curve,
    score_base,
    score_general,
)

STORED = resources.files("simsearch.training").joinpath("general_set.jsonl")
ROWS = [json.loads(line) for line in STORED.read_text(encoding="utf-8").splitlines()]
TEXTS = [text for row in ROWS for text in row.values()]


class RankingEncoder:
    """Puts the right text first, or right behind the near miss for the first `second` queries."""

    name = fingerprint = "ranking"
    dim = 400

    def __init__(self, *, second=0, blind=False, unknown=0.0):
        unit = np.eye(self.dim, dtype=np.float32)
        self.unknown = unknown
        self.vectors = {}
        for number, row in enumerate(ROWS):
            right, wrong = unit[2 * number], unit[2 * number + 1]
            query = 0.6 * right + 0.8 * wrong if number < second else right
            # A blind one finds the next query's text.
            asked = unit[(2 * number + 2) % self.dim] if blind else query
            self.vectors |= {row["positive"]: right, row["near_miss"]: wrong, row["anchor"]: asked}

    def encode_documents(self, texts, *, counts=None):
        counts.tokens += 1000
        counts.unknown_tokens += round(1000 * self.unknown)
        return self.encode_queries(texts)

    def encode_queries(self, texts):
        return np.stack([self.vectors[text] for text in texts])


def test_the_general_set_is_200_rows_of_three_texts():
    assert len(ROWS) == 200
    assert {tuple(row) for row in ROWS} == {("anchor", "positive", "near_miss")}


def test_no_text_of_the_general_set_stands_in_it_twice():
    assert [text for text, times in Counter(map(fold, TEXTS)).items() if times > 1] == []


def test_the_texts_of_the_general_set_are_clean_and_have_3_to_60_words():
    lengths = [len(text.split()) for text in TEXTS]
    assert (min(lengths), max(lengths)) == (3, 59)
    assert [text for text in TEXTS if text != " ".join(text.split())] == []
    assert [text for text in TEXTS if not text.isascii()] == []


def test_the_texts_of_the_general_set_name_no_address():
    address = re.compile(r"@|https?:|www\.|\d{5}")
    assert [text for text in TEXTS if address.search(text)] == []


def test_each_query_has_its_positive_as_its_one_right_text_among_400():
    task = general_task()
    texts = {document.id: document.text for document in task.corpus}
    found = [
        (task.queries[query], [texts[name] for name in gains])
        for query, gains in task.qrels.items()
    ]
    assert found == [(row["anchor"], [row["positive"]]) for row in ROWS]
    assert set(texts.values()) == {row[side] for row in ROWS for side in ("positive", "near_miss")}
    assert len(texts) == 400


def test_the_general_score_is_ndcg_at_10():
    # A right text in the second place is worth 1 / log2(3).
    assert score_general(RankingEncoder()) == pytest.approx(1.0)
    expected = 0.75 + 0.25 / math.log2(3)
    assert score_general(RankingEncoder(second=50)) == pytest.approx(expected)


def test_texts_that_cannot_be_told_apart_are_not_counted_as_found():
    class Constant(RankingEncoder):
        def encode_queries(self, texts):
            return np.full((len(texts), self.dim), 0.05, dtype=np.float32)

    # Equal scores are ranked by id, the latest first: 99-wrong, 99-right, 98-wrong, ...
    expected = sum(1 / math.log2(rank + 1) for rank in (2, 4, 6, 8, 10)) / 200
    assert score_general(Constant()) == pytest.approx(expected)


def test_of_a_base_that_ranks_the_score_is_the_same():
    encoder = RankingEncoder(second=50, unknown=0.3)
    assert score_base(encoder) == score_general(encoder)


def test_of_a_base_that_does_not_know_the_words_the_set_says_nothing():
    assert score_base(RankingEncoder(unknown=0.301)) is None


def test_of_a_base_that_cannot_rank_them_the_set_says_nothing():
    assert score_base(RankingEncoder(blind=True)) is None


def test_a_tuned_encoder_that_cannot_rank_any_more_has_a_score():
    assert 0 < score_general(RankingEncoder(blind=True)) < 0.02


def test_a_base_made_for_other_words_is_told_by_its_tokens(tiny_encoder_dir):
    assert score_base(Encoder.load(tiny_encoder_dir)) is None


def states(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    names = ("layer.weight", "layer.bias")
    return [
        {
            name: torch.randn(3, 4, generator=generator, dtype=torch.float64).to(dtype)
            for name in names
        }
        | {"seen": torch.tensor(count)}
        for count in (7, 9)
    ]


def test_mixed_weights_lie_between_by_the_share():
    base = {"w": torch.tensor([0.0, 10.0, -2.0])}
    tuned = {"w": torch.tensor([1.0, 20.0, 2.0])}
    mixed = mix(base, tuned, 0.25)["w"]
    torch.testing.assert_close(mixed, torch.tensor([0.25, 12.5, -1.0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_mixing_at_0_and_1_is_exact(dtype):
    base, tuned = states(dtype)
    for share, expected in ((0.0, base), (1.0, tuned)):
        mixed = mix(base, tuned, share)
        assert list(mixed) == list(tuned)
        for name in ("layer.weight", "layer.bias"):
            assert mixed[name].dtype == dtype
            assert torch.equal(mixed[name], expected[name])


def test_bfloat16_is_mixed_in_float32_and_rounded_once():
    base, tuned = states(torch.bfloat16)
    exact = 0.3 * tuned["layer.weight"].double() + 0.7 * base["layer.weight"].double()
    mixed = mix(base, tuned, 0.3)["layer.weight"]
    assert torch.equal(mixed, exact.to(torch.bfloat16))


def test_the_mixture_has_the_dtype_of_the_tuned_weights():
    (base, _), (_, tuned) = states(torch.bfloat16), states()
    mixed = mix(base, tuned, 0.0)["layer.bias"]
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, base["layer.bias"].float())


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7, 0.9])
def test_what_did_not_learn_stays_as_it_is_to_the_bit(share):
    frozen = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    mixed = mix({"layer": frozen.clone()}, {"layer": frozen}, share)
    assert torch.equal(mixed["layer"], frozen)


def test_a_counter_is_that_of_the_tuned_encoder():
    base, tuned = states()
    assert int(mix(base, tuned, 0.1)["seen"]) == 9


def test_a_mixture_shares_no_memory_with_what_it_was_made_of():
    base, tuned = states()
    kept = {name: tensor.clone() for name, tensor in tuned.items()}
    for tensor in mix(base, tuned, 1.0).values():
        tensor.zero_()
    assert all(torch.equal(tuned[name], kept[name]) for name in kept)


def test_a_mixture_of_parameters_wants_no_gradient():
    base, tuned = ({"w": torch.nn.Parameter(torch.ones(2))} for _ in range(2))
    assert not mix(base, tuned, 0.5)["w"].requires_grad


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"head": torch.ones(2)}, "'head' is no such tensor in the base and shape (2,) in the"),
        ({"layer.bias": torch.ones(5)}, "'layer.bias' is shape (3, 4) in the base and shape (5,)"),
    ],
)
def test_weights_of_another_network_are_refused(change, told):
    base, tuned = states()
    with pytest.raises(InvalidInput, match=re.escape(told)):
        mix(base, tuned | change, 0.5)


def test_a_tensor_that_only_the_base_has_is_refused():
    base, tuned = states()
    del tuned["layer.bias"]
    with pytest.raises(InvalidInput, match=r"'layer\.bias' is shape \(3, 4\) in the base and no"):
        mix(base, tuned, 0.5)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_is_0_to_1(share):
    with pytest.raises(InvalidInput, match="must be 0 to 1, got"):
        mix(*states(), share)


def test_the_curve_has_a_point_for_every_share():
    curve = mixing_curve(lambda share: (share / 2, 1 - share))
    assert [point.share for point in curve] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert curve[2] == MixPoint(share=0.3, dev=0.15, general=0.7)


CURVE = [
    MixPoint(0.2, dev=0.60, general=0.84),
    MixPoint(0.4, dev=0.66, general=0.83),
    MixPoint(0.6, dev=0.70, general=0.81),
    MixPoint(0.8, dev=0.70, general=0.80),
    MixPoint(1.0, dev=0.75, general=0.70),
]


@pytest.mark.parametrize(
    ("floor", "share"),
    [
        (0.70, 1.0),  # nothing was forgotten
        (0.805, 0.6),
        (0.80, 0.8),  # as good as 0.6 on the dev part, with more of what was learned
        (0.83, 0.4),  # reaching the floor is enough
        (0.90, 0.2),  # nothing reaches it
    ],
)
def test_the_best_share_that_has_not_forgotten_is_chosen(floor, share):
    assert choose_share(CURVE, floor=floor).share == share
    assert choose_share(CURVE[::-1], floor=floor).share == share


def test_without_a_point_there_is_nothing_to_choose():
    with pytest.raises(InvalidInput, match="no mixture was scored"):
        choose_share([], floor=0.8)


class LibraryEncoder:
    """The default encoder in the library's hands, whose weights can be changed."""

    name = fingerprint = "library"

    def __init__(self):
        from sentence_transformers import SentenceTransformer

        directory = str(locate_encoder(None).directory)
        self.model = SentenceTransformer(directory, device="cpu", local_files_only=True)
        self.dim = 384

    def encode_documents(self, texts, *, counts=None):
        return self.model.encode(list(texts), show_progress_bar=False)

    encode_queries = encode_documents


@pytest.mark.slow
def test_damage_to_the_default_encoder_is_seen_and_mixing_undoes_most_of_it():
    encoder = LibraryEncoder()
    base = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    noisy = {
        name: tensor + 0.4 * tensor.std() * torch.randn(tensor.shape, generator=generator)
        if tensor.is_floating_point() and tensor.ndim == 2
        else tensor
        for name, tensor in base.items()
    }
    scores = {}
    for share in (0.0, 0.5, 1.0):
        encoder.model.load_state_dict(mix(base, noisy, share))
        scores[share] = score_general(encoder)
    # Measured 2026-11-26 on two cores, in float32.
    assert scores[0.0] == pytest.approx(0.8344, abs=0.01)
    assert scores[1.0] < scores[0.0] - 0.1
    assert scores[1.0] + 0.1 < scores[0.5] <= scores[0.0]


def test_without_dev_scores_the_largest_share_that_forgets_less_is_chosen():
    points = [MixPoint(0.2, None, 0.85), MixPoint(0.4, None, 0.83), MixPoint(0.6, None, 0.7)]
    assert choose_share(points, floor=0.8).share == 0.4
