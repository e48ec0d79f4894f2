"""annotate: what several heads say of texts, from one pass; or of the documents of an index."""

import functools
from pathlib import Path
from typing import Annotated, Any

import typer

from simsearch.cli.classifier import classification_fields
from simsearch.cli.heads import HeadEncoder, MinInScope, TextFile, Texts, asked_texts
from simsearch.cli.input import report_counts
from simsearch.cli.ner import span_fields
from simsearch.cli.opened import finished_index
from simsearch.cli.options import bundled
from simsearch.cli.output import Output, clean, shorten
from simsearch.errors import InvalidInput
from simsearch.wording import counted


@bundled
def annotate(
    output: Output,
    head: Annotated[
        list[Path], typer.Option("--head", help="A head's directory; may be given several times.")
    ],
    texts: Texts = None,
    file: TextFile = None,
    index_dir: Annotated[
        Path | None,
        typer.Option("-i", "--index", help="Write into the documents of this index instead."),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="With -i: let go what stands in the fields of the heads."),
    ] = False,
    encoder: HeadEncoder = None,
    min_in_scope: MinInScope = None,
) -> None:
    """Print the classes of each TEXT and the entities in it, from one pass of the encoder.

    With -i write them into the metadata of all documents of an index, whose vectors stay as they
    are. Classifiers take the stored vectors: nothing is encoded. A tagger reads every text.
    """
    from simsearch.encoder import reading_by
    from simsearch.heads import Annotator, load_head

    if index_dir is not None:
        if texts or file is not None or encoder is not None:
            raise InvalidInput("-i takes the texts and the encoder of the index: give no others")
        _annotate_index(index_dir, head, output, replace=replace, min_in_scope=min_in_scope)
        return
    if replace:
        raise InvalidInput("--replace goes with -i INDEX_DIR")
    heads = functools.cache(lambda: [load_head(path) for path in head])
    load = functools.cache(lambda: heads()[0].encoder.load(encoder))
    asked = asked_texts(texts, file, reading_by(load))
    annotator = Annotator(heads(), load(), min_in_scope=min_in_scope)
    for text, found in zip(asked, annotator.annotate(asked), strict=True):
        if output.json_only:
            facts: dict[str, Any] = {"text": text, "classes": {}, "spans": {}}
            for field, each in found.classes.items():
                fields = classification_fields(text, each)
                facts["classes"][field] = {name: fields[name] for name in fields if name != "text"}
            for field, spans in found.spans.items():
                facts["spans"][field] = span_fields(text, spans)
            output.result(facts)
            continue
        output.text(f"# {shorten(text, 80)}")
        for field, each in found.classes.items():
            labels = ", ".join(clean(label) for label in each.labels) or "(none)"
            output.text(f"{each.probability:.4f}  {field}: {labels}")
        for field, spans in found.spans.items():
            for span in spans:
                part = shorten(text[span.start : span.end], 80)
                output.text(f"{span.probability:.4f}  {field}: {clean(span.label)}  {part}")


def _annotate_index(
    path: Path,
    heads: list[Path],
    output: Output,
    *,
    replace: bool,
    min_in_scope: float | None,
) -> None:
    from dataclasses import asdict

    from simsearch.encoder import Encoder, EncodingCounts
    from simsearch.heads import Annotator, load_head
    from simsearch.search_index import annotate_index

    loaded = [load_head(each) for each in heads]
    counts = EncodingCounts()
    with finished_index(path) as index, output.progress() as begin:
        own = index.encoder
        if not isinstance(own, Encoder):
            raise TypeError(f"expected an Encoder, got {type(own).__name__}")
        annotator = Annotator(loaded, own, min_in_scope=min_in_scope)
        advance, total = begin("annotating"), index.count()
        report = annotate_index(
            index,
            annotator,
            replace_fields=replace,
            counts=counts,
            progress=lambda done: advance(done, total),
        )
    advice = " for classifiers (taggers have them whole)" if annotator.reads_every_text else ""
    report_counts(output, counts, advice=advice, in_windows=not annotator.classifies)
    if output.json_only:
        output.result({**asdict(report), "index": str(path)})
        return
    output.text(
        f"annotated {path}: {counted(report.changed, 'document')} changed, "
        f"{report.unchanged:,} unchanged"
    )
    output.text(
        f"{counted(report.encoded, 'text')} encoded, {counted(report.reused, 'vector')} reused"
    )
    if report.overtaken:
        output.warn(
            f"{report.overtaken:,} documents were changed by another writer meanwhile and have no "
            "annotation of now (run it again)"
        )
