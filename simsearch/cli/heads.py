"""What the commands of all heads share: their options, the texts they are asked about, scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simsearch.cli.input import read_texts
from simsearch.cli.output import Output, shorten
from simsearch.errors import InvalidData, InvalidInput

if TYPE_CHECKING:
    from simsearch.encoder import Encoder
    from simsearch.evaluation import Difference, LabelScore
    from simsearch.heads import EncoderReference

HeadDir = Annotated[Path, typer.Option("--head", help="The head's directory.")]
Data = Annotated[Path, typer.Argument(metavar="DATA", help="The labelled texts, or -.")]
Texts = Annotated[list[str] | None, typer.Argument(metavar="TEXT...", help="The texts.")]
TextFile = Annotated[
    Path | None, typer.Option("--texts", help="A file with one text per line, or -.")
]
HeadEncoder = Annotated[
    str | None,
    typer.Option("--encoder", help="Where the head's encoder is; default: where it was."),
]
Against = Annotated[
    Path | None, typer.Option("--against", help="Another head, to be compared with on this data.")
]
MinInScope = Annotated[
    float | None,
    typer.Option(
        "--min-in-scope",
        min=0.0,
        max=1.0,
        help="Give no label to a text that is less probably of any known class.",
    ),
]


def asked_texts(
    texts: list[str] | None, file: Path | None, reads: Callable[[str], bool]
) -> list[str]:
    """Return the texts of a command line, or of a file; `reads` is asked of the encoder.

    Raises:
        InvalidInput: neither or both are given, or one of them is no text.
        InvalidData: the encoder reads nothing in one of them.
    """
    from simsearch.search_index import check_query

    if bool(texts) == (file is not None):
        raise InvalidInput("give texts, or a file of them with --texts")
    asked = list(texts or []) if file is None else list(read_texts(file, reads=reads))
    for number, text in enumerate(asked, start=1):
        check_query(text, name="text")
        if file is None and not reads(text):
            raise InvalidData(f"text {number} holds nothing that the encoder reads")
    if not asked:
        raise InvalidInput(f"{file} is empty")
    return asked


def encoder_of(other: EncoderReference, encoder: Encoder) -> Encoder:
    """Return the encoder of another head, which is the one that is loaded if it is the same."""
    return encoder if other.fingerprint == encoder.fingerprint else other.load()


def print_differences(output: Output, differences: Mapping[str, Difference]) -> None:
    """Print by how much a head is better than another."""
    rows = [
        (name, f"{each.value:+.4f}", f"{each.low:+.4f} .. {each.high:+.4f}", f"{each.p:.4f}")
        for name, each in differences.items()
    ]
    output.table(("against the other", "difference", "95% interval", "p"), rows)


def print_scores(
    output: Output,
    labels: Mapping[str, LabelScore],
    metrics: Mapping[str, float],
    *,
    kinds: tuple[str, str],
) -> None:
    """Print the scores of each label, then those of all; `kinds` are what labels and units are."""
    label, unit = kinds
    rows = [
        (
            shorten(name, 40),
            f"{each.precision:.4f}",
            f"{each.recall:.4f}",
            f"{each.f1:.4f}",
            f"{each.support:,}",
        )
        for name, each in labels.items()
    ]
    output.table((label, "precision", "recall", "f1", unit), rows)
    output.text("")
    output.table(("metric", "value"), [(name, f"{value:.4f}") for name, value in metrics.items()])
