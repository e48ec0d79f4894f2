"""The data sets of a run, divided: what trains, what chooses checkpoints, what decides."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from simsearch.errors import InvalidData
from simsearch.formats import Example
from simsearch.records import ClassifiedText, ClassPair, LabelledPair, LabelledText, UnlabelledText
from simsearch.search_index import RetrievalTask
from simsearch.training.augmentation import augment
from simsearch.training.config import Augmentation, TrainingConfig
from simsearch.training.examples import (
    TrainingData,
    class_names,
    fold,
    judged_texts,
    split_examples,
    without_duplicates,
    without_leaks,
)
from simsearch.training.held_out import HeldOut, make_held_out
from simsearch.training.objectives import Objective

# Of the training side, where checkpoints are to be chosen.
_DEV = 0.1
# Fewer than this tell checkpoints apart by chance alone.
_LEAST_DEV = 10
# Texts beside the answers that the queries of the dev part search among: it is scored every epoch.
_DEV_DISTRACTORS = 500
# Of the probe that tells classes apart on the dev part: training pairs that it is fitted on.
_DEV_PROBE = 1000

# Steps for classes and entities cost similarity up to two points on whole sets, and gain heads
# little, which are fitted anew to the encoder when it is done (docs/log.md, 2026-11-27).
_WEIGHT_OF_HEADS = 0.1


@dataclass(frozen=True, slots=True)
class Part:
    """One data set of a run, divided: what trains, what chooses checkpoints, what decides.

    `training` ends with the examples that augmentation added; `added` are the positions of those
    that they were made of. `leaks` are the examples that were dropped because the held-out data
    has a text of theirs. `weight` multiplies the gradient. `distractors` are those texts of the
    data set that hard negatives are mined from, and `negatives` those known ones (see
    `TrainingData`), that no held-out or dev example asks or is answered with.
    """

    data: TrainingData
    objective: Objective
    why: str
    training: Sequence[Example]
    dev: Sequence[Example]
    held_out: Sequence[Example]
    duplicates: int
    leaks: int
    added: Sequence[int]
    weight: float = 1.0
    distractors: Sequence[str] = ()
    negatives: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def originals(self) -> Sequence[Example]:
        """The training examples without those that were added."""
        return self.training[: len(self.training) - len(self.added)]

    @property
    def name(self) -> str:
        """What the data set is called, "" where it is the only one."""
        return self.data.name


def divide(
    data: Sequence[TrainingData],
    objectives: Sequence[tuple[Objective, str]],
    evaluation: Sequence[Example] | RetrievalTask | None,
    config: TrainingConfig,
) -> tuple[list[Part], HeldOut | None]:
    """Split every data set; no text of any held-out or dev part stays in the training of any.

    Returns the parts, and what the dev part of the first one makes.

    Raises:
        InvalidData: no training examples are left, or of one class only, or nothing can be held
            out.
    """
    distinct = [without_duplicates(one.examples) for one in data]
    training: list[list[Example]] = [examples for examples, _ in distinct]
    held_out: list[list[Example]] = [[] for _ in data]
    for number, examples in enumerate(training):
        if _holds_out(number, data[number], objectives[number][0], evaluation):
            training[number], held_out[number] = split_examples(
                examples,
                share=config.held_out,
                limit=config.held_out_limit,
                seed=config.seed,
                keep_classes=objectives[number][0].head is not None,
            )
    judging: list[Sequence[Example] | RetrievalTask] = [[e for held in held_out for e in held]]
    if evaluation is not None:
        judging.append(evaluation)
    training = [without_leaks(examples, *judging) for examples in training]
    if not training[0]:
        raise InvalidData(
            "no training examples are left: all of them share a text with the held-out data "
            "(held-out questions need answers of their own, or a BEIR folder as --eval)"
        )
    dev: list[Example] = []
    chooser = None
    if objectives[0][0].head is None:  # no head is fitted to an encoder that is still learning
        training[0], dev, chooser = _split_dev(training[0], data[0], config)
    judging.append(dev)
    training[1:] = [without_leaks(examples, dev) for examples in training[1:]]
    judged = _judged_texts(judging)
    weights = _weights(data, [objective for objective, _ in objectives])
    parts = []
    for number, (one, (objective, why)) in enumerate(zip(data, objectives, strict=True)):
        examples, duplicates = distinct[number]
        own, chooses = training[number], dev if number == 0 else []
        _refuse_one_class(own, one, objective)
        added = _augmented(own, judging, config)
        parts.append(
            Part(
                data=one,
                objective=objective,
                why=why,
                training=[*own, *(example for _, example in added)],
                dev=chooses,
                held_out=held_out[number],
                duplicates=duplicates,
                leaks=len(examples) - len(own) - len(chooses) - len(held_out[number]),
                added=[row for row, _ in added],
                weight=weights[number],
                distractors=[text for text in one.distractors if fold(text) not in judged],
                negatives={
                    anchor: [text for text in texts if fold(text) not in judged]
                    for anchor, texts in one.negatives.items()
                },
            )
        )
    return parts, chooser


def _judged_texts(judging: Sequence[Sequence[Example] | RetrievalTask]) -> set[str]:
    """Return the texts, folded, that examples which judge ask or are answered with.

    Not those of a retrieval task: searching its corpus is the task, as it will be later.
    """
    examples = (e for side in judging if not isinstance(side, RetrievalTask) for e in side)
    return {fold(text) for example in examples for text in judged_texts(example)}


def _weights(data: Sequence[TrainingData], objectives: Sequence[Objective]) -> list[float]:
    """Return the weight of each data set, that of heads beside other data where none is given."""
    beside = any(objective.head is None for objective in objectives)
    usual = [_WEIGHT_OF_HEADS if beside and each.head is not None else 1.0 for each in objectives]
    return [
        weight if one.weight is None else one.weight
        for one, weight in zip(data, usual, strict=True)
    ]


def _holds_out(
    number: int,
    data: TrainingData,
    objective: Objective,
    evaluation: Sequence[Example] | RetrievalTask | None,
) -> bool:
    """Whether a part of a data set is held out: what is made of it has to be judged.

    Evaluation data of its own judges the first one, and the encoder; other heads need their own.
    """
    if data.kind is UnlabelledText or (data.kind is ClassifiedText and objective.head is None):
        return False
    if evaluation is None:
        return True
    return objective.head is not None and (number > 0 or isinstance(evaluation, RetrievalTask))


def _augmented(
    training: Sequence[Example],
    others: Sequence[Sequence[Example] | RetrievalTask],
    config: TrainingConfig,
) -> list[tuple[int, Example]]:
    """Return what augmentation adds, each once, less what became a text of the other sides."""
    methods = [Augmentation(name) for name in config.augment]
    made = {example: row for row, example in augment(training, methods, seed=config.seed)}
    return [(made[example], example) for example in without_leaks(list(made), *others)]


def _split_dev(
    training: list[Example], data: TrainingData, config: TrainingConfig
) -> tuple[list[Example], list[Example], HeldOut | None]:
    """Take the dev part out of the training side; none where it would be too small to tell.

    A run of a set length needs none: its rate has fallen to 0 when it ends, and what a hundred
    examples say of two epochs is chance (docs/log.md, 2026-11-26).
    """
    share = config.dev if config.dev is not None else _DEV * (config.patience is not None)
    wanted = min(config.dev_limit, round(share * len(training)))
    if data.kind is UnlabelledText or wanted < _LEAST_DEV:
        return training, [], None
    try:
        rest, dev = split_examples(
            training, share=share, limit=config.dev_limit, seed=config.seed + 1
        )
        rest = without_leaks(rest, dev)
        chooser = _chooser(dev, rest, data, config)
    except InvalidData:  # everything is connected, or nothing can be measured on so few
        return training, [], None
    return (rest, dev, chooser) if chooser.size >= _LEAST_DEV else (training, [], None)


def _chooser(
    dev: Sequence[Example], training: list[Example], data: TrainingData, config: TrainingConfig
) -> HeldOut:
    if data.kind is ClassPair:
        training = random.Random(config.seed).sample(training, min(_DEV_PROBE, len(training)))
    return make_held_out(
        dev,
        training=training,
        distractors=data.distractors,
        distractor_limit=min(_DEV_DISTRACTORS, config.distractors),
        seed=config.seed,
    )


def _refuse_one_class(
    training: Sequence[Example], data: TrainingData, objective: Objective
) -> None:
    if objective.in_batch:
        return
    names = class_names(training)
    if data.kind is ClassifiedText and not names:
        raise InvalidData(
            f"{data.name or 'the training data'}: none of the {len(training):,} training examples "
            "has a label (bring examples that have one)"
        )
    if data.kind in (LabelledPair, ClassPair, LabelledText) and len(names) < 2:
        raise InvalidData(
            f"{data.name or 'the training data'}: all of the {len(training):,} training "
            f"examples have the class {', '.join(names) or '(none is left)'} (bring examples "
            "of two classes at least)"
        )
