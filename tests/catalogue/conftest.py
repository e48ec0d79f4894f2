"""The fixtures of the command line; the catalogue is docs' list of bad and hostile inputs."""

from command_line import built_index, fill_stdin, index_dir, refuse, run, write

__all__ = ["built_index", "fill_stdin", "index_dir", "refuse", "run", "write"]
