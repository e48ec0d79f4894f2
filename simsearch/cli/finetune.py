"""finetune: pairs in, a better encoder out, and the proof that it is better."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields
from dataclasses import replace as with_changes
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsearch.cli.input import Rejects
from simsearch.cli.options import EncoderName, OnError, bundled
from simsearch.cli.output import Advance, Output
from simsearch.errors import InvalidInput

if TYPE_CHECKING:
    from simsearch.formats import ReadOptions
    from simsearch.training import DataCheck, FinetuneResult, RunSettings

Progress = Callable[[str, int, int], None]


@bundled
def finetune(
    output: Output,
    file_options: "ReadOptions",
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="DATA...",
            help="Files with anchor,positive[,negative], sentence1,sentence2,label|score, or "
            "text[,label]; of entities with --objective tags; BEIR folders.",
        ),
    ] = None,
    model_dir: Annotated[
        Path | None, typer.Option("-o", "--output", help="The model directory to make.")
    ] = None,
    run_file: Annotated[
        Path | None,
        typer.Option("--config", help="Settings from a TOML file; flags go before it."),
    ] = None,
    encoder: EncoderName = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="in-batch, contrastive, softmax, cosine, triplet-hinge, triplet-softmax, "
            "triplet-margin-ranking, batch-hard, unlabelled, classes, tags; auto (default) goes by "
            "the columns."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Of a BEIR folder, the split to train on; default train.")
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option("--eval", help="Held-out data: a file, or a BEIR folder; default: a split."),
    ] = None,
    eval_split: Annotated[
        str | None, typer.Option(help="Of a BEIR folder, the split to score on; default test.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="The metric that decides the verdict.")] = None,
    match_score: Annotated[
        float | None,
        typer.Option(help="Of scored pairs, from which on they match: for probabilities."),
    ] = None,
    adapt: Annotated[
        str | None,
        typer.Option(help="What is trained: full (default), last-N, gradual, lora, dense, conv."),
    ] = None,
    freeze: Annotated[
        bool | None,
        typer.Option("--freeze/--no-freeze", help="With dense and conv: train only what they add."),
    ] = None,
    layer_decay: Annotated[
        float | None, typer.Option(help="Learning rate of a layer, over that of the one above.")
    ] = None,
    from_scratch: Annotated[
        bool | None,
        typer.Option(
            "--from-scratch/--no-from-scratch", help="Begin with random weights, to compare with."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Examples per step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adamw, adam or sgd.")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="cosine, linear, step or constant, after the warm-up.")
    ] = None,
    warmup: Annotated[
        float | None, typer.Option(help="Share of the steps in which the learning rate rises.")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Weight decay.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="What the objective divides similarities by.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="By how much the objective wants texts told apart.")
    ] = None,
    negatives: Annotated[
        int | None, typer.Option(help="Hard negatives mined for each pair; 0 for none.")
    ] = None,
    negatives_window: Annotated[
        int | None, typer.Option(help="Nearest texts that they are looked for among.")
    ] = None,
    negatives_margin: Annotated[
        float | None, typer.Option(help="Share of the positive's similarity that they stay below.")
    ] = None,
    negatives_every: Annotated[
        int | None, typer.Option(help="Mine anew every so many epochs; 0 for once.")
    ] = None,
    augment: Annotated[
        list[str] | None,
        typer.Option(help="More examples: deletion, swap, crop, dropout; may be repeated."),
    ] = None,
    augment_control: Annotated[
        bool | None,
        typer.Option(
            "--augment-control/--no-augment-control",
            help="With --augment: train once more without it, to tell what it gained (default).",
        ),
    ] = None,
    task_controls: Annotated[
        bool | None,
        typer.Option(
            "--task-controls/--no-task-controls",
            help="Of several data sets of which one makes a head: train on each alone, too, to "
            "compare (default).",
        ),
    ] = None,
    sampling: Annotated[
        str | None, typer.Option(help="Of several data sets: proportional or round-robin.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without improvement.")
    ] = None,
    min_improvement: Annotated[
        float | None, typer.Option(help="What counts as an improvement.")
    ] = None,
    dev: Annotated[
        float | None,
        typer.Option(
            help="Share of the examples that chooses the checkpoint; 0.1 with --patience."
        ),
    ] = None,
    max_forgetting: Annotated[
        float | None,
        typer.Option(help="Loss on the general set from which weights are mixed with the base's."),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Window in tokens, kept by the new encoder.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Numbers to train in: auto, fp32 or bf16.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of split, order and dropout; default 0.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is found in the data, and stop.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was cut short.")
    ] = False,
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
    given = {name: value for name, value in locals().items() if value is not None}
    from simsearch.training import check_output, load_evaluation_data, load_training_data

    settings = _settings(given)
    if model_dir is None and not dry_run:
        raise InvalidInput("where is the model to go? (-o MODEL_DIR)")
    if model_dir is not None and not dry_run:
        check_output(model_dir, replace=replace, resume=resume)
    rejects = Rejects(None if model_dir is None or dry_run else model_dir, on_error)
    sets = load_training_data(settings.data, options=file_options, on_reject=rejects.callback)
    held_out = None
    if settings.evaluation is not None:
        held_out = load_evaluation_data(
            settings.evaluation,
            split=settings.eval_split,
            options=file_options,
            objective=sets[0].objective,
        )
    reading = file_options.changed()
    if rejects.skipping:
        reading |= {"on_error": "skip", "rows_skipped": rejects.count}
    # Only now, when the request is in order: it imports torch, which takes seconds.
    from simsearch.training import Verdict, inspect
    from simsearch.training import finetune as run

    if model_dir is None or dry_run:
        checks = inspect(
            sets, encoder=settings.encoder, evaluation=held_out, config=settings.config
        )
        _print_checks(output, checks)
        return rejects.exit_code(output)
    with stages(output) as progress:
        result = run(
            sets,
            model_dir,
            encoder=settings.encoder,
            evaluation=held_out,
            config=settings.config,
            settings=with_changes(settings, reading=reading),
            replace=replace,
            resume=resume,
            force=force,
            say=output.say,
            progress=progress,
        )
    from simsearch.training import is_first_worker

    if not is_first_worker():
        return 0
    if output.json_only:
        output.result(contract(result))
    else:
        print_result(output, result)
    return rejects.exit_code(output) or (0 if result.verdict is Verdict.KEEP else 1)


def _settings(given: Mapping[str, Any]) -> "RunSettings":
    """Return the settings of a run: those of the run file, if there is one, under the flags."""
    from simsearch.training import DataSource, RunSettings, TrainingConfig, read_run_file
    from simsearch.training.config import TAGS

    settings = RunSettings((), None, None, "test", TrainingConfig())
    if "run_file" in given:
        settings = read_run_file(given["run_file"])
    names = {field.name for field in fields(TrainingConfig)}
    changes = {name: value for name, value in given.items() if name in names}
    if "augment" in changes:
        changes["augment"] = tuple(changes["augment"])
    config = with_changes(settings.config, **changes)
    paths = given.get("data") or []
    data = tuple(DataSource(path) for path in paths) or settings.data
    if not data:
        raise InvalidInput("there is no training data (name files, or give them in --config)")
    if "objective" in given:  # the flag goes before what the file says of any data
        name = given["objective"] if given["objective"] == TAGS else "auto"
        data = tuple(with_changes(source, objective=name) for source in data)
    if "split" in given:
        data = tuple(with_changes(source, split=given["split"]) for source in data)
    return RunSettings(
        data=data,
        encoder=given.get("encoder", settings.encoder),
        evaluation=given.get("evaluation", settings.evaluation),
        eval_split=given.get("eval_split", settings.eval_split),
        config=config,
    )


def _print_checks(output: Output, checks: "list[DataCheck]") -> None:
    for check in checks:
        if output.json_only:
            output.result(check.as_dict())
        else:
            for line in check.lines():
                output.text(line)


def contract(result: "FinetuneResult") -> Mapping[str, object]:
    """Return a result as the JSON object of the command-line contract."""
    names = ("before", "after", "difference", "verdict", "reason", "model", "run", "objective")
    found = asdict(result)
    more = ("kept", "forgetting", "augmentation", "seconds", "alone", "heads")
    return {name: found[name] for name in (*names, *more)}


def print_result(output: Output, result: "FinetuneResult") -> None:
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
