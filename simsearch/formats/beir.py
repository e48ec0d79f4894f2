"""A BEIR folder: corpus, queries, and the judgements of one split."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from simsearch.errors import DuplicateId, InvalidData, NotFound, SystemFailure
from simsearch.formats.checks import (
    Reads,
    any_text,
    checked_id,
    listed,
    missing_field,
    quoted,
    readable_text,
)
from simsearch.formats.documents import BlankDocument, DocumentCounts, read_documents
from simsearch.formats.options import DEFAULT_OPTIONS, ReadOptions
from simsearch.formats.row import OnReject, Row
from simsearch.formats.rows import read_rows
from simsearch.records import Document

_LAYOUT: Final = "corpus.jsonl, queries.jsonl (or .jsonl.gz) and qrels/"
_SCORE: Final = re.compile(r"-?[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class BeirSet:
    """A retrieval task.

    `queries` are those with a relevant document (score above 0) in the split, and `qrels`
    holds for each of them every judged document with its score, 0 included. Documents whose
    title and text are blank are not in `corpus`. The two `unknown` numbers count the ids that
    the judgements of the split name and the folder does not hold.
    """

    path: Path
    split: str
    corpus: list[Document]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    blank_documents: int
    unknown_documents: int
    unknown_queries: int


def is_beir(path: Path) -> bool:
    """Whether `path` is a folder with the files of BEIR."""
    return (
        os.path.isdir(path / "qrels")
        and _data_file(path, "corpus") is not None
        and _data_file(path, "queries") is not None
    )


def read_beir(
    path: Path,
    split: str,
    options: ReadOptions = DEFAULT_OPTIONS,
    *,
    reads: Reads | None = None,
) -> BeirSet:
    """Read a BEIR folder with the judgements in `qrels/SPLIT.tsv`.

    A text of which an encoder `reads` nothing is as a blank one.

    Raises:
        NotFound: `path` is not a BEIR folder, or has no such split.
        InvalidData: a file of it is not in order, or the split holds no relevant document.
        SystemFailure: the operating system refused to read it.
    """
    judged = read_qrels(_split_file(path, split), options)
    texts = read_beir_queries(_required(path, "queries"), options, reads=reads)
    counts = DocumentCounts()
    corpus = list(read_beir_corpus(path, options, counts=counts, reads=reads))
    document_ids = {document.id for document in corpus}
    qrels = {
        query: scores
        for query, scores in judged.items()
        if query in texts and any(score > 0 for score in scores.values())
    }
    if not qrels:
        raise InvalidData(f"{path}: no query of split {quoted(split)} has a relevant document")
    named = {document for scores in judged.values() for document in scores}
    return BeirSet(
        path=path,
        split=split,
        corpus=corpus,
        queries={query: texts[query] for query in qrels},
        qrels=qrels,
        blank_documents=counts.blank,
        unknown_documents=len(named - document_ids),
        unknown_queries=len(judged.keys() - texts.keys()),
    )


def read_beir_corpus(
    path: Path,
    options: ReadOptions = DEFAULT_OPTIONS,
    *,
    on_reject: OnReject | None = None,
    counts: DocumentCounts | None = None,
    reads: Reads | None = None,
) -> Iterator[Document]:
    """Yield the documents of a BEIR folder; blank ones are counted and left out.

    Blank is one, too, of which an encoder `reads` nothing.

    With `on_reject` a bad row is reported to it and left out.

    Raises:
        NotFound: `path` is not a BEIR folder.
        InvalidData, SystemFailure: see `read_documents`.
    """
    corpus = _required(path, "corpus")

    def skip_blank(error: InvalidData) -> None:
        if isinstance(error, BlankDocument):
            return
        if on_reject is None:
            raise error
        on_reject(error)

    return read_documents(corpus, options, on_reject=skip_blank, counts=counts, reads=reads)


def _data_file(path: Path, name: str) -> Path | None:
    candidates = (path / f"{name}.jsonl", path / f"{name}.jsonl.gz")
    return next((each for each in candidates if os.path.isfile(each)), None)


def _required(path: Path, name: str) -> Path:
    _names_in(path)
    file = _data_file(path, name)
    if file is None or not is_beir(path):
        raise NotFound(f"{path}: not a BEIR folder (it holds {_LAYOUT})")
    return file


def _split_file(path: Path, split: str) -> Path:
    _required(path, "corpus")
    splits = {
        name.removesuffix(".gz").removesuffix(".tsv"): path / "qrels" / name
        for name in _names_in(path / "qrels")
        if name.endswith((".tsv", ".tsv.gz"))
    }
    if split not in splits:
        raise NotFound(f"{path}: no split {quoted(split)}; there are {listed(list(splits))}")
    return splits[split]


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"{folder}: no such folder") from error
    except OSError as error:
        raise SystemFailure(f"{folder}: {error.strerror or error}") from error


def read_beir_queries(
    path: Path, options: ReadOptions = DEFAULT_OPTIONS, *, reads: Reads | None = None
) -> dict[str, str]:
    """Read queries by id: rows with `id` or `_id`, and `text`; errors as `read_beir`."""
    queries: dict[str, str] = {}
    places: dict[str, str] = {}
    for row in read_rows(path, options):
        query = checked_id(row, "id" if "id" in row.fields else "_id")
        if query in places:
            raise DuplicateId(
                f"{row.where}: query {quoted(query)} stands in {places[query]} already"
            )
        places[query] = row.where
        queries[query] = readable_text(row, "text", options, reads or any_text)
    return queries


def read_qrels(path: Path, options: ReadOptions = DEFAULT_OPTIONS) -> dict[str, dict[str, int]]:
    """Read judgements, query -> document -> score: rows with query-id, corpus-id and score."""
    qrels: dict[str, dict[str, int]] = {}
    for row in read_rows(path, options):
        query, document, score = _judgement(row)
        scores = qrels.setdefault(query, {})
        if scores.setdefault(document, score) != score:
            raise InvalidData(
                f"{row.where}: document {quoted(document)} is judged {score} for query "
                f"{quoted(query)}, and {scores[document]} earlier"
            )
    return qrels


def _judgement(row: Row) -> tuple[str, str, int]:
    fields: Mapping[str, str] = row.fields
    for name in ("query-id", "corpus-id", "score"):
        if name not in fields:
            raise missing_field(row, name)
    score = fields["score"]
    if not _SCORE.fullmatch(score):
        raise InvalidData(f"{row.where}: score: got {quoted(score)}, expected an integer")
    return fields["query-id"], fields["corpus-id"], int(score)
