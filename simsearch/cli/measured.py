"""What was measured on an index and goes when it is built anew: it is told, not lost in silence."""

from pathlib import Path

from simsearch.cli.output import Output
from simsearch.errors import SimsearchError

_MODE = "which mode is best"
_CALIBRATION = "how probably a hit is an answer"
_RERANKING = "whether reranking helps"
_AGAIN = {
    _MODE: "mode {} DATA",
    _CALIBRATION: "calibrate PAIRS -i {}",
    _RERANKING: "calibrate PAIRS -i {} --rerank maxsim",
}


def measured_on(index_dir: Path) -> frozenset[str]:
    """Return what is known of an index by measuring; nothing where there is none to read."""
    from simsearch.search_index import SearchIndex

    try:
        with SearchIndex.open(index_dir) as index:
            known = {
                _MODE: index.mode_choice().queries,
                _CALIBRATION: index.calibration() is not None,
                _RERANKING: index.rerank_choice().queries,
            }
    except SimsearchError:
        return frozenset()
    return frozenset(name for name, there in known.items() if there)


def warn_of_lost(before: frozenset[str], index_dir: Path, output: Output) -> None:
    """Warn of what was known before an index was built anew, and is not known now."""
    lost = sorted(before - measured_on(index_dir)) if before else []
    for name in lost:
        output.warn(
            f"{name} is not known any more: it was measured on the index that was there before "
            f"(measure again: `simsearch {_AGAIN[name].format(index_dir)}`)"
        )
