"""The fixtures of the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stores import DIM

from simsearch.storage import DocumentStore


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return the directory of an empty store."""
    directory = tmp_path / "store"
    directory.mkdir()
    DocumentStore.create(directory, dim=DIM, settings={"encoder": "none"})
    return directory


@pytest.fixture
def store(directory: Path) -> Iterator[DocumentStore]:
    store = DocumentStore.open(directory)
    yield store
    store.close()
