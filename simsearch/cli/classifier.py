"""classifier: heads that say what class a text is of."""

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
    MinInScope,
    TextFile,
    Texts,
    asked_texts,
    encoder_of,
    print_differences,
    print_scores,
)
from simsearch.cli.input import spooled
from simsearch.cli.options import ClassWeight, bundled, bundled_with
from simsearch.cli.output import Output, clean, shorten
from simsearch.errors import InvalidData, InvalidInput
from simsearch.files import check_target
from simsearch.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simsearch.encoder import Encoder, EncodingCounts
    from simsearch.formats import LabelledTexts, ReadOptions
    from simsearch.heads import (
        Classification,
        Classifier,
        ClassifierConfig,
        ClassifierTraining,
        ScopeScores,
    )
    from simsearch.training import TrainingData

app = typer.Typer(no_args_is_help=True, help="Classes of texts: train a head, ask it, score it.")


@app.command("train")
@bundled_with(making=make_head_training)
def train(
    data: Data,
    making: HeadTraining,
    output: Output,
    file_options: "ReadOptions",
    class_weight: Annotated[
        ClassWeight, typer.Option(help="Count every text the same, or every class.")
    ] = ClassWeight.EQUAL,
    shots: Annotated[
        int | None, typer.Option(min=1, help="Use so many texts of each class, drawn by --seed.")
    ] = None,
    strength: Annotated[
        float, typer.Option(help="Inverse of the regularisation (C of logistic regression).")
    ] = 10.0,
    scope: Annotated[
        bool, typer.Option("--scope/--no-scope", help="Learn to tell texts of no known class.")
    ] = True,
    out_of_scope: Annotated[
        Path | None,
        typer.Option("--out-of-scope", help="A file with `text`: texts of no known class."),
    ] = None,
    field: Annotated[str, typer.Option(help="Metadata field of the labels.")] = "label",
) -> int:
    """Train a classifier on DATA: `text` with `label`, or with `labels` where several may hold.

    The encoder stays as it is. The scores that are printed are of cross-validation. With --adapt a
    new encoder is tuned, which another index has to be built with; exit code 1 means that a head on
    the old one is as good.
    """
    from simsearch.encoder import reading_of
    from simsearch.formats import read_labelled_texts
    from simsearch.heads import ClassifierConfig, train_classifier
    from simsearch.heads import ClassWeight as Weight

    began = perf_counter()
    making.check()
    if making.adapt is not None and out_of_scope is not None:
        raise InvalidInput("--out-of-scope is for an encoder that stays as it is: not with --adapt")
    if out_of_scope is not None and not scope:
        raise InvalidInput("--out-of-scope is of no use with --no-scope: leave one of them out")
    config = ClassifierConfig(
        strength=strength,
        class_weight=Weight(class_weight),
        shots=shots,
        scope=scope,
        seed=making.seed,
        field=field,
    )
    with spooled(_given(data, out_of_scope), beside=None) as (file, *others):
        reads = reading_of(making.encoder)
        read = read_labelled_texts(file, file_options, reads=reads)
        outside = [text for each in others for text in _texts_of(each, file_options, reads)]
    if making.adapt is not None:
        return making.tune(_tuning_data(read, config), output)

    def fit(encoder: "Encoder", counts: "EncodingCounts") -> "ClassifierTraining":
        return train_classifier(
            read.texts,
            encoder,
            several_labels=read.several_labels,
            config=config,
            out_of_scope=outside,
            counts=counts,
        )

    _print_trained(output, making.head, making.train(fit, output), perf_counter() - began)
    return 0


def _print_trained(
    output: Output, head: Path, trained: "ClassifierTraining", seconds: float
) -> None:
    labels = len(trained.head.labels)
    if output.json_only:
        output.result(
            {
                "head": str(head),
                "labels": labels,
                "texts": trained.texts,
                "scope": trained.head.scope is not None,
                "metrics": trained.metrics,
                "seconds": round(seconds, 2),
            }
        )
        return
    if trained.metrics:
        output.table(
            ("cross-validated", "value"),
            [(name, f"{value:.4f}") for name, value in trained.metrics.items()],
        )
    else:
        output.say("no class has two different texts: nothing could be left out to be scored")
    output.text(
        f"{head}: {counted(labels, 'class', 'classes')} of {counted(trained.texts, 'text')}"
    )


def _tuning_data(read: "LabelledTexts", config: "ClassifierConfig") -> "TrainingData":
    """Return what an encoder is tuned on, as many texts of each class as were asked for."""
    from dataclasses import replace as with_changes

    from simsearch.heads import draw_shots
    from simsearch.records import LabelledText
    from simsearch.training import TrainingData

    if read.several_labels:
        if config.shots is not None:
            raise InvalidInput("--shots is for one label a text")
        return TrainingData(read.texts, objective="classes", head=config)
    texts = read.texts
    if config.shots is not None:
        texts = list(draw_shots(texts, config.shots, seed=config.seed))
    examples = [LabelledText(each.text, each.labels[0]) for each in texts]
    return TrainingData(examples, objective="classes", head=with_changes(config, shots=None))


def _given(data: Path, out_of_scope: Path | None) -> list[Path]:
    return [data] if out_of_scope is None else [data, out_of_scope]


def _texts_of(path: Path, options: "ReadOptions", reads: "Callable[[str], bool]") -> list[str]:
    from simsearch.formats import read_examples, source_name
    from simsearch.records import LabelledText, UnlabelledText

    texts = [
        each.text
        for each in read_examples(path, options, reads=reads)
        if isinstance(each, LabelledText | UnlabelledText)
    ]
    if not texts:
        raise InvalidData(f"{source_name(path)}: expected texts (a column `text`)")
    return texts


