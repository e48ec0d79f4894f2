"""finetune: pairs in, a better encoder out, and the proof that it is better."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simsearch.cli.input import Rejects
from simsearch.cli.options import EncoderName, OnError, bundled
from simsearch.cli.output import Advance, Output

if TYPE_CHECKING:
    from simsearch.formats import ReadOptions
    from simsearch.training import FinetuneResult

Progress = Callable[[str, int, int], None]


@bundled
def finetune(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA...",
            help="Files with anchor,positive[,negative] or sentence1,sentence2,label|score; "
            "or a BEIR folder.",
        ),
    ],
    model_dir: Annotated[Path, typer.Option("-o", "--output", help="The model directory to make.")],
    output: Output,
    file_options: "ReadOptions",
    encoder: EncoderName = None,
    objective: Annotated[
        str,
        typer.Option(
            help="in-batch, contrastive, cosine, triplet-hinge; auto goes by the columns."
        ),
    ] = "auto",
    split: Annotated[str, typer.Option(help="Of a BEIR folder, the split to train on.")] = "train",
    evaluation: Annotated[
        Path | None,
        typer.Option("--eval", help="Held-out data: a file, or a BEIR folder; default: a split."),
    ] = None,
    eval_split: Annotated[
        str, typer.Option(help="Of a BEIR folder, the split to score on.")
    ] = "test",
    metric: Annotated[str | None, typer.Option(help="The metric that decides the verdict.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Examples per step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Window in tokens, kept by the new encoder.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of split, order and dropout.")] = 0,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a model directory that is there.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Keep the model even if the verdict is reject.")
    ] = False,
    on_error: Annotated[
        OnError,
        typer.Option(
            "--on-error", help="A bad row: stop, or skip it into MODEL_DIR.rejects.jsonl."
        ),
    ] = OnError.STOP,
) -> int:
    """Adapt an encoder to your data and prove on held-out data that it got better.

    Exit code 1 means that it did not: then only the run folder is left.
    """
    from simsearch.training import (
        TrainingConfig,
        check_output,
        load_evaluation_data,
        load_training_data,
    )

    check_output(model_dir, replace=replace)
    config = TrainingConfig(
        objective=objective,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_length=max_length,
        metric=metric,
        seed=seed,
    )
    rejects = Rejects(model_dir, on_error)
    examples = load_training_data(
        data, split=split, options=file_options, on_reject=rejects.callback
    )
    held_out = None
    if evaluation is not None:
        held_out = load_evaluation_data(evaluation, split=eval_split, options=file_options)
    # Only now, when the request is in order: it imports torch, which takes seconds.
    from simsearch.training import Verdict
    from simsearch.training import finetune as run

    with stages(output) as progress:
        result = run(
            examples,
            model_dir,
            encoder=encoder,
            evaluation=held_out,
            config=config,
            replace=replace,
            force=force,
            say=output.say,
            progress=progress,
        )
    if output.json_only:
        output.result(contract(result))
    else:
        print_result(output, result)
    return rejects.exit_code(output) or (0 if result.verdict is Verdict.KEEP else 1)


def contract(result: "FinetuneResult") -> Mapping[str, object]:
    """Return a result as the JSON object of the command-line contract."""
    names = ("before", "after", "difference", "verdict", "model", "objective", "seconds")
    fields = asdict(result)
    return {name: fields[name] for name in names}


def print_result(output: Output, result: "FinetuneResult") -> None:
    """Print the table and the verdict for a person."""
    from simsearch.training import TABLE_HEADER, before_after_table

    output.table(TABLE_HEADER, before_after_table(result.before, result.after, result.difference))
    output.text(f"verdict: {result.verdict}")
    output.say(f"report: {Path(result.run) / 'report.md'}")
    if result.verdict == "reject":
        output.say(
            "on this data the base encoder is as good, as far as can be told: index with it, or "
            "bring more pairs (--force keeps the model anyway)"
        )


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
