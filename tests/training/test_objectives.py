"""The losses against values worked out by hand, and how a loss gets its embeddings."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from conftest import WORDS
from encoder_families import FAMILIES

from simsearch.encoder.layout import read_layout
from simsearch.errors import EncoderError, InvalidData, InvalidInput
from simsearch.records import LabelledPair, Pair, ScoredPair, Triplet
from simsearch.training.config import TrainingConfig
from simsearch.training.micro_batches import MicroBatchedLoss, embed_columns
from simsearch.training.objectives import OBJECTIVES, choose_objective
from simsearch.training.trainer import load_trainable, train


@pytest.fixture
def model(tiny_encoder_dir):
    model = load_trainable(read_layout(tiny_encoder_dir))
    return model.eval()  # without dropout, so that values can be compared


def unit(*degrees: float) -> torch.Tensor:
    """Return unit vectors in the plane."""
    angles = torch.tensor([math.radians(angle) for angle in degrees])
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def cosine(degrees: float) -> float:
    return math.cos(math.radians(degrees))


def loss_of(name, model, columns, labels):
    loss = OBJECTIVES[name].make_loss(model)
    return float(loss.compute_loss_from_embeddings(columns, labels))


def test_in_batch_is_cross_entropy_over_the_batch_at_temperature_0_05(model):
    anchors, positives = unit(0, 90), unit(10, 60)
    rows = [
        [cosine(10) / 0.05, cosine(60) / 0.05],
        [cosine(80) / 0.05, cosine(30) / 0.05],
    ]
    expected = np.mean([-row[i] + math.log(sum(map(math.exp, row))) for i, row in enumerate(rows)])
    found = loss_of("in-batch", model, [anchors, positives], torch.zeros(2))
    assert found == pytest.approx(expected, abs=1e-5)


def test_in_batch_counts_the_negatives_of_triplets(model):
    columns = [unit(0), unit(10), unit(30)]
    expected = -math.log(
        math.exp(cosine(10) / 0.05) / (math.exp(cosine(10) / 0.05) + math.exp(cosine(30) / 0.05))
    )
    assert loss_of("in-batch", model, columns, torch.zeros(1)) == pytest.approx(expected, abs=1e-5)


def test_contrastive_pulls_positives_and_pushes_negatives_within_the_margin(model):
    columns = [unit(0, 0, 0), unit(60, 20, 90)]
    labels = torch.tensor([1, 0, 0])
    near = 1 - cosine(20)
    expected = 0.5 * np.mean([(1 - cosine(60)) ** 2, (0.5 - near) ** 2, 0.0])
    assert loss_of("contrastive", model, columns, labels) == pytest.approx(expected, abs=1e-5)


def test_cosine_compares_every_two_pairs_with_different_scores(model):
    columns = [unit(0, 0, 0), unit(10, 50, 30)]
    labels = torch.tensor([5.0, 3.0, 3.0])
    terms = [math.exp((cosine(angle) - cosine(10)) / 0.05) for angle in (50, 30)]
    found = loss_of("cosine", model, columns, labels)
    assert found == pytest.approx(math.log(1 + sum(terms)), abs=1e-5)


def test_triplet_hinge_is_zero_beyond_the_margin(model):
    columns = [unit(0, 0), unit(40, 10), unit(50, 90)]
    near = (1 - cosine(40)) - (1 - cosine(50)) + 0.2
    found = loss_of("triplet-hinge", model, columns, torch.zeros(2))
    assert found == pytest.approx((near + 0.0) / 2, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Pair, "in-batch"),
        (Triplet, "in-batch"),
        (LabelledPair, "contrastive"),
        (ScoredPair, "cosine"),
    ],
)
def test_auto_goes_by_the_kind_of_example(kind, name):
    assert choose_objective("auto", kind).name == name


def test_an_objective_that_does_not_take_the_data_is_refused():
    with pytest.raises(
        InvalidData, match=r"takes examples of Triplet, the data holds Pair.*in-batch"
    ):
        choose_objective("triplet-hinge", Pair)
    with pytest.raises(InvalidInput, match=r"no objective 'magic' \(there are: auto, in-batch"):
        choose_objective("magic", Pair)


TEXTS = ["my card was late", "the cat", "a dog sat on the mat", "the cat", "refund my money please"]


def features(model, texts):
    return model.preprocess(texts)


@pytest.mark.parametrize("budget", [1, 8, 10_000])
def test_micro_batches_give_the_embeddings_of_one_batch(model, budget):
    columns = [features(model, TEXTS), features(model, TEXTS[::-1])]
    found = embed_columns(model, columns, budget=budget, pad_id=0)
    with torch.no_grad():
        expected = [model(dict(column))["sentence_embedding"] for column in columns]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.detach(), theirs, atol=1e-5, rtol=0)


def test_equal_texts_are_embedded_once(model):
    sizes = []
    forward = model.forward

    def counted(batch, **_):
        sizes.append(len(batch["input_ids"]))
        return forward(batch)

    model.forward = counted
    embed_columns(model, [features(model, TEXTS), features(model, TEXTS)], budget=64, pad_id=0)
    assert sum(sizes) == len(set(TEXTS))


def test_micro_batches_give_the_gradients_of_one_batch(model):
    columns = [features(model, TEXTS[:3]), features(model, TEXTS[2:])]
    inner = OBJECTIVES["in-batch"].make_loss(model)
    gradients = []
    for loss in (inner, MicroBatchedLoss(model, inner, budget=8, pad_id=0)):
        model.zero_grad()
        loss([dict(column) for column in columns], torch.zeros(3)).backward()
        gradients.append(
            {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-3, msg=name)


class Sum(torch.nn.Module):
    """A loss that keeps what it is given."""

    def compute_loss_from_embeddings(self, embeddings, labels):
        self.given = embeddings
        return sum(rows.sum() for rows in embeddings)


def test_a_loss_is_that_of_the_embeddings_cut_and_of_unit_length_again(model):
    inner = Sum()
    loss = MicroBatchedLoss(model, inner, budget=8, pad_id=0, dim=5)
    loss([features(model, TEXTS)], torch.zeros(5))
    with torch.no_grad():
        whole = model(features(model, TEXTS))["sentence_embedding"].numpy()
    expected = whole[:, :5] / np.linalg.norm(whole[:, :5], axis=1, keepdims=True)
    np.testing.assert_allclose(inner.given[0].detach().numpy(), expected, atol=1e-5)


def test_what_is_cut_off_is_not_trained(tmp_path):
    """A Dense makes each component of an embedding by a row of its weights."""
    FAMILIES["old-dense"].write(tmp_path / "model")
    settings = tmp_path / "model" / "config_sentence_transformers.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"truncate_dim": 16}))
    layout = read_layout(tmp_path / "model")
    model = load_trainable(layout)
    before = model[2].linear.weight.detach().clone()  # (48, 32)
    examples = [Pair(f"my {word}", f"the {word}") for word in WORDS[4:36]]
    config = TrainingConfig(epochs=1, batch_size=4, learning_rate=1e-2)
    train(model, layout, examples, objective=OBJECTIVES["in-batch"], config=config)
    moved = (model[2].linear.weight.detach() - before).abs().amax(dim=1)
    assert moved[:16].median() > 0.01
    assert moved[16:].max() < 0.001  # the optimiser enlarges even rounding errors


def test_a_loss_that_is_not_finite_stops_training(model):
    class Broken(torch.nn.Module):
        def compute_loss_from_embeddings(self, embeddings, labels):
            return embeddings[0].sum() * float("nan")

    loss = MicroBatchedLoss(model, Broken(), budget=64, pad_id=0)
    with pytest.raises(EncoderError, match="not finite"):
        loss([features(model, TEXTS)], torch.zeros(5))
