"""The index directory: its marker file, and whether what stands there is an index of ours."""

from __future__ import annotations

from pathlib import Path

from simsearch.errors import CorruptIndex, IncompatibleIndex, NotFound
from simsearch.files import translated_os_errors

FORMAT_VERSION = 1
_FORMAT_NAME = "simsearch-index"


def write_format(directory: Path, *, created_by: str) -> None:
    """Write the marker of a new index directory."""
    with translated_os_errors(directory):
        line = f"{_FORMAT_NAME} {FORMAT_VERSION} {created_by}\n"
        (directory / "FORMAT").write_text(line, encoding="ascii")


def check_format(directory: Path) -> None:
    """Make sure that `directory` is an index that this version reads.

    Raises:
        NotFound: it is not an index.
        CorruptIndex: its marker is not one that we write.
        IncompatibleIndex: it was written in another format version.
    """
    marker = directory / "FORMAT"
    with translated_os_errors(marker):
        if not marker.is_file():
            raise NotFound(f"{directory}: no simsearch index here (FORMAT missing)")
        words = marker.read_bytes()[:200].decode("ascii", errors="replace").split()
    if len(words) < 2 or words[0] != _FORMAT_NAME or not words[1].isdigit():
        raise CorruptIndex(f"{marker} does not name a format of simsearch")
    version = int(words[1])
    if version != FORMAT_VERSION:
        raise IncompatibleIndex(
            f"{directory} has format {version}, this simsearch reads format {FORMAT_VERSION} "
            "(use the version that wrote it, or index the corpus again)"
        )
