"""How the weights follow the gradient: rates, float32 copies, clipping, and a step of the whole."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import get_scheduler

from simsearch.encoder.layout import read_layout
from simsearch.records import Pair
from simsearch.training.batches import Batches, DataSet
from simsearch.training.config import OptimizerName, Sampling, ScheduleName
from simsearch.training.micro_batches import MicroBatches
from simsearch.training.objectives import OBJECTIVES
from simsearch.training.optimization import Weights, make_optimizer, schedule_factor, set_rate
from simsearch.training.trainable import load_trainable

# The learning rate over a run.


@pytest.mark.parametrize(("warmup", "steps"), [(0, 20), (3, 20), (20, 20), (0, 1)])
@pytest.mark.parametrize(
    ("name", "library"),
    [
        (ScheduleName.COSINE, "cosine"),
        (ScheduleName.LINEAR, "linear"),
        (ScheduleName.CONSTANT, "constant_with_warmup"),
    ],
)
def test_a_schedule_is_that_of_transformers_after_its_first_step(name, library, warmup, steps):
    """Its first step is lost on a rate of 0."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_scheduler(
        library, optimizer, num_warmup_steps=warmup + 1, num_training_steps=steps + 1
    )
    expected = []
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        expected.append(scheduler.get_last_lr()[0])
    found = [schedule_factor(name, step, warmup=warmup, steps=steps) for step in range(steps)]
    assert found == pytest.approx(expected, abs=1e-12)


def test_no_step_is_lost_on_a_rate_of_zero():
    assert schedule_factor(ScheduleName.COSINE, 0, warmup=1, steps=1) == 0.5
    assert schedule_factor(ScheduleName.COSINE, 0, warmup=0, steps=1) == 1.0


def test_step_falls_to_a_tenth_at_half_and_at_three_quarters_of_what_the_warmup_leaves():
    found = [schedule_factor(ScheduleName.STEP, step, warmup=4, steps=20) for step in range(20)]
    expected = [0.2, 0.4, 0.6, 0.8, *[1] * 8, *[0.1] * 4, *[0.01] * 4]
    assert found == pytest.approx(expected, abs=1e-12)


def test_every_group_has_the_share_of_its_own_peak():
    weights = Weights({"": nn.Linear(2, 2)}, bfloat16=None)
    optimizer = adamw(weights, rate=0.2, rate_factor={"weight": 1.0, "bias": 0.5}.__getitem__)
    for factor in (0.25, 0.5):  # of the peak, not of what it was
        set_rate(optimizer, factor)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(
            [0.2 * factor, 0.1 * factor]
        )


# The optimisers.


def adamw(weights, *, rate, weight_decay=0.0, rate_factor=lambda name: 1.0):
    return make_optimizer(
        OptimizerName.ADAMW,
        weights,
        rate=rate,
        weight_decay=weight_decay,
        rate_factor=rate_factor,
    )


def sgd(weights, *, rate):
    return make_optimizer(
        OptimizerName.SGD, weights, rate=rate, weight_decay=0.0, rate_factor=lambda name: 1.0
    )


@pytest.mark.parametrize(
    ("name", "moved"),
    [
        # Adam goes by the rate whatever the length of the gradient; momentum 0.9 adds up.
        (OptimizerName.ADAMW, [0.9, 0.8]),
        (OptimizerName.ADAM, [0.9, 0.8]),
        (OptimizerName.SGD, [1 - 0.1 * 0.5, 1 - 0.1 * 0.5 * (1 + 1.9)]),
    ],
)
def test_optimisers_step_as_by_hand(name, moved):
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    weights = Weights({"": layer}, bfloat16=None)
    optimizer = make_optimizer(
        name, weights, rate=0.1, weight_decay=0.0, rate_factor=lambda name: 1.0
    )
    for expected in moved:
        layer.weight.grad = torch.full((1, 1), 0.5)
        weights.gather_gradients()
        optimizer.step()
        weights.follow()
        assert layer.weight.item() == pytest.approx(expected, abs=1e-6)


def test_matrices_decay_and_vectors_do_not():
    module = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    for parameter in module.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    weights = Weights({"": module}, bfloat16=None)
    adamw(weights, rate=0.1, weight_decay=0.5).step()
    found = {name: weight.detach().unique().tolist() for name, weight in weights}
    assert found == {
        "0.weight": pytest.approx([1 - 0.1 * 0.5]),
        "0.bias": [1.0],
        "1.weight": [1.0],
        "1.bias": [1.0],
    }


def test_a_weight_s_rate_is_the_run_s_times_the_factor_of_its_name():
    modules = {"": nn.ModuleDict({"low": nn.Linear(2, 2), "high": nn.Linear(2, 2)})}
    weights = Weights({**modules, "loss.0.": nn.Linear(2, 2)}, bfloat16=None)
    factors = {"low": 0.5, "high": 1.0, "loss": 20.0}
    optimizer = adamw(
        weights,
        rate=0.1,
        weight_decay=0.01,
        rate_factor=lambda name: factors[name.partition(".")[0]],
    )
    name_of = {id(weight): name for name, weight in weights}
    found = {
        name_of[id(member)]: (group["peak"], group["weight_decay"])
        for group in optimizer.param_groups
        for member in group["params"]
    }
    assert found == {
        "low.weight": (0.05, 0.01),
        "low.bias": (0.05, 0.0),
        "high.weight": (0.1, 0.01),
        "high.bias": (0.1, 0.0),
        "loss.0.weight": (2.0, 0.01),
        "loss.0.bias": (2.0, 0.0),
    }


