"""ner: heads that mark what a text mentions."""

import functools
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsearch.cli.head_training import HeadTraining, make_head_training
from simsearch.cli.heads import (
    Against,
    Data,
    HeadDir,
    HeadEncoder,
    TextFile,
    Texts,
    asked_texts,
    encoder_of,
    print_differences,
    print_scores,
)
from simsearch.cli.input import spooled
from simsearch.cli.options import HeadLayers, bundled, bundled_with
from simsearch.cli.output import Output, clean, shorten
from simsearch.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simsearch.encoder import Encoder, EncodingCounts
    from simsearch.evaluation import SpanScores
    from simsearch.formats import ReadOptions
    from simsearch.heads import TaggedSpan, TaggerTraining

app = typer.Typer(no_args_is_help=True, help="Entities in texts: train a head, ask it, score it.")


@app.command("train")
@bundled_with(making=make_head_training)
def train(
    data: Data,
    making: HeadTraining,
    output: Output,
    file_options: "ReadOptions",
    layers: Annotated[
        HeadLayers,
        typer.Option(help="A map of its own for each layer of the encoder, or one of their mean."),
    ] = HeadLayers.CONCATENATED,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Default: 8, or as many as make 140 steps.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts of a step.")] = 8,
    learning_rate: Annotated[float, typer.Option(help="The highest one of the training.")] = 2e-3,
    field: Annotated[str, typer.Option(help="Metadata field of the entities.")] = "entities",
    calibrate: Annotated[
        bool,
        typer.Option(
            help="Train once more without a fifth of the texts: scores, and true probabilities."
        ),
    ] = True,
) -> int:
    """Train a tagger on DATA: CoNLL (two or four columns), or JSONL with `text` and `spans`.

    The encoder stays as it is: it reads every text once. With --adapt a new encoder is tuned, which
    another index has to be built with; exit code 1 means that a head on the old one is as good.
    """
    from simsearch.encoder import reading_of
    from simsearch.formats import read_tagged_texts
    from simsearch.heads import TaggerConfig, train_tagger

    began = perf_counter()
    making.check()
    config = TaggerConfig(
        layers=layers,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=making.seed,
        field=field,
        calibrate=calibrate,
    )
    with spooled([data], beside=None) as (file,):
        texts = read_tagged_texts(file, file_options, reads=reading_of(making.encoder))
    if making.adapt is not None:
        from simsearch.training import TrainingData

        return making.tune(TrainingData(texts, objective="tags", head=config), output)

    def fit(encoder: "Encoder", counts: "EncodingCounts") -> "TaggerTraining":
        with output.progress() as begin:
            return train_tagger(
                texts,
                encoder,
                config=config,
                counts=counts,
                reading=begin("reading"),
                training=begin("training"),
            )

    _print_trained(output, making.head, making.train(fit, output), perf_counter() - began)
    return 0


def _print_trained(output: Output, head: Path, trained: "TaggerTraining", seconds: float) -> None:
    steps, last = len(trained.losses), trained.losses[-20:]
    loss = sum(last) / len(last)
    if output.json_only:
        output.result(
            {
                "head": str(head),
                "labels": list(trained.head.labels),
                "texts": trained.texts,
                "words": trained.words,
                "spans": trained.spans,
                "cut_spans": trained.cut_spans,
                "lost_spans": trained.lost_spans,
                "steps": steps,
                "loss": loss,
                "metrics": trained.metrics,
                "seconds": round(seconds, 2),
            }
        )
        return
    if trained.metrics:
        output.table(
            ("left out", "value"),
            [(name, f"{value:.4f}") for name, value in trained.metrics.items()],
        )
    output.text(
        f"{head}: {len(trained.head.labels)} labels, {trained.spans:,} spans in {trained.texts:,} "
        f"texts; loss {loss:.4f} a word after {steps:,} steps"
    )


@app.command("predict")
@bundled
def predict(
    head: HeadDir,
    output: Output,
    texts: Texts = None,
    file: TextFile = None,
    encoder: HeadEncoder = None,
) -> None:
    """Print the entities in each TEXT: half-open ranges of its characters."""
    from simsearch.encoder import reading_by
    from simsearch.heads import Tagger, tag_texts

    tagger = functools.cache(lambda: Tagger.load(head))
    load = functools.cache(lambda: tagger().encoder.load(encoder))
    asked = asked_texts(texts, file, reading_by(load))
    for text, spans in zip(asked, tag_texts(tagger(), load(), asked), strict=True):
        if output.json_only:
            output.result({"text": text, "spans": span_fields(text, spans)})
            continue
        if len(asked) > 1:
            output.text(f"# {shorten(text, 80)}")
        for span in spans:
            part = shorten(text[span.start : span.end], 80)
            output.text(
                f"{span.probability:.4f}  {clean(span.label)}  {span.start}..{span.end}  {part}"
            )


def span_fields(text: str, spans: "Sequence[TaggedSpan]") -> list[dict[str, Any]]:
    """Return the spans of a text as in the JSON object of the command-line contract."""
    return [
        {
            "start": span.start,
            "end": span.end,
            "label": span.label,
            "text": text[span.start : span.end],
            "probability": span.probability,
        }
        for span in spans
    ]


@app.command("evaluate")
@bundled
def evaluate(
    data: Data,
    head: HeadDir,
    output: Output,
    file_options: "ReadOptions",
    against: Against = None,
    encoder: HeadEncoder = None,
) -> None:
    """Score a tagger on DATA: a span counts if both ends and its label are right."""
    from dataclasses import asdict

    from simsearch.encoder import reading_by
    from simsearch.evaluation import compare_spans, score_spans
    from simsearch.formats import read_tagged_texts
    from simsearch.heads import Tagger, difference_as_json, span_calibration_error, tag_texts

    tagger = Tagger.load(head)
    other = None if against is None else Tagger.load(against)
    load = functools.cache(lambda: tagger.encoder.load(encoder))
    with spooled([data], beside=None) as (file,):
        gold = read_tagged_texts(file, file_options, reads=reading_by(load))
    texts = [each.text for each in gold]

    right = [each.spans for each in gold]

    def scored(found: "Sequence[Sequence[TaggedSpan]]") -> "SpanScores":
        return score_spans(right, [[span.span for span in spans] for spans in found])

    found = tag_texts(tagger, load(), texts)
    scores = scored(found)
    differences = {}
    if other is not None:
        before = scored(tag_texts(other, encoder_of(other.encoder, load()), texts))
        differences = {"span_f1": compare_spans(before, scores)}
    metrics = {"span_f1": scores.f1, "precision": scores.precision, "recall": scores.recall}
    error = span_calibration_error(right, found)
    if error is not None:
        metrics["ece"] = error
    if output.json_only:
        facts: dict[str, Any] = {"task": "ner", "metrics": metrics, "n": len(texts)}
        facts["labels"] = {name: asdict(each) for name, each in scores.labels.items()}
        if differences:
            facts["difference"] = difference_as_json(differences)
        output.result(facts)
        return
    print_scores(output, scores.labels, metrics, kinds=("label", "spans"))
    output.say(f"n = {counted(len(texts), 'text')}")
    if differences:
        print_differences(output, differences)
