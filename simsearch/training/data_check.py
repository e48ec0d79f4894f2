"""Looks at training data before any weight moves, and says what training on it will take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Final, TypedDict

import numpy as np

from simsearch.formats import Example
from simsearch.records import ScoredPair
from simsearch.search_index import RetrievalTask
from simsearch.training.data_counts import (
    FoldedTexts,
    IntArray,
    Rows,
    ValueArray,
    asked_keys,
    count_classes,
    count_duplicates,
    count_shared,
    false_negative_share,
    find_contradictions,
    row_values,
)
from simsearch.training.data_findings import DataCheck
from simsearch.training.data_tokens import (
    TokenizedSample,
    TrainableEncoder,
    tokenized_sample,
    tokens_per_second,
)
from simsearch.training.examples import TrainingData
from simsearch.training.objectives import OBJECTIVES, Objective

_CLASSES_LISTED: Final = 20

# A step is a forward pass, and a backward one that costs two of them.
_PASSES: Final = 3


class _Repeats(TypedDict):
    exact_duplicates: int
    folded_duplicates: int
    contradictions: int
    first_contradiction: Rows | None
    contradicting_places: tuple[str, ...]


class _Labels(TypedDict):
    classes: int
    class_counts: dict[str, int]
    training_classes: int
    single_classes: int


class _Tokens(TypedDict):
    distinct_texts: int
    sampled_texts: int
    unknown_share: float
    truncated_share: float
    median_tokens: int
    p95_tokens: int


class _Effort(TypedDict):
    steps: int
    control_steps: int
    tokens_per_step: int
    seconds: float | None


def check_data(
    examples: Sequence[Example],
    *,
    training: Sequence[Example],
    added: int = 0,
    control: bool = False,
    dev: Sequence[Example] = (),
    held_out: Sequence[Example] | RetrievalTask,
    encoder: TrainableEncoder,
    objective_name: str,
    objective_why: str,
    batch_size: int,
    epochs: int,
    negatives: int = 0,
    name: str = "",
    leaks: int = 0,
    judged: bool = True,
    places: Sequence[str] = (),
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> DataCheck:
    """Look at `examples` as they were read, and at the parts that they were split into.

    `held_out` decides the verdict: held-out examples of any kind, or a retrieval task, of which
    the queries may not be trained on, while its corpus may. Of many texts a sample is
    tokenized, and a second is spent encoding some of them, to estimate how long training takes.
    `training` and `dev` are of the kind of `examples`. So many examples are `added` to `training`;
    with a `control` it is trained on once more without them. So many hard negatives of each pair
    are to be mined: about as long as the answers. `places` say where each example was read.
    `judged` is false where `held_out` is for another data set.

    Raises:
        InvalidData: there are no examples, or of several kinds.
        EncoderError: the encoder cannot be trained, or cannot encode a text.
    """
    kind = TrainingData(examples).kind
    texts, values = FoldedTexts(examples, kind), row_values(examples)
    learned, chosen_by = texts.keys_of(training), texts.keys_of(dev)
    sample = tokenized_sample(examples, texts, encoder=encoder, seed=seed)
    columns = len(texts.columns)
    speed = tokens_per_second(encoder, sample, most=batch_size * columns, seed=seed, clock=clock)
    objective = OBJECTIVES[objective_name]
    row_tokens = objective.passes * columns * sample.mean_length
    row_tokens += negatives * sample.mean_length_of(1)
    rows = len(training) + added, len(training) if control else 0
    return DataCheck(
        name=name,
        leaks=leaks,
        kind=kind.__name__,
        columns=tuple(field.name for field in fields(kind)),
        rows=len(examples),
        training_rows=len(training),
        added_rows=added,
        dev_rows=len(dev),
        held_out_rows=len(held_out.queries if isinstance(held_out, RetrievalTask) else held_out),
        judged=judged,
        shared_texts=count_shared(np.append(learned, chosen_by), asked_keys(held_out)),
        shared_with_dev=count_shared(learned, chosen_by),
        window=encoder.max_length,
        score_range=_score_range(kind, values),
        false_negative_share=_false_negatives(learned, objective, batch_size),
        objective=objective_name,
        objective_why=objective_why,
        batch_size=batch_size,
        epochs=epochs,
        **_repeats(kind, texts, values, places),
        **_tokens(texts, sample),
        **_labels(examples, training),
        **_effort(rows, batch_size, epochs, row_tokens=row_tokens, speed=speed),
    )


def _repeats(
    kind: type[Example], texts: FoldedTexts, values: ValueArray, places: Sequence[str]
) -> _Repeats:
    exact, folded = count_duplicates(texts, values)
    contradictions, first = find_contradictions(kind, texts.keys, values)
    return {
        "exact_duplicates": exact,
        "folded_duplicates": folded,
        "contradictions": contradictions,
        "first_contradiction": first,
        "contradicting_places": tuple(places[row - 1] for row in first or () if places),
    }


def _tokens(texts: FoldedTexts, sample: TokenizedSample) -> _Tokens:
    return {
        "distinct_texts": len(texts.first),
        "sampled_texts": len(sample.texts),
        "unknown_share": sample.counts.unknown_share,
        "truncated_share": sample.counts.truncated / len(sample.texts),
        "median_tokens": sample.percentile(50),
        "p95_tokens": sample.percentile(95),
    }


def _labels(examples: Sequence[Example], training: Sequence[Example]) -> _Labels:
    counts, training_counts = count_classes(examples), count_classes(training)
    return {
        "classes": len(counts),
        "class_counts": _listed_classes(counts),
        "training_classes": len(training_counts),
        "single_classes": sum(rows == 1 for rows in training_counts.values()),
    }


def _effort(
    rows: tuple[int, int], batch_size: int, epochs: int, *, row_tokens: float, speed: float | None
) -> _Effort:
    """Return what training takes on the rows of a run, and then on those of its control."""
    total = epochs * sum(rows) * row_tokens
    steps, control_steps = (epochs * math.ceil(count / batch_size) for count in rows)
    return {
        "steps": steps,
        "control_steps": control_steps,
        "tokens_per_step": round(min(batch_size, rows[0]) * row_tokens),
        "seconds": None if speed is None else round(_PASSES * total / speed, 1),
    }


def _false_negatives(learned: IntArray, objective: Objective, batch_size: int) -> float | None:
    if not objective.in_batch:
        return None
    answers = learned[:, min(1, learned.shape[1] - 1)]
    return false_negative_share(learned[:, 0], answers, batch_size)


def _listed_classes(counts: Mapping[str, int]) -> dict[str, int]:
    if len(counts) <= _CLASSES_LISTED:
        return dict(counts)
    ends = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    return {name: counts[name] for name in ends}


def _score_range(kind: type[Example], values: ValueArray) -> tuple[float, float] | None:
    return (float(values.min()), float(values.max())) if kind is ScoredPair else None
