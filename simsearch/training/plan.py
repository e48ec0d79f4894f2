"""What a run is going to do, settled before any weight moves: who trains, who judges, by what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as with_changes

from simsearch.errors import InvalidData, InvalidInput
from simsearch.formats import Example
from simsearch.records import ClassPair, Pair
from simsearch.search_index import RetrievalTask
from simsearch.training.config import AUTO, TrainingConfig
from simsearch.training.division import Part, divide
from simsearch.training.examples import KIND_NAMES, TrainingData, class_names
from simsearch.training.head_tasks import head_config, make_head_held_out
from simsearch.training.held_out import (
    HeldOut,
    HeldOutRetrieval,
    check_match_score,
    check_metric,
    make_held_out,
)
from simsearch.training.objectives import OBJECTIVES, Objective, choose_objective
from simsearch.training.resolve import Resolved, negatives_of, resolve


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
    parts, dev = divide(data, objectives, evaluation, config)
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
    check_match_score([held_out, *held_outs.values()], config.match_score)
    metric = check_metric(held_out, config.metric)
    return Plan(parts, held_out, held_outs, dev, metric, numbers)


def _objective(data: TrainingData, config: TrainingConfig) -> tuple[Objective, str]:
    """Return the objective of a data set, and why it is that one."""
    name = config.objective if data.objective == AUTO else data.objective
    objective = choose_objective(name, data.kind)
    why = "chosen for" if name == AUTO else "named, takes"
    return objective, f"{why} {KIND_NAMES[data.kind]}"


def _check_constants(config: TrainingConfig, objectives: Sequence[Objective]) -> None:
    """Refuse a temperature or a margin that none of the objectives has."""
    for name in ("temperature", "margin"):
        if getattr(config, name) is not None and all(getattr(o, name) is None for o in objectives):
            named = " and ".join(dict.fromkeys(o.name for o in objectives))
            having = ", ".join(o.name for o in OBJECTIVES.values() if getattr(o, name) is not None)
            raise InvalidInput(f"{named} has no {name} (these have: {having})")


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
        if one.weight is not None and not 0 < one.weight < math.inf:
            raise InvalidInput(f"weight must be above 0, got {one.weight:g} for {one.name}")
        if one.field and objective.head is None:
            raise InvalidInput(
                f"field names a head, and objective {objective.name} of {one.name} makes none"
            )
        if objective.head is not None:
            head = head_config(objective.head, one.field, 0) if one.head is None else one.head
            fields += objective.head.fields(head.field)
    twice = next((field for field in fields if fields.count(field) > 1), None)
    if twice is not None:
        raise InvalidInput(
            f"two heads write to the field {twice!r} (give one another field in [[data]])"
        )


def _check_numbers(parts: Sequence[Part], numbers: Resolved) -> None:
    for part in parts:
        if part.objective.by_class and (numbers.batch_size < 4 or numbers.batch_size % 2):
            raise InvalidInput(
                f"{part.objective.name} takes two texts of a class at a time: batch_size must be "
                f"even, and at least 4, got {numbers.batch_size}"
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
