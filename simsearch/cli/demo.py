"""demo: the whole loop on the corpus that every Python has."""

import json
import shlex
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsearch.cli.options import bundled
from simsearch.cli.output import Output
from simsearch.cli.query import hit_fields, print_hits
from simsearch.cli.run_output import contract, print_result, stages
from simsearch.errors import AlreadyExists

if TYPE_CHECKING:
    from simsearch.records import Document, Hit, Pair

# Docstrings are cut here, as most of what they say stands in the first lines.
MAX_LENGTH = 100
QUICK_PAIRS = 600
QUICK_DOCUMENTS = 2000


@bundled
def demo(
    output: Output,
    quick: Annotated[
        bool, typer.Option("--quick", help="A part of the corpus; 90 seconds.")
    ] = False,
    out: Annotated[
        Path, typer.Option("--out", help="Where models/ and indexes/ are made.")
    ] = Path(),
) -> int:
    """Fine-tune, index and query the docstrings of this Python's standard library."""
    from simsearch.demo import QUESTIONS
    from simsearch.encoder import Encoder
    from simsearch.search_index import SearchIndex, write_corpus
    from simsearch.training import TrainingConfig, TrainingData, Verdict, finetune

    started = time.monotonic()
    model_dir, index_dir, data_dir = (out / name / "demo" for name in ("models", "indexes", "data"))
    report = out / "report.md"
    _check_report(report)
    pairs, documents = _write_data(data_dir, output, quick=quick)
    with stages(output) as progress:
        result = finetune(
            TrainingData(pairs),
            model_dir,
            config=TrainingConfig(max_length=MAX_LENGTH, epochs=1),
            replace=True,
            say=output.say,
            progress=progress,
        )
        if not output.json_only:
            print_result(output, result)
        kept = result.verdict is Verdict.KEEP
        encoder = Encoder.load(model_dir) if kept else Encoder.load(max_length=MAX_LENGTH)
        with SearchIndex.create(index_dir, encoder=encoder, replace=True) as index:
            write_corpus(
                index.upsert,
                documents,
                total=len(documents),
                progress=lambda done: progress("indexing", done, len(documents)),
            )
            answers = index.search_many(QUESTIONS, k=3)
    _copy_report(Path(result.run), report)
    seconds = round(time.monotonic() - started, 1)
    asked = list(zip(QUESTIONS, answers, strict=True))
    if output.json_only:
        places = {"index": str(index_dir), "documents": len(documents), "report": str(report)}
        found = [
            {"query": question, "hits": [hit_fields(hit) for hit in hits]}
            for question, hits in asked
        ]
        output.result({**contract(result), **places, "answers": found, "seconds": seconds})
        return 0 if kept else 1
    _print_answers(output, asked)
    output.text(
        f"\nencoder  {model_dir}\nindex    {index_dir}\nreport   {report}\ndata     {data_dir}"
    )
    output.say(f"{seconds:.0f} seconds. Try next:")
    for command in _next_commands(data_dir, model_dir if kept else None, out):
        output.say(f"  {shlex.join(command)}")
    return 0 if kept else 1


def _write_data(
    data_dir: Path, output: Output, *, quick: bool
) -> "tuple[list[Pair], list[Document]]":
    """Collect the corpus and its pairs, and leave them where the user can go on with them."""
    from simsearch.demo import demo_documents, demo_pairs, sample, standard_library

    definitions = standard_library()
    pairs, documents = demo_pairs(definitions), demo_documents(definitions)
    output.say(
        f"the standard library has {len(documents):,} docstrings; {len(pairs):,} make a pair"
    )
    if quick:
        pairs = sample(pairs, QUICK_PAIRS, seed=0)
        documents = sample(documents, QUICK_DOCUMENTS, seed=0)
    data_dir.mkdir(parents=True, exist_ok=True)
    _write_jsonl(data_dir / "pairs.jsonl", (asdict(pair) for pair in pairs))
    rows = ({"id": d.id, "title": d.title, "text": d.text, **d.metadata} for d in documents)
    _write_jsonl(data_dir / "corpus.jsonl", rows)
    return pairs, documents


def _print_answers(output: Output, asked: "Iterable[tuple[str, list[Hit]]]") -> None:
    for question, hits in asked:
        output.text(f"\n# {question}")
        print_hits(output, hits)


def _copy_report(run: Path, report: Path) -> None:
    shutil.copyfile(run / "curves.png", report.with_suffix(".png"))
    text = (run / "report.md").read_text(encoding="utf-8")
    report.write_text(text.replace("curves.png", f"{report.stem}.png"), encoding="utf-8")


def _check_report(report: Path) -> None:
    if report.exists() and not report.read_text(encoding="utf-8").startswith("# Fine-tuning "):
        raise AlreadyExists(f"{report} exists and is no report of ours (choose another --out)")


def _next_commands(data_dir: Path, model_dir: Path | None, out: Path) -> list[list[str]]:
    mine = str(out / "indexes" / "mine")
    encoder = ["--encoder", str(model_dir)] if model_dir else []
    return [
        ["simsearch", "query", "make a temporary directory", "-i", str(out / "indexes" / "demo")],
        ["simsearch", "index", str(data_dir / "corpus.jsonl"), "-i", mine, *encoder],
        [
            "simsearch",
            "finetune",
            str(data_dir / "pairs.jsonl"),
            "-o",
            str(out / "models" / "mine"),
        ],
    ]


def _write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
