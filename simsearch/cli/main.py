"""The application: its commands, and how every error becomes one line and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from simsearch.cli.commands import Commands
from simsearch.cli.output import clean
from simsearch.errors import EncoderError, InvalidFilter, SimsearchError, SystemFailure
from simsearch.version import __version__

_INTERRUPTED = 130

app = typer.Typer(
    name="simsearch",
    cls=Commands,
    help="Embedded semantic search with encoders tuned to your own corpus.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"simsearch {__version__}")
        raise typer.Exit


@app.callback()
def _app(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see simsearch.errors for the codes."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _prepare_process()
    try:
        code = app(args=arguments, prog_name="simsearch", standalone_mode=False)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt  # typer has caught it and returns its exit code
        sys.stdout.flush()
        return int(code or 0)
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as leaving:
        # Typer, too, catches a broken pipe, and exits with 1.
        if isinstance(leaving.__context__, BrokenPipeError):
            return _reader_left()
        raise
    except typer.TyperException as error:
        # Without a command typer has printed the help, and its error has no message.
        message = error.format_message()
        return _fail(message, 2, arguments) if message else 2
    except InvalidFilter as error:
        code = _fail(error.problem, error.exit_code, arguments)
        print(error.picture, file=sys.stderr)
        return code
    except SimsearchError as error:
        return _fail(str(error), error.exit_code, arguments)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", SystemFailure.exit_code, arguments)
    except MemoryError:
        return _fail("out of memory", EncoderError.exit_code, arguments)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", _INTERRUPTED, arguments)


def entry_point() -> None:
    """Run the command line of this process, and end it."""
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or there is none
            stream.flush()
    # Every file is closed by now. To take the interpreter down in order is to free vectors and
    # graphs piece by piece, which was a seventh of a cold query (docs/log.md, 2026-11-23).
    os._exit(code)


def _reader_left() -> int:
    """Go quietly: the reader (head, less) has seen enough."""
    # What is left in the buffer must not raise again.
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - lives until exit
    return 0


def _fail(message: str, code: int, arguments: Sequence[str]) -> int:
    if "--debug" in arguments:
        traceback.print_exc()
    print(f"simsearch: error: {clean(message)}", file=sys.stderr)
    return code


def _prepare_process() -> None:
    """Set what a thread pool or a hub client reads when its library is first imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # To look for them pydantic, on which typer stands, reads every installed package: 10 ms.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for stream in (sys.stdout, sys.stderr):
        # Results are UTF-8 in every locale; what cannot be encoded (a stray byte from the command
        # line in an error message) is shown escaped instead of raising.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
