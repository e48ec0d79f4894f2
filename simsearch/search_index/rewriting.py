"""An index written anew beside itself, and put in its own place: compaction and repair."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from simsearch.errors import CorruptIndex
from simsearch.failpoints import failpoint
from simsearch.files import copy_tree, translated_os_errors
from simsearch.records import Document
from simsearch.search_index.directory import write_format
from simsearch.storage import (
    DocumentStore,
    Durability,
    Inspection,
    PassageRows,
    Salvaged,
    text_hash,
)

FloatArray = npt.NDArray[np.float32]
# Gives the passages of documents that have lost them, with vectors made anew.
Renew = Callable[[list[Document]], PassageRows]

_BATCH = 1024


def rewrite_store(
    inspection: Inspection,
    draft: Path,
    *,
    settings: Mapping[str, str],
    renew: Renew | None,
    purge: bool = False,
) -> None:
    """Write every document that an inspection can read into a new store in `draft`.

    Rows are numbered anew; the commit number goes on by one. Documents without all their vectors
    are given to `renew` if the vectors were encoded, and left out if they were supplied. Judgements
    are kept; with `purge`, those alone whose document is there as it was judged. Blocks have been
    read.
    """
    failpoint("rewrite.create")
    number = inspection.commit_number
    given = {**inspection.constants, **inspection.choices, **settings}
    # Where nobody knows, `simsearch index` is to say so: it adds what is missing.
    given["finished"] = "yes" if inspection.finished == "yes" else "no"
    DocumentStore.create(draft, dim=inspection.dim, settings=given, commit_number=number)
    judgements = inspection.read_judgements()
    judged = {each.judgement.document_id for each in judgements}
    hashes: dict[str, bytes] = {}
    store = DocumentStore.open(draft, durability=Durability.BATCH)
    try:
        for batch in batches(inspection.read_documents(), _BATCH):
            failpoint("rewrite.batch")
            with store.transaction():
                for documents, rows in _insertable(inspection, batch, renew):
                    store.insert(documents, rows)
                    hashes |= {
                        each.id: text_hash(each.content) for each in documents if each.id in judged
                    }
        with store.transaction(durable=True):
            store.judgements.put(
                each
                for each in judgements
                if not purge or hashes.get(each.judgement.document_id) == each.text_hash
            )
            failpoint("rewrite.number")
            store.settings.write("commit_number", str(number))  # which this commit raises by one
    except BaseException:
        store.close(given_up=True)
        raise
    store.close()


def _insertable(
    inspection: Inspection, batch: list[Salvaged], renew: Renew | None
) -> Iterator[tuple[list[Document], PassageRows]]:
    """Yield documents with their rows, in order, divided by where their vectors come from."""
    found = [(each, vectors_of(inspection, each)) for each in batch]
    for (supplied, lost), group in itertools.groupby(
        found, key=lambda pair: (pair[0].supplied, pair[1] is None)
    ):
        its = list(group)
        documents = [each.document for each, _ in its]
        if not lost:
            yield documents, _stored_rows(its, supplied=supplied)
        elif not supplied and renew is not None:
            yield documents, renew(documents)


def vectors_of(inspection: Inspection, found: Salvaged) -> FloatArray | None:
    """Return the vectors of a document, None where a passage or a vector of it is lost."""
    if found.ranges is None:
        return None
    return inspection.vectors(found.first_row, found.rows)


def _stored_rows(its: list[tuple[Salvaged, FloatArray | None]], *, supplied: bool) -> PassageRows:
    vectors = np.concatenate([vectors for _, vectors in its if vectors is not None])
    hashes = None if supplied else [hashed for each, _ in its for hashed in each.hashes or ()]
    return PassageRows([each.ranges or [] for each, _ in its], vectors, hashes)


def batches(items: Iterable[Salvaged], size: int) -> Iterator[list[Salvaged]]:
    """Divide items into lists of up to `size`."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def carry_over(path: Path, draft: Path, *, created_by: str, names: Iterable[str]) -> None:
    """Give a draft the marker of an index, and the directories `names` of it, by second names.

    Raises:
        CorruptIndex: one is a link.
    """
    failpoint("rewrite.carry")
    write_format(draft, created_by=created_by)
    with translated_os_errors(path):
        for name in names:
            if (path / name).is_symlink():
                raise CorruptIndex(f"{path / name} is a link, which is not followed (delete it)")
            if (path / name).is_dir():
                copy_tree(path / name, draft / name, link=True)
