"""evaluate: how good an encoder or an index is on data with known answers."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simsearch.cli.input import report_counts
from simsearch.cli.options import (
    Dim,
    EncoderName,
    EncodingPrecision,
    Mode,
    Precision,
    SearchMode,
    bundled,
)
from simsearch.cli.output import Output
from simsearch.errors import InvalidData, InvalidInput

if TYPE_CHECKING:
    from simsearch.encoder import EncodingCounts
    from simsearch.evaluation import RetrievalScores
    from simsearch.formats import ReadOptions
    from simsearch.search_index import RetrievalTask, TextEncoder

app = typer.Typer(no_args_is_help=True, help="Score an encoder or an index on known answers.")


@app.command("retrieval")
@bundled
def retrieval(
    folder: Annotated[Path, typer.Argument(metavar="BEIR_DIR", help="A folder in BEIR layout.")],
    output: Output,
    split: Annotated[
        str, typer.Option("--split", help="The judgements, qrels/SPLIT.tsv.")
    ] = "test",
    encoder: EncoderName = None,
    index_dir: Annotated[
        Path | None, typer.Option("-i", "--index", help="Search this index as it is.")
    ] = None,
    dim: Dim = None,
    precision: EncodingPrecision = Precision.FP32,
    mode: Mode = None,
) -> None:
    """Search with the queries of a BEIR folder and score against its judgements.

    nDCG has linear gain, as in trec_eval. Queries without a relevant document are left out.
    """
    from simsearch.encoder import reading_of
    from simsearch.formats import read_beir

    if encoder is not None and index_dir is not None:
        raise InvalidInput("give --encoder or --index, not both (an index has its own encoder)")
    if index_dir is not None and (dim is not None or precision is not Precision.FP32):
        raise InvalidInput("an index has its own dim and vectors: no --dim or --precision with it")
    beir = read_beir(folder, split, reads=reading_of(encoder) if index_dir is None else None)
    if beir.blank_documents:
        output.say(f"{beir.blank_documents:,} blank documents skipped")
    if index_dir is None:
        from simsearch.cli.encoding import Encoding
        from simsearch.encoder import EncodingCounts
        from simsearch.search_index import RetrievalTask, evaluate_retrieval
        from simsearch.training import refused_texts_named

        counts = EncodingCounts()
        task = RetrievalTask(beir.queries, beir.corpus, beir.qrels)
        with (
            Encoding(precision).load(encoder, texts=len(beir.corpus)) as loaded,
            refused_texts_named([], task),
        ):
            if mode in (None, SearchMode.DENSE):
                scores: RetrievalScores = evaluate_retrieval(loaded, task, counts=counts, dim=dim)
            else:
                scores = _in_an_index(loaded, task, counts, dim=dim, mode=mode)
        report_counts(output, counts)
    else:
        from simsearch.search_index import SearchIndex, evaluate_index

        answers = {name for judged in beir.qrels.values() for name in judged}
        with SearchIndex.open(index_dir) as index:
            missing = len(answers) - len(index.known_ids(sorted(answers)))
            if missing == len(answers):
                raise InvalidData(f"{index_dir} holds no judged document of {folder} (other ids?)")
            if missing:
                output.warn(
                    f"{missing:,} of {len(answers):,} judged documents are not in the index"
                )
            scores = evaluate_index(index, beir.queries, beir.qrels, mode=mode)
    _print(output, "retrieval", scores.means(), len(scores.query_ids))


def _in_an_index(
    encoder: "TextEncoder",
    task: "RetrievalTask",
    counts: "EncodingCounts",
    *,
    dim: int | None,
    mode: SearchMode | None,
) -> "RetrievalScores":
    """Score a search that needs words, too, in an index that is gone afterwards."""
    from simsearch.search_index import SearchIndex, evaluate_index

    with (
        tempfile.TemporaryDirectory(prefix="simsearch-") as folder,
        SearchIndex.create(Path(folder) / "index", encoder=encoder, dim=dim) as index,
    ):
        index.add(task.corpus, counts=counts)
        return evaluate_index(index, task.queries, task.qrels, mode=mode)


@app.command("sts")
@bundled
def sts(
    pairs: Annotated[
        Path, typer.Argument(metavar="PAIRS", help="A file with sentence1, sentence2, score.")
    ],
    output: Output,
    file_options: "ReadOptions",
    encoder: EncoderName = None,
) -> None:
    """Correlate cosine similarity with the scores of pairs."""
    from simsearch.encoder import Encoder, reading_of
    from simsearch.formats import read_examples
    from simsearch.records import ScoredPair
    from simsearch.search_index import evaluate_sts
    from simsearch.training import TrainingData, refused_texts_named

    places: list[str] = []
    reads = reading_of(encoder)
    examples = list(read_examples(pairs, file_options, reads=reads, places=places))
    scored = [example for example in examples if isinstance(example, ScoredPair)]
    if len(scored) < len(examples):
        raise InvalidData(f"{pairs}: expected scored pairs (sentence1, sentence2, score)")
    if len({pair.score for pair in scored}) < 2:
        raise InvalidData(f"{pairs}: a correlation needs scores that differ, got one value only")
    with refused_texts_named([TrainingData(scored, places=places)]):
        metrics = evaluate_sts(Encoder.load(encoder), scored)
    _print(output, "sts", metrics, len(scored))


def _print(output: Output, task: str, metrics: Mapping[str, float], n: int) -> None:
    if output.json_only:
        output.result({"task": task, "metrics": dict(metrics), "n": n})
        return
    output.table(("metric", "value"), [(name, f"{value:.4f}") for name, value in metrics.items()])
    output.say(f"n = {n:,}")
