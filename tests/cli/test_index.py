"""index, add, upsert: what is built, taken up again, skipped, replaced and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import DOCUMENTS, FillStdin, Run, Write, as_jsonl, contents, stored

from simsearch.encoder import Encoder
from simsearch.search_index import SearchIndex


@pytest.fixture
def corpus(write: Write) -> Path:
    """Return a file with DOCUMENTS."""
    return write("corpus.jsonl", as_jsonl(DOCUMENTS))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that every text goes to for which a document embedding is asked."""
    honest = Encoder.encode_documents
    texts: list[str] = []

    def encode_documents(self: Encoder, given: list[str], **options: Any) -> Any:
        texts.extend(given)
        return honest(self, given, **options)

    monkeypatch.setattr(Encoder, "encode_documents", encode_documents)
    return texts


def test_a_corpus_becomes_an_index(
    run: Run, corpus: Path, tmp_path: Path, tiny_encoder_dir: Path, built_index: Path
) -> None:
    target = tmp_path / "indexes" / "new"
    outcome = run("index", corpus, "-i", target, "--encoder", tiny_encoder_dir)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        f"indexed into {target}: 3 added, 0 replaced, 0 unchanged; 3 documents\n"
        "3 texts encoded, 0 vectors reused\n"
    )
    assert contents(target) == contents(built_index)
    assert run("info", target, "--json").object["finished"] is True


def test_title_and_text_are_encoded_together(
    run: Run, corpus: Path, tmp_path: Path, tiny_encoder_dir: Path, encoded: list[str]
) -> None:
    run("index", corpus, "-i", tmp_path / "new", "--encoder", tiny_encoder_dir)
    assert encoded == [
        "my card was swallowed by the machine",
        "lost order the parcel came late",
        "the cat sat on the mat",
    ]


def test_the_fields_can_be_named(run: Run, write: Write, index_dir: Path) -> None:
    path = write("a.csv", "key,body,head,id\nnew,my dog,pets,7\n")
    names = ["--id-field", "key", "--text-field", "body", "--title-field", "head"]
    assert run("add", path, "-i", index_dir, *names).code == 0
    document = stored(index_dir)["new"]
    assert (document.text, document.title, document.metadata) == ("my dog", "pets", {"id": "7"})


def test_several_files_are_one_corpus(run: Run, write: Write, index_dir: Path) -> None:
    first, second = (
        write("a.csv", "id,text\na,dog\n"),
        write("b.jsonl", '{"_id":"b","text":"bird"}'),
    )
    assert run("add", first, second, "-i", index_dir, "--json").object["added"] == 2
    again = run("upsert", first, first, "-i", index_dir)
    message = f"{first}:2: id 'a' stands in {first}:2 already (--duplicates last keeps the last)"
    assert again.refusal(3) == message


def test_stdin_is_read_for_a_dash_and_its_copy_is_removed(
    run: Run, index_dir: Path, fill_stdin: FillStdin
) -> None:
    beside = sorted(index_dir.parent.iterdir())
    fill_stdin(b'{"id":"new","text":"dog"}\n')
    assert run("add", "-", "-i", index_dir).code == 0
    assert stored(index_dir)["new"].text == "dog"
    assert sorted(index_dir.parent.iterdir()) == beside


def test_the_last_of_an_id_wins_on_stdin_too(
    run: Run, index_dir: Path, fill_stdin: FillStdin
) -> None:
    fill_stdin(b"id,text\nnew,dog\nnew,bird\n")
    assert run("add", "-", "-i", index_dir, "--duplicates", "last").code == 0
    assert stored(index_dir)["new"].text == "bird"


def test_a_finished_index_is_not_indexed_into(
    run: Run, corpus: Path, index_dir: Path, tiny_encoder_dir: Path
) -> None:
    before = contents(index_dir)
    outcome = run("index", corpus, "-i", index_dir, "--encoder", tiny_encoder_dir)
    assert outcome.refusal(2) == (
        f"{index_dir} is a finished index (use add or upsert to extend it, reindex for another "
        "encoder, or --replace to build it anew)"
    )
    assert contents(index_dir) == before