@app.command("predict")
@bundled
def predict(
    head: HeadDir,
    output: Output,
    texts: Texts = None,
    file: TextFile = None,
    min_in_scope: MinInScope = None,
    encoder: HeadEncoder = None,
) -> None:
    """Print the class of each TEXT, and its probability."""
    from simsearch.encoder import reading_by
    from simsearch.heads import Classifier

    loaded = functools.cache(lambda: Classifier.load(head))
    load = functools.cache(lambda: loaded().encoder.load(encoder))
    asked = asked_texts(texts, file, reading_by(load))
    predicted = loaded().classify(load().encode_documents(asked), min_in_scope=min_in_scope)
    for text, each in zip(asked, predicted, strict=True):
        if output.json_only:
            output.result(classification_fields(text, each))
            continue
        labels = ", ".join(clean(label) for label in each.labels) or "(none)"
        output.text(f"{each.probability:.4f}  {labels}  {shorten(text, 80)}")


def classification_fields(text: str, found: "Classification") -> dict[str, Any]:
    """Return a classification as the JSON object of the command-line contract.

    `labels` has all that hold, and `label` the first of them, null if there is none.
    """
    return {
        "text": text,
        "label": found.label,
        "probability": found.probability,
        "probabilities": dict(found.probabilities),
        "labels": list(found.labels),
        "in_scope": found.in_scope,
    }


@app.command("evaluate")
@bundled
def evaluate(
    data: Data,
    head: HeadDir,
    output: Output,
    file_options: "ReadOptions",
    against: Against = None,
    min_in_scope: MinInScope = None,
    out_of_scope: Annotated[
        Path | None,
        typer.Option(
            "--out-of-scope",
            help="A file with `text`: texts of no known class, to tell how well they are rejected.",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the confusion matrix to this file (.png, .svg).")
    ] = None,
    encoder: HeadEncoder = None,
) -> None:
    """Score a classifier on DATA, whose classes are known."""
    from simsearch.encoder import reading_by
    from simsearch.formats import read_labelled_texts
    from simsearch.heads import (
        Classifier,
        compare_classifiers,
        draw_confusion_matrix,
        score_classifier,
        score_scope,
        scores_as_json,
    )

    if plot is not None:
        check_target(plot)
        if plot.suffix not in (".png", ".svg"):
            raise InvalidInput(f"--plot must end in .png or .svg, got {plot.name!r}")
    classifier = Classifier.load(head)
    if plot is not None and classifier.several_labels:
        raise InvalidInput("--plot is for one label a text, and this head gives several")
    other = None if against is None else Classifier.load(against)
    if other is not None and other.several_labels != classifier.several_labels:
        raise InvalidInput(
            f"one of {head} and {against} gives several labels a text, and the other one: they "
            "cannot be compared"
        )
    if min_in_scope is not None:
        _refuse_without_scope("--min-in-scope", {head: classifier, against: other})
    if out_of_scope is not None:
        _refuse_without_scope("--out-of-scope", {head: classifier})
    load = functools.cache(lambda: classifier.encoder.load(encoder))
    with spooled(_given(data, out_of_scope), beside=None) as (file, *others):
        reads = reading_by(load)
        gold = read_labelled_texts(file, file_options, reads=reads)
        outside = [text for each in others for text in _texts_of(each, file_options, reads)]
    if gold.several_labels != classifier.several_labels:
        has, needs = ("labels", "label") if gold.several_labels else ("label", "labels")
        raise InvalidData(f"{data}: has {has!r}, but this head was trained on {needs!r}")
    texts = [each.text for each in gold.texts]
    embeddings = load().encode_documents(texts)
    predicted = classifier.classify(embeddings, min_in_scope=min_in_scope)
    scores = score_classifier(classifier, gold.texts, predicted)
    scope = None
    if outside:
        threshold = 0.5 if min_in_scope is None else min_in_scope
        unknown = classifier.classify(load().encode_documents(outside))
        scope = score_scope(predicted, unknown, threshold=threshold)
    differences = {}
    if other is not None:
        # What is rejected counts on both sides, or a head would be worse than itself.
        its = encoder_of(other.encoder, load())
        if its is not load():
            embeddings = its.encode_documents(texts)
        before = other.classify(embeddings, min_in_scope=min_in_scope)
        differences = compare_classifiers(
            gold.texts, before, predicted, several_labels=classifier.several_labels
        )
    if plot is not None and scores.confusion is not None:
        draw_confusion_matrix(plot, classifier.labels, scores.confusion)
    if output.json_only:
        output.result(scores_as_json(scores, differences, scope))
        return
    print_scores(output, scores.classes, scores.metrics, kinds=("class", "texts"))
    output.say(f"n = {scores.texts:,}")
    if scope is not None:
        _print_scope(output, scope)
    if differences:
        print_differences(output, differences)


def _refuse_without_scope(option: str, heads: "Mapping[Path | None, Classifier | None]") -> None:
    for path, head in heads.items():
        if head is not None and head.scope is None:
            raise InvalidInput(f"{path} has no scope: {option} needs one to reject texts")


def _print_scope(output: Output, scope: "ScopeScores") -> None:
    output.text("")
    output.table(
        (f"known or none ({counted(scope.texts, 'text')} of none)", "value"),
        [
            ("auroc", f"{scope.auroc:.4f}"),
            ("ece, at even odds", f"{scope.ece:.4f}"),
            (f"known kept at {scope.threshold:g}", f"{scope.kept:.4f}"),
            (f"none rejected at {scope.threshold:g}", f"{scope.rejected:.4f}"),
        ],
    )
