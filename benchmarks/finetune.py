"""What does fine-tuning gain, beside the base and the plain recipe of sentence-transformers?

    python benchmarks/finetune.py [--sets scifact,stdlib,...] [--seeds 3] [--recipe-seeds 3]
                                  [--data DIR] [--log FILE]

Five data sets, each with held-out data of its own: SciFact (retrieval), docstrings of the standard
library (pairs with mined negatives), STS-B and its Chinese translation (scored pairs), OCNLI
(classes). On each the base encoder, the recipe (the library's trainer as it comes, its loss for
such data, batches of 16, 2e-5, as many steps as ours), and `simsearch finetune` at its defaults.
The two headline sets, SciFact and docstrings, are repeated with other seeds.

A line for each run, also to --log as JSON; what stands there already is not run again. Some ten
minutes on a GPU; on two cores, with one seed for the recipe, two hours, most of them the recipe's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import (
    CoSENTLoss,
    MultipleNegativesRankingLoss,
    SoftmaxLoss,
)
from transformers import PrinterCallback

import simsearch
from simsearch.demo import demo_pairs, sample, standard_library
from simsearch.encoder.locate import locate_encoder
from simsearch.formats import Example
from simsearch.search_index import RetrievalTask
from simsearch.training import (
    DataSource,
    TrainingConfig,
    TrainingData,
    load_evaluation_data,
    load_training_data,
)
from simsearch.training.plan import Plan, make_plan

HEADLINE = ("scifact", "stdlib")
RATE = 2e-5  # of the recipe
BATCH = 16
EXAMPLES = 2000  # of the sets that are no headline


@dataclass(frozen=True)
class Task:
    """A data set of the benchmark: examples, what judges, and settings that are the data's."""

    data: TrainingData
    evaluation: Sequence[Example] | RetrievalTask | None
    config: TrainingConfig


def main() -> None:
    """Print the table, a row as soon as it is measured."""
    arguments = parse()
    measured = read_log(arguments.log)
    for seed, name in itertools.product(range(arguments.seeds), arguments.sets.split(",")):
        if (name, seed) in measured or (seed > 0 and name not in HEADLINE):
            continue
        task = TASKS[name](arguments.data)
        row = measure(name, task, seed, recipe=seed < arguments.recipe_seeds)
        print(line(row), flush=True)
        if arguments.log:
            with arguments.log.open("a", encoding="utf-8") as log:
                log.write(json.dumps(row) + "\n")


