"""info: what an index is, what it holds, and what was measured of it."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from simsearch.cli.options import bundled
from simsearch.cli.output import Output, clean
from simsearch.cli.tuning import search_facts


@bundled
def info(
    index_dir: Annotated[Path, typer.Argument(metavar="INDEX_DIR", help="The index directory.")],
    output: Output,
) -> None:
    """Print what an index is and holds."""
    from simsearch.search_index import SearchIndex

    with SearchIndex.open(index_dir) as target:
        facts: dict[str, Any] = asdict(target.info())
    if output.json_only:
        output.result(facts)
        return
    lines = [*_learned_facts(facts), *search_facts(facts)]
    for name in _TOLD_APART:
        del facts[name]
    for name, value in facts.items():
        output.text(f"{name.replace('_', ' '):15} {clean(_shown(value))}")
    for line in lines:
        output.text(line)


# What `info` tells in lines of its own.
_TOLD_APART = (
    *("search", "target", "mode", "mode_reason", "calibration"),
    *("rerank", "rerank_top", "rerank_reason", "judgements"),
)


def _learned_facts(facts: dict[str, Any]) -> list[str]:
    """Return the lines in which `info` tells a person what was measured, or said, of answers."""
    reranked = f", the nearest {facts['rerank_top']:,}" if facts["rerank"] != "none" else ""
    return [
        f"mode            {facts['mode']}: {facts['mode_reason']}",
        f"rerank          {facts['rerank']}{reranked}: {facts['rerank_reason']}",
        f"calibration     {_calibration(facts['calibration'])}",
        f"judgements      {facts['judgements']:,}",
    ]


def _calibration(found: dict[str, Any] | None) -> str:
    if found is None:
        return "none, so hits have no probability (run `simsearch calibrate PAIRS -i INDEX_DIR`)"
    of = "pairs" if found["candidates"] is None else f"queries, each among {found['candidates']:,}"
    return (
        f"expected error {found['expected_calibration_error']:.4f} ({found['method']}), on "
        f"{found['scored']:,} similarities of {found['units']:,} {of}; {found['matches']:,} matches"
    )


def _shown(value: Any) -> str:
    """Return a fact as a person reads it."""
    if isinstance(value, dict):  # another generation
        return "{generation} by {encoder} (dim {dim}), {documents:,} documents".format(**value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
