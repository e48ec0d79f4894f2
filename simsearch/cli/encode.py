"""encode and similarity: the encoder by itself."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsearch.cli.input import read_texts, report_counts, spooled
from simsearch.cli.options import Dim, EncoderName, bundled
from simsearch.cli.output import Output
from simsearch.errors import InvalidData, InvalidInput

if TYPE_CHECKING:
    from simsearch.cli.encoding import Encoding
    from simsearch.encoder.runtime import FloatArray


@bundled
def similarity(
    text_a: Annotated[str, typer.Argument(metavar="TEXT_A", help="A text.")],
    text_b: Annotated[str, typer.Argument(metavar="TEXT_B", help="Another text.")],
    output: Output,
    encoder: EncoderName = None,
    scorer: Annotated[
        bool,
        typer.Option("--scorer", help="Name the relation too, by the encoder's pair scorer."),
    ] = False,
) -> None:
    """Print the cosine similarity of two texts, and how probably they match if that is known."""
    from simsearch.encoder import Encoder, UnreadableText, load_pair_scorer
    from simsearch.search_index import check_query

    for text, name in ((text_a, "TEXT_A"), (text_b, "TEXT_B")):
        check_query(text, name=name)
    loaded = Encoder.load(encoder)
    pair_scorer = load_pair_scorer(loaded) if scorer else None
    try:
        first, second = loaded.encode([text_a, text_b])
    except UnreadableText as error:
        raise InvalidInput(f"TEXT_{'AB'[error.position]} {error.reason}") from error
    score = float(first @ second)
    calibration = loaded.calibration
    chance = None if calibration is None else float(calibration.probabilities(score))
    facts: dict[str, Any] = {"text_a": text_a, "text_b": text_b, "score": score}
    facts["probability"] = chance
    likely: list[tuple[str, float]] = []
    if pair_scorer is not None:
        (row,) = pair_scorer.probabilities(first[None], second[None]).tolist()
        probabilities = dict(zip(pair_scorer.classes, row, strict=True))
        likely = sorted(probabilities.items(), key=lambda each: -each[1])
        label, probability = likely[0]
        facts |= {
            "label": label,
            "label_probability": probability,
            "probabilities": probabilities,
        }
    if output.json_only:
        output.result(facts)
        return
    output.text(f"{score:.4f}" + ("" if chance is None else f"  probability {chance:.2f}"))
    for label, probability in likely:
        output.text(f"{probability:.4f}  {label}")


@bundled
def encode(
    output: Output,
    encoding: "Encoding",
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT...", help="A text, or several.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--texts", help="A file with one text per line, or -.")
    ] = None,
    encoder: EncoderName = None,
    dim: Dim = None,
    target: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write .npy, float32 (n, dim).")
    ] = None,
) -> None:
    """Print the embedding of each TEXT as a JSON object, or write them all to a file.

    However long the file is, only some thousand texts are held in memory at a time.
    """
    from simsearch.cli.encoding import warn_of_untrained
    from simsearch.encoder import EncodingCounts
    from simsearch.files import check_target
    from simsearch.formats import source_name
    from simsearch.search_index import check_dim

    if target is not None:
        check_target(target)
    arguments = _checked(texts or [])
    counts = EncodingCounts()
    with contextlib.ExitStack() as stack:
        files = stack.enter_context(spooled([file] if file else [], beside=target))

        def given() -> Iterator[str]:
            yield from arguments
            for path in files:
                yield from read_texts(path)

        total = sum(1 for _ in given())  # so that a bad line changes nothing
        if file and not total:
            raise InvalidData(f"{source_name(files[0])}: no text in it")
        if not total:
            raise InvalidInput("give a text, or a file of them with --texts")
        loaded = stack.enter_context(encoding.load(encoder, texts=total))
        width = loaded.dim if dim is None else dim
        check_dim(width, loaded.dim)
        warn_of_untrained(width, loaded, output)
        advance = stack.enter_context(output.progress())("encoding")
        rows = loaded.encode_stream(
            given(), counts=counts, progress=lambda done: advance(done, total)
        )
        rows = _cut(_placed(rows, arguments, files), width)
        if target is None:
            _print(output, given(), rows)
        else:
            _write(target, rows, shape=(total, width))
    report_counts(output, counts)
    if target is not None:
        facts: dict[str, Any] = {"texts": total, "truncated": counts.truncated, "dim": width}
        facts |= {"encoder": loaded.name, "output": str(target)}
        _print_facts(output, facts)


def _checked(arguments: list[str]) -> list[str]:
    """Return the arguments, which are texts."""
    from simsearch.search_index import check_text

    for position, text in enumerate(arguments):
        check_text(text, name=_argument(position, arguments))
    return arguments


def _argument(position: int, arguments: list[str]) -> str:
    """Return what an argument is called in a message."""
    return "text" if len(arguments) == 1 else f"text {position + 1} of {len(arguments)}"


def _placed(
    parts: "Iterable[FloatArray]", arguments: list[str], files: list[Path]
) -> "Iterator[FloatArray]":
    """Yield the parts; a text in which nothing is read is named by where it stands."""
    from simsearch.encoder import UnreadableText
    from simsearch.formats import source_name

    try:
        yield from parts
    except UnreadableText as error:
        line = error.position - len(arguments) + 1
        if line < 1:
            name = _argument(error.position, arguments)
            raise InvalidInput(f"{name} {error.reason}") from error
        where = f"{source_name(files[0])}:{line}"
        raise InvalidData(f"{where}: the text {error.reason}") from error


def _cut(parts: "Iterable[FloatArray]", width: int) -> "Iterator[FloatArray]":
    """Yield the first components of each row, at unit length; what is no wider as it is."""
    from simsearch.encoder import UnencodableText, truncate_embeddings

    done = 0
    for part in parts:
        try:
            yield truncate_embeddings(part, width) if width < part.shape[1] else part
        except UnencodableText as error:
            raise error.at(done + error.position) from error
        done += len(part)


def _print_facts(output: Output, facts: dict[str, Any]) -> None:
    if output.json_only:
        output.result(facts)
    else:
        output.text("wrote {texts:,} embeddings of dim {dim} to {output}".format(**facts))


def _print(output: Output, texts: Iterator[str], parts: Iterable[Any]) -> None:
    for part in parts:
        for row in part.tolist():
            output.result({"text": next(texts), "embedding": row})


def _write(target: Path, parts: Iterable[Any], *, shape: tuple[int, int]) -> None:
    """Write rows as a .npy file, which begins with their number."""
    import numpy as np

    from simsearch.files import replace_file

    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    rows = 0
    with replace_file(target) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for part in parts:
            rows += len(part)
            stream.write(np.ascontiguousarray(part, dtype="<f4").tobytes())
        if rows != shape[0]:
            raise InvalidData(f"the texts changed while they were read: {rows}, {shape[0]} before")
