"""A new index directory: made beside its name, and put there whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from simsearch.files import draft_directory
from simsearch.search_index.binding import TextEncoder, bind_encoder
from simsearch.search_index.checks import check_dim
from simsearch.search_index.directory import install_index, write_format
from simsearch.storage import DocumentStore
from simsearch.version import __version__


def create_directory(
    path: Path,
    encoder: TextEncoder,
    *,
    dim: int | None,
    settings: Mapping[str, str],
    replace: bool,
) -> None:
    """Make an empty index for the first `dim` components of an encoder's embeddings, None for all.

    Raises:
        InvalidInput: `dim` is not 2 to the encoder's.
    """
    dim = encoder.dim if dim is None else dim
    check_dim(dim, encoder.dim)
    created_by = f"simsearch/{__version__}"
    with draft_directory(path) as draft:
        bound = {**bind_encoder(encoder, draft, dim=dim), "created_by": created_by}
        DocumentStore.create(draft, dim=dim, settings={**bound, **settings})
        write_format(draft, created_by=created_by)
        install_index(draft, path, replace=replace)