# Clipping.


def layer_with(gradient, bias_gradient, *, bfloat16=False):
    """Return a layer of two weights and a bias with these gradients, and its Weights."""
    layer = nn.Linear(2, 1)
    weights = Weights({"": layer}, bfloat16=layer if bfloat16 else None)
    layer.weight.grad = torch.tensor([gradient], dtype=layer.weight.dtype)
    layer.bias.grad = torch.tensor(bias_gradient, dtype=layer.weight.dtype)
    return layer, weights


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_gradient_longer_than_1_is_shortened_to_1_over_all_weights_together(bfloat16):
    _, weights = layer_with([2.0, 4.0], [4.0], bfloat16=bfloat16)
    assert weights.gather_gradients() == pytest.approx(6.0)
    found = {name: weight.grad.flatten().tolist() for name, weight in weights}
    assert found == {
        "weight": pytest.approx([2 / 6, 4 / 6], abs=1e-5),
        "bias": pytest.approx([4 / 6], abs=1e-5),
    }


def test_a_shorter_gradient_stays_as_it_is():
    _, weights = layer_with([0.25, 0.5], [0.5])
    assert weights.gather_gradients() == pytest.approx(0.75)
    assert dict(weights)["weight"].grad.tolist() == [[0.25, 0.5]]


def test_a_gradient_that_is_not_finite_has_such_a_norm():
    _, weights = layer_with([float("nan"), 1.0], [0.0])
    assert str(weights.gather_gradients()) == "nan"


def test_a_weight_that_does_not_learn_now_counts_for_nothing():
    layer, weights = layer_with([0.0, 0.5], [30.0])
    layer.bias.requires_grad_(False)
    assert weights.gather_gradients() == pytest.approx(0.5)
    assert dict(weights)["bias"].grad is None


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_gradient_counts_for_one_step_alone(bfloat16):
    layer, weights = ones(bfloat16=bfloat16)
    norms = []
    for _ in range(3):
        (layer.weight.sum() * 0.5).backward()
        norms.append(weights.gather_gradients())
        weights.follow()
    assert norms == pytest.approx([0.5, 0.5, 0.5])


# Float32 weights of a model in bfloat16.


def ones(*, bfloat16):
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    return layer, Weights({"": layer}, bfloat16=layer if bfloat16 else None)


def many_tiny_steps(layer, weights):
    """Go 100 times 1e-4 down the slope, of which bfloat16 near 1 sees nothing (0.4% apart)."""
    optimizer = torch.optim.SGD([weight for _, weight in weights], lr=1e-4)
    for _ in range(100):
        layer.weight.grad = torch.ones_like(layer.weight)
        weights.gather_gradients()
        optimizer.step()
        weights.follow()


def test_tiny_updates_add_up_that_bfloat16_alone_would_lose():
    layer, weights = ones(bfloat16=True)
    many_tiny_steps(layer, weights)
    assert dict(weights)["weight"].item() == pytest.approx(0.99, abs=1e-5)
    assert layer.weight.dtype == torch.bfloat16
    assert layer.weight.item() == 0.98828125  # the nearest to 0.99 in bfloat16
    alone = nn.Linear(1, 1, bias=False).bfloat16()
    nn.init.ones_(alone.weight)
    many_tiny_steps(alone, Weights({"": alone}, bfloat16=None))
    assert alone.weight.item() == 1.0


def test_release_gives_the_float32_weights_to_the_model():
    layer, weights = ones(bfloat16=True)
    many_tiny_steps(layer, weights)
    precise = dict(weights)["weight"].detach().clone()
    weights.release()
    assert layer.weight.dtype == torch.float32
    assert torch.equal(layer.weight, precise)
    assert torch.equal(dict(weights)["weight"], precise)


def test_only_the_part_that_is_named_is_in_bfloat16_and_no_buffer():
    inner, outer = nn.BatchNorm1d(2), nn.Linear(2, 2)
    weights = Weights({"": nn.Sequential(inner, outer)}, bfloat16=inner)
    assert (inner.weight.dtype, inner.running_mean.dtype) == (torch.bfloat16, torch.float32)
    assert outer.weight.dtype == torch.float32
    assert dict(weights)["1.weight"] is outer.weight
    assert {weight.dtype for _, weight in weights} == {torch.float32}


