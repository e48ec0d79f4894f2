"""finetune: pairs in, a better encoder out, and the proof that it is better."""

from dataclasses import replace as with_changes
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsearch.cli.input import Rejects
from simsearch.cli.options import EncoderName, OnError, bundled_with
from simsearch.cli.output import Output
from simsearch.cli.run_output import contract, print_checks, print_result, stages
from simsearch.cli.training_options import make_training
from simsearch.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simsearch.formats import ReadOptions
    from simsearch.training import Feedback, RunSettings


@bundled_with(training=make_training)
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
    from_feedback: Annotated[
        Path | None,
        typer.Option(
            "--from-feedback",
            metavar="INDEX_DIR",
            help="Learn what was judged on an index, too; its encoder is the default one then.",
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
    *,
    training: dict[str, Any],
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
    from simsearch.training import check_output, load_run_data

    settings = _settings(
        run_file,
        data or [],
        training,
        from_feedback=from_feedback,
        split=split,
        encoder=encoder,
        evaluation=evaluation,
        eval_split=eval_split,
    )
    if dry_run:
        model_dir = None
    elif model_dir is None:
        raise InvalidInput("where is the model to go? (-o MODEL_DIR)")
    else:
        check_output(model_dir, replace=replace, resume=resume)
    rejects = Rejects(model_dir, on_error)
    found: list[Feedback] = []
    sets, held_out = load_run_data(
        settings, options=file_options, on_reject=rejects.callback, on_feedback=found.append
    )
    if found:
        settings = _learning(output, found, settings, alone=len(sets) == 1)
    # Only now, when the request is in order: it imports torch, which takes seconds.
    from simsearch.training import Verdict, inspect

    if model_dir is None:
        checks = inspect(
            sets, encoder=settings.encoder, evaluation=held_out, config=settings.config
        )
        print_checks(output, checks)
        return rejects.exit_code(output)
    from simsearch.training import finetune as run
    from simsearch.training import is_first_worker

    reading = file_options.changed()
    if rejects.skipping:
        reading |= {"on_error": "skip", "rows_skipped": rejects.count}
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
    if not is_first_worker():
        return 0
    if output.json_only:
        output.result(contract(result))
    else:
        print_result(output, result)
    return rejects.exit_code(output) or (0 if result.verdict is Verdict.KEEP else 1)


def _settings(
    run_file: Path | None,
    paths: list[Path],
    training: dict[str, Any],
    *,
    from_feedback: Path | None,
    split: str | None,
    **others: Any,
) -> "RunSettings":
    """Return the settings of a run: those of the run file, if there is one, under the flags."""
    from simsearch.training import DataSource, RunSettings, TrainingConfig, read_run_file
    from simsearch.training.config import TAGS

    settings = RunSettings((), None, None, "test", TrainingConfig())
    if run_file is not None:
        settings = read_run_file(run_file)
    config = with_changes(settings.config, **training)
    data = tuple(DataSource(path) for path in paths) or settings.data
    if from_feedback is not None:
        data = (*data, DataSource(from_feedback))
    if not data:
        raise InvalidInput("there is no training data (name files, or give them in --config)")
    if "objective" in training:  # the flag goes before what the file says of any data
        name = TAGS if training["objective"] == TAGS else "auto"
        data = tuple(with_changes(source, objective=name) for source in data)
    if split is not None:
        data = tuple(with_changes(source, split=split) for source in data)
    given = {name: value for name, value in others.items() if value is not None}
    return with_changes(settings, data=data, config=config, **given)


def _learning(
    output: Output, found: "Sequence[Feedback]", settings: "RunSettings", *, alone: bool
) -> "RunSettings":
    """Say what judgements were read, refuse too few, and take the encoder of their index."""
    for feedback in found:
        output.say(feedback.line())
    if alone and settings.evaluation is None:
        found[0].refuse_too_few(held_out=settings.config.held_out)
    if settings.encoder is not None:
        return settings
    return with_changes(settings, encoder=found[0].encoder_name())
