"""annotate: what several heads say of a text, from one pass."""

from pathlib import Path
from typing import Annotated, Any

import typer

from simsearch.cli.classifier import classification_fields
from simsearch.cli.heads import HeadEncoder, TextFile, Texts, asked_texts
from simsearch.cli.ner import span_fields
from simsearch.cli.options import bundled
from simsearch.cli.output import Output, clean, shorten


@bundled
def annotate(
    output: Output,
    head: Annotated[
        list[Path], typer.Option("--head", help="A head's directory; may be given several times.")
    ],
    texts: Texts = None,
    file: TextFile = None,
    encoder: HeadEncoder = None,
) -> None:
    """Print the classes of each TEXT and the entities in it, from one pass of the encoder."""
    from simsearch.heads import Annotator, load_head

    asked = asked_texts(texts, file)
    heads = [load_head(path) for path in head]
    annotator = Annotator(heads, heads[0].encoder.load(encoder))
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
