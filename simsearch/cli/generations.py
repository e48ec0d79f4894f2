"""reindex, rollback: another encoder for an index, and back."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsearch.cli.encoding import warn_of_untrained
from simsearch.cli.input import report_counts
from simsearch.cli.measured import measured_on, warn_of_lost
from simsearch.cli.mode import choice_facts, measured_by_run
from simsearch.cli.options import Dim, K, bundled
from simsearch.cli.output import Output, clean
from simsearch.errors import InvalidInput
from simsearch.wording import counted

if TYPE_CHECKING:
    from simsearch.cli.encoding import Encoding
    from simsearch.search_index import Comparison, Follower, ReindexPlan

IndexArgument = Annotated[Path, typer.Argument(metavar="INDEX_DIR", help="The index directory.")]
EncodeSupplied = Annotated[
    bool,
    typer.Option(
        "--encode-supplied",
        help="Encode the text of documents whose vectors were supplied (--embeddings).",
    ),
]
_ROWS = {".jsonl", ".csv", ".tsv"}


@bundled
def reindex(
    index_dir: IndexArgument,
    output: Output,
    encoding: "Encoding",
    encoder: Annotated[
        str, typer.Option("--encoder", help="The model directory or hub name to change to.")
    ],
    dim: Dim = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries",
            help="Compare the hits of both: one query per line, or JSONL/CSV/TSV with id and text.",
        ),
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option(
            "--qrels", help="Their answers (query-id, corpus-id, score): compare the scores, too."
        ),
    ] = None,
    k: K = 10,
    encode_supplied: EncodeSupplied = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how long it would take, and do nothing.")
    ] = False,
    switch: Annotated[
        bool,
        typer.Option(
            "--switch/--no-switch", help="Let it answer when it is built, or only build it."
        ),
    ] = True,
) -> None:
    """Encode the documents of an index by another encoder, and let them answer.

    Searches and writes go on meanwhile. A run that was cut short is taken up. What answered before
    is kept for `rollback`, until `compact`.
    """
    from simsearch.encoder import EncodingCounts
    from simsearch.search_index import SearchIndex, build_generation, check_dim, plan_reindex

    asked, answers = _questions(queries, qrels)
    with SearchIndex.open(index_dir) as live:
        texts = live.count()
    known = measured_on(index_dir)
    with encoding.load(encoder, texts=texts) as loaded:
        if dim is not None:
            check_dim(dim, loaded.dim)
            warn_of_untrained(dim, loaded, output)
        plan = plan_reindex(index_dir, encoder=loaded, dim=dim)
        if dry_run or not plan.needed:
            _print_plan(output, plan, encode_supplied=encode_supplied)
            return
        output.say(_in_words(plan))
        began, counts = time.perf_counter(), EncodingCounts()
        with (
            output.progress() as begin,
            build_generation(
                index_dir,
                encoder=loaded,
                dim=dim,
                encode_supplied=encode_supplied,
                switch=switch,
                progress=begin("reindexing"),
                counts=counts,
            ) as built,
        ):
            comparison = _compare(index_dir, built, asked, answers, k) if asked else None
        choice = measured_by_run(index_dir, encoder, output, encoder=loaded) if switch else None
        if switch:
            warn_of_lost(known, index_dir, output)
    report_counts(output, counts)
    _print_outcome(
        output,
        {
            "index": str(index_dir),
            "needed": True,
            "generation": plan.generation,
            "encoder": plan.encoder,
            "dim": plan.dim,
            "encoded": built.report.encoded,
            "switched": switch,
            "mode": choice_facts(choice),
        },
        comparison,
        seconds=time.perf_counter() - began,
    )


@bundled
def rollback(
    index_dir: IndexArgument,
    output: Output,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder", help="The full model of the generation before; default: its own copy."
        ),
    ] = None,
    encode_supplied: EncodeSupplied = False,
) -> None:
    """Let the generation before the last reindex answer again, with all that was written since."""
    from simsearch.encoder import Encoder, EncodingCounts
    from simsearch.search_index import SearchIndex, roll_back

    model = None if encoder is None else Encoder.load(encoder)
    known, counts = measured_on(index_dir), EncodingCounts()
    with output.progress() as begin:
        report = roll_back(
            index_dir,
            encoder=model,
            encode_supplied=encode_supplied,
            progress=begin("rolling back"),
            counts=counts,
        )
    report_counts(output, counts)
    warn_of_lost(known, index_dir, output)
    with SearchIndex.open(index_dir) as index:
        info = index.info()
    facts = {"generation": info.generation, "encoder": info.encoder, "documents": info.documents}
    if output.json_only:
        output.result({"index": str(index_dir), **facts, "encoded": report.encoded})
        return
    output.text(
        f"{clean(str(index_dir))} is generation {info.generation} again, by {clean(info.encoder)}: "
        f"{counted(info.documents, 'document')}, {counted(report.encoded, 'text')} written "
        "since and encoded"
    )


def _questions(
    queries: Path | None, qrels: Path | None
) -> tuple[dict[str, str], dict[str, dict[str, int]] | None]:
    """Read what to compare by, before anything is built."""
    from simsearch.formats import read_beir_queries, read_lines, read_qrels
    from simsearch.search_index import check_questions

    if queries is None:
        if qrels is not None:
            raise InvalidInput("--qrels are the answers of queries: give --queries, too")
        return {}, None
    if qrels is not None or _ROWS & set(queries.suffixes):
        asked = read_beir_queries(queries)
    else:
        asked = {str(number): line for number, line in read_lines(queries) if line.strip()}
    answers = None if qrels is None else read_qrels(qrels)
    return check_questions(asked, answers), answers


def _compare(
    index_dir: Path,
    built: "Follower",
    queries: dict[str, str],
    qrels: dict[str, dict[str, int]] | None,
    k: int,
) -> "Comparison":
    from simsearch.search_index import SearchIndex, compare_indexes

    with SearchIndex.open(index_dir) as live:
        return compare_indexes(live, built.target, queries, qrels=qrels, k=k)


def _print_plan(output: Output, plan: "ReindexPlan", *, encode_supplied: bool) -> None:
    if plan.supplied and not encode_supplied:
        output.warn("without --encode-supplied this reindex is refused: vectors were supplied")
    if output.json_only:
        output.result({**asdict(plan), "seconds": round(plan.seconds, 2), "switched": False})
    elif plan.needed:
        output.text(_in_words(plan))
    else:
        output.text(f"{clean(plan.path)} is by this encoder already; nothing was changed")


def _in_words(plan: "ReindexPlan") -> str:
    """Return what is to be done, and about how long it takes, for a person."""
    words = (
        f"generation {plan.generation}: {counted(plan.documents - plan.built, 'document')} "
        "to encode by "
        f"{clean(plan.encoder)} (dim {plan.dim}), about {_duration(plan.seconds)}"
    )
    if plan.built:
        words += f"; {plan.built:,} were encoded by a run that was cut short"
    if plan.supplied:
        words += f"; {counted(plan.supplied, 'vector was', 'vectors were')} supplied"
    return words


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"


def _print_outcome(
    output: Output,
    facts: dict[str, Any],
    comparison: "Comparison | None",
    *,
    seconds: float,
) -> None:
    if output.json_only:
        compared = None if comparison is None else asdict(comparison)
        output.result({**facts, "comparison": compared, "seconds": round(seconds, 2)})
        return
    if comparison is not None:
        _print_comparison(output, comparison)
    index, generation = clean(facts["index"]), facts["generation"]
    encoded = f"{counted(facts['encoded'], 'text')} encoded"
    if facts["switched"]:
        output.text(
            f"{index} is generation {generation} now, by {clean(facts['encoder'])}: {encoded}; "
            "`simsearch rollback` goes back, `simsearch compact` deletes what was before"
        )
    else:
        output.text(
            f"generation {generation} of {index} is built and does not answer yet: {encoded}; the "
            "same command without --no-switch lets it answer"
        )


def _print_comparison(output: Output, comparison: "Comparison") -> None:
    if comparison.difference:
        from simsearch.training import TABLE_HEADER, before_after_table

        rows = before_after_table(comparison.before, comparison.after, comparison.difference)
        output.table(TABLE_HEADER, rows)
    output.text(
        f"overlap@{comparison.k} {comparison.overlap:.4f}, the same first hit for "
        f"{comparison.same_first:.1%} of {counted(comparison.queries, 'query', 'queries')}"
    )
