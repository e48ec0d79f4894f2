"""What a run is going to do, settled before any weight moves: who trains, who judges, by what."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from dataclasses import replace as with_changes

from simsearch.errors import InvalidData, InvalidInput
from simsearch.formats import Example
from simsearch.records import ClassPair, LabelledPair, LabelledText, Pair, UnlabelledText
from simsearch.search_index import RetrievalTask
from simsearch.training.augmentation import augment
from simsearch.training.config import AUTO, Augmentation, TrainingConfig
from simsearch.training.examples import (
    TrainingData,
    class_names,
    fold,
    judged_texts,
    split_examples,
    without_duplicates,
    without_leaks,
)
from simsearch.training.head_tasks import head_config, make_head_held_out
from simsearch.training.held_out import HeldOut, HeldOutRetrieval, check_metric, make_held_out
from simsearch.training.objectives import OBJECTIVES, Objective, choose_objective
from simsearch.training.resolve import Resolved, negatives_of, resolve

# Of the training side, where checkpoints are to be chosen.
_DEV = 0.1
# Fewer than this tell checkpoints apart by chance alone.
_LEAST_DEV = 10
# Texts beside the answers that the queries of the dev part search among: it is scored every epoch.
_DEV_DISTRACTORS = 500
# Of the probe that tells classes apart on the dev part: training pairs that it is fitted on.
_DEV_PROBE = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """One data set of a run, divided: what trains, what chooses checkpoints, what decides.

    `training` ends with the examples that augmentation added; `added` are the positions of those
    that they were made of. `leaks` are the examples that were dropped because the held-out data
    has a text of theirs. `distractors` are those texts of the data set that hard negatives are
    mined from: none that a held-out or dev example asks or is answered with.
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
    distractors: Sequence[str] = ()

    @property
    def originals(self) -> Sequence[Example]:
        """The training examples without those that were added."""
        return self.training[: len(self.training) - len(self.added)]

    @property
    def name(self) -> str:
        """What the data set is called, "" where it is the only one."""
        return self.data.name


@dataclass(frozen=True, slots=True)
class Plan:
    """The parts of a run, and the held-out data: the first decides, the others are reported.

    `metric` of the first is the one that decides.
    """

    parts: Sequence[Part]
    held_out: HeldOut
    further: dict[str, HeldOut]
    dev: HeldOut | None
    metric: str
    numbers: Resolved

    @property
    def held_outs(self) -> dict[str, HeldOut]:
        """All held-out data: that which decides is named ""."""
        return {"": self.held_out, **self.further}

    @property
    def examples(self) -> int:
        """Training examples of all parts."""
        return sum(len(part.training) for part in self.parts)

    @property
    def most_steps(self) -> int:
        """The most steps that the run takes: fewer where the data sets take turns."""
        size = self.numbers.batch_size
        return self.numbers.epochs * sum(math.ceil(len(p.training) / size) for p in self.parts)

    @property
    def added(self) -> int:
        """How many of them augmentation added."""
        return sum(len(part.added) for part in self.parts)

    @property
    def judged(self) -> dict[str, Part]:
        """The part that each held-out data is of, by its name there; a retrieval task is of none.

        But for one that is given for pairs, which are the first part then.
        """
        found = {part.name: part for part in self.parts if part.name in self.further}
        rest = [part for part in self.parts if part.name not in self.further]
        first = [part for part in rest if part.held_out] or rest
        return {**({"": first[0]} if first else {}), **found}

    def without_augmentation(self) -> Plan:
        """Return the plan of the same run, had nothing been added."""
        parts = [with_changes(part, training=part.originals, added=[]) for part in self.parts]
        return with_changes(self, parts=parts)


def make_plan(
    data: Sequence[TrainingData],
    evaluation: Sequence[Example] | RetrievalTask | None,
    config: TrainingConfig,
) -> Plan:
    """Choose objectives, split without leaks, and make the held-out data.

    Raises:
        InvalidData: the data does not fit the objective, or nothing can be held out.
        InvalidInput: the settings do not fit the data.
    """
    if not data:
        raise InvalidData("there is no training data")
    data = _with_names(data)
    if evaluation is not None and not isinstance(evaluation, RetrievalTask) and not evaluation:
        raise InvalidData("the evaluation data is empty")
    objectives = [_objective(one, config) for one in data]
    _check_heads(data, [objective for objective, _ in objectives])
    _check_constants(config, [objective for objective, _ in objectives])
    parts, dev = _divide(data, objectives, evaluation, config)
    if config.patience is not None and dev is None:
        raise InvalidInput(
            "patience goes by the dev part, and this run has none (bring more examples, or leave "
            "patience out)"
        )
    numbers = resolve(config, parts[0].objective)
    held_outs = _held_outs(parts, config)
    if isinstance(evaluation, RetrievalTask):
        held_out: HeldOut = HeldOutRetrieval(evaluation)
    elif evaluation is not None:
        _refuse_unknown_classes(evaluation, parts[0])
        held_out = _made(evaluation, parts[0], config)
    elif not held_outs:
        raise InvalidData(
            "texts alone prove nothing: bring evaluation data (--eval with pairs, or a BEIR folder)"
        )
    else:
        held_out = held_outs.pop(next(iter(held_outs)))
    if held_out.size < 2:
        raise InvalidData(
            f"only {held_out.size} question can be held out of {len(data[0].examples)} examples, "
            "which proves nothing (bring more, or evaluation data of its own)"
        )
    _check_numbers(parts, numbers)
    metric = check_metric(held_out, config.metric)
    return Plan(parts, held_out, held_outs, dev, metric, numbers)


