"""similar, duplicates, cluster, map: what a corpus is like, by the vectors of its index."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsearch.cli.opened import searched_index
from simsearch.cli.options import IndexDir, K, Where, bundled
from simsearch.cli.output import Output, clean, shorten
from simsearch.cli.query import hit_fields, print_hits
from simsearch.errors import InvalidInput
from simsearch.wording import counted

if TYPE_CHECKING:
    from simsearch.corpus import Cluster
    from simsearch.search_index import SearchIndex

IndexArgument = Annotated[
    Path | None, typer.Argument(metavar="[INDEX_DIR]", help="The index directory.")
]
IndexOption = Annotated[
    Path | None, typer.Option("-i", "--index", help="The index directory, as well.")
]


@bundled
def similar(
    document_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a document.")],
    index_dir: IndexDir,
    output: Output,
    k: K = 10,
    where: Where = None,
) -> None:
    """Print the documents nearest to one that is in the index, best first, without itself.

    By the stored vectors: nothing is encoded.
    """
    with searched_index(index_dir, output) as index:
        hits = index.similar(document_id, k, where=where)
    if output.json_only:
        output.result({"query": document_id, "hits": [hit_fields(hit) for hit in hits]})
        return
    print_hits(output, hits)
    if not hits:
        output.say("there is no other document" + ("" if where is None else " that passes"))


@bundled
def duplicates(
    output: Output,
    argument: IndexArgument = None,
    option: IndexOption = None,
    threshold: Annotated[
        float, typer.Option(help="Least similarity of two documents, over 0 and at most 1.")
    ] = 0.95,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Print every pair, in the place of the groups.")
    ] = False,
    where: Where = None,
) -> None:
    """Print the documents that say the same, in groups: that which to keep, then the others.

    Every two documents are compared. Nothing is deleted. Exit 0, whether there are any or not.
    """
    from simsearch.corpus import check_threshold, find_duplicates, similar_pairs

    check_threshold(threshold)
    with searched_index(_named(argument, option), output) as index:
        with output.progress() as stage:
            advance = stage("comparing")
            if pairs:
                found = similar_pairs(index, threshold=threshold, where=where, advance=advance)
            else:
                report = find_duplicates(index, threshold=threshold, where=where, advance=advance)
        if pairs:
            for pair in found:
                if output.json_only:
                    output.result(
                        {"first": pair.first, "second": pair.second, "similarity": pair.similarity}
                    )
                else:
                    output.text(f"{pair.similarity:.4f}  {clean(pair.first)}  {clean(pair.second)}")
            output.say(f"{counted(len(found), 'pair')} with a similarity of {threshold:g} or more")
            return
        for group in report.groups:
            if output.json_only:
                others = [{"id": each.id, "similarity": each.similarity} for each in group.others]
                output.result({"kept": group.kept, "duplicates": others})
                continue
            output.text(f"keep    {clean(group.kept)}  {_text(index, group.kept)}")
            for each in group.others:
                output.text(f"{each.similarity:.4f}  {clean(each.id)}  {_text(index, each.id)}")
        output.say(
            f"{report.superfluous:,} of {report.documents:,} documents say what another says, in "
            f"{counted(len(report.groups), 'group')} ({counted(report.pairs, 'pair')} with "
            "a similarity of "
            f"{threshold:g} or more)"
        )


@bundled
def cluster(
    output: Output,
    argument: IndexArgument = None,
    option: IndexOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Least similarity to the middle of a community, 0.75 by default."),
    ] = None,
    min_size: Annotated[
        int | None,
        typer.Option("--min-size", min=2, help="Fewest documents of a community, 5 by default."),
    ] = None,
    clusters: Annotated[
        int | None,
        typer.Option("--clusters", min=1, metavar="N", help="So many clusters, by k-means."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="By which k-means begins.")] = 0,
    where: Where = None,
) -> None:
    """Print which documents go together, the largest group first, with the most central of each.

    Communities of what is similar to one document in the middle; or, with --clusters, k-means,
    which leaves no document out.
    """
    from simsearch.corpus import cluster_documents

    given: dict[str, Any] = {"threshold": threshold, "min_size": min_size}
    given = {name: value for name, value in given.items() if value is not None}
    if clusters is not None and given:
        raise InvalidInput("--clusters goes without --threshold and --min-size")
    with searched_index(_named(argument, option), output) as index, output.progress() as stage:
        report = cluster_documents(
            index, clusters=clusters, seed=seed, where=where, stage=stage, **given
        )
    for number, each in enumerate(report.clusters, start=1):
        if output.json_only:
            output.result({"cluster": number, **_cluster_fields(each)})
            continue
        output.text(
            f"{number:3}  {counted(each.size, 'document')}, cohesion {each.cohesion:.2f}: "
            f"{', '.join(each.terms)}"
        )
        for document in each.representatives:
            output.text(f"       {clean(document.id)}  {shorten(document.content, 100)}")
    output.say(
        f"{counted(len(report.clusters), 'cluster')} of {counted(report.documents, 'document')}; "
        f"{report.unclustered:,} are in none"
    )


class Projection(StrEnum):
    """How vectors become places on a plane."""

    PCA = "pca"
    TSNE = "tsne"


@bundled
def map(
    output: Output,
    target: Annotated[
        Path, typer.Option("-o", "--output", help="Write a page, .html, or a picture, .png.")
    ],
    argument: IndexArgument = None,
    option: IndexOption = None,
    color_by: Annotated[
        str | None,
        typer.Option("--color-by", metavar="FIELD", help="Metadata; default: clusters."),
    ] = None,
    clusters: Annotated[
        int | None,
        typer.Option("--clusters", min=1, max=10, metavar="N", help="So many; default: 8."),
    ] = None,
    method: Annotated[
        Projection,
        typer.Option(help="The two directions in which most differs, or openTSNE's map."),
    ] = Projection.PCA,
    sample: Annotated[
        int, typer.Option(min=1, max=100_000, metavar="N", help="Draw so many at most.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="By which documents are drawn.")] = 0,
    where: Where = None,
) -> None:
    """Draw the documents on a plane: what is alike lies near.

    A page shows the text under the pointer, and needs neither network nor server. A file that is
    there is replaced.
    """
    from simsearch.corpus import check_map_target, map_documents, write_map

    check_map_target(target)
    with searched_index(_named(argument, option), output) as index:
        drawn = map_documents(
            index,
            method=method.value,
            color_by=color_by,
            clusters=clusters,
            sample=sample,
            seed=seed,
            where=where,
        )
    write_map(drawn, target)
    if len(drawn) < drawn.documents:
        output.say(f"a random sample of {len(drawn):,} of {drawn.documents:,} documents is drawn")
    if output.json_only:
        facts = {"documents": drawn.documents, "drawn": len(drawn), "method": str(drawn.method)}
        output.result({"output": str(target), **facts, "color_by": drawn.colouring.title})
    else:
        output.text(f"wrote a map of {counted(len(drawn), 'document')} to {target}")


def _cluster_fields(cluster: "Cluster") -> dict[str, Any]:
    return {
        "size": cluster.size,
        "cohesion": cluster.cohesion,
        "terms": list(cluster.terms),
        "representatives": [
            {"id": each.id, "text": each.text, **({"title": each.title} if each.title else {})}
            for each in cluster.representatives
        ],
        "members": list(cluster.members),
    }


def _text(index: "SearchIndex", document_id: str) -> str:
    """Return how a document begins, nothing of one that was deleted since."""
    document = index.get(document_id)
    return "" if document is None else shorten(document.content, 100)


def _named(argument: Path | None, option: Path | None) -> Path:
    """Return the index directory that was named in one way or the other."""
    index_dir = argument or option
    if index_dir is None or (argument and option):
        raise InvalidInput("name one index directory, as INDEX_DIR or with -i")
    return index_dir
