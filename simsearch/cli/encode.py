"""encode and similarity: the encoder by itself."""

from pathlib import Path
from typing import Annotated

import typer

from simsearch.cli.input import report_counts
from simsearch.cli.options import Dim, EncoderName, bundled
from simsearch.cli.output import Output
from simsearch.errors import InvalidData, InvalidInput


@bundled
def similarity(
    text_a: Annotated[str, typer.Argument(metavar="TEXT_A", help="A text.")],
    text_b: Annotated[str, typer.Argument(metavar="TEXT_B", help="Another text.")],
    output: Output,
    encoder: EncoderName = None,
) -> None:
    """Print the cosine similarity of two texts."""
    from simsearch.encoder import Encoder
    from simsearch.search_index import check_query

    for text in (text_a, text_b):
        check_query(text, name="text")
    first, second = Encoder.load(encoder).encode([text_a, text_b])
    score = float(first @ second)
    if output.json_only:
        output.result({"text_a": text_a, "text_b": text_b, "score": score})
    else:
        output.text(f"{score:.4f}")


@bundled
def encode(
    output: Output,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT...", help="A text, or several.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--texts", help="A file with one text per line, or -.")
    ] = None,
    encoder: EncoderName = None,
    dim: Dim = None,
    target: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write .npy, float32 (n, dim).")
    ] = None,
) -> None:
    """Print the embedding of each TEXT as a JSON object, or write them all to a file."""
    import numpy as np

    from simsearch.encoder import Encoder, EncodingCounts, truncate_embeddings
    from simsearch.files import check_target, replace_file
    from simsearch.search_index import check_dim, check_query

    if target is not None:
        check_target(target)
    for text in texts or []:
        check_query(text, name="text")
    given = [*(texts or []), *(_read_texts(file) if file is not None else [])]
    if not given:
        raise InvalidInput("give a text, or a file of them with --texts")
    counts = EncodingCounts()
    with output.progress() as begin:
        advance = begin("encoding")
        loaded = Encoder.load(encoder)
        if dim is not None:
            check_dim(dim, loaded.dim)
        embeddings = loaded.encode(
            given, counts=counts, progress=lambda done: advance(done, len(given))
        )
    report_counts(output, counts)
    if dim is not None:
        embeddings = truncate_embeddings(embeddings, dim)
    if target is None:
        for text, row in zip(given, embeddings.tolist(), strict=True):
            output.result({"text": text, "embedding": row})
        return
    with replace_file(target) as stream:
        np.save(stream, embeddings)
    width = embeddings.shape[1]
    facts = {"texts": len(given), "dim": width, "encoder": loaded.name, "output": str(target)}
    if output.json_only:
        output.result(facts)
    else:
        output.text(f"wrote {len(given):,} embeddings of dim {width} to {target}")


def _read_texts(path: Path) -> list[str]:
    from simsearch.formats import read_lines, source_name

    lines = []
    for number, line in read_lines(path):
        if not line.strip():
            raise InvalidData(f"{source_name(path)}:{number}: the text is empty")
        lines.append(line)
    return lines
