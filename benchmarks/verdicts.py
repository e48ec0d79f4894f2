"""Is the verdict honest? On labels that mean nothing it has to be `reject`.

    python benchmarks/verdicts.py [SEEDS] [--ways labels,answers,scores,pairs]

300 pairs a seed, real encoder, default settings, three ways to mean nothing: labels of labelled
pairs shuffled, answers of pairs shuffled, scores drawn by chance. Of 20 seeds 19 have to be
rejected. Then the same pairs as they are. Some 25 seconds a run on two cores. A verdict is shown
when it is there, a line for each way when that has ended.
"""

from __future__ import annotations

import argparse
import collections
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import simsearch
from simsearch.demo import demo_pairs, sample, standard_library
from simsearch.formats import Example
from simsearch.records import LabelledPair, Pair, ScoredPair

PAIRS = 300
WINDOW = 64


def main(ways: Sequence[str], seeds: int) -> None:
    """Print how many of each kind were kept."""
    pairs = demo_pairs(standard_library())
    for way in ways:
        name, make = WAYS[way]
        verdicts: collections.Counter[str] = collections.Counter()
        for seed in range(seeds):
            examples = make(sample(pairs, PAIRS, seed=seed), random.Random(seed))
            found = verdict(examples, seed)
            verdicts[found] += 1
            print(f"{way}, seed {seed}: {found}", file=sys.stderr, flush=True)
        print(f"{name:32} {dict(verdicts)}", flush=True)


def verdict(examples: Sequence[Example], seed: int) -> str:
    """Return the verdict on a run with default settings."""
    config = simsearch.TrainingConfig(max_length=WINDOW, seed=seed)
    with tempfile.TemporaryDirectory() as scratch:
        data = simsearch.TrainingData(examples)
        return simsearch.finetune(data, Path(scratch) / "model", config=config).verdict


def shuffled_labels(pairs: Sequence[Pair], rng: random.Random) -> list[Example]:
    """Half of the pairs with another's answer, and labels drawn from a hat."""
    rows = labelled(pairs, rng)
    labels = [row.label for row in rows]
    rng.shuffle(labels)
    return [
        LabelledPair(row.sentence1, row.sentence2, label)
        for row, label in zip(rows, labels, strict=True)
    ]


def shuffled_answers(pairs: Sequence[Pair], rng: random.Random) -> list[Example]:
    """Every pair with the answer of another."""
    answers = [pair.positive for pair in pairs]
    rng.shuffle(answers)
    return [Pair(pair.anchor, other) for pair, other in zip(pairs, answers, strict=True)]


def shuffled_scores(pairs: Sequence[Pair], rng: random.Random) -> list[Example]:
    """Half of the pairs with another's answer, and scores from 0 to 5 by chance."""
    return [
        ScoredPair(row.sentence1, row.sentence2, float(rng.randint(0, 5)))
        for row in labelled(pairs, rng)
    ]


def labelled(pairs: Sequence[Pair], rng: random.Random) -> list[LabelledPair]:
    """Every second pair with the answer of another, labelled 0."""
    answers = [pair.positive for pair in pairs]
    others = answers[1::2]
    rng.shuffle(others)
    answers[1::2] = others
    return [
        LabelledPair(pair.anchor, answer, 1 - number % 2)
        for number, (pair, answer) in enumerate(zip(pairs, answers, strict=True))
    ]


def as_they_are(pairs: Sequence[Pair], _: random.Random) -> list[Example]:
    """The pairs, which teach something."""
    return list(pairs)


WAYS: dict[str, tuple[str, Callable[[Sequence[Pair], random.Random], list[Example]]]] = {
    "labels": ("labels shuffled (contrastive)", shuffled_labels),
    "answers": ("answers shuffled (in-batch)", shuffled_answers),
    "scores": ("scores shuffled (cosine)", shuffled_scores),
    "pairs": ("pairs as they are (in-batch)", as_they_are),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("seeds", type=int, nargs="?", default=20)
    parser.add_argument("--ways", default=",".join(WAYS))
    options = parser.parse_args()
    if unknown := [way for way in options.ways.split(",") if way not in WAYS]:
        parser.error(f"no way {', '.join(unknown)} (there are: {', '.join(WAYS)})")
    main(options.ways.split(","), options.seeds)