def _objective(data: TrainingData, config: TrainingConfig) -> tuple[Objective, str]:
    """Return the objective of a data set, and why it is that one."""
    name = config.objective if data.objective == AUTO else data.objective
    objective = choose_objective(name, data.kind)
    why = "chosen for" if name == AUTO else "named, takes"
    return objective, f"{why} {data.kind.__name__} examples"


def _check_constants(config: TrainingConfig, objectives: Sequence[Objective]) -> None:
    """Refuse a temperature or a margin that none of the objectives has."""
    for name in ("temperature", "margin"):
        if getattr(config, name) is not None and all(getattr(o, name) is None for o in objectives):
            named = " and ".join(dict.fromkeys(o.name for o in objectives))
            having = ", ".join(o.name for o in OBJECTIVES.values() if getattr(o, name) is not None)
            raise InvalidInput(f"{named} has no {name} (these have: {having})")


def _divide(
    data: Sequence[TrainingData],
    objectives: Sequence[tuple[Objective, str]],
    evaluation: Sequence[Example] | RetrievalTask | None,
    config: TrainingConfig,
) -> tuple[list[Part], HeldOut | None]:
    """Split every data set; no text of any held-out or dev part stays in the training of any.

    Returns the parts, and what the dev part of the first one makes.
    """
    distinct = [without_duplicates(one.examples) for one in data]
    training: list[list[Example]] = [examples for examples, _ in distinct]
    held_out: list[list[Example]] = [[] for _ in data]
    for number, examples in enumerate(training):
        if _holds_out(number, data[number], objectives[number][0], evaluation):
            training[number], held_out[number] = split_examples(
                examples, share=config.held_out, limit=config.held_out_limit, seed=config.seed
            )
    judging: list[Sequence[Example] | RetrievalTask] = [[e for held in held_out for e in held]]
    if evaluation is not None:
        judging.append(evaluation)
    # What a split left on neither side are triplets, for the text that is their negative.
    leaks = [
        len(examples) - len(training[number]) - len(held_out[number])
        for number, (examples, _) in enumerate(distinct)
    ]
    for number in range(len(training)):
        for asked in judging:
            training[number], dropped = without_leaks(training[number], asked)
            leaks[number] += dropped
    if not training[0]:
        raise InvalidData(
            "no training examples are left: all of them share a text with the held-out data "
            "(held-out questions need answers of their own, or a BEIR folder as --eval)"
        )
    dev: list[Example] = []
    chooser = None
    if objectives[0][0].head is None:  # no head is fitted to an encoder that is still learning
        before = len(training[0])
        training[0], dev, chooser = _split_dev(training[0], data[0], config)
        leaks[0] += before - len(training[0]) - len(dev)
    for number in range(1, len(training)):
        training[number], dropped = without_leaks(training[number], dev)
        leaks[number] += dropped
    judged = _judged_texts([*judging, dev])
    parts = []
    for number, one in enumerate(data):
        objective, why = objectives[number]
        _refuse_one_class(training[number], one, objective)
        added = _augmented(training[number], [*judging, dev], config)
        parts.append(
            Part(
                data=one,
                objective=objective,
                why=why,
                training=[*training[number], *(example for _, example in added)],
                dev=dev if number == 0 else [],
                held_out=held_out[number],
                duplicates=distinct[number][1],
                leaks=leaks[number],
                added=[row for row, _ in added],
                distractors=[text for text in one.distractors if fold(text) not in judged],
            )
        )
    return parts, chooser


def _judged_texts(judging: Sequence[Sequence[Example] | RetrievalTask]) -> set[str]:
    """Return the texts, folded, that examples which judge ask or are answered with.

    Not those of a retrieval task: searching its corpus is the task, as it will be later.
    """
    examples = (e for side in judging if not isinstance(side, RetrievalTask) for e in side)
    return {fold(text) for example in examples for text in judged_texts(example)}


def _holds_out(
    number: int,
    data: TrainingData,
    objective: Objective,
    evaluation: Sequence[Example] | RetrievalTask | None,
) -> bool:
    """Whether a part of a data set is held out: what is made of it has to be judged.

    Evaluation data of its own judges the first one, and the encoder; other heads need their own.
    """
    if data.kind is UnlabelledText:
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
    examples: list[Example] = list(made)
    for other in others:
        examples, _ = without_leaks(examples, other)
    return [(made[example], example) for example in examples]


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


def _with_names(data: Sequence[TrainingData]) -> list[TrainingData]:
    """Return data sets with a name each, no two the same; a single one needs none."""
    if len(data) == 1:
        return list(data)
    named: list[TrainingData] = []
    taken: set[str] = set()
    for number, one in enumerate(data, start=1):
        name = one.name or f"data {number}"
        while name in taken:
            name = f"{one.name} ({number})"
        taken.add(name)
        named.append(with_changes(one, name=name))
    return named


