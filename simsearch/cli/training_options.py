"""The options of finetune that are settings of the training: what a run file may say, too."""

from typing import Annotated, Any

import typer


def make_training(
    *,
    objective: Annotated[
        str | None,
        typer.Option(
            help="in-batch, contrastive, softmax, cosine, triplet-hinge, triplet-softmax, "
            "triplet-margin-ranking, batch-hard, unlabelled, classes, tags; auto (default) goes by "
            "the columns."
        ),
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
) -> Any:
    """Make the settings of `TrainingConfig` that are given: a dict of those fields alone."""
    given = {name: value for name, value in locals().items() if value is not None}
    if augment is not None:
        given["augment"] = tuple(augment)
    return given
