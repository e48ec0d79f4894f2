"""Options that many commands share, bundled: a command asks for the bundle by its type."""

import functools
import inspect
import os
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from simsearch.cli.output import Output, route_warnings

MAX_K = 10_000


class OnError(StrEnum):
    """What happens with a bad row."""

    STOP = "stop"
    SKIP = "skip"


class DuplicateIds(StrEnum):
    """What happens with an id that stands in the input twice."""

    ERROR = "error"
    LAST = "last"


class LongTexts(StrEnum):
    """What becomes of a text beyond the encoder's window."""

    TRUNCATE = "truncate"
    PASSAGES = "passages"


class SearchMode(StrEnum):
    """What ranks the documents."""

    DENSE = "dense"
    LEXICAL = "lexical"
    HYBRID = "hybrid"


class Rerank(StrEnum):
    """How the nearest documents are compared with the query once more."""

    NONE = "none"
    PAIR = "pair"
    MAXSIM = "maxsim"


class ClassWeight(StrEnum):
    """How much a text of each class counts in training."""

    EQUAL = "equal"
    BALANCED = "balanced"


class HeadLayers(StrEnum):
    """How the layers of the encoder come together in a tagger."""

    CONCATENATED = "concatenated"
    MIXED = "mixed"


def parse_k(text: str) -> int:
    """Return a number of hits, 1 to 10,000."""
    try:
        k = int(text)
    except ValueError:
        k = 0
    if not 1 <= k <= MAX_K:
        raise typer.BadParameter(f"k must be 1..{MAX_K}, got {text}")
    return k


class Precision(StrEnum):
    """In which numbers documents are encoded."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


IndexDir = Annotated[Path, typer.Option("-i", "--index", help="The index directory.")]
EncoderName = Annotated[
    str | None,
    typer.Option(
        "--encoder", help="A model directory or hub name; default: all-MiniLM-L6-v2, packaged."
    ),
]
Dim = Annotated[
    int | None,
    typer.Option("--dim", help="Keep the first N components of every embedding.", metavar="N"),
]
EncodingPrecision = Annotated[
    Precision,
    typer.Option(
        "--precision",
        help="Numbers that documents are encoded in; auto: bf16 for many, where it is fast.",
    ),
]
Devices = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Where documents are encoded: cpu, cuda, or several processes (cuda:0,cuda:1).",
    ),
]
K = Annotated[int, typer.Option("-k", parser=parse_k, metavar="K", help="Hits per query.")]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        help="Only documents whose metadata is so: \"lang = 'en' and year >= 2020\".",
        metavar="EXPR",
    ),
]
Mode = Annotated[
    SearchMode | None,
    typer.Option(
        "--mode",
        help="Rank by meaning, by words, or by both. Default: what `simsearch mode` found best.",
    ),
]
Corpus = Annotated[
    list[Path],
    typer.Argument(metavar="CORPUS...", help="JSONL, CSV, TSV (.gz too), a BEIR folder, or -."),
]
Embeddings = Annotated[
    Path | None,
    typer.Option("--embeddings", help="Ready vectors, .npy (n, dim): one per document of CORPUS."),
]


def make_output(
    *,
    json_only: Annotated[
        bool, typer.Option("--json", help="Print JSON only, one object a line.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no talk and no progress.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print more talk.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads of every pool.")
    ] = None,
) -> Output:
    """Make the output of a command; `debug` is read by `main`, which sees the errors."""
    if threads is not None:
        _set_threads(threads)
    output = Output(json_only=json_only, quiet=quiet)
    route_warnings(output, verbose=verbose)
    return output


_Encoding = Annotated[str, typer.Option(help="Encoding of the files.")]
_Delimiter = Annotated[
    str | None, typer.Option(help="Delimiter of CSV files; `tab` is understood.")
]
_ReplaceInvalid = Annotated[
    bool, typer.Option("--replace-invalid", help="Put U+FFFD in the place of NUL.")
]
_MaxRecord = Annotated[int, typer.Option(help="Longest line or CSV record, in characters.")]
_MaxExpansion = Annotated[int, typer.Option(help="Most that gzip may expand, as a ratio.")]


def make_file_options(
    *,
    encoding: _Encoding = "utf-8",
    delimiter: _Delimiter = None,
    replace_invalid: _ReplaceInvalid = False,
    max_record: _MaxRecord = 1 << 20,
    max_expansion: _MaxExpansion = 100,
) -> Any:
    """Make the ReadOptions of a command that reads pairs."""
    from simsearch.formats import ReadOptions

    return ReadOptions(
        encoding=encoding,
        delimiter=delimiter,
        replace_invalid=replace_invalid,
        max_record=max_record,
        max_expansion=max_expansion,
    )


def make_read_options(
    *,
    id_field: Annotated[
        str | None, typer.Option(help="Field with the id; default id or _id.")
    ] = None,
    text_field: Annotated[str | None, typer.Option(help="Field with the text.")] = None,
    title_field: Annotated[str | None, typer.Option(help="Field with the title.")] = None,
    duplicates: Annotated[
        DuplicateIds, typer.Option(help="An id that stands twice: an error, or the last wins.")
    ] = DuplicateIds.ERROR,
    encoding: _Encoding = "utf-8",
    delimiter: _Delimiter = None,
    replace_invalid: _ReplaceInvalid = False,
    max_record: _MaxRecord = 1 << 20,
    max_expansion: _MaxExpansion = 100,
) -> Any:
    """Make the ReadOptions of a command that reads documents."""
    from simsearch.formats import Duplicates, ReadOptions

    return ReadOptions(
        encoding=encoding,
        delimiter=delimiter,
        id_field=id_field,
        text_field=text_field,
        title_field=title_field,
        max_record=max_record,
        max_expansion=max_expansion,
        replace_invalid=replace_invalid,
        duplicates=Duplicates(duplicates),
    )


def make_encoding(*, precision: EncodingPrecision = Precision.AUTO, device: Devices = None) -> Any:
    """Make the Encoding of a command that encodes documents."""
    from simsearch.cli.encoding import Encoding

    return Encoding(precision, device)


def parse_recall(text: str) -> float:
    """Return a recall, over 0 and at most 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise typer.BadParameter(f"recall must be over 0 and at most 1, got {text}")
    return value


