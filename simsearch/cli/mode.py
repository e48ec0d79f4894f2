"""mode: which search ranks best on an index, measured on queries with known answers."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simsearch.cli.options import bundled
from simsearch.cli.output import Output
from simsearch.errors import InvalidData

if TYPE_CHECKING:
    from simsearch.evaluation import Qrels
    from simsearch.formats import ReadOptions
    from simsearch.search_index import SearchIndex


@bundled
def mode(
    index_dir: Annotated[Path, typer.Argument(metavar="INDEX_DIR", help="The index directory.")],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="Pairs of a query and the text that answers it, or a BEIR folder."
        ),
    ],
    output: Output,
    file_options: "ReadOptions",
    split: Annotated[
        str, typer.Option("--split", help="Of a BEIR folder, the judgements: qrels/SPLIT.tsv.")
    ] = "dev",
) -> None:
    """Measure dense, lexical and hybrid search on known answers; keep the best as the default.

    Hybrid becomes the default if it is proved better than the other two on queries that did not
    choose its weight. DATA must not be what the encoder was trained on.
    """
    from simsearch.search_index import SearchIndex, tune_mode

    with SearchIndex.open(index_dir) as index:
        queries, qrels = _known_answers(index, data, split, file_options)
        choice = tune_mode(index, queries, qrels)
    if output.json_only:
        output.result({**asdict(choice), "reason": choice.reason})
        return
    output.table(
        ("mode", "ndcg@10"), [(name, f"{score:.4f}") for name, score in choice.scores.items()]
    )
    output.text(
        f"hybrid - the better of the others: {choice.low:+.4f} .. {choice.high:+.4f}, "
        f"p {choice.p:.4f} ({choice.queries:,} queries)"
    )
    output.text(f"default of this index from now on: {choice.mode}")
    if choice.queries < len(queries):
        output.say(f"{len(queries) - choice.queries:,} queries have no answer in the index")


def _known_answers(
    index: "SearchIndex", data: Path, split: str, options: "ReadOptions"
) -> "tuple[Mapping[str, str], Qrels]":
    from simsearch.formats import read_beir, read_examples
    from simsearch.records import Pair, Triplet
    from simsearch.search_index import answers_of_pairs

    if data.is_dir():
        beir = read_beir(data, split)
        return beir.queries, beir.qrels
    examples = list(read_examples(data, options))
    pairs = [each for each in examples if isinstance(each, Pair | Triplet)]
    if len(pairs) < len(examples) or not pairs:
        raise InvalidData(f"{data}: expected pairs (anchor, positive) of queries and their answers")
    return answers_of_pairs(index, [(each.anchor, each.positive) for each in pairs])
