"""A built index as bytes, and back. Derived data: what is damaged is built again.

FAISS believes what a file says about its own sizes. So a file is read only by somebody who knows
that it is ours (its SHA-256 stands in the database), and even then nothing larger than the file
itself is allocated.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from simsearch.ann.built_index import BuiltIndex
from simsearch.ann.candidates import Candidate, Parameters, candidates_for
from simsearch.errors import CorruptIndex

_LIMIT = threading.Lock()  # FAISS has one limit for the process


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """What has to be known of an index to read it: plain data, kept beside the file's hash."""

    name: str
    factory: str
    parameters: Parameters
    rows: int
    dim: int

    @classmethod
    def of(cls, index: BuiltIndex) -> IndexRecord:
        """Return the record of a built index."""
        kind = index.candidate
        return cls(kind.name, kind.factory, index.parameters, len(index), index.dim)

    def candidate(self) -> Candidate | None:
        """Return the kind of the index, None if it is not built any more."""
        kinds = candidates_for(self.rows, self.dim)
        known = {kind.factory: kind for kind in kinds if kind.name == self.name}
        return known.get(self.factory)


def write_index(index: BuiltIndex, write: Callable[[bytes], int]) -> None:
    """Give the bytes of an index to `write`, a piece at a time."""
    faiss.write_index(index.faiss_index, faiss.PyCallbackIOWriter(write))  # type: ignore[attr-defined]


def read_index(
    memory: npt.NDArray[np.uint8],
    record: IndexRecord,
    *,
    vectors: npt.NDArray[np.float32],
    path: Path,
) -> BuiltIndex:
    """Return the index that `write_index` wrote into `memory` (bytes,), which it goes on using.

    So memory that is mapped from a file takes no time to read; that file must never be written to
    again. It was built of `vectors` (n, dim). `path` is the name of the file, for errors.

    Raises:
        CorruptIndex: it is damaged, or another index than the record says, or of a kind that is
            not built any more.
    """
    candidate = record.candidate()
    if candidate is None:
        raise CorruptIndex(f"{path} is of a kind that is not built any more ({record.factory})")
    reader = faiss.ZeroCopyIOReader(  # type: ignore[attr-defined]
        faiss.swig_ptr(memory), len(memory)
    )
    with _nothing_larger_than(len(memory)):
        try:
            index: Any = faiss.read_index(reader, faiss.IO_FLAG_MMAP_IFC)
            expected = faiss.index_factory(record.dim, record.factory, faiss.METRIC_INNER_PRODUCT)
        except (RuntimeError, MemoryError) as error:
            what = str(error).split("Error: ")[-1].strip()[:200]
            raise CorruptIndex(f"{path} is damaged: {what} (build it again)") from error
    found = (_kind(index), index.ntotal, index.d, index.metric_type)
    wanted = (_kind(expected), record.rows, record.dim, faiss.METRIC_INNER_PRODUCT)
    if found != wanted:
        raise CorruptIndex(f"{path} is another index: expected {wanted}, got {found}")
    index.referenced_objects = [memory]  # FAISS keeps a pointer to it, and Python would free it
    return BuiltIndex(index, candidate, record.parameters, vectors)


def _kind(index: Any) -> str:
    """Return the class of an index, behind what its vectors go through before."""
    if isinstance(index, faiss.IndexPreTransform):
        chain: Any = index.chain
        steps = [faiss.downcast_VectorTransform(chain.at(place)) for place in range(chain.size())]
        through = [f"{type(step).__name__} {step.d_in} -> {step.d_out}" for step in steps]
        inner = faiss.downcast_index(index.index)
        return ", ".join([*through, f"{_kind(inner)} {inner.d}"])
    # A factory makes a plain IndexFlat, reading gives an IndexFlatIP.
    return "IndexFlat" if isinstance(index, faiss.IndexFlat) else type(index).__name__


@contextmanager
def _nothing_larger_than(size: int) -> Iterator[None]:
    with _LIMIT:
        before = faiss.get_deserialization_vector_byte_limit()
        faiss.set_deserialization_vector_byte_limit(size)
        try:
            yield
        finally:
            faiss.set_deserialization_vector_byte_limit(before)