def test_something_else_is_not_indexed_into(
    run: Run, corpus: Path, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    outcome = run("index", corpus, "-i", tmp_path, "--encoder", tiny_encoder_dir)
    message = f"{tmp_path} exists and is no index, which is never replaced"
    assert outcome.refusal(2) == message
    assert corpus.read_text() == as_jsonl(DOCUMENTS)


def test_an_index_is_replaced_in_one_step(
    run: Run, write: Write, index_dir: Path, tiny_encoder_dir: Path
) -> None:
    path = write("a.csv", "id,text\nnew,dog\n")
    arguments = ["index", path, "-i", index_dir, "--encoder", tiny_encoder_dir, "--replace"]
    assert run(*arguments).code == 0
    assert stored(index_dir).keys() == {"new"}
    assert list(index_dir.parent.iterdir()) == [index_dir]


def test_a_bad_corpus_replaces_nothing(
    run: Run, write: Write, index_dir: Path, tiny_encoder_dir: Path
) -> None:
    before = contents(index_dir)
    path = write("a.csv", "id,text\nnew,\n")
    arguments = ["index", path, "-i", index_dir, "--encoder", tiny_encoder_dir, "--replace"]
    assert run(*arguments).code == 3
    assert contents(index_dir) == before


def test_an_unfinished_index_is_taken_up_without_encoding_anew(
    run: Run,
    corpus: Path,
    tmp_path: Path,
    tiny_encoder_dir: Path,
    built_index: Path,
    encoded: list[str],
) -> None:
    target = tmp_path / "new"
    encoder = Encoder.load(tiny_encoder_dir)
    with SearchIndex.create(target, encoder=encoder, finished=False) as index:
        index.add(DOCUMENTS[:2])
    encoded.clear()
    outcome = run("index", corpus, "-i", target, "--encoder", tiny_encoder_dir, "--json")
    assert outcome.code == 0
    assert (outcome.object["added"], outcome.object["unchanged"]) == (1, 2)
    assert encoded == ["the cat sat on the mat"]
    assert run("info", target, "--json").object["finished"] is True
    assert contents(target)[0] == contents(built_index)[0]


def test_an_unfinished_index_is_not_taken_up_with_another_encoder(
    run: Run, corpus: Path, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    target = tmp_path / "new"
    other = Encoder.load(tiny_encoder_dir, max_length=8)
    with SearchIndex.create(target, encoder=other, finished=False) as index:
        index.add(DOCUMENTS[:2])
    outcome = run("index", corpus, "-i", target, "--encoder", tiny_encoder_dir)
    message = outcome.refusal(8)
    assert message.startswith(f"the index was built with encoder {tiny_encoder_dir} (")
    assert other.fingerprint[:12] in message
    assert stored(target).keys() == {"card", "parcel"}


def test_skipped_rows_go_to_a_file_with_their_reasons(
    run: Run, write: Write, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    path = write(
        "a.jsonl",
        '{"id":"a","text":"dog"}\n{"id":2,"text":"cat"}\nnonsense\n{"id":"a","text":"x"}\n',
    )
    target = tmp_path / "new"
    arguments = ["index", path, "-i", target, "--encoder", tiny_encoder_dir, "--on-error", "skip"]
    outcome = run(*arguments, "--json")
    rejects = tmp_path / "new.rejects.jsonl"
    assert outcome.code == 1
    assert (outcome.object["added"], outcome.object["rejected"]) == (1, 3)
    assert outcome.err == (f"simsearch: warning: 3 rows skipped; the reasons are in {rejects}\n")
    assert [json.loads(line)["error"] for line in rejects.read_text().splitlines()] == [
        f"{path}:2: field 'id' must be a string, got number (write it as \"2\")",
        f"{path}:3:1: not valid JSON: expecting value",
        f"{path}:4: id 'a' stands in {path}:1 already (--duplicates last keeps the last)",
    ]
    assert stored(target).keys() == {"a"}


def test_a_corpus_of_bad_rows_only_is_refused_all_the_same(
    run: Run, write: Write, index_dir: Path
) -> None:
    path = write("a.jsonl", '{"id":2,"text":"cat"}\n')
    outcome = run("add", path, "-i", index_dir, "--on-error", "skip")
    assert outcome.refusal(3) == f"{path}: no row is left, nothing added"


def test_skipped_rows_of_an_index_in_the_current_folder_have_a_file_too(
    run: Run, write: Write, index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("a.jsonl", '{"id":"a","text":"dog"}\n{"id":2,"text":"cat"}\n')
    monkeypatch.chdir(index_dir)
    outcome = run("add", path, "-i", ".", "--on-error", "skip")
    assert outcome.code == 1
    assert (index_dir.parent / "support.rejects.jsonl").is_file()


def test_vectors_cannot_be_matched_with_rows_that_may_be_skipped(
    run: Run, corpus: Path, index_dir: Path
) -> None:
    outcome = run("upsert", corpus, "-i", index_dir, "--embeddings", "x.npy", "--on-error", "skip")
    assert outcome.refusal(2) == (
        "--embeddings goes by the order of rows: not with --on-error skip"
    )


def test_a_document_without_an_id_gets_the_hash_of_its_text(
    run: Run, write: Write, index_dir: Path
) -> None:
    path = write("a.jsonl", '{"text":"dog"}\n')
    outcome = run("add", path, "-i", index_dir)
    assert outcome.err == "1 document without an id: a hash of the text is used\n"
    (new,) = stored(index_dir).keys() - {"card", "parcel", "cat"}
    assert len(new) == 32
    assert run("upsert", path, "-i", index_dir, "--json").object["unchanged"] == 1
