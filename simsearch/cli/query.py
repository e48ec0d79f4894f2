"""query: the documents nearest to a text."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsearch.cli.input import read_queries
from simsearch.cli.options import IndexDir, K, Mode, Where, bundled
from simsearch.cli.output import Output, clean, shorten
from simsearch.errors import InvalidInput

if TYPE_CHECKING:
    from simsearch.records import Hit

_PART = 256  # queries that are encoded and searched together


@bundled
def query(
    index_dir: IndexDir,
    output: Output,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT...", help="The query, or several.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option("--queries", help="A file with one query per line, or -.")
    ] = None,
    k: K = 10,
    where: Where = None,
    mode: Mode = None,
    diversity: Annotated[
        float,
        typer.Option(help="0 to 1: how far hits that are like those before give way to others."),
    ] = 0.0,
    group_by: Annotated[
        str | None, typer.Option("--group-by", metavar="FIELD", help="One hit for each value.")
    ] = None,
) -> None:
    """Print the documents nearest to each TEXT, best first."""
    from simsearch.search_index import SearchIndex

    parts = _parts(texts or [], queries)
    first = next(parts, None)
    if first is None:
        raise InvalidInput("give a query, or a file of them with --queries")
    with SearchIndex.open(index_dir) as index:
        if not index.count():
            output.say("the index is empty")
        if not index.finished:
            output.warn(f"{index_dir} is unfinished: its corpus was not loaded to the end")
        for part in itertools.chain([first], parts):
            found = index.search_many(
                part, k=k, where=where, mode=mode, diversity=diversity, group_by=group_by
            )
            for text, hits in zip(part, found, strict=True):
                if output.json_only:
                    output.result({"query": text, "hits": [hit_fields(hit) for hit in hits]})
                    continue
                if len(first) > 1:
                    output.text(f"# {clean(text)}")
                print_hits(output, hits)


def _parts(texts: list[str], queries: Path | None) -> Iterator[list[str]]:
    """Yield all queries in lists; a file, or a pipe, is read as the answers are printed."""
    asked = itertools.chain(texts, () if queries is None else read_queries(queries))
    while part := list(itertools.islice(asked, _PART)):
        yield part


def print_hits(output: Output, hits: "list[Hit]") -> None:
    """Print hits for a person."""
    for rank, hit in enumerate(hits, start=1):
        title = f"{shorten(hit.title, 80)}: " if hit.title else ""
        output.text(f"{rank:3}  {hit.score:.4f}  {clean(hit.id)}")
        place = hit.passage or (0, 0)
        part = hit.text[slice(*place)] or hit.text
        output.text(f"             {title}{shorten(part)}")


def hit_fields(hit: "Hit") -> dict[str, Any]:
    """Return a hit as the JSON object of the command-line contract."""
    return {
        "id": hit.id,
        "score": hit.score,
        "probability": hit.probability,
        "text": hit.text,
        **({"title": hit.title} if hit.title else {}),
        "metadata": dict(hit.metadata),
        **({"passage": list(hit.passage)} if hit.passage else {}),
        "dense": hit.dense,
        "lexical": hit.lexical,
        "parts": dict(hit.parts),
    }
