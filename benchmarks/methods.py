"""What does each objective and each adaptation make of the same pairs? What is pretraining worth?

    python benchmarks/methods.py [--parts objectives,adaptations,scratch] [--log FILE]

Pairs of docstrings (first paragraph -> name and the rest), the same split, steps, window and seed
for all. Only pairs are at hand, so the other kinds of examples are made of them: a pair is similar,
scored 1 and of the class `same`, the pair with a mined hard negative is not; the class of a text is
its module. All are judged by the same questions, held out, over the same texts: the answers of all
pairs (nDCG@10, MRR@10). A line for each run, also to --log as JSON; what stands there is not run
again. Two hours on one core.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import simsearch
from simsearch.demo import demo_pairs, sample, standard_library
from simsearch.encoder import Encoder
from simsearch.formats import Example
from simsearch.records import (
    ClassPair,
    Document,
    LabelledPair,
    LabelledText,
    Pair,
    ScoredPair,
    Triplet,
    UnlabelledText,
)
from simsearch.search_index import RetrievalTask
from simsearch.training.examples import split_examples
from simsearch.training.negatives import mine_negatives

WINDOW = 64
STEPS = 58  # about two epochs of pairs in batches of 32
BATCH = 32


@dataclass(frozen=True)
class Row:
    """A run: what it is called, what it is trained on, and its settings."""

    name: str
    examples: Sequence[Example]
    settings: dict[str, Any] = field(default_factory=dict)

    def asks_the_same(self, other: Row) -> bool:
        """Whether it is the same run by another name; `adapt` is full where nothing is said."""
        settings = [{"adapt": "full", **row.settings} for row in (self, other)]
        return settings[0] == settings[1] and list(self.examples) == list(other.examples)


def main() -> None:
    """Print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default="objectives,adaptations,scratch")
    parser.add_argument("--log", type=Path)
    arguments = parser.parse_args()
    pairs = demo_pairs(standard_library())
    training, held_out = split_examples(pairs, share=0.2, limit=500, seed=0)
    own = [pair for pair in training if isinstance(pair, Pair)]
    task = judged_by(pairs, held_out)
    done = read_log(arguments.log)
    known: list[tuple[Row, dict[str, Any]]] = []  # two parts may ask for the same run
    for part in arguments.parts.split(","):
        for row in PARTS[part](own):
            if (part, row.name) in done:
                continue
            same = [found for other, found in known if other.asks_the_same(row)]
            found = {**same[0], "name": row.name} if same else measure(row, task)
            known.append((row, found))
            print(line(part, found), flush=True)
            if arguments.log:
                with arguments.log.open("a", encoding="utf-8") as log:
                    log.write(json.dumps({"part": part, **found}) + "\n")


def read_log(log: Path | None) -> set[tuple[str, str]]:
    """Return part and name of the rows that were measured before."""
    if log is None or not log.exists():
        return set()
    rows = [json.loads(text) for text in log.read_text(encoding="utf-8").splitlines()]
    return {(row["part"], row["name"]) for row in rows}


def judged_by(pairs: Sequence[Pair], held_out: Sequence[Example]) -> RetrievalTask:
    """Return the held-out questions over the answers of all pairs."""
    corpus = [Document(id=str(row), text=pair.positive) for row, pair in enumerate(pairs)]
    out = set(held_out)
    rows = [row for row, pair in enumerate(pairs) if pair in out]
    queries = {str(row): pairs[row].anchor for row in rows}
    return RetrievalTask(queries, corpus, {str(row): {str(row): 1} for row in rows})


