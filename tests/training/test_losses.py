"""Every objective's loss against values worked out by hand, and against the library's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.losses import (
    BatchHardTripletLoss,
    BatchHardTripletLossDistanceFunction,
    ContrastiveLoss,
    CoSENTLoss,
    MultipleNegativesRankingLoss,
    SiameseDistanceMetric,
    SoftmaxLoss,
    TripletDistanceMetric,
    TripletLoss,
)
from torch.nn.functional import normalize

from simsearch.encoder.layout import read_layout
from simsearch.training.config import TrainingConfig
from simsearch.training.losses import InBatchLoss, SoftmaxPairLoss, pair_features
from simsearch.training.objectives import OBJECTIVES
from simsearch.training.trainable import load_trainable

NONE = torch.zeros(0)  # the target of a loss that does not look at it


@pytest.fixture(scope="module")
def model(tiny_encoder_dir):
    return load_trainable(read_layout(tiny_encoder_dir))


def unit(*degrees: float) -> torch.Tensor:
    """Return unit vectors in the plane."""
    angles = torch.tensor([math.radians(angle) for angle in degrees])
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def cosine(degrees: float) -> float:
    return math.cos(math.radians(degrees))


def distance(degrees: float) -> float:
    return 1 - cosine(degrees)


def of_all(rows: int, columns: int) -> torch.Tensor:
    """Return the target of an in-batch loss that leaves nothing out."""
    return torch.zeros(rows, columns, dtype=torch.bool)


def loss_of(name, model, columns, target):
    return OBJECTIVES[name].loss(model, 0)(columns, target).item()


def cross_entropy_of(logits, right):
    return math.log(sum(map(math.exp, logits))) - logits[right]


# By hand.


def test_in_batch_is_cross_entropy_over_the_batch_at_temperature_0_05(model):
    anchors, positives = unit(0, 90), unit(10, 60)
    rows = [
        [cosine(10) / 0.05, cosine(60) / 0.05],
        [cosine(80) / 0.05, cosine(30) / 0.05],
    ]
    expected = np.mean([cross_entropy_of(row, right) for right, row in enumerate(rows)])
    found = loss_of("in-batch", model, [anchors, positives], of_all(2, 2))
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_configuration_sets_the_temperature_of_in_batch(model):
    loss = OBJECTIVES["in-batch"].loss(model, 0, TrainingConfig(temperature=0.5))
    rows = [[cosine(10) / 0.5, cosine(60) / 0.5], [cosine(80) / 0.5, cosine(30) / 0.5]]
    expected = np.mean([cross_entropy_of(row, right) for right, row in enumerate(rows)])
    found = loss([unit(0, 90), unit(10, 60)], of_all(2, 2)).item()
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("margin", [0.0, 0.7])
def test_a_configuration_sets_the_margin_of_triplets(model, margin):
    loss = OBJECTIVES["triplet-hinge"].loss(model, 0, TrainingConfig(margin=margin))
    columns = [unit(0, 0), unit(60, 90), unit(90, 10)]
    expected = np.mean([max(0, 0.5 - 1 + margin), 1 - distance(10) + margin])
    assert loss(columns, NONE).item() == pytest.approx(expected, abs=1e-5)


def test_in_batch_counts_every_negative_for_every_anchor(model):
    columns = [unit(0, 90), unit(10, 60, 30, 80)]
    rows = [
        [cosine(10) / 0.05, cosine(60) / 0.05, cosine(30) / 0.05, cosine(80) / 0.05],
        [cosine(80) / 0.05, cosine(30) / 0.05, cosine(60) / 0.05, cosine(10) / 0.05],
    ]
    expected = np.mean([cross_entropy_of(row, right) for right, row in enumerate(rows)])
    found = loss_of("in-batch", model, columns, of_all(2, 4))
    assert found == pytest.approx(expected, abs=1e-5)


def test_in_batch_does_not_count_what_is_left_out(model):
    columns = [unit(0, 90), unit(10, 60, 30)]
    left_out = torch.tensor([[False, False, True], [True, False, False]])
    first = [cosine(10) / 0.05, cosine(60) / 0.05]
    second = [cosine(30) / 0.05, cosine(60) / 0.05]
    expected = (cross_entropy_of(first, 0) + cross_entropy_of(second, 0)) / 2
    assert loss_of("in-batch", model, columns, left_out) == pytest.approx(expected, abs=1e-5)


def test_an_anchor_does_not_move_what_is_left_out_for_it():
    anchors, candidates = unit(0), unit(10, 20, 30).requires_grad_()
    InBatchLoss(0.05)([anchors, candidates], torch.tensor([[False, True, False]])).backward()
    assert candidates.grad is not None
    assert torch.equal(candidates.grad[1], torch.zeros(2))
    assert candidates.grad[2].abs().max() > 0.1


def test_contrastive_pulls_positives_and_pushes_negatives_within_the_margin(model):
    columns = [unit(0, 0, 0), unit(60, 20, 90)]
    labels = torch.tensor([1, 0, 0])
    expected = 0.5 * np.mean([distance(60) ** 2, (0.5 - distance(20)) ** 2, 0.0])
    assert loss_of("contrastive", model, columns, labels) == pytest.approx(expected, abs=1e-5)


def test_a_pair_decoder_sees_both_embeddings_and_their_absolute_difference():
    features = pair_features(torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, -1.0]]))
    assert features.tolist() == [[1, 2, 4, -1, 3, 3]]


def test_softmax_is_cross_entropy_of_a_linear_map_to_the_class():
    loss = SoftmaxPairLoss(2, 3)
    weight = torch.zeros(3, 6)
    weight[0, 0], weight[1, 2], weight[2, 4] = 1.0, 2.0, 3.0  # of u_0, v_0 and |u_0 - v_0|
    loss.decoder.load_state_dict({"weight": weight, "bias": torch.tensor([0.5, 0.0, -0.5])})
    columns = [torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.5, 0.0], [-1.0, 0.0]])]
    # logits: u_0 + 0.5, 2 v_0, 3 |u_0 - v_0| - 0.5
    expected = (cross_entropy_of([1.5, 1.0, 1.0], 2) + cross_entropy_of([0.5, -2.0, 2.5], 0)) / 2
    found = loss(columns, torch.tensor([2, 0])).item()
    assert found == pytest.approx(expected, abs=1e-6)


def test_softmax_has_a_decoder_of_the_encoder_s_width_for_all_classes(model):
    loss = OBJECTIVES["softmax"].loss(model, 4)
    assert loss.decoder.weight.shape == (4, 3 * 32)
    assert [name for name, _ in loss.named_parameters()] == ["decoder.weight", "decoder.bias"]


def test_cosine_compares_every_two_pairs_with_different_scores(model):
    columns = [unit(0, 0, 0), unit(10, 50, 30)]
    labels = torch.tensor([5.0, 3.0, 3.0])
    terms = [math.exp((cosine(angle) - cosine(10)) / 0.05) for angle in (50, 30)]
    found = loss_of("cosine", model, columns, labels)
    assert found == pytest.approx(math.log(1 + sum(terms)), abs=1e-5)


def test_cosine_of_a_batch_of_equal_scores_moves_nothing(model):
    first = unit(0, 0).requires_grad_()
    value = OBJECTIVES["cosine"].loss(model, 0)([first, unit(10, 50)], torch.tensor([3.0] * 2))
    value.backward()
    assert value.item() == 0
    assert torch.equal(first.grad, torch.zeros(2, 2))


def test_triplet_hinge_is_zero_beyond_the_margin(model):
    columns = [unit(0, 0), unit(40, 10), unit(50, 90)]
    near = distance(40) - distance(50) + 0.2
    found = loss_of("triplet-hinge", model, columns, NONE)
    assert found == pytest.approx((near + 0.0) / 2, abs=1e-5)


def test_triplet_softmax_is_cross_entropy_over_positive_and_own_negative(model):
    columns = [unit(0, 0), unit(40, 10), unit(50, 12)]
    rows = [[cosine(40) / 0.05, cosine(50) / 0.05], [cosine(10) / 0.05, cosine(12) / 0.05]]
    expected = np.mean([cross_entropy_of(row, 0) for row in rows])
    assert loss_of("triplet-softmax", model, columns, NONE) == pytest.approx(expected, abs=1e-5)


def test_triplet_margin_ranking_is_zero_beyond_the_margin(model):
    columns = [unit(0, 0), unit(40, 10), unit(50, 90)]
    near = 0.2 - (cosine(40) - cosine(50))
    found = loss_of("triplet-margin-ranking", model, columns, NONE)
    assert found == pytest.approx((near + 0.0) / 2, abs=1e-5)


def test_batch_hard_takes_the_farthest_of_a_class_and_the_nearest_of_the_others(model):
    columns = [unit(0, 10, 40, 60, 100)]
    classes = torch.tensor([0, 0, 0, 1, 1])
    terms = [
        distance(40) - distance(60) + 0.2,
        distance(30) - distance(50) + 0.2,
        distance(40) - distance(20) + 0.2,
        distance(40) - distance(20) + 0.2,
        distance(40) - distance(60) + 0.2,
    ]
    expected = np.mean([max(0.0, term) for term in terms])
    assert min(terms) < 0 < max(terms)
    assert loss_of("batch-hard", model, columns, classes) == pytest.approx(expected, abs=1e-5)


def test_unlabelled_tells_a_text_s_other_view_from_the_other_texts(model):
    views, others = unit(0, 50), unit(5, 58)
    rows = [
        [cosine(5) / 0.05, cosine(58) / 0.05],
        [cosine(45) / 0.05, cosine(8) / 0.05],
    ]
    expected = np.mean([cross_entropy_of(row, right) for right, row in enumerate(rows)])
    found = loss_of("unlabelled", model, [views, others], of_all(2, 2))
    assert found == pytest.approx(expected, abs=1e-5)


# Against the library.


def random_columns(count, *, rows=6, dim=8, seed=0):
    """Return columns of embeddings (rows, dim) that take gradients."""
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, dim)
    return [torch.randn(shape, generator=generator).requires_grad_() for _ in range(count)]


def assert_same(ours, theirs, columns):
    """Compare two losses and what they ask of the embeddings."""
    torch.testing.assert_close(ours, theirs)
    for own, other in zip(
        torch.autograd.grad(ours, columns), torch.autograd.grad(theirs, columns), strict=True
    ):
        torch.testing.assert_close(own, other)
    assert ours.item() > 0.001


SCORES = torch.tensor([0.0, 0.2, 0.2, 0.5, 0.9, 1.0])
COLUMNS_AND_LIBRARY = {
    "contrastive": (
        2,
        torch.tensor([0, 1, 1, 0, 1, 0]),
        lambda model: ContrastiveLoss(
            model, distance_metric=SiameseDistanceMetric.COSINE_DISTANCE, margin=0.5
        ),
    ),
    "cosine": (2, SCORES, lambda model: CoSENTLoss(model, scale=20.0)),
    "triplet-hinge": (
        3,
        NONE,
        lambda model: TripletLoss(
            model, distance_metric=TripletDistanceMetric.COSINE, triplet_margin=0.2
        ),
    ),
    # On cosines the two are one loss: d(a,p) - d(a,n) = s(a,n) - s(a,p).
    "triplet-margin-ranking": (
        3,
        NONE,
        lambda model: TripletLoss(
            model, distance_metric=TripletDistanceMetric.COSINE, triplet_margin=0.2
        ),
    ),
    "batch-hard": (
        1,
        torch.tensor([0, 0, 1, 1, 2, 2]),
        lambda model: BatchHardTripletLoss(
            model,
            distance_metric=BatchHardTripletLossDistanceFunction.cosine_distance,
            margin=0.2,
        ),
    ),
}


@pytest.mark.parametrize("name", COLUMNS_AND_LIBRARY)
def test_a_loss_and_its_gradient_are_the_library_s(model, name):
    count, target, make = COLUMNS_AND_LIBRARY[name]
    columns = random_columns(count)
    ours = OBJECTIVES[name].loss(model, 0)(columns, target)
    theirs = make(model).compute_loss_from_embeddings(columns, target)
    assert_same(ours, theirs, columns)


@pytest.mark.parametrize("negatives", [0, 2])
def test_in_batch_is_the_library_s_multiple_negatives_ranking_loss(model, negatives):
    columns = random_columns(2 + negatives)
    anchors, *others = columns
    ours = OBJECTIVES["in-batch"].loss(model, 0)(
        [anchors, torch.cat(others)], of_all(6, 6 * (1 + negatives))
    )
    library = MultipleNegativesRankingLoss(model, scale=20.0)
    assert_same(ours, library.compute_loss_from_embeddings(columns, NONE), columns)


def test_triplet_softmax_is_the_library_s_ranking_loss_of_one_triplet_at_a_time(model):
    columns = random_columns(3)
    library = MultipleNegativesRankingLoss(model, scale=20.0)
    each = [
        library.compute_loss_from_embeddings([column[row : row + 1] for column in columns], NONE)
        for row in range(6)
    ]
    ours = OBJECTIVES["triplet-softmax"].loss(model, 0)(columns, NONE)
    assert_same(ours, torch.stack(each).mean(), columns)


def test_softmax_is_the_library_s_with_the_same_decoder():
    class Embedded(torch.nn.Module):
        """A model whose embeddings are what it is given."""

        device = torch.device("cpu")

        def forward(self, features):
            return {"sentence_embedding": features["rows"]}

    columns = random_columns(2)
    classes = torch.tensor([0, 1, 2, 2, 1, 0])
    loss, library = SoftmaxPairLoss(8, 3), SoftmaxLoss(Embedded(), 8, 3)
    library.classifier.load_state_dict(loss.decoder.state_dict())
    theirs = library([{"rows": column} for column in columns], classes)
    assert_same(loss(columns, classes), theirs, columns)


# The derivative that torch makes against the slope of the loss itself.

CLASSES = torch.tensor([0, 0, 1, 1])
SLOPES = {
    "in-batch": (2, torch.eye(4, dtype=torch.bool).roll(1, 0)),
    "contrastive": (2, torch.tensor([1, 0, 1, 0])),
    "softmax": (2, torch.tensor([0, 1, 2, 1])),
    "cosine": (2, torch.tensor([0.1, 0.4, 0.4, 0.8], dtype=torch.float64)),
    "triplet-hinge": (3, NONE),
    "triplet-softmax": (3, NONE),
    "triplet-margin-ranking": (3, NONE),
    "batch-hard": (1, CLASSES),
    "unlabelled": (2, torch.zeros(4, 4, dtype=torch.bool)),
    "classes": (1, torch.tensor([0, 1, 2, 1])),
    "tags": (1, torch.tensor([0, 5, 6, 1])),  # of three labels
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_gradient_of_a_loss_is_its_slope(model, name):
    count, target = SLOPES[name]
    loss = OBJECTIVES[name].loss(model, 3).double()
    columns = [
        normalize(column.detach().double(), dim=-1).requires_grad_()
        for column in random_columns(count, rows=4, dim=32, seed=1)
    ]
    assert loss(columns, target).item() > 0.01
    assert torch.autograd.gradcheck(lambda *given: loss(given, target), columns, atol=1e-6)
