"""Every command explains itself and every option of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from command_line import Run

from simsearch import __version__
from simsearch.cli.main import app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


ALL = dict(commands(typer.main.get_command(app)))


def test_the_commands_are_those_of_the_contract() -> None:
    assert {" ".join(path) for path in ALL} == {
        "",
        "demo",
        "finetune",
        "calibrate",
        "index",
        "add",
        "upsert",
        "delete",
        "get",
        "info",
        "facets",
        "upgrade",
        "reindex",
        "rollback",
        "check",
        "repair",
        "compact",
        "backup",
        "restore",
        "optimize",
        "tune",
        "query",
        "judge",
        "judgements",
        "review",
        "mode",
        "similar",
        "duplicates",
        "cluster",
        "map",
        "similarity",
        "encode",
        "evaluate",
        "evaluate retrieval",
        "evaluate sts",
        "annotate",
        "classifier",
        "classifier train",
        "classifier predict",
        "classifier evaluate",
        "ner",
        "ner train",
        "ner predict",
        "ner evaluate",
        "model",
        "model export",
        "model pull",
    }


@pytest.mark.parametrize("path", ALL, ids=" ".join)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_works_for_every_command(run: Run, path: tuple[str, ...], flag: str) -> None:
    outcome = run(*path, flag)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"Usage: {' '.join(['simsearch', *path])} [OPTIONS]" in outcome.out


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_and_every_parameter_has_help(path: tuple[str, ...]) -> None:
    command = ALL[path]
    assert command.help
    assert [each.name for each in command.params if not each.help] == []


LEAVES = [path for path, command in ALL.items() if not hasattr(command, "commands")]


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_takes_the_options_of_all_commands(path: tuple[str, ...]) -> None:
    options = {option for each in ALL[path].params for option in each.opts}
    assert options >= {"--json", "--quiet", "--verbose", "--debug", "--threads"}


def test_the_version_is_printed(run: Run) -> None:
    outcome = run("--version")
    assert (outcome.code, outcome.out) == (0, f"simsearch {__version__}\n")
