"""Which file holds each command; it is imported when the command is asked for.

A query needs none of the others: to import and describe them all was a tenth of it, cold
(docs/log.md, 2026-11-26).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from typer._click import Command

# In the order of `simsearch --help`. A command is the function of its name; where the file is
# named so itself and has an `app`, a group of commands.
_FILES: Final = {
    "demo": "demo",
    "finetune": "finetune",
    "calibrate": "calibrate",
    "index": "index",
    "add": "index",
    "upsert": "index",
    "delete": "index",
    "get": "index",
    "info": "info",
    "facets": "facets",
    "upgrade": "index",
    "reindex": "generations",
    "rollback": "generations",
    "check": "maintenance",
    "repair": "maintenance",
    "compact": "maintenance",
    "backup": "maintenance",
    "restore": "maintenance",
    "optimize": "tuning",
    "tune": "tuning",
    "query": "query",
    "judge": "judge",
    "judgements": "judge",
    "review": "review",
    "mode": "mode",
    "similar": "corpus",
    "duplicates": "corpus",
    "cluster": "corpus",
    "map": "corpus",
    "similarity": "encode",
    "encode": "encode",
    "annotate": "annotate",
    "evaluate": "evaluate",
    "classifier": "classifier",
    "ner": "ner",
    "model": "model",
}


class Commands(TyperGroup):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Imported()  # type: ignore[assignment] # nobody adds to it


class _Imported(Mapping[str, "Command"]):
    """Commands by name, each made when it is looked up."""

    def __getitem__(self, name: str) -> Command:
        return _command(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_FILES)

    def __len__(self) -> int:
        return len(_FILES)


@cache
def _command(name: str) -> Command:
    module = importlib.import_module(f"simsearch.cli.{_FILES[name]}")
    group = getattr(module, "app", None)
    if group is not None:
        command: Command = typer.main.get_group(group)
    else:
        alone = typer.Typer(add_completion=False)
        alone.command(name)(getattr(module, name))
        command = typer.main.get_command(alone)
    command.name = name
    return command
