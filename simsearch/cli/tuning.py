"""optimize, tune: how the rows of an index are searched, and whether it is as it should be."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsearch.cli.input import read_queries
from simsearch.cli.opened import finished_index
from simsearch.cli.options import bundled
from simsearch.cli.output import Output
from simsearch.errors import InvalidInput
from simsearch.wording import counted, milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simsearch.ann import Target
    from simsearch.search_index import BuildReport, SearchIndex

IndexArgument = Annotated[Path, typer.Argument(metavar="INDEX_DIR", help="The index directory.")]


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was asked of the index, None where nothing was."""

    recall: float | None
    max_memory: int | None
    max_latency: float | None
    queries: Path | None

    def target(self, before: "Target | None" = None) -> "Target":
        """Return what the index has to be: what was given, else as `before`."""
        from simsearch.ann import Target

        given: dict[str, Any] = {
            name: value
            for name in ("recall", "max_memory", "max_latency")
            if (value := getattr(self, name)) is not None
        }
        return replace(before or Target(), **given)

    def texts(self) -> list[str] | None:
        """Return the queries in the file, None without one.

        Raises:
            InvalidInput: they are too few, or one is none.
        """
        if self.queries is None:
            return None
        texts = list(read_queries(self.queries))
        if len(texts) < _LEAST_QUERIES:
            raise InvalidInput(
                f"{self.queries} has {len(texts)} queries, {_LEAST_QUERIES} are the least to "
                "choose an index by and judge it (give more, or leave out --queries)"
            )
        return texts


_LEAST_QUERIES = 20


@bundled
def optimize(index_dir: IndexArgument, output: Output) -> int:
    """Build what makes searches quick, where there are rows enough that have nothing yet."""
    with finished_index(index_dir) as index:
        built = index.optimize(say=output.say)
        if output.json_only:
            facts = {
                "built": [asdict(each) for each in built],
                "search": asdict(index.info().search),
            }
            output.result({"index": str(index_dir), **facts})
        else:
            print_built(output, built)
            if not built:
                output.text(f"nothing in {index_dir} is worth building")
    return shortcomings(output, built)


@bundled
def tune(
    index_dir: IndexArgument,
    output: Output,
    tuning: "Tuning",
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Choose and build an index of all rows in any case.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure, and build nothing.")] = False,
) -> int:
    """Measure an index, and build it anew where it falls short; exit 1 if it does so then."""
    from simsearch.search_index import tune_index

    if rebuild and dry_run:
        raise InvalidInput("--rebuild builds, --dry-run does not: give one of them")
    texts = tuning.texts()
    with finished_index(index_dir) as index:
        report = tune_index(
            index,
            queries=texts,
            target=tuning.target(index.target),
            anew=rebuild,
            dry_run=dry_run,
            say=output.say,
        )
    if output.json_only:
        output.result({**asdict(report), "kept": report.kept})
        return 0 if report.kept else 1
    for line in report.broken:
        output.text(f"the index was not what it has to be: {line}")
    print_built(output, report.built)
    asked = "queries" if report.queries == "given" else "documents, asked for their neighbours"
    output.text(
        f"recall@{report.k} {report.recall.value:.4f} ({report.recall.low:.4f} to "
        f"{report.recall.high:.4f}) on {report.asked:,} {asked}; {milliseconds(report.latency)} "
        f"a search; {report.memory:,} bytes"
    )
    shortcomings(output, report.built)
    for line in report.shortfall:
        output.warn(f"the index is not what it has to be: {line}")
    return 0 if report.kept else 1


def build_what_is_worth_it(
    output: Output, index: "SearchIndex", queries: list[str] | None = None
) -> "list[BuildReport]":
    """Build after documents were written, which are safe whatever becomes of it."""
    from simsearch.errors import SimsearchError
    from simsearch.search_index import over_memory

    try:
        built = index.optimize(queries=queries, say=output.say)
        if over := over_memory(index):
            output.warn(f"the index is not what it has to be: {over} (run `simsearch tune`)")
        return built
    except (SimsearchError, OSError) as error:
        output.warn(
            f"the documents are in; what makes searches quick could not be built: {error} "
            f"(run `simsearch optimize {index.path}`)"
        )
        return []


def print_built(output: Output, built: "Iterable[BuildReport]") -> None:
    """Print what was built, for a person."""
    for each in built:
        merged = f", in the place of {each.merged} segments" if each.merged else ""
        output.text(
            f"built {each.index} of {counted(each.rows, 'row')} in {each.seconds:.1f} s, "
            f"{each.bytes:,} bytes{merged}"
        )


def shortcomings(output: Output, built: "Iterable[BuildReport]") -> int:
    """Warn of what could not be built as was asked; return the exit code."""
    found = [each for each in built if each.shortcoming]
    for each in found:
        taken = "every row is compared" if each.index == "Flat" else f"{each.index} is taken"
        output.warn(f"{taken}: {each.shortcoming}")
    return 1 if found else 0


def search_facts(facts: dict[str, Any]) -> list[str]:
    """Return the lines in which `info` tells a person how the rows are searched."""
    search, target = facts["search"], facts["target"]
    lines = [
        f"target          recall@{target['k']} {target['recall']:g}"
        + (f", {target['max_memory']:,} bytes" if target["max_memory"] else "")
        + (f", {1000 * target['max_latency']:g} ms" if target["max_latency"] else ""),
        f"compared rows   {search['compared_rows']:,}, {search['rows_in_memory']:,} in no segment",
    ]
    for each in search["segments"]:
        if each["fault"]:
            lines.append(f"segment         {each['fault']} (run `simsearch tune`)")
            continue
        line = (
            f"segment         {each['index']} of {counted(each['rows'], 'row')}, "
            f"{each['bytes']:,} bytes"
        )
        line += f", {each['dead_rows']:,} dead" if each["dead_rows"] else ""
        plan = each["plan"]
        if plan and "chosen" in plan:
            chosen, recall = plan["chosen"], plan["chosen"]["recall"]
            given = {name: n for name, n in (chosen["parameters"] or {}).items() if n}
            line += "".join(f", {name} {value}" for name, value in given.items())
            line += (
                f"; recall {recall['value']:.4f} ({recall['low']:.4f} to {recall['high']:.4f}) on "
                f"{plan['validation_queries']:,} {plan['queries']} queries, "
                f"{milliseconds(chosen['latency'])} a search"
            )
        lines.append(line)
    return lines
