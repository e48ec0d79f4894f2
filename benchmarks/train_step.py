"""P7: how many pairs per second does training take, beside the trainer of sentence-transformers?

    python benchmarks/train_step.py [ROUNDS]

Whole optimiser steps (tokenizing, forward, backward, AdamW) of the in-batch loss over the same
batches of 64 pairs of docstrings, up to 128 tokens, ways in turn: the library's defaults (float32,
every column padded to its longest text, embedded at once), the library in bfloat16 autocast, and
ours in float32 and in bfloat16 with float32 copies, at several budgets of a micro-batch. Prints
medians of pairs per second.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from simsearch.demo import demo_pairs, standard_library
from simsearch.encoder.layout import Layout, read_layout
from simsearch.encoder.locate import locate_encoder
from simsearch.records import Pair
from simsearch.training.batches import Batches, DataSet
from simsearch.training.config import OptimizerName, Sampling
from simsearch.training.losses import InBatchLoss
from simsearch.training.micro_batches import MicroBatches
from simsearch.training.objectives import OBJECTIVES
from simsearch.training.optimization import Weights, make_optimizer
from simsearch.training.trainable import load_trainable

BATCH = 64
WINDOW = 128
BUDGETS = (512, 1024, 2048)
Step = Callable[[Sequence[Pair]], None]


def main(rounds: int) -> None:
    """Print pairs per second of each way, and the ratio to the library's."""
    found = read_layout(locate_encoder(None).directory)
    pairs = demo_pairs(standard_library())
    pairs = pairs[:: len(pairs) // (BATCH * rounds)]
    ways: dict[str, Step] = {
        "library, fp32": library(found, autocast=False),
        "library, bf16 autocast": library(found, autocast=True),
    }
    for budget in BUDGETS:
        ways[f"ours, fp32, {budget}"] = ours(found, budget, bfloat16=False)
        ways[f"ours, bf16, {budget}"] = ours(found, budget, bfloat16=True)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        batch = pairs[number * BATCH : (number + 1) * BATCH]
        for name, step in ways.items():
            started = time.perf_counter()
            step(batch)
            rates[name].append(len(batch) / (time.perf_counter() - started))
    base = statistics.median(rates["library, fp32"])
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"{name:24} {rate:6.1f} pairs/s  {rate / base:5.2f}x")


def library(found: Layout, *, autocast: bool) -> Step:
    """Return a step as the library's trainer makes it."""
    model = load_trainable(found)
    model.max_seq_length = WINDOW
    model.train()
    loss = MultipleNegativesRankingLoss(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)

    def step(batch: Sequence[Pair]) -> None:
        columns = [
            model.preprocess([pair.anchor for pair in batch]),
            model.preprocess([pair.positive for pair in batch]),
        ]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            value = loss(columns, torch.zeros(len(batch)))
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def ours(found: Layout, budget: int, *, bfloat16: bool) -> Step:
    """Return a step as the training loop makes it."""
    model = load_trainable(found)
    model.train()
    weights = Weights({"": model}, bfloat16=model[0] if bfloat16 else None)
    optimizer = make_optimizer(
        OptimizerName.ADAMW, weights, rate=2e-5, weight_decay=0.0, rate_factor=lambda _: 1.0
    )
    micro_batches = MicroBatches(model, budget=budget, pad_id=found.pad_id)
    loss = InBatchLoss(0.05)
    layout = replace(found, max_length=WINDOW)

    def step(batch: Sequence[Pair]) -> None:
        data = DataSet("", batch, OBJECTIVES["in-batch"])
        batches = Batches(
            [data], batch_size=BATCH, sampling=Sampling.PROPORTIONAL, seed=0, layout=layout
        )
        made = batches.batch(batches.order(0)[0])

        def of(embeddings: torch.Tensor) -> torch.Tensor:
            value: torch.Tensor = loss([embeddings[rows] for rows in made.columns], made.target)
            return value

        micro_batches.backward(made.texts, of, seed=0)
        weights.gather_gradients()
        optimizer.step()
        weights.follow()

    return step


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
