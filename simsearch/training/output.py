"""Where a run may write: never over what is no model, never a rejected model over a good one."""

from __future__ import annotations

from pathlib import Path

from simsearch.encoder import MODEL_FILE
from simsearch.errors import AlreadyExists
from simsearch.files import check_free, occupied

RUN = "run"


def check_output(output: Path, *, replace: bool) -> None:
    """Refuse a model directory that cannot be made.

    Raises:
        AlreadyExists: it is there and `replace` is false, or it is no model directory.
    """
    check_free(output, replace=replace)
    for place in (output, place_of(output, kept=False)):
        if occupied(place) and not _is_model(place):
            raise AlreadyExists(
                f"{place} exists and is no model directory, which is never replaced"
            )


def place_of(output: Path, *, kept: bool) -> Path:
    """Return where a run ends up: a rejected one does not replace a model that is there."""
    if kept or not (output / MODEL_FILE).is_file():
        return output
    return output.with_name(f"{output.name}.rejected")


def _is_model(path: Path) -> bool:
    return (path / RUN / "result.json").is_file() or (path / MODEL_FILE).is_file()