def parse_bytes(text: str) -> int:
    """Return a size: a number of bytes, or with kB, MB, GB behind it."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(|[kMG]?B)", text)
    size = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if size < 1:
        raise typer.BadParameter(f"a size is a number and B, kB, MB or GB (500MB), got {text}")
    return int(size)


def parse_milliseconds(text: str) -> float:
    """Return seconds."""
    try:
        value = float(text.removesuffix("ms"))
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise typer.BadParameter(f"a latency is a number of milliseconds (2.5), got {text}")
    return value / 1000


_UNITS = {"": 1.0, "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}


def make_tuning(
    *,
    recall: Annotated[
        float | None,
        typer.Option(
            parser=parse_recall,
            metavar="R",
            help="Part of the 10 nearest that a search finds, 0.99 by default.",
        ),
    ] = None,
    max_memory: Annotated[
        int | None,
        typer.Option(
            parser=parse_bytes, metavar="SIZE", help="Most that searches go through, as 500MB."
        ),
    ] = None,
    max_latency: Annotated[
        float | None,
        typer.Option(
            parser=parse_milliseconds, metavar="MS", help="Most milliseconds for one search."
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(help="Real queries to measure with, one a line; default: documents."),
    ] = None,
) -> Any:
    """Make the Tuning of a command that chooses how an index is searched."""
    from simsearch.cli.tuning import Tuning

    return Tuning(recall, max_memory, max_latency, queries)


# The name of a command's parameter, and what makes its value out of the options.
_BUNDLES: dict[str, Callable[..., Any]] = {
    "output": make_output,
    "options": make_read_options,
    "file_options": make_file_options,
    "encoding": make_encoding,
    "tuning": make_tuning,
}


def bundled(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """Replace the parameters of a command that name a bundle by the options they stand for.

    Typer reads annotations, so the modules of commands do not postpone them; only the types of
    options for reading are quoted, because importing it imports numpy.
    """
    return _bundled(command, own_bundles={})


def bundled_with(
    **own_bundles: Callable[..., Any],
) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Return `bundled` with bundles of few commands, whose options stand where they are named."""
    return functools.partial(_bundled, own_bundles=own_bundles)


def _bundled(
    command: Callable[..., int | None], *, own_bundles: Mapping[str, Callable[..., Any]]
) -> Callable[..., int | None]:
    signature = inspect.signature(command)
    makers = {
        name: make
        for name, make in {**own_bundles, **_BUNDLES}.items()
        if name in signature.parameters
    }
    options = {name: inspect.signature(make).parameters for name, make in makers.items()}
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        if name in own_bundles:
            parameters += options[name].values()
        elif name not in makers:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    parameters += [
        option for name in makers if name in _BUNDLES for option in options[name].values()
    ]

    @functools.wraps(command)
    def run(**values: Any) -> int | None:
        made = {
            name: make(**{option: values.pop(option) for option in options[name]})
            for name, make in makers.items()
        }
        return command(**values, **made)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # read by typer
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _set_threads(count: int) -> None:
    # Pools read these when their library is first imported, which no command has done yet.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(count)
