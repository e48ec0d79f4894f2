"""calibrate: known answers in, the chance that a hit is one out."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsearch.cli.known_answers import (
    FromFeedback,
    answers_in,
    check_one_source,
    known_answers,
)
from simsearch.cli.options import MAX_K, EncoderName, Rerank, bundled
from simsearch.cli.output import Output
from simsearch.errors import EncoderError, InvalidInput
from simsearch.wording import counted

if TYPE_CHECKING:
    from simsearch.formats import Example, ReadOptions
    from simsearch.search_index import CalibrationReport, RerankReport, RetrievalTask


@bundled
def calibrate(
    output: Output,
    file_options: "ReadOptions",
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="PAIRS",
            help="Answers that trained nothing: a file of pairs, a BEIR folder, or a model "
            "directory: what its run held out.",
        ),
    ] = None,
    from_feedback: FromFeedback = False,
    encoder: EncoderName = None,
    index_dir: Annotated[
        Path | None, typer.Option("-i", "--index", help="Measure on the hits of this index.")
    ] = None,
    split: Annotated[
        str, typer.Option("--split", help="Of a BEIR folder, the judgements, qrels/SPLIT.tsv.")
    ] = "test",
    match_score: Annotated[
        float | None, typer.Option(help="Of scored pairs, from which score on they match.")
    ] = None,
    rerank: Annotated[
        Rerank | None,
        typer.Option(help="With -i: measure reranking too; if better, queries do it by default."),
    ] = None,
    rerank_top: Annotated[
        int | None, typer.Option("--rerank-top", min=1, max=MAX_K, metavar="N", help="So many.")
    ] = None,
) -> None:
    """Measure how probably a hit answers, and keep that in a model directory or an index.

    From then on every hit has a probability. With -i it is measured on the hits of that index,
    which is truest there; with --encoder on the answers of PAIRS, or the corpus of the folder.
    """
    if (encoder is None) == (index_dir is None):
        raise InvalidInput("calibrate what? (--encoder MODEL_DIR, or -i INDEX_DIR)")
    check_one_source(data, from_feedback=from_feedback)
    if rerank is Rerank.NONE:
        raise InvalidInput("--rerank none needs no measuring (give maxsim, or pair)")
    if rerank is not None and index_dir is None:
        raise InvalidInput("--rerank is measured on the hits of an index (-i INDEX_DIR)")
    reranking = None
    if index_dir is not None:
        known = _known(index_dir, data, split, file_options)
        if rerank is not None:  # first: what cannot rerank is refused before anything is kept
            reranking = _rerank(index_dir, known, rerank.value, rerank_top)
        report = _index(output, index_dir, known, match_score)
    elif data is None:
        raise InvalidInput("--from-feedback are the judgements of an index (-i INDEX_DIR)")
    elif encoder is not None:
        from simsearch.encoder import reading_of

        known = known_answers(data, split=split, options=file_options, reads=reading_of(encoder))
        report = _model(encoder, known, match_score)
    _print(output, str(index_dir or encoder), report, reranking)


def _known(
    index_dir: Path, data: Path | None, split: str, options: "ReadOptions"
) -> "Sequence[Example] | RetrievalTask":
    from simsearch.evaluation import LEAST_EXAMPLES
    from simsearch.search_index import SearchIndex

    with SearchIndex.open(index_dir) as index:
        return answers_in(index, data, split=split, options=options, least=LEAST_EXAMPLES)


def _index(
    output: Output,
    index_dir: Path,
    known: "Sequence[Example] | RetrievalTask",
    match_score: float | None,
) -> "CalibrationReport":
    from simsearch.search_index import SearchIndex
    from simsearch.training import calibrate_index

    with SearchIndex.open(index_dir) as index:
        report, left_out = calibrate_index(index, known, match_score=match_score)
    if left_out:
        output.warn(
            f"{counted(left_out, 'query', 'queries')} left out: no answer of theirs is in the index"
        )
    return report


def _rerank(
    index_dir: Path, known: "Sequence[Example] | RetrievalTask", by: str, top: int | None
) -> "RerankReport":
    from simsearch.search_index import RERANK_TOP, SearchIndex, choose_rerank
    from simsearch.training import answerable

    with SearchIndex.open(index_dir) as index:
        queries, qrels, _ = answerable(index, known)
        return choose_rerank(index, queries, qrels, by=by, top=top or RERANK_TOP)


def _model(
    name: str, known: "Sequence[Example] | RetrievalTask", match_score: float | None
) -> "CalibrationReport":
    from simsearch.encoder import MODEL_FILE, Encoder, keep_calibration
    from simsearch.training import calibrate_model

    loaded = Encoder.load(name)
    directory = loaded.directory
    if directory is None or not (directory / MODEL_FILE).is_file():
        raise EncoderError(
            f"{name} is no model directory of ours, where a calibration is kept (calibrate an "
            "index that it built: -i INDEX_DIR)"
        )
    report = calibrate_model(loaded, known, match_score=match_score)
    keep_calibration(directory, report.calibration)
    return report


def _print(
    output: Output,
    target: str,
    report: "CalibrationReport",
    reranking: "RerankReport | None",
) -> None:
    from simsearch.training import RELIABILITY_HEADER, calibration_facts, reliability_rows

    if output.json_only:
        facts: dict[str, Any] = {"target": target, **calibration_facts(report)}
        if reranking is not None:
            facts["rerank"] = asdict(reranking)
        output.result(facts)
        return
    found = report.calibration
    output.table(RELIABILITY_HEADER, reliability_rows(report.bins))
    output.text(f"expected calibration error {found.error:.4f} ({found.curve.method})")
    what = "pairs" if found.candidates is None else f"queries, each among {found.candidates:,}"
    output.say(
        f"{found.scored:,} similarities of {found.units:,} {what}; {found.matches:,} matches; "
        f"kept in {target}"
    )
    if reranking is not None:
        found_better = reranking.choice.by != "none"
        output.text(
            f"ndcg@10 {reranking.before:.4f}, reranked {reranking.after:.4f} "
            f"({reranking.difference.low:+.4f} .. {reranking.difference.high:+.4f}, "
            f"p {reranking.difference.p:.4f}): "
            f"{'queries rerank from now on' if found_better else 'queries do not rerank'}"
        )
