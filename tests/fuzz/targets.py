"""What reads bytes of strangers: each target takes any bytes, and lets nothing but our errors out.

A target returns what it has read, after it has looked whether that is what it may be.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import io
import json
import os
import shutil
import sqlite3
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from differential_filters import table
from filters import holds
from stores import DIM, write

from simsearch.ann import BuiltIndex, IndexRecord, append_index, map_segment, write_vectors
from simsearch.ann.candidates import FLAT
from simsearch.conditions import leaves
from simsearch.errors import SimsearchError
from simsearch.formats import (
    ReadOptions,
    read_documents,
    read_examples,
    read_labelled_texts,
    read_tagged_texts,
    read_vectors,
)
from simsearch.query import parse_filter
from simsearch.records import Document, Judgement
from simsearch.search_index import restore_index
from simsearch.search_index.directory import check_format
from simsearch.storage import DocumentStore
from simsearch.storage.checksums import (
    block_crc32,
    document_crc32,
    judgement_crc32,
    passage_crc32,
)
from simsearch.storage.filters import matching_rows
from simsearch.storage.judgements import StoredJudgement
from simsearch.storage.witness import read_witness
from simsearch.training import read_run_file

Target = Callable[[bytes], object]
_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


@functools.cache
def folder() -> Path:
    """Return a folder of this process, where what is read lies; it goes with the process.

    But not with a fuzzer, which libFuzzer ends: what it leaves is in memory, named by its number.
    """
    path = Path(tempfile.mkdtemp(prefix=f"fuzz-{os.getpid()}-", dir=_MEMORY))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@functools.cache
def opened(name: str) -> tuple[Path, int]:
    """Return the path and a descriptor of a file that holds one input after another."""
    path = folder() / name
    return path, os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def lay(name: str, data: bytes) -> Path:
    """Write a file to be read."""
    path, descriptor = opened(name)
    os.ftruncate(descriptor, 0)
    assert os.pwrite(descriptor, data, 0) == len(data)
    return path


def read_as(name: str) -> Target:
    """Return a target that reads documents from a file of this name."""

    def read(data: bytes) -> object:
        found = list(read_documents(lay(name, data), ReadOptions(max_record=2000)))
        for each in found:
            assert each.content.strip()
            assert 1 <= len(each.id.encode()) <= 512
            assert each.id.isprintable()
            json.dumps(dict(each.metadata), allow_nan=False).encode()
            "".join([each.id, each.text, each.title or ""]).encode()
        assert len({each.id for each in found}) == len(found)
        return found

    return read


def pairs(data: bytes) -> object:
    name = "pairs.csv" if data[:1] == b"\x00" else "pairs.jsonl"
    return list(read_examples(lay(name, data.removeprefix(b"\x00"))))


def labels(data: bytes) -> object:
    name = "labels.csv" if data[:1] == b"\x00" else "labels.jsonl"
    return read_labelled_texts(lay(name, data.removeprefix(b"\x00")))


def conll(data: bytes) -> object:
    found = read_tagged_texts(lay("tagged.conll", data))
    for each in found:
        assert all(0 <= span.start < span.end <= len(each.text) for span in each.spans)
    return found


def config(data: bytes) -> object:
    return read_run_file(lay("run.toml", data))


_FILTERED: list[dict[str, Any]] = [
    {"a": "b", "lang": "en", "year": 2020, "x.y": [1, "a", None]},
    {"lang": "de", "year": 1.5, "a": None, "9": True},
    {"lang": ["en", "fr"], "year": "2020", "a": {"b": 1}},
    {},
]


@functools.cache
def _filtered() -> sqlite3.Connection:
    return table(_FILTERED)


def filters(data: bytes) -> object:
    """What SQL finds is what the evaluator in Python finds."""
    wanted = parse_filter(data.decode(errors="surrogateescape"))
    assert leaves(wanted.condition)
    found = matching_rows(_filtered(), wanted.condition, seconds=60).tolist()
    expected = [n for n, each in enumerate(_FILTERED) if holds(wanted.condition, each)]
    assert found == expected, (found, expected)
    return found


def npy(data: bytes) -> object:
    found = read_vectors(lay("vectors.npy", data))
    assert found.dtype == np.float32
    assert found.ndim == 2
    assert found.nbytes <= 4 * len(data)
    return found


def small_files(data: bytes) -> object:
    """The marker, the witness and the manifest of a backup."""
    lay("FORMAT", data)
    lay("COMMITTED", data)
    lay("MANIFEST.json", data)
    for look in (check_format, lambda path: restore_index(path, path / "new")):
        with contextlib.suppress(SimsearchError):
            look(folder())
    number = read_witness(folder())
    assert number == 0 or data.startswith(b"%020d " % number)
    return number


@functools.cache
def store() -> DocumentStore:
    """Return a store of two documents and a judgement."""
    directory = folder() / "store"
    directory.mkdir()
    DocumentStore.create(directory, dim=DIM, settings={"finished": "yes"})
    its = DocumentStore.open(directory)
    write(its, "a", "b")
    with its.transaction():
        its.judgements.put([StoredJudgement(Judgement("q", "a", True), b"")])
    return its


@contextlib.contextmanager
def changed(statement: str, values: tuple[Any, ...]) -> Iterator[DocumentStore]:
    """Give a store in which a statement was run, which is taken back at the end."""
    connection = store()._session.connection
    connection.execute("BEGIN")
    try:
        connection.execute(statement, values)
        yield store()
    finally:
        connection.execute("ROLLBACK")


def document_row(data: bytes) -> object:
    """A row of somebody who knows how to compute a checksum; or one without."""
    numbers, _, rest = data.partition(b"|")
    first_row, rows, supplied = (*numbers[:3], 0, 1, 0)[:3]
    id_, text, title, metadata = (*rest.split(b"\x1f", 3), b"", b"", b"", b"")[:4]
    crc = 0
    with contextlib.suppress(UnicodeDecodeError):
        words = (id_.decode(), text.decode(), title.decode(), metadata.decode())
        crc = document_crc32(first_row, rows, *words, supplied)
    statement = (
        "INSERT OR REPLACE INTO documents "
        "VALUES (?, ?, CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), ?, ?)"
    )
    values = (first_row, rows, id_, text, title, metadata, supplied, crc)
    with changed(statement, values) as its:
        found = its.fetch_numbers([first_row])[first_row]
        check_document(found)
        its.metadata.field_names()
        return found


def check_document(found: Document) -> None:
    assert isinstance(found.metadata, Mapping)
    json.dumps(dict(found.metadata), allow_nan=False)


def passage_row(data: bytes) -> object:
    numbers = struct.unpack("<qqq", data[:24].ljust(24, b"\0"))
    crc = passage_crc32(0, *numbers, data[24:] or None)
    statement = "INSERT OR REPLACE INTO passages VALUES (0, ?, ?, ?, ?, ?)"
    with changed(statement, (*numbers, data[24:] or None, crc)) as its:
        return its.passages.at([0]), its.vectors_of_texts([data[24:]])


def judgement_row(data: bytes) -> object:
    query, document, text = (*data[1:].split(b"\x1f", 2), b"", b"")[:3]
    relevant, crc = data[0] if data else 0, 0
    with contextlib.suppress(UnicodeDecodeError):
        crc = judgement_crc32(1, query.decode(), document.decode(), relevant, text)
    statement = (
        "INSERT OR REPLACE INTO judgements VALUES (1, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ?)"
    )
    with changed(statement, (query, document, relevant, text, crc)) as its:
        (found,) = its.judgements.read()
        assert found == StoredJudgement(
            Judgement(query.decode(), document.decode(), bool(relevant)), text
        )
        return found


def block(data: bytes) -> object:
    """A block with the right checksum, if its first byte is even."""
    head, vectors = data[:17].ljust(17, b"\0"), data[17:]
    first_row, rows = struct.unpack("<qq", head[1:])
    crc = block_crc32(first_row, rows, vectors) if head[0] % 2 == 0 else head[0]
    statement = "INSERT OR REPLACE INTO vector_blocks VALUES (?, ?, ?, ?)"
    with changed(statement, (first_row, rows, crc, vectors)) as its:
        target = np.zeros((2, DIM), dtype=np.float32)
        its.read_vectors(np.array([0, 1]), target)
        its.changes_since(-1, next_row=0)
        if head[0] % 2 == 0 and (first_row, rows) == (0, 2):
            assert target.tobytes() == vectors
        return target


@functools.cache
def built() -> tuple[bytes, IndexRecord]:
    """Return the file of a segment, and the record of the index in it."""
    vectors, content = np.eye(DIM, dtype=np.float32), io.BytesIO()
    write_vectors(np.arange(DIM), [vectors], content.write)
    index = BuiltIndex.build(FLAT, vectors, seed=0)
    append_index(index, content.write)
    return content.getvalue(), IndexRecord.of(index)


@functools.cache
def source() -> str:
    """Return what a segment of both rows of the store is made of."""
    return store().segments.source(0, 2)


def segment(data: bytes) -> object:
    """A file beside the one that is listed is not used; nor read as an index that it is not."""
    content, record = built()
    digest, its_source = hashlib.sha256(content).hexdigest(), source()
    path = folder() / "store" / "segments" / "s.faiss"
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)  # the one before may still be mapped
    path.write_bytes(data)
    listed = ("s", 0, 2, len(content), digest, its_source, "")
    with changed("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)", listed) as its:
        (found,) = its.segments.read()
    assert (found.fault is None) == (data == content)
    mapped = map_segment(path, rows=DIM, dim=DIM, record=record)
    assert mapped.index is not None
    assert (len(mapped.index), mapped.index.dim, mapped.vectors.shape) == (DIM, DIM, (DIM, DIM))
    return mapped


TARGETS: Mapping[str, Target] = {
    "jsonl": read_as("corpus.jsonl"),
    "csv": read_as("corpus.csv"),
    "gzip": read_as("corpus.jsonl.gz"),
    "pairs": pairs,
    "labels": labels,
    "conll": conll,
    "config": config,
    "filters": filters,
    "npy": npy,
    "small_files": small_files,
    "document_row": document_row,
    "passage_row": passage_row,
    "judgement_row": judgement_row,
    "block": block,
    "segment": segment,
}


def run(name: str, data: bytes) -> object:
    """Let a target read bytes; None where they are refused as they should be: in one line."""
    started = time.perf_counter()
    found = read_or_refuse(name, data)
    # The clock on the wall is cheap to ask; that of the processor decides where it says too long.
    if time.perf_counter() - started >= 1:
        started = time.process_time()
        read_or_refuse(name, data)
        assert time.process_time() - started < 1
    return found


def read_or_refuse(name: str, data: bytes) -> object:
    found, refusal = None, ""
    try:
        found = TARGETS[name](data)
    except SimsearchError as error:
        refusal = str(error)
    assert "\n" not in refusal or name == "filters", refusal  # those have a picture
    return found