def _check_heads(data: Sequence[TrainingData], objectives: Sequence[Objective]) -> None:
    """Refuse weights that are none, and heads that would write to the same field."""
    fields: list[str] = []
    for one, objective in zip(data, objectives, strict=True):
        if not 0 < one.weight < math.inf:
            raise InvalidInput(f"weight must be above 0, got {one.weight:g} for {one.name}")
        if one.field and objective.head is None:
            raise InvalidInput(
                f"field names a head, and objective {objective.name} of {one.name} makes none"
            )
        if objective.head is not None:
            fields.append(
                head_config(objective.head, one.field, 0).field
                if one.head is None
                else one.head.field
            )
    twice = next((field for field in fields if fields.count(field) > 1), None)
    if twice is not None:
        raise InvalidInput(f"two heads are called {twice!r} (give one another field in [[data]])")


def _check_numbers(parts: Sequence[Part], numbers: Resolved) -> None:
    for part in parts:
        if part.objective.by_class and (numbers.batch_size < 4 or numbers.batch_size % 2):
            raise InvalidInput(
                f"{part.objective.name} takes two texts of a class at a time: batch_size must be "
                f"even, and at least 4, got {numbers.batch_size}"
            )


def _refuse_one_class(
    training: Sequence[Example], data: TrainingData, objective: Objective
) -> None:
    if data.kind in (LabelledPair, ClassPair, LabelledText) and not objective.in_batch:
        names = class_names(training)
        if len(names) < 2:
            raise InvalidData(
                f"{data.name or 'the training data'}: all of the {len(training):,} training "
                f"examples have the class {', '.join(names) or '(none is left)'} (bring examples "
                "of two classes at least)"
            )


def _refuse_unknown_classes(evaluation: Sequence[Example], part: Part) -> None:
    if part.data.kind is not ClassPair:
        return
    known = class_names(part.training)
    unknown = [name for name in class_names(evaluation) if name not in known]
    if unknown:
        raise InvalidData(
            f"the evaluation data has the class {', '.join(unknown)}, which no training example "
            f"has (there are: {', '.join(known)}; bring examples of it, or leave it out)"
        )


def _held_outs(parts: Sequence[Part], config: TrainingConfig) -> dict[str, HeldOut]:
    return {part.name: _made(part.held_out, part, config) for part in parts if part.held_out}


def _made(examples: Sequence[Example], part: Part, config: TrainingConfig) -> HeldOut:
    if part.objective.head is not None:
        return make_head_held_out(
            examples,
            training=part.originals,
            config=part.data.head or head_config(part.objective.head, part.data.field, config.seed),
        )
    # Of the originals: what is asked does not depend on whether examples were added.
    return make_held_out(
        examples,
        training=part.originals,
        distractors=part.data.distractors,
        distractor_limit=config.distractors,
        seed=config.seed,
    )


def mined_of(part: Part, config: TrainingConfig) -> int:
    """Return how many hard negatives are mined for each example of a part; 0 if it has no pairs."""
    return negatives_of(config, part.objective) if part.data.kind is Pair else 0


def identity(
    plan: Plan,
    config: TrainingConfig,
    *,
    base_fingerprint: str,
    evaluation: Sequence[Example] | RetrievalTask | None = None,
) -> dict[str, str]:
    """Return what makes a run this run: one that is resumed has to agree in all of it."""
    settings = {name: json.dumps(value) for name, value in asdict(config).items()}
    for name in (
        "checkpoint_minutes",
        "augment_control",
        "task_controls",
        "match_score",
    ):  # they change nothing of the model
        del settings[name]
    parts = {str(part.name or number): part for number, part in enumerate(plan.parts, start=1)}
    data = {
        f"data {name}": hash_examples(
            [*part.training, *part.dev, *part.held_out], part.data.distractors
        )
        for name, part in parts.items()
    }
    objectives = {f"objective {name}": part.objective.name for name, part in parts.items()}
    objectives |= {
        f"weight {name}": repr(part.data.weight)
        for name, part in parts.items()
        if part.data.weight != 1
    }
    judging = {} if evaluation is None else {"evaluation": _hash_evaluation(evaluation)}
    return {**settings, **data, **objectives, **judging, "encoder": base_fingerprint}


def _hash_evaluation(evaluation: Sequence[Example] | RetrievalTask) -> str:
    if not isinstance(evaluation, RetrievalTask):
        return hash_examples(evaluation)
    texts = [document.content for document in evaluation.corpus]
    asked = json.dumps([dict(evaluation.queries), evaluation.qrels], default=dict)
    return hash_examples([], [asked, *texts])


def hash_examples(examples: Sequence[Example], distractors: Sequence[str] = ()) -> str:
    """Return the SHA-256 of examples, texts and labels, and of texts beside them, in hex."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps([type(example).__name__, *asdict(example).values()]).encode())
    for text in distractors:
        digest.update(json.dumps(text).encode())
    return digest.hexdigest()
