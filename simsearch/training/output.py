"""Where a run may write: never over what is no model, never a rejected model over a good one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from simsearch.encoder import MODEL_FILE
from simsearch.errors import AlreadyExists, InvalidInput
from simsearch.files import (
    check_free,
    clear_directory,
    occupied,
    remove_directory,
    replace_text,
    translated_os_errors,
)
from simsearch.storage import writer_lock

RUN = "run"
SETTINGS = "config.toml"  # of the run, in its folder
PLAN = "plan.json"
LOCK = "LOCK"


def is_run(path: Path) -> bool:
    """Whether a directory is a model directory of a run, or the run folder in it."""
    return (run_folder(path) / SETTINGS).is_file()


def run_folder(path: Path) -> Path:
    """Return the run folder of a model directory; of any other directory itself."""
    return path / RUN if (path / RUN).is_dir() else path


def check_output(output: Path, *, replace: bool, resume: bool = False) -> None:
    """Refuse a model directory that cannot be made.

    Raises:
        AlreadyExists: it is there and `replace` is false, or it is no model directory; or a run
            for it was cut short, and neither `replace` nor `resume` says what is to become of it.
        IndexLocked: a run for it goes on in another process.
    """
    work = working_directory(output)
    if resume and occupied(output) and not replace and not _cut_short(work):
        raise AlreadyExists(f"{output} is finished: there is nothing to resume (or --replace it)")
    check_free(output, replace=replace)
    for place in (output, place_of(output, kept=False)):
        if occupied(place) and not _is_model(place):
            raise AlreadyExists(
                f"{place} exists and is no model directory, which is never replaced"
            )
    if occupied(work) and not _is_work(work):
        raise AlreadyExists(f"{work} exists and is no run of ours, which is never replaced")
    if _cut_short(work) and not (resume or replace):
        with writer_lock(work / LOCK, budget=0.0):
            pass  # it was cut short, and does not go on in another process
        raise AlreadyExists(
            f"{work} holds a run that was cut short (--resume goes on with it, --replace begins "
            "anew)"
        )


def place_of(output: Path, *, kept: bool) -> Path:
    """Return where a run ends up: a rejected one does not replace a model that is there."""
    if kept or not (output / MODEL_FILE).is_file():
        return output
    return output.with_name(f"{output.name}.rejected")


def working_directory(output: Path) -> Path:
    """Return where the checkpoints of a run lie while it goes on."""
    return output.with_name(f"{output.name}.training")


def resumable(output: Path) -> bool:
    """Return whether a run for a model directory was cut short after its first checkpoint."""
    return _cut_short(working_directory(output))


def check_resumable(output: Path, *, identity: Mapping[str, Any]) -> None:
    """Refuse to go on with a run that was cut short and is another one.

    Raises:
        InvalidInput: the message names what differs.
    """
    work = working_directory(output)
    if _cut_short(work):
        _refuse_another(work, identity)


@contextlib.contextmanager
def working(
    output: Path,
    *,
    identity: Mapping[str, Any],
    resume: bool,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Path]:
    """Give the working directory of a run, new or taken up; it is deleted when the run is done.

    After an error or an interrupt it stays, if it holds a checkpoint; `say` is told so then.

    Raises:
        InvalidInput: the run to be resumed is another one; the message names what differs.
        IndexLocked: another process is at it.
    """
    work = working_directory(output)
    with translated_os_errors(work):
        work.mkdir(parents=True, exist_ok=True, mode=0o700)
        with writer_lock(work / LOCK, budget=0.0):
            if resume and _cut_short(work):
                _refuse_another(work, identity)
            else:
                # What makes it a run stays, should it be killed here.
                clear_directory(work, keep=(LOCK, PLAN))
                replace_text(work / PLAN, json.dumps(identity, indent=2) + "\n")
            try:
                yield work
            except BaseException:  # Ctrl-C is what most often ends a run
                if not _keeps_checkpoint(work):
                    remove_directory(work)
                else:
                    say(f"{work} keeps the last checkpoint (--resume goes on with it)")
                raise
            remove_directory(work)


def _refuse_another(work: Path, identity: Mapping[str, Any]) -> None:
    try:
        before = json.loads((work / PLAN).read_text(encoding="utf-8"))
    except ValueError:
        before = {}
    differs = [key for key in {**identity, **before} if before.get(key) != identity.get(key)]
    if differs:
        shown = "; ".join(
            f"{key}: was {_shown(before, key)}, is {_shown(identity, key)}" for key in differs[:4]
        )
        raise InvalidInput(
            f"{work} holds another run ({shown}); give the same settings and data, or --replace"
        )


def _shown(identity: Mapping[str, Any], key: str) -> str:
    value = identity.get(key, "none")
    return value if isinstance(value, str) else json.dumps(value)


def _cut_short(work: Path) -> bool:
    """Whether a run left a checkpoint, whole or not, that it could be resumed from."""
    return any(work.glob("step-*"))


def _keeps_checkpoint(work: Path) -> bool:
    """Whether a checkpoint was written to its end, of which the state is the last."""
    if not _cut_short(work):
        return False
    from simsearch.training.checkpoints import STATE  # torch, which is there where a step is

    return any(work.glob(f"step-*/{STATE}"))


def _is_work(work: Path) -> bool:
    """Whether a directory holds a run, be it one that was killed before its plan was written."""
    if work.is_symlink() or not work.is_dir():
        return False
    return (work / PLAN).is_file() or all(
        entry.name == LOCK or entry.name.startswith(f".{PLAN}.draft-") for entry in work.iterdir()
    )


def _is_model(path: Path) -> bool:
    return (path / RUN / "result.json").is_file() or (path / MODEL_FILE).is_file()
