"""What does fine-tuning gain on SciFact, beside the plain recipe of sentence-transformers?

    python benchmarks/finetune.py [DATA_DIR]

Pairs from the qrels of the train split, scored on the test split (300 queries, 5,183 documents),
three encoders in one run: the base, the plain recipe (MultipleNegativesRankingLoss, batch 16,
2 epochs, 2e-5, the library's trainer as it comes) and `simsearch finetune` at its defaults.
Takes about half an hour on two cores.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

import simsearch
from simsearch.encoder.locate import locate_encoder
from simsearch.search_index import RetrievalTask
from simsearch.training import load_evaluation_data, load_training_data

METRICS = ("ndcg@10", "mrr@10", "recall@10", "recall@100")


def main(data: Path) -> None:
    """Print the table."""
    scifact = data / "scifact"
    training = load_training_data([scifact], split="train")
    task = load_evaluation_data(scifact, split="test")
    assert isinstance(task, RetrievalTask)
    with tempfile.TemporaryDirectory() as scratch:
        recipe, recipe_seconds = plain_recipe(training.examples, Path(scratch) / "recipe")
        result = simsearch.finetune(
            training, Path(scratch) / "ours", evaluation=task, force=True, say=print
        )
        recipe_metrics = simsearch.evaluate_retrieval(recipe, task).means()
        log = (Path(scratch) / "ours" / "run" / "log.jsonl").read_text().splitlines()
    print("\nencoder  ", "  ".join(f"{name:>10}" for name in METRICS), "   training seconds")
    for name, metrics, seconds in (
        ("base", result.before, 0.0),
        ("recipe", recipe_metrics, recipe_seconds),
        ("ours", result.after, result.training_seconds),
    ):
        figures = "  ".join(f"{100 * metrics[metric]:10.2f}" for metric in METRICS)
        print(f"{name:9} {figures}   {seconds:10.0f}")
    print(f"\nours: {result.verdict}, {result.reason}; {len(log)} steps")


def plain_recipe(pairs: Sequence[simsearch.Pair], target: Path) -> tuple[simsearch.Encoder, float]:
    """Train as the library's documentation shows; return the encoder and the seconds."""
    model = SentenceTransformer(str(locate_encoder(None).directory), device="cpu")
    started = time.perf_counter()
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(target / "checkpoints"),
            num_train_epochs=2,
            per_device_train_batch_size=16,
            learning_rate=2e-5,
            warmup_steps=0.1,
            save_strategy="no",
            report_to="none",
            seed=0,
        ),
        train_dataset=Dataset.from_dict(
            {
                "anchor": [pair.anchor for pair in pairs],
                "positive": [pair.positive for pair in pairs],
            }
        ),
        loss=MultipleNegativesRankingLoss(model),
    )
    trainer.train()
    seconds = time.perf_counter() - started
    model.save_pretrained(str(target / "model"))
    return simsearch.Encoder.load(target / "model"), seconds


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "shared" / "data")