def test_what_was_rounded_at_the_start_is_whole_again_at_the_end():
    layer = nn.Linear(8, 8)
    before = {name: weight.detach().clone() for name, weight in layer.named_parameters()}
    weights = Weights({"": layer}, bfloat16=layer)
    weights.follow()
    weights.release()
    assert all(torch.equal(weight, before[name]) for name, weight in layer.named_parameters())


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_state_that_was_kept_brings_weights_and_model_back(bfloat16):
    layer, weights = ones(bfloat16=bfloat16)
    many_tiny_steps(layer, weights)
    kept = {name: tensor.clone() for name, tensor in weights.state().items()}
    many_tiny_steps(layer, weights)
    many_tiny_steps(layer, weights)
    assert weights.state()["weight"].item() == pytest.approx(0.97, abs=1e-5)
    weights.load(kept)
    assert torch.equal(dict(weights)["weight"], kept["weight"])
    assert torch.equal(layer.weight, kept["weight"].to(layer.weight.dtype))
    assert {tensor.dtype for tensor in kept.values()} == {torch.float32}


def test_a_state_is_not_a_copy():
    layer, weights = ones(bfloat16=True)
    state = weights.state()
    many_tiny_steps(layer, weights)
    assert state["weight"].item() == pytest.approx(0.99, abs=1e-5)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_frozen_weight_is_byte_for_byte_the_same_after_training(bfloat16):
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[0].requires_grad_(False)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    weights = Weights({"": module}, bfloat16=module if bfloat16 else None)
    optimizer = adamw(weights, rate=0.1, weight_decay=0.5)
    rows = torch.ones(2, 4, dtype=module[0].weight.dtype)
    for _ in range(3):
        module(rows).float().square().sum().backward()
        weights.gather_gradients()
        optimizer.step()
        weights.follow()
    weights.release()
    same = [torch.equal(*both) for both in zip(module.parameters(), before, strict=True)]
    assert same == [True, True, False, False]


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_weight_that_nothing_depends_on_does_not_even_decay(bfloat16):
    module = nn.ModuleDict({"used": nn.Linear(2, 2), "unused": nn.Linear(2, 2)})
    before = module["unused"].weight.detach().clone()
    weights = Weights({"": module}, bfloat16=module if bfloat16 else None)
    optimizer = adamw(weights, rate=0.1, weight_decay=0.5)
    module["used"].weight.float().square().sum().backward()
    weights.gather_gradients()
    optimizer.step()
    weights.follow()
    weights.release()
    assert torch.equal(module["unused"].weight, before)


# All of it together.


def plain_loop(model, batches, optimizer):
    """Train as one would without this package: whole columns, padded by the library."""
    for pairs in batches:
        anchors, positives = (
            model(model.preprocess([getattr(pair, name) for pair in pairs]))["sentence_embedding"]
            for name in ("anchor", "positive")
        )
        logits = anchors @ positives.T / 0.05
        loss = -logits.log_softmax(dim=1).diagonal().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def our_loop(model, layout, pairs, draws, optimizer_name, rate):
    dataset = DataSet("", pairs, OBJECTIVES["in-batch"])
    batches = Batches(
        [dataset], batch_size=4, sampling=Sampling.PROPORTIONAL, seed=0, layout=layout
    )
    weights = Weights({"": model}, bfloat16=None)
    optimizer = make_optimizer(
        optimizer_name, weights, rate=rate, weight_decay=0.0, rate_factor=lambda name: 1.0
    )
    loss = OBJECTIVES["in-batch"].loss(model, 0)
    micro_batches = MicroBatches(model, budget=16, pad_id=layout.pad_id)
    for seed, rows in enumerate(draws):
        batch = batches.batch((0, rows))
        micro_batches.backward(
            batch.texts,
            lambda found, batch=batch: loss(
                [found[column] for column in batch.columns], batch.target
            ),
            seed=seed,
        )
        weights.gather_gradients()
        optimizer.step()
        weights.follow()


PAIRS = [
    Pair("my card was swallowed", "the machine kept it"),
    Pair("where is my parcel", "the order arrived late and broken"),
    Pair("a dog", "a cat sat on the mat"),
    Pair("reset the password", "email sent"),
    Pair("how do i pay", "open the account and pay the bill please"),
    Pair("the phone screen", "blue"),
]
DRAWS = [(0, 1, 2, 3), (4, 5, 0, 2), (5, 3, 1, 4)]


@pytest.mark.parametrize(
    ("name", "rate", "library"),
    [
        (OptimizerName.SGD, 0.05, lambda given: torch.optim.SGD(given, lr=0.05, momentum=0.9)),
        (
            OptimizerName.ADAMW,
            5e-4,
            lambda given: torch.optim.AdamW(given, lr=5e-4, weight_decay=0.0),
        ),
    ],
)
def test_three_steps_leave_the_weights_of_a_plain_loop(tiny_encoder_dir, name, rate, library):
    layout = read_layout(tiny_encoder_dir)
    ours, plain = (load_trainable(layout).eval() for _ in range(2))
    before = {key: value.clone() for key, value in plain.state_dict().items()}
    our_loop(ours, layout, PAIRS, DRAWS, name, rate)
    plain_loop(plain, [[PAIRS[row] for row in rows] for rows in DRAWS], library(plain.parameters()))
    moved = 0.0
    for key, expected in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], expected, atol=1e-5, rtol=0, msg=key)
        moved = max(moved, (expected - before[key]).abs().max().item())
    assert moved > 1e-3
