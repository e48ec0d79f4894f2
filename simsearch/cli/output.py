"""What a command prints: results on stdout, talk and progress on stderr."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any

# Control characters, which a document could use to drive the terminal. Bidirectional controls
# reorder what is around them.
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")
# What JSON may hold as it is, but ends a line for many readers (U+0085, U+2028, U+2029) or drives
# a terminal: as escapes they are the same to a parser.
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SHOWN = 300  # characters of a text that are shown to a person

# Called with how much of a stage is done, and how much there is.
Advance = Callable[[int, int], None]


class Output:
    """The two streams of one command run."""

    def __init__(self, *, json_only: bool, quiet: bool) -> None:
        self.json_only = json_only
        self.quiet = quiet

    @property
    def bold(self) -> bool:
        """Whether stdout shows bold letters: a terminal, and nobody asked for none (NO_COLOR)."""
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def result(self, value: Any) -> None:
        """Print one JSON object on one line; with --json."""
        line = json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
        print(_UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", line))

    def text(self, line: str) -> None:
        """Print a line of the result for a person; without --json."""
        print(line)

    def flush(self) -> None:
        """Hand on what was printed so far."""
        sys.stdout.flush()

    def say(self, line: str) -> None:
        """Tell a person what is going on."""
        if not self.quiet:
            print(clean(line), file=sys.stderr)

    def warn(self, line: str) -> None:
        """Tell a person what to look at."""
        print(f"simsearch: warning: {clean(line)}", file=sys.stderr)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table for a person, columns aligned, numbers to the right."""
        lines = [list(header), *[list(row) for row in rows]]
        widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
        for line in lines:
            cells = [line[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            self.text("  ".join(cells).rstrip())

    @contextlib.contextmanager
    def progress(self) -> Iterator[Callable[[str], Advance]]:
        """Show progress bars on a terminal; elsewhere, and with --quiet, nothing.

        Yields a function that begins a stage and returns how to advance it.
        """
        if self.quiet or not sys.stderr.isatty():
            yield lambda stage: lambda done, total: None
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class RateColumn(ProgressColumn):
            """How many a second are done."""

            def render(self, task: Task) -> Text:
                return Text(f"{task.speed:,.0f}/s" if task.speed else "")

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            RateColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:

            def begin(stage: str) -> Advance:
                task = bars.add_task(stage, total=None)
                return lambda done, total: bars.update(task, completed=done, total=total)

            yield begin


def clean(text: str) -> str:
    """Return a text that can be printed on a terminal in one line and does nothing there.

    A lone surrogate (a stray byte of a file name) is left: the stream shows it escaped.
    """
    return "".join(
        " "
        if character in "\t\n\r\u2028\u2029"
        else ""
        if character in _BIDI or unicodedata.category(character) == "Cc"
        else character
        for character in text
    )


def shorten(text: str, width: int = _SHOWN) -> str:
    """Return the cleaned beginning of a text."""
    shown = " ".join(clean(text[: width * 4]).split())
    return shown if len(shown) <= width and len(text) <= width * 4 else shown[:width].rstrip() + "…"


def route_warnings(output: Output, *, verbose: bool) -> None:
    """Send the library's log to stderr in the form of our messages."""
    logger = logging.getLogger("simsearch")
    logger.handlers = [_Handler(output)]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)


class _Handler(logging.Handler):
    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if record.levelno >= logging.WARNING:
            self._output.warn(line)
        else:
            self._output.say(line)
