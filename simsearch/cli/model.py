"""model: the encoders themselves, exported for use without torch, or fetched from the hub."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simsearch.cli.input import read_texts
from simsearch.cli.options import bundled
from simsearch.cli.output import Output
from simsearch.errors import InvalidData, InvalidInput

if TYPE_CHECKING:
    from simsearch.encoder import Encoder
    from simsearch.formats import ReadOptions


class ExportPrecision(StrEnum):
    """Forms of an export."""

    FP32 = "fp32"
    INT8 = "int8"


app = typer.Typer(help="Export encoders for use without torch, and fetch them from the hub.")
Name = Annotated[str, typer.Argument(metavar="MODEL", help="A model directory or hub name.")]
Evaluation = Annotated[
    Path | None,
    typer.Option("--eval", help="Data that int8 has to rank as well on: pairs, or a BEIR folder."),
]
Texts = Annotated[
    Path | None,
    typer.Option("--texts", help="Without such data: texts, one per line, for their neighbours."),
]


@app.command("export")
@bundled
def export(
    model: Name,
    output: Output,
    file_options: "ReadOptions",
    precision: Annotated[
        ExportPrecision, typer.Option(help="fp32; or int8, kept if it ranks as well.")
    ] = ExportPrecision.FP32,
    evaluation: Evaluation = None,
    eval_split: Annotated[
        str, typer.Option("--eval-split", help="Which qrels of a BEIR folder.")
    ] = "test",
    texts: Texts = None,
) -> int:
    """Make the torch-free export of MODEL now, instead of on first use.

    With --precision int8, exit code 1 means that int8 does not rank as well, and is not kept.
    """
    from simsearch.encoder import Encoder

    int8 = precision is ExportPrecision.INT8
    if int8 == (evaluation is None and texts is None) or (evaluation and texts):
        raise InvalidInput("int8, and only int8, takes --eval or --texts to be measured on")
    encoder = Encoder.load(model)
    if int8:
        return _int8(encoder, output, evaluation, eval_split, texts, file_options)
    directory = encoder.export_directory()
    if output.json_only:
        facts = {"model": model, "fingerprint": encoder.fingerprint, "export": str(directory)}
        output.result(facts)
    else:
        output.text(f"{directory} agrees with torch; queries need no torch")
    return 0


def _int8(
    encoder: "Encoder",
    output: Output,
    evaluation: Path | None,
    eval_split: str,
    texts: Path | None,
    options: "ReadOptions",
) -> int:
    from simsearch.encoder import reading_by
    from simsearch.training import export_int8, load_evaluation_data

    if evaluation is not None:
        gate = export_int8(
            encoder,
            load_evaluation_data(
                evaluation, split=eval_split, options=options, reads=reading_by(lambda: encoder)
            ),
        )
    elif texts is not None:
        found = list(read_texts(texts))
        if not found:
            raise InvalidData(f"{texts} is empty")
        gate = export_int8(encoder, found)
    facts = {**asdict(gate), "passed": gate.passed}
    if output.json_only:
        output.result({"model": encoder.name, **facts})
        return 0 if gate.passed else 1
    output.text(f"{gate.metric}: fp32 {gate.fp32:.4f}, int8 {gate.int8:.4f} ({gate.measured_on})")
    if gate.passed:
        output.text(f"kept: use it with `--precision int8` and --encoder {encoder.name}")
        return 0
    output.text(
        "not kept: int8 has to reach 99% of fp32 (one that passed on other data before stays)"
    )
    return 1


@app.command("pull")
@bundled
def pull(model: Name, output: Output) -> None:
    """Fetch MODEL from the hub, or what is new of it, and make its torch-free export."""
    from simsearch.encoder import Encoder, pull_encoder

    directory = pull_encoder(model)
    encoder = Encoder.load(model)
    if output.json_only:
        facts = {"model": model, "fingerprint": encoder.fingerprint, "directory": str(directory)}
        output.result(facts)
    else:
        output.text(f"{model} is in {directory}")
