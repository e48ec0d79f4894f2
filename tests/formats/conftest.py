"""Files that tests write, and a stdin that they fill."""

from command_line import Write, fill_stdin, write

__all__ = ["Write", "fill_stdin", "write"]
