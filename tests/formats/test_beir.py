"""A BEIR folder is read as it is, and what does not fit together is counted."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from simsearch.errors import DuplicateId, InvalidData, NotFound
from simsearch.formats import (
    BeirSet,
    DocumentCounts,
    is_beir,
    read_beir,
    read_beir_corpus,
    read_documents,
)
from simsearch.records import Document

Write = Callable[[str, str | bytes], Path]

CORPUS = """\
{"_id": "d1", "title": "One", "text": "first", "url": "u1"}
{"_id": "d2", "title": "", "text": "second"}
{"_id": "d3", "title": "", "text": " "}
"""
QUERIES = """\
{"_id": "q1", "text": "find one"}
{"_id": "q2", "text": "find two"}
{"_id": "q3", "text": "find nothing"}
{"_id": "q4", "text": "not judged"}
"""
QRELS = """\
query-id\tcorpus-id\tscore
q2\td2\t2
q1\td1\t1
q1\td2\t0
q1\td9\t1
q3\td1\t0
q9\td1\t1
"""


@pytest.fixture
def folder(write: Write) -> Path:
    write("beir/corpus.jsonl", CORPUS)
    write("beir/queries.jsonl", QUERIES)
    write("beir/qrels/train.tsv", "query-id\tcorpus-id\tscore\nq4\td1\t1\n")
    return write("beir/qrels/test.tsv", QRELS).parent.parent


def test_a_folder_is_read_whole(folder: Path) -> None:
    assert read_beir(folder, "test") == BeirSet(
        path=folder,
        split="test",
        corpus=[Document("d1", "first", "One", {"url": "u1"}), Document("d2", "second", "")],
        queries={"q2": "find two", "q1": "find one"},
        qrels={"q2": {"d2": 2}, "q1": {"d1": 1, "d2": 0, "d9": 1}},
        blank_documents=1,
        unknown_documents=1,
        unknown_queries=1,
    )


def test_only_the_judgements_of_the_split_count(folder: Path) -> None:
    train = read_beir(folder, "train")
    assert (train.queries, train.qrels) == ({"q4": "not judged"}, {"q4": {"d1": 1}})
    assert (train.unknown_documents, train.unknown_queries) == (0, 0)


def test_the_files_may_be_gzipped(write: Write) -> None:
    write("b/corpus.jsonl.gz", gzip.compress(CORPUS.encode()))
    write("b/queries.jsonl.gz", gzip.compress(QUERIES.encode()))
    folder = write("b/qrels/test.tsv", QRELS).parent.parent
    assert is_beir(folder)
    assert list(read_beir(folder, "test").queries) == ["q2", "q1"]


def test_blank_documents_are_left_out_and_counted(folder: Path) -> None:
    counts = DocumentCounts()
    ids = [document.id for document in read_beir_corpus(folder, counts=counts)]
    assert ids == ["d1", "d2"]
    assert counts == DocumentCounts(generated_ids=0, blank=1)


def test_a_blank_document_is_an_error_outside_such_a_folder(folder: Path) -> None:
    with pytest.raises(InvalidData, match=r"corpus\.jsonl:3: the document is empty"):
        list(read_documents(folder / "corpus.jsonl"))


def test_other_bad_documents_are_errors(folder: Path, write: Write) -> None:
    write("beir/corpus.jsonl", CORPUS + '{"_id": 4, "text": "x"}\n')
    with pytest.raises(InvalidData, match=r"corpus\.jsonl:4: field '_id' must be a string"):
        list(read_beir_corpus(folder))


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_folder_without_one_of_the_files_is_none(folder: Path, name: str) -> None:
    assert is_beir(folder)
    (folder / name).unlink()
    assert not is_beir(folder)
    with pytest.raises(NotFound, match=r"not a BEIR folder .*corpus\.jsonl, queries\.jsonl"):
        read_beir(folder, "test")


def test_a_file_or_nothing_is_no_folder(folder: Path) -> None:
    assert not is_beir(folder / "corpus.jsonl")
    assert not is_beir(folder / "none")
    with pytest.raises(NotFound, match="none: no such folder") as caught:
        read_beir(folder / "none", "test")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("split", ["dev", "../qrels/test", ""])
def test_an_unknown_split_lists_those_there_are(folder: Path, split: str) -> None:
    with pytest.raises(NotFound, match=r"no split '.*'; there are 'test', 'train'") as caught:
        read_beir(folder, split)
    assert caught.value.exit_code == 2


def test_a_query_that_stands_twice_is_refused(folder: Path, write: Write) -> None:
    write("beir/queries.jsonl", QUERIES + '{"_id": "q1", "text": "again"}\n')
    with pytest.raises(DuplicateId, match=r":5: query 'q1' stands in .*queries\.jsonl:1 already"):
        read_beir(folder, "test")


def test_an_empty_query_is_refused(folder: Path, write: Write) -> None:
    write("beir/queries.jsonl", QUERIES + '{"_id": "q5", "text": " "}\n')
    with pytest.raises(InvalidData, match=r"queries\.jsonl:5: field 'text' is empty"):
        read_beir(folder, "test")


def test_judgements_without_a_header_are_refused(folder: Path, write: Write) -> None:
    write("beir/qrels/test.tsv", "q1\td1\t1\nq2\td2\t1\n")
    with pytest.raises(InvalidData, match=r"test\.tsv:1: no field 'query-id'; found 'q1'"):
        read_beir(folder, "test")


@pytest.mark.parametrize("score", ["1.0", "", "high", "1_0", "9" * 30])
def test_a_score_is_an_integer(folder: Path, write: Write, score: str) -> None:
    write("beir/qrels/test.tsv", f"query-id\tcorpus-id\tscore\nq1\td1\t{score}\n")
    with pytest.raises(InvalidData, match=r"test\.tsv:2: score: got '.*', expected an integer"):
        read_beir(folder, "test")


def test_the_same_judgement_twice_is_one(folder: Path, write: Write) -> None:
    write("beir/qrels/test.tsv", QRELS + "q1\td1\t1\n")
    assert read_beir(folder, "test").qrels["q1"] == {"d1": 1, "d2": 0, "d9": 1}


def test_two_judgements_that_differ_are_refused(folder: Path, write: Write) -> None:
    write("beir/qrels/test.tsv", QRELS + "q1\td1\t2\n")
    with pytest.raises(InvalidData, match=r":8: document 'd1' is judged 2 .* and 1 earlier"):
        read_beir(folder, "test")


def test_a_split_without_a_relevant_document_is_refused(folder: Path, write: Write) -> None:
    write("beir/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t0\n")
    with pytest.raises(InvalidData, match="no query of split 'test' has a relevant document"):
        read_beir(folder, "test")
