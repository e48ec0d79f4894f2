"""What tests of the store share: small stores, and raw looks at their database."""

from __future__ import annotations

import contextlib
import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from simsearch import failpoints
from simsearch.records import Document
from simsearch.storage import DocumentStore, PassageRows, text_hash

DIM = 4


def documents(*ids: str) -> list[Document]:
    return [Document(id=name, text=f"text of {name}", metadata={"n": len(name)}) for name in ids]


def vectors(count: int, start: float = 0.0) -> np.ndarray:
    return (np.arange(count * DIM, dtype=np.float32) + start).reshape(count, DIM)


def whole(given: list[Document], rows: np.ndarray) -> PassageRows:
    """One row for each document, encoded from its content."""
    ranges = [[(0, len(document.text))] for document in given]
    return PassageRows(ranges, rows, [text_hash(document.content) for document in given])


def insert(store: DocumentStore, *ids: str, start: float = 0.0) -> None:
    store.insert(documents(*ids), whole(documents(*ids), vectors(len(ids), start)))


def write(store: DocumentStore, *ids: str, start: float = 0.0) -> None:
    with store.transaction():
        insert(store, *ids, start=start)


@contextlib.contextmanager
def raw(directory: Path) -> Iterator[sqlite3.Connection]:
    """Look into the database of an index behind its back, and commit at the end."""
    with contextlib.closing(sqlite3.connect(directory / "meta.db")) as connection, connection:
        yield connection


@contextlib.contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes inside the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def fault(text: str) -> Iterator[failpoints.Plan]:
    """Let a fault happen inside the block, and make sure that its place was passed."""
    plan = failpoints.parse_plan(text)
    failpoints.arm(plan)
    try:
        yield plan
    finally:
        failpoints.arm(None)
    assert plan.passed.count(plan.name) >= plan.number, f"{plan.name} was not passed"