def read_log(log: Path | None) -> set[tuple[str, int]]:
    """Return set and seed of the runs that an earlier call has measured."""
    if log is None or not log.is_file():
        return set()
    rows = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    return {(row["set"], row["seed"]) for row in rows}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default=",".join(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe-seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--log", type=Path)
    return parser.parse_args()


def measure(name: str, task: Task, seed: int, *, recipe: bool) -> dict[str, object]:
    """Train by ours and by the recipe, and score both on the same held-out data."""
    config = replace(task.config, seed=seed)
    with tempfile.TemporaryDirectory() as scratch:
        result = simsearch.finetune(
            task.data, Path(scratch) / "ours", evaluation=task.evaluation, config=config, force=True
        )
        metric = next(iter(result.difference))
        plan = make_plan([task.data], task.evaluation, config)
        beside: dict[str, object] = {}
        if recipe:
            encoder, seconds = plain_recipe(plan, config, result.steps, Path(scratch) / "recipe")
            beside = {
                "recipe": plan.held_out.score(encoder).metrics[metric],
                "recipe_seconds": round(seconds, 1),
                "recipe_rate": round(result.steps * BATCH / seconds, 1),
            }
    seen = sum(len(part.training) for part in plan.parts) * plan.numbers.epochs
    return {
        "set": name,
        "seed": seed,
        "metric": metric,
        "steps": result.steps,
        "held_out": result.held_out,
        "base": result.before[metric],
        "ours": result.after[metric],
        "difference": asdict(result.difference[metric]),
        "verdict": result.verdict,
        "forgetting": None if result.forgetting is None else asdict(result.forgetting),
        **beside,
        "ours_seconds": result.training_seconds,
        "ours_rate": round(seen / result.training_seconds, 1),
    }


def line(row: dict[str, object]) -> str:
    """Return a row of the table."""
    change = row["difference"]
    assert isinstance(change, dict)
    recipe = ""
    if "recipe" in row:
        rate = f"{row['recipe_seconds']} s, {row['recipe_rate']}/s"
        recipe = f"recipe {row['recipe']:.4f} ({rate})  "
    return (
        f"{row['set']:8} seed {row['seed']}  {row['metric']:9} base {row['base']:.4f}  {recipe}"
        f"ours {row['ours']:.4f} ({row['ours_seconds']} s, {row['ours_rate']}/s)  "
        f"{change['value']:+.4f} ({change['low']:+.4f} .. {change['high']:+.4f})  {row['verdict']}"
    )


def plain_recipe(
    plan: Plan, config: TrainingConfig, steps: int, target: Path
) -> tuple[simsearch.Encoder, float]:
    """Train as the library's documentation shows; return the encoder and the seconds."""
    model = SentenceTransformer(str(locate_encoder(None).directory))
    if config.max_length is not None:
        model.max_seq_length = config.max_length
    (part,) = plan.parts
    # All that ours was given: the recipe has no use for a dev part.
    examples = [*part.training, *part.dev]
    columns: dict[str, list[object]] = {}
    for example in examples:
        for name, value in asdict(example).items():
            columns.setdefault(name, []).append(value)
    if part.objective.name == "softmax":
        number = {name: row for row, name in enumerate(sorted(set(map(str, columns["label"]))))}
        columns["label"] = [number[str(label)] for label in columns["label"]]
        loss = SoftmaxLoss(model, model.get_embedding_dimension(), len(number))
    elif part.objective.name == "cosine":
        loss = CoSENTLoss(model)
    else:
        loss = MultipleNegativesRankingLoss(model)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(target / "checkpoints"),
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            warmup_steps=0.1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=config.seed,
        ),
        train_dataset=Dataset.from_dict(columns),
        loss=loss,
    )
    trainer.remove_callback(PrinterCallback)
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    model.save_pretrained(str(target / "model"))
    encoder = simsearch.Encoder.load(target / "model", max_length=config.max_length)
    return encoder, seconds


def scifact(data: Path) -> Task:
    """Claims and the abstracts that support or refute them; judged on the test split."""
    folder = data / "scifact"
    (training,) = load_training_data([DataSource(folder)])
    return Task(training, load_evaluation_data(folder), TrainingConfig())


def stdlib(_: Path) -> Task:
    """First paragraph of a docstring -> name and the rest; a fifth is held out."""
    pairs = demo_pairs(standard_library())
    return Task(TrainingData(pairs), None, TrainingConfig(max_length=128))


def of_files(folder: str, train: str, test: str) -> Callable[[Path], Task]:
    """Return a task of two files in a folder, of which 2,000 drawn examples train."""

    def task(data: Path) -> Task:
        (training,) = load_training_data([DataSource(data / folder / train)])
        training = replace(training, examples=sample(list(training.examples), EXAMPLES, seed=0))
        evaluation = load_evaluation_data(data / folder / test)
        return Task(training, evaluation, TrainingConfig())

    return task


TASKS: dict[str, Callable[[Path], Task]] = {
    "stdlib": stdlib,
    "scifact": scifact,
    "stsb": of_files("stsb", "train.jsonl", "test.jsonl"),
    "stsb-zh": of_files("stsb_zh_mt", "train.jsonl", "test.jsonl"),
    "ocnli": of_files("ocnli_zh", "train.jsonl", "dev.jsonl"),
}

if __name__ == "__main__":
    main()
