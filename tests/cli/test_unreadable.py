"""Documents in which the encoder reads nothing: refused by their line, or skipped as bad rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import FillStdin, Run, Write
from conftest import without_accents, write_tiny_encoder

from simsearch.encoder import Encoder
from simsearch.search_index import SearchIndex

ACCENT = "\u0301"
PROBLEM = "the document holds nothing that the encoder reads"


@pytest.fixture(scope="module")
def accentless_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder whose tokenizer leaves out accents; exported, so nothing is said of that."""
    place = tmp_path_factory.mktemp("models") / "accentless"
    Encoder.load(without_accents(write_tiny_encoder(place)))
    return place


@pytest.fixture
def corpus(write: Write) -> Path:
    rows = [{"id": "a", "text": "my card"}, {"id": "b", "text": ACCENT}]
    return write("corpus.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def test_it_is_refused_by_its_line_before_anything_is_written(
    run: Run, corpus: Path, accentless_dir: Path, tmp_path: Path
) -> None:
    outcome = run("index", corpus, "-i", tmp_path / "ix", "--encoder", accentless_dir)
    assert outcome.refusal(3) == f"{corpus}:2: {PROBLEM}"
    assert not (tmp_path / "ix").exists()


def test_it_is_skipped_with_the_other_bad_rows_each_told_once(
    run: Run, corpus: Path, accentless_dir: Path, tmp_path: Path
) -> None:
    corpus.write_text(corpus.read_text() + '{"id": 5, "text": "x"}\n{"id": "c", "text": "?"}\n')
    target = tmp_path / "ix"
    arguments = ("index", corpus, "-i", target, "--encoder", accentless_dir, "--json")
    outcome = run(*arguments, "--on-error", "skip")
    assert outcome.code == 1
    assert (outcome.object["added"], outcome.object["rejected"]) == (2, 2)
    told = (tmp_path / "ix.rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["error"].split(": ", 1)[0] for line in told] == [
        f"{corpus}:3",
        f"{corpus}:2",
    ]
    with SearchIndex.open(target) as index:
        assert [index.get(each) is not None for each in "abc"] == [True, False, True]


def test_add_and_upsert_refuse_it_by_the_encoder_of_the_index(
    run: Run, corpus: Path, accentless_dir: Path, tmp_path: Path, write: Write
) -> None:
    target = tmp_path / "ix"
    first = write("first.jsonl", '{"id": "z", "text": "the cat"}\n')
    assert run("index", first, "-i", target, "--encoder", accentless_dir).code == 0
    for command in ("add", "upsert"):
        assert run(command, corpus, "-i", target).refusal(3) == f"{corpus}:2: {PROBLEM}"
        with SearchIndex.open(target) as index:
            assert index.count() == 1


def test_of_a_beir_folder_it_is_skipped_and_counted(
    run: Run, corpus: Path, accentless_dir: Path, tmp_path: Path, write: Write
) -> None:
    write("beir/queries.jsonl", '{"_id": "q1", "text": "my card"}\n')
    write("beir/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\ta\t1\n")
    folder = write("beir/corpus.jsonl", corpus.read_bytes()).parent
    outcome = run("index", folder, "-i", tmp_path / "ix", "--encoder", accentless_dir)
    assert outcome.code == 0
    assert "1 documents skipped in which the encoder reads nothing\n" in outcome.err


def test_a_text_without_a_visible_character_is_blank_to_every_reader(
    run: Run, tiny_encoder_dir: Path, tmp_path: Path, write: Write
) -> None:
    path = write("corpus.jsonl", '{"text": "my card"}\n{"text": "\\u200d\\ufe0f"}\n')
    outcome = run("index", path, "-i", tmp_path / "ix", "--encoder", tiny_encoder_dir)
    assert outcome.refusal(3) == f"{path}:2: the document is empty (its title and text are blank)"


@pytest.mark.parametrize("place", ["file", "stdin"])
def test_a_nul_in_a_file_of_texts_is_refused_by_its_line(
    run: Run, write: Write, fill_stdin: FillStdin, tiny_encoder_dir: Path, place: str
) -> None:
    path = write("texts.txt", b"my card\nthe\0cat\n")
    fill_stdin(path.read_bytes())
    argument, name = {"file": (path, path), "stdin": ("-", "stdin")}[place]
    outcome = run("encode", "--texts", argument, "--encoder", tiny_encoder_dir)
    assert outcome.refusal(3) == f"{name}:2: the text has a NUL character at column 4"


def test_other_control_characters_are_taken_as_in_documents_from_a_file_and_as_arguments(
    run: Run, write: Write, tiny_encoder_dir: Path
) -> None:
    path = write("texts.txt", b"my card\x07\n")
    outcome = run("encode", "my card\x07", "--texts", path, "--encoder", tiny_encoder_dir)
    assert outcome.code == 0
    first, second = outcome.objects
    assert first["embedding"] == second["embedding"]


def test_two_texts_that_nothing_is_read_of_are_not_alike(run: Run, accentless_dir: Path) -> None:
    outcome = run("similarity", "my card", ACCENT, "--encoder", accentless_dir)
    assert outcome.refusal(2) == "TEXT_B holds nothing that the encoder reads"
    hidden = run("similarity", "my card", "\u200b", "--encoder", accentless_dir)
    assert hidden.refusal(2) == "TEXT_B is empty"


def test_a_text_to_encode_is_named_by_its_line_or_its_place_among_the_arguments(
    run: Run, accentless_dir: Path, write: Write, tmp_path: Path
) -> None:
    problem = "holds nothing that the encoder reads"
    path, target = write("texts.txt", f"my card\nthe cat\n{ACCENT}\n"), tmp_path / "x.npy"
    arguments = ("encode", "a", "--texts", path, "--encoder", accentless_dir, "-o", target)
    assert run(*arguments).refusal(3) == f"{path}:3: the text {problem}"
    assert not target.exists()
    outcome = run("encode", "a", ACCENT, "--encoder", accentless_dir)
    assert outcome.refusal(2) == f"text 2 of 2 {problem}"
    assert run("encode", ACCENT, "--encoder", accentless_dir).refusal(2) == f"text {problem}"
