"""What was found in training data: the record of it, and what it says in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from simsearch.encoder import MOST_UNKNOWN
from simsearch.formats import Example
from simsearch.formats.checks import quoted
from simsearch.records import (
    ClassifiedText,
    ClassPair,
    LabelledPair,
    LabelledText,
    Pair,
    ScoredPair,
    TaggedText,
    Triplet,
    UnlabelledText,
)
from simsearch.training.config import TAGS
from simsearch.training.data_counts import Rows
from simsearch.wording import counted

MOST_LEFT_OUT: Final = 0.3  # share of rows
# Of fewer questions all may get better, and chance does it in one of 2^n runs: p, on two sides,
# is above 0.05 whatever the encoder learns.
LEAST_QUESTIONS: Final = 6

_MEANING: Final[dict[type[Example], str]] = {
    Pair: "two texts that belong together",
    Triplet: "a text, one that belongs to it, and one that does not",
    LabelledPair: "two texts, and whether they are similar (1) or not (0)",
    ClassPair: "two texts, and the name of the relation between them",
    ScoredPair: "two texts, and how similar they are",
    LabelledText: "a text, and the name of its class",
    ClassifiedText: "a text, and the names of its classes",
    UnlabelledText: "a text of which nothing more is known",
    TaggedText: "a text, and the entities in it",
}
_CONTRADICTION: Final[dict[type[Example], str]] = {
    Triplet: "a text positive to an anchor in one row and negative to it in another",
    LabelledPair: "the same two texts with different labels",
    ClassPair: "the same two texts with different labels",
    ScoredPair: "the same two texts with scores more than a tenth of the range apart",
    LabelledText: "the same text with different labels",
    ClassifiedText: "the same text with different labels",
    TaggedText: "the same text with different entities",
}
# Objectives that learn what a class is.
_BY_CLASS: Final = ("softmax", "batch-hard", "classes", TAGS)
_NAMES: Final = {kind.__name__: kind for kind in _MEANING}


@dataclass(frozen=True, slots=True)
class DataCheck:
    """What training data holds, and what training on it will take.

    Attributes:
        name: what the data set is called, "" where it is the only one.
        kind: name of the record class of the examples.
        columns: theirs, in order.
        rows: examples as read; duplicates, contradictions and classes are counted over these.
        training_rows: of the training side, without those that augmentation added.
        added_rows: those that it added.
        judged: whether the held-out data is for it; of several data sets evaluation data of its own
            judges the first alone.
        exact_duplicates: rows that are equal to an earlier one.
        folded_duplicates: more of them, if case, space and punctuation are not looked at.
        contradictions: distinct texts, or pairs of texts, of which two rows say different things.
        first_contradiction: two such rows, counted from 1.
        contradicting_places: FILE:LINE of these, where they come from files.
        shared_texts: distinct texts of the training and dev side that the held-out data asks
            about, folded: its queries if it is a retrieval task, else all its texts.
        shared_with_dev: distinct texts in the training and the dev part, folded.
        leaks: rows that were left out because the held-out data asks about them.
        distinct_texts: of all rows.
        sampled_texts: so many of them were tokenized, for the next five.
        unknown_share: share of their tokens, special ones not counted.
        truncated_share: share of them that the window cuts.
        window: in tokens, as all lengths with special tokens and prompt.
        median_tokens: length that half of them do not exceed.
        p95_tokens: length that 95% of them do not exceed.
        classes: number of labels, 0 where there are none.
        class_counts: rows (of entities: spans) by label; of many, of the smallest and the largest
            class alone.
        training_classes: number of labels on the training side.
        single_classes: labels that one row (one span) of the training side has.
        score_range: lowest and highest score; None where there are none.
        false_negative_share: see `false_negative_share`; None if the objective has no negatives
            from the batch, or has labels for them.
        control_steps: those of the control, the run without augmentation; 0 if there is none.
        tokens_per_step: estimated, special tokens included.
        seconds: of training, with that of the control, estimated from the speed of encoding here;
            None if unknown.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    rows: int
    training_rows: int
    added_rows: int
    dev_rows: int
    held_out_rows: int
    judged: bool
    exact_duplicates: int
    folded_duplicates: int
    contradictions: int
    first_contradiction: Rows | None
    contradicting_places: tuple[str, ...]
    shared_texts: int
    shared_with_dev: int
    leaks: int
    distinct_texts: int
    sampled_texts: int
    unknown_share: float
    truncated_share: float
    window: int
    median_tokens: int
    p95_tokens: int
    classes: int
    class_counts: Mapping[str, int]
    training_classes: int
    single_classes: int
    score_range: tuple[float, float] | None
    false_negative_share: float | None
    objective: str
    objective_why: str
    batch_size: int
    epochs: int
    steps: int
    control_steps: int
    tokens_per_step: int
    seconds: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON, with the meaning and the warnings."""
        meaning = _MEANING[_NAMES[self.kind]]
        return {**asdict(self), "meaning": meaning, "warnings": self.warnings()}

    def lines(self) -> list[str]:
        """Return what a person should read before training, warnings last."""
        return [*self._facts(), *(f"warning: {warning}" for warning in self.warnings())]

    def warnings(self) -> list[str]:
        """Return what should be seen to, each with what to do."""
        found: list[str] = []
        if self.contradictions:
            first, second = self.first_contradiction or (0, 0)
            rows = f"row {first}" if first == second else f"rows {first} and {second}"
            if self.contradicting_places:
                rows = " and ".join(dict.fromkeys(self.contradicting_places))
            found.append(
                f"{counted(self.contradictions, 'contradiction')}: "
                f"{_CONTRADICTION[_NAMES[self.kind]]}, first {rows} "
                "(keep the right one of each)"
            )
        if self.shared_texts:
            found.append(
                f"{counted(self.shared_texts, 'text')} of the held-out data can be learned by "
                "heart: the verdict would flatter (leave the rows out that have them)"
            )
        if self.shared_with_dev:
            found.append(
                f"{counted(self.shared_with_dev, 'text')} of the dev part can be learned by heart: "
                "the wrong checkpoint may be chosen (leave the rows out that have them)"
            )
        if self.unknown_share > MOST_UNKNOWN:
            found.append(
                f"{_percent(self.unknown_share)} of the tokens are unknown to the encoder: "
                "take an encoder for the language (--encoder)"
            )
        if (
            self.objective not in ("unlabelled", TAGS)
            and self.kind != ClassifiedText.__name__  # one label may hold or not
            and self.training_classes < 2
            and self.classes
        ):
            found.append(
                f"the training side has {counted(self.training_classes, 'label')}: there is "
                "nothing "
                "to tell apart (bring rows with another label)"
            )
        if self.single_classes and self.objective in _BY_CLASS:
            missing = (
                "batch-hard has no positive there"
                if self.objective == "batch-hard"
                else "of one row nothing general is learned"
            )
            found.append(
                f"{counted(self.single_classes, 'class', 'classes')} with a single training row: "
                f"{missing} (bring more rows, or join classes)"
            )
        if self.score_range is not None and self.score_range[0] == self.score_range[1]:
            found.append(
                f"every score is {self.score_range[0]:g}: there is nothing to rank "
                "(bring rows with other scores)"
            )
        if self.leaks > MOST_LEFT_OUT * self.rows:
            found.append(
                f"{self.leaks:,} of {self.rows:,} rows were left out, because the held-out data "
                "asks or answers with a text of theirs (a BEIR folder as --eval asks, and lets "
                "its answers be trained on)"
            )
        if self.judged and 0 < self.held_out_rows < LEAST_QUESTIONS:
            found.append(
                f"{counted(self.held_out_rows, 'row')} held out: of so few no difference is "
                "significant, and the verdict will be reject (bring more, or evaluation data of "
                "its own with --eval)"
            )
        return found

    def _facts(self) -> list[str]:
        columns = ", ".join(self.columns)
        of_sample = (
            f" (of a sample of {self.sampled_texts:,} of {self.distinct_texts:,} texts)"
            if self.sampled_texts < self.distinct_texts
            else ""
        )
        facts = [
            f"{f'{self.name}: ' if self.name else ''}{counted(self.rows, 'row')} of {columns}: "
            f"{_MEANING[_NAMES[self.kind]]}",
            f"{self.training_rows:,} to train on"
            + (f" and {self.added_rows:,} made of them" if self.added_rows else "")
            + f", {self.dev_rows:,} to choose checkpoints by, "
            + (
                f"{self.held_out_rows:,} held out for the verdict"
                if self.judged
                else "none held out: this data set is not judged itself"
            ),
            f"{counted(self.exact_duplicates, 'row')} equal to an earlier one, "
            f"{self.folded_duplicates:,} more but for case, space and punctuation",
            f"{counted(self.contradictions, 'contradiction')}",
            f"{counted(self.shared_texts, 'text')} on both sides of the split"
            + (f"; {counted(self.leaks, 'row')} left out that had one" if self.leaks else ""),
            f"tokens in a text: median {self.median_tokens:,}, 95th percentile "
            f"{self.p95_tokens:,}; {_percent(self.unknown_share)} unknown{of_sample}",
            f"{_percent(self.truncated_share)} of the texts are cut at the window of "
            f"{self.window:,} tokens{of_sample}",
        ]
        if self.classes:
            facts.append(self._classes())
        if self.score_range is not None:
            facts.append("scores from {:g} to {:g}".format(*self.score_range))
        if self.false_negative_share is not None:
            facts.append(
                f"false negatives: in a random batch of {self.batch_size:,}, "
                f"{_percent(self.false_negative_share)} of the rows meet another right answer, "
                "which does not count as a negative"
            )
        facts.append(f"objective {self.objective}: {self.objective_why}")
        facts.append(self._steps())
        return facts

    def _classes(self) -> str:
        shown = ", ".join(f"{quoted(name)} {rows:,}" for name, rows in self.class_counts.items())
        if len(self.class_counts) == self.classes:
            return f"{counted(self.classes, 'label')}: {shown}"
        return f"{self.classes:,} labels, the smallest and the largest: {shown}"

    def _steps(self) -> str:
        steps = (
            f"{counted(self.steps, 'step')} of {counted(self.batch_size, 'row')} in "
            f"{counted(self.epochs, 'epoch')}, about {self.tokens_per_step:,} tokens each"
        )
        if self.control_steps:
            steps += (
                f"; then {self.control_steps:,} more without augmentation, to tell what it gains "
                "(--no-augment-control)"
            )
        if self.seconds is None:
            return steps
        return f"{steps}; training takes about {_duration(self.seconds)} here"


def _percent(share: float) -> str:
    return "less than 0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return counted(max(1, round(seconds)), "second")
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"
