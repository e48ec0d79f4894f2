"""P7 as a whole: pairs per second of training, our loop beside the library's trainer.

    python benchmarks/train_loop.py [--pairs N] [--rounds N] [--sizes minilm,bert-base]

One epoch over the same pairs of docstrings (up to 128 tokens, batches of 64), ways in turn: the
trainer of sentence-transformers as it comes (fp32), the same with `bf16=True`, and ours in fp32
and bf16. Everything that a step takes counts: tokenizing, data loading, AdamW; no side writes a
checkpoint. Encoders of the
size of MiniLM-L6 and of BERT-base with random weights, on a GPU if there is one. A few steps go
before each measured run. Prints medians and ratios.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import AutoTokenizer, BertConfig, BertModel, PrinterCallback

from simsearch.demo import demo_pairs, standard_library
from simsearch.encoder.layout import Layout
from simsearch.encoder.loading import read_whole_layout
from simsearch.encoder.locate import locate_encoder
from simsearch.records import Pair
from simsearch.training.adaptation import prepare_adaptation
from simsearch.training.batches import DataSet
from simsearch.training.checkpoints import Checkpoints
from simsearch.training.config import TrainingConfig
from simsearch.training.loop import Training
from simsearch.training.objectives import OBJECTIVES
from simsearch.training.resolve import resolve
from simsearch.training.trainable import load_trainable
from simsearch.training.workers import Workers

BATCH = 64
WINDOW = 128
SIZES = {"minilm": (384, 6, 12, 1536), "bert-base": (768, 12, 12, 3072)}
IN_BATCH = OBJECTIVES["in-batch"]
Train = Callable[[Layout, Sequence[Pair], Path], float]


def main() -> None:
    """Print a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--ways", default=";".join(WAYS), help="separated by semicolons")
    arguments = parser.parse_args()
    pairs = demo_pairs(standard_library())[: arguments.pairs]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"{device}, torch {torch.__version__}, {len(pairs):,} pairs")
    for size in arguments.sizes.split(","):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            layout = random_encoder(folder / "encoder", *SIZES[size])
            compare(size, layout, pairs, folder, arguments.rounds, arguments.ways.split(";"))


def compare(
    size: str, layout: Layout, pairs: Sequence[Pair], folder: Path, rounds: int, ways: list[str]
) -> None:
    """Time every way in turn and print the medians."""
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in ways:
            WAYS[way](layout, pairs[: 4 * BATCH], folder / f"warm-{number}-{way}")
            seconds = WAYS[way](layout, pairs, folder / f"{number}-{way}")
            rates[way].append(len(pairs) / seconds)
    base = statistics.median(rates[ways[0]])
    for way, values in rates.items():
        rate = statistics.median(values)
        print(f"{size:10} {way:14} {rate:8.1f} pairs/s  {rate / base:5.2f}x", flush=True)


def random_encoder(directory: Path, hidden: int, layers: int, heads: int, inner: int) -> Layout:
    """Write an encoder with random weights and the tokenizer of the packaged one."""
    tokenizer = AutoTokenizer.from_pretrained(str(locate_encoder(None).directory))
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return read_whole_layout(directory)


def library(*, bf16: bool) -> Train:
    """Return the library's trainer."""

    def train(layout: Layout, pairs: Sequence[Pair], folder: Path) -> float:
        model = SentenceTransformer(str(layout.directory))
        model.max_seq_length = WINDOW
        columns = {
            "anchor": [pair.anchor for pair in pairs],
            "positive": [pair.positive for pair in pairs],
        }
        trainer = SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                output_dir=str(folder),
                num_train_epochs=1,
                per_device_train_batch_size=BATCH,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                bf16=bf16,
            ),
            train_dataset=Dataset.from_dict(columns),
            loss=MultipleNegativesRankingLoss(model),
        )
        trainer.remove_callback(PrinterCallback)
        return seconds_of(trainer.train)

    return train


def ours(precision: str) -> Train:
    """Return our loop."""

    def train(layout: Layout, pairs: Sequence[Pair], folder: Path) -> float:
        config = TrainingConfig(
            epochs=1, batch_size=BATCH, max_length=WINDOW, precision=precision, negatives=0
        )
        layout = replace(layout, max_length=WINDOW)
        model = load_trainable(layout)
        folder.mkdir()
        training = Training(
            model,
            layout,
            [DataSet("", pairs, IN_BATCH)],
            config=config,
            numbers=resolve(config, IN_BATCH),
            adaptation=prepare_adaptation(model, config),
            checkpoints=Unwritten(folder),
            workers=Workers(),
        )
        return seconds_of(training.run)

    return train


class Unwritten(Checkpoints):
    """Checkpoints of a run that nobody will resume."""

    def write(self, *_: object) -> None:
        """Write nothing."""


def seconds_of(train: Callable[[], object]) -> float:
    """Return how long a training takes, until the GPU is done, too."""
    started = time.perf_counter()
    train()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


WAYS: dict[str, Train] = {
    "library, fp32": library(bf16=False),
    "library, bf16": library(bf16=True),
    "ours, fp32": ours("fp32"),
    "ours, bf16": ours("bf16"),
}

if __name__ == "__main__":
    main()