def measure(row: Row, task: RetrievalTask) -> dict[str, Any]:
    """Train and score."""
    epochs = max(1, round(STEPS * BATCH / len(row.examples)))
    settings = {"epochs": epochs, "batch_size": BATCH, "dev": 0.0, **row.settings}
    config = simsearch.TrainingConfig(max_length=WINDOW, **settings)
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "model"
        result = simsearch.finetune(
            simsearch.TrainingData(row.examples),
            target,
            evaluation=task,
            config=config,
            force=True,
        )
        size = sum(file.stat().st_size for file in target.rglob("*.safetensors"))
        facts = (target / "run" / "report.md").read_text(encoding="utf-8")
    trained = next(line for line in facts.splitlines() if line.startswith("| adaptation |"))
    parameters = re.search(r"([\d,]+) parameters learn", trained)
    assert parameters is not None
    change = result.difference["ndcg@10"]
    return {
        "name": row.name,
        "steps": result.steps,
        "before": result.before["ndcg@10"],
        "ndcg@10": result.after["ndcg@10"],
        "mrr@10": result.after["mrr@10"],
        "low": change.low,
        "high": change.high,
        "parameters": int(parameters[1].replace(",", "")),
        "seconds": result.training_seconds,
        "megabytes": round(size / 1e6, 1),
        "verdict": result.verdict,
    }


def line(part: str, found: dict[str, Any]) -> str:
    """Return a row of the table."""
    return (
        f"{part:12} {found['name']:28} {found['steps']:4} steps  nDCG@10 {found['before']:.4f} -> "
        f"{found['ndcg@10']:.4f} ({found['low']:+.4f} .. {found['high']:+.4f})  "
        f"MRR@10 {found['mrr@10']:.4f}  {found['seconds']:6.1f} s  {found['megabytes']} MB  "
        f"{found['parameters']:,} parameters learn"
    )


def objectives(pairs: list[Pair]) -> Iterator[Row]:
    """Yield a row for each objective, and two for the question of SGD or AdamW."""
    encoder = Encoder.load(max_length=WINDOW)
    answers = [pair.positive for pair in pairs]
    mined = mine_negatives(encoder, pairs, answers, count=1, window=60, margin=0.05).negatives
    negative = [own[0] if own else answers[row - 1] for row, own in enumerate(mined)]
    both = list(zip(pairs, negative, strict=True))
    triplets = [Triplet(pair.anchor, pair.positive, other) for pair, other in both]
    sides = [
        (pair.anchor, pair.positive if number % 2 else other, number % 2)
        for number, (pair, other) in enumerate(both)
    ]
    modules = [" ".join(pair.positive.split()[:1]) for pair in pairs]
    yield Row("in-batch, no mined negatives", pairs, {"negatives": 0})
    yield Row("in-batch", pairs)
    yield Row("contrastive", [LabelledPair(*side) for side in sides])
    named = [ClassPair(a, b, ("other", "same")[same]) for a, b, same in sides]
    yield Row("softmax", named)
    yield Row("cosine", [ScoredPair(a, b, float(same)) for a, b, same in sides])
    for name in ("triplet-hinge", "triplet-softmax", "triplet-margin-ranking"):
        yield Row(f"{name}, SGD", triplets, {"objective": name})
    adamw = {"optimizer": "adamw", "schedule": "cosine"}
    for name in ("triplet-hinge", "triplet-softmax"):
        yield Row(f"{name}, AdamW", triplets, {"objective": name, **adamw})
    with_class = [
        LabelledText(pair.positive, module) for pair, module in zip(pairs, modules, strict=True)
    ]
    yield Row("batch-hard", with_class)
    yield Row("unlabelled", [UnlabelledText(pair.positive) for pair in pairs])


def adaptations(pairs: list[Pair]) -> Iterator[Row]:
    """Yield a row for each adaptation."""
    for name in ("full", "last-2", "gradual", "lora", "dense", "conv"):
        yield Row(name, pairs, {"adapt": name})
    yield Row("full, layer decay 0.8", pairs, {"layer_decay": 0.8})
    for name in ("dense", "conv"):
        yield Row(f"{name}, frozen trunk", pairs, {"adapt": name, "freeze": True})


def scratch(pairs: list[Pair]) -> Iterator[Row]:
    """Yield pretrained against random weights, with all, 30% and 10% of the pairs."""
    for share in (1.0, 0.3, 0.1):
        rows = sample(pairs, round(share * len(pairs)), seed=0)
        yield Row(f"pretrained, {share:.0%} of the pairs", rows)
        yield Row(f"from scratch, {share:.0%} of the pairs", rows, {"from_scratch": True})


PARTS = {"objectives": objectives, "adaptations": adaptations, "scratch": scratch}

if __name__ == "__main__":
    main()
