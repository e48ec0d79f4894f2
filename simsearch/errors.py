"""Everything simsearch raises on purpose, with the exit code of the command line.

SimsearchError
├── InvalidInput          2   what the caller asked for: a bad k, an empty query, a flag
│   ├── InvalidFilter     2   a filter that cannot be read, or names a field that is not there
│   ├── NotFound          2   no such file, index or model directory
│   └── AlreadyExists     2   something is there that would have to be replaced
├── InvalidData           3   what a file or an array holds: a broken row, a NaN, an empty text
│   └── DuplicateId       3   the same document id twice, or one that is in the index
├── CorruptIndex          4   disk state that no version of simsearch writes
├── IndexLocked           5   another process is writing
├── SystemFailure         6   disk full, permission denied, I/O error
├── EncoderError          7   an encoder that cannot be found, trusted, loaded or run
└── IncompatibleIndex     8   made by another format version
    └── EncoderMismatch   8   made by another encoder
"""

from __future__ import annotations

from typing import ClassVar


class SimsearchError(Exception):
    """Base of every error that simsearch raises on purpose."""

    exit_code: ClassVar[int] = 1


class InvalidInput(SimsearchError):
    """The caller asked for something that cannot be asked."""

    exit_code = 2


class InvalidFilter(InvalidInput):
    """A filter that cannot be read, or names a field that no document has.

    `problem` is one line; `picture` the filter with a caret under the place, two lines.
    """

    def __init__(self, problem: str, picture: str) -> None:
        super().__init__(f"{problem}\n{picture}")
        self.problem = problem
        self.picture = picture


class NotFound(InvalidInput):
    """A file, an index or a model directory is not there."""


class AlreadyExists(InvalidInput):
    """Something is there already, and replacing it was not asked for."""


class InvalidData(SimsearchError):
    """Input data breaks its format. Messages about files begin with FILE:LINE."""

    exit_code = 3


class DuplicateId(InvalidData):
    """A document id stands twice in the input, or is in the index already."""


class CorruptIndex(SimsearchError):
    """The index directory holds something that no version of simsearch writes."""

    exit_code = 4


class IndexLocked(SimsearchError):
    """Another process holds the writer lock, and kept it longer than we wait."""

    exit_code = 5


class SystemFailure(SimsearchError):
    """The operating system refused: disk full, permission, I/O error."""

    exit_code = 6


class EncoderError(SimsearchError):
    """An encoder could not be found, trusted, loaded or run."""

    exit_code = 7


class IncompatibleIndex(SimsearchError):
    """The index was written in a format that this version does not read."""

    exit_code = 8


class EncoderMismatch(IncompatibleIndex):
    """The index was built by another encoder; its vectors cannot be compared with ours."""
