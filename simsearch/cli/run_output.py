"""What the commands that train an encoder show: progress, what was found, the result."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from simsearch.cli.output import Advance, Output

if TYPE_CHECKING:
    from simsearch.training import DataCheck, FinetuneResult
    from simsearch.training.trial import Progress


def print_checks(output: Output, checks: Sequence[DataCheck]) -> None:
    """Print what is found in the data, and what would be done with it."""
    for check in checks:
        if output.json_only:
            output.result(check.as_dict())
        else:
            for line in check.lines():
                output.text(line)


def contract(result: FinetuneResult) -> Mapping[str, object]:
    """Return a result as the JSON object of the command-line contract."""
    names = ("before", "after", "difference", "verdict", "reason", "model", "run", "objective")
    found = asdict(result)
    more = ("kept", "forgetting", "augmentation", "seconds", "alone", "heads")
    return {name: found[name] for name in (*names, *more)}


def print_result(output: Output, result: FinetuneResult) -> None:
    """Print the table and the verdict for a person."""
    from simsearch.training import TABLE_HEADER, TASKS_HEADER, before_after_table, tasks_table

    output.table(TABLE_HEADER, before_after_table(result.before, result.after, result.difference))
    if result.alone:
        output.table(TASKS_HEADER, tasks_table(result))
    output.text(f"verdict: {result.verdict}")
    output.say(f"report: {Path(result.run) / 'report.md'}")
    for head in result.heads:
        output.say(f"head: {head}")
    if result.verdict == "reject" and result.kept:
        output.say(f"the model is in {result.model} all the same, as --force asked for")
    elif result.verdict == "reject":
        output.say(
            "on this data the base encoder is as good, as far as can be told: index with it, or "
            "bring more examples (--force keeps the model anyway)"
        )
        if Path(result.run).parent == Path(result.model):
            output.say(f"the next run to {result.model} takes the place of this report (--replace)")


@contextlib.contextmanager
def stages(output: Output) -> Iterator[Progress]:
    """Show one progress bar per stage, made when the stage is first heard of."""
    bars: dict[str, Advance] = {}
    with output.progress() as begin:

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = begin(stage)
            bars[stage](done, total)

        yield progress
