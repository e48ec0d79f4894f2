"""How much faster is a training step when its batch is embedded in micro-batches?

    python benchmarks/train_step.py [ROUNDS]

Forward and backward of the in-batch loss over the same batches of 64 pairs of docstrings (up to
128 tokens): the library's way (every column padded to its longest text, embedded at once) against
ours (`training/micro_batches.py`), in turn, float32. Prints the median of pairs per second.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch
from torch import nn

from simsearch.demo import demo_pairs, standard_library
from simsearch.encoder.layout import read_layout
from simsearch.encoder.locate import locate_encoder
from simsearch.training.micro_batches import MicroBatchedLoss
from simsearch.training.objectives import OBJECTIVES
from simsearch.training.trainer import load_trainable

BATCH = 64
BUDGETS = (512, 1024, 2048, 4096, 8192)


def main(rounds: int) -> None:
    """Print pairs per second of each way, and the ratio to the library's."""
    model = load_trainable(read_layout(locate_encoder(None).directory))
    model.max_seq_length = 128
    model.train()
    pairs = demo_pairs(standard_library())[
        :: len(demo_pairs(standard_library())) // (BATCH * rounds)
    ]
    loss = OBJECTIVES["in-batch"].make_loss(model)
    ways: dict[str, nn.Module] = {"library": loss}
    for budget in BUDGETS:
        ways[f"ours, {budget}"] = MicroBatchedLoss(model, loss, budget=budget, pad_id=0)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for step in range(rounds):
        batch = pairs[step * BATCH : (step + 1) * BATCH]
        columns = [
            model.preprocess([pair.anchor for pair in batch]),
            model.preprocess([pair.positive for pair in batch]),
        ]
        for name, way in ways.items():
            model.zero_grad()
            started = time.perf_counter()
            way([dict(column) for column in columns], torch.zeros(len(batch))).backward()
            rates[name].append(len(batch) / (time.perf_counter() - started))
    base = statistics.median(rates["library"])
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"{name:12} {rate:6.1f} pairs/s  {rate / base:4.2f}x")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
