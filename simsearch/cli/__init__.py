"""The command line. Each file holds one group of commands: parse, one call, print."""

from simsearch.cli.main import entry_point, main

__all__ = ["entry_point", "main"]
