"""An index that a command works with: finished, or with a word to its user where it is not."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from simsearch.cli.output import Output

if TYPE_CHECKING:
    from simsearch.search_index import SearchIndex


@contextlib.contextmanager
def finished_index(index_dir: Path) -> "Iterator[SearchIndex]":
    """Open an index that is to be changed.

    Raises:
        InvalidInput: it is unfinished.
    """
    from simsearch.search_index import SearchIndex

    with SearchIndex.open(index_dir) as index:
        index.refuse_unfinished()
        yield index


@contextlib.contextmanager
def searched_index(index_dir: Path, output: Output) -> "Iterator[SearchIndex]":
    """Open an index that is to be read, and say so if it is empty or unfinished."""
    from simsearch.search_index import SearchIndex

    with SearchIndex.open(index_dir) as index:
        if not index.count():
            output.say("the index is empty")
        if not index.finished:
            output.warn(f"{index_dir} is unfinished: its corpus was not loaded to the end")
        yield index
