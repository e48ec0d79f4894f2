"""The held-out data of a run that is over, made again of what the run was made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simsearch.errors import InvalidData, InvalidInput, NotFound
from simsearch.formats import Example, ReadOptions
from simsearch.formats.lines import is_stdin
from simsearch.search_index import RetrievalTask
from simsearch.training.identity import identity
from simsearch.training.output import SETTINGS, run_folder
from simsearch.training.plan import make_plan
from simsearch.training.run_file import RunSettings, read_run_file
from simsearch.training.sources import load_run_data

_PROVENANCE = "provenance.json"
_UNKNOWN = (
    "what this run held out is not known any more (name a file of pairs that trained nothing)"
)


def held_out_of_run(path: Path) -> Sequence[Example] | RetrievalTask:
    """Return the data that judged the encoder of a run, of which nothing trained it.

    The files of the run are read again and divided again. That they are the same is told by the
    hashes in the run folder.

    Raises:
        InvalidInput: the run names no files that could be read again.
        InvalidData: they hold something else now, or nothing was held out.
        NotFound: a file is not there any more.
    """
    folder = run_folder(path)
    settings = read_run_file(folder / SETTINGS)
    _refuse_unnamed(settings, folder)
    before, options = _provenance(folder / _PROVENANCE)
    sets, evaluation = load_run_data(settings, options=options, on_reject=lambda error: None)
    plan = make_plan(sets, evaluation, settings.config)
    now = identity(plan, settings.config, base_fingerprint="", evaluation=evaluation)
    for name, value in now.items():
        if (name == "evaluation" or name.startswith("data ")) and before.get(name) != value:
            raise InvalidData(
                f"{folder}: the data that this run was made of has changed since ({name}), so "
                f"{_UNKNOWN}"
            )
    if evaluation is not None:
        return evaluation
    return [example for part in plan.parts for example in part.held_out]


def _refuse_unnamed(settings: RunSettings, folder: Path) -> None:
    paths = [source.path for source in settings.data]
    if settings.evaluation is not None:
        paths.append(settings.evaluation)
    if not settings.data or any(is_stdin(each) for each in paths):
        raise InvalidInput(
            f"{folder}: this run names no files that could be read again, so what it held out is "
            "not known (name a file of pairs that trained nothing)"
        )


def _provenance(path: Path) -> tuple[Mapping[str, Any], ReadOptions]:
    """Return what a run was made of, by hashes, and how its files were read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        kept = dict(found.get("reading", {}))
        for name in ("on_error", "rows_skipped"):  # of the command, not of the files
            kept.pop(name, None)
        return found, ReadOptions(**kept)
    except FileNotFoundError as error:
        raise NotFound(f"{path} is missing, so {_UNKNOWN}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidData(f"{path} is damaged, so {_UNKNOWN}") from error
