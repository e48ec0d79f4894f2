"""facets: how many documents have each value of a metadata field."""

from dataclasses import asdict
from typing import Annotated

import typer

from simsearch.cli.options import IndexDir, Where, bundled, parse_k
from simsearch.cli.output import Output, clean, shorten
from simsearch.wording import counted


@bundled
def facets(
    fields: Annotated[list[str], typer.Argument(metavar="FIELD...", help="Metadata fields.")],
    index_dir: IndexDir,
    output: Output,
    k: Annotated[
        int, typer.Option("-k", parser=parse_k, metavar="K", help="Values of each field.")
    ] = 20,
    where: Where = None,
) -> None:
    """Count the documents of each value of metadata fields, the most frequent values first.

    Labels and entities that a head gave are such fields. Of a list every element counts.
    """
    from simsearch.search_index import SearchIndex

    with SearchIndex.open(index_dir) as index:
        found = [index.facet(field, k, where=where) for field in fields]
    for facet in found:
        if output.json_only:
            output.result(asdict(facet))
            continue
        rows = [(shorten(clean(_shown(each.value))), f"{each.count:,}") for each in facet.values]
        output.table((clean(facet.field), "documents"), rows)
        more = facet.distinct - len(facet.values)
        output.say(
            f"{counted(facet.documents, 'document')}, {facet.missing:,} without "
            f"{clean(facet.field)}" + (f"; {more:,} more values (-k)" if more else "")
        )


def _shown(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
