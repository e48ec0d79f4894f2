"""The catalogue of bad and hostile inputs is tested through the command line."""

from command_line import built_index, fill_stdin, index_dir, refuse, run, write

__all__ = ["built_index", "fill_stdin", "index_dir", "refuse", "run", "write"]
