"""Texts in which the encoder reads nothing: refused by their line, or skipped as bad rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import FillStdin, Run, Write
from conftest import without_accents, write_tiny_encoder

from simsearch.encoder import Encoder
from simsearch.encoder.onnx_runtime import OnnxRuntime
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
    assert "1 document skipped in which the encoder reads nothing\n" in outcome.err


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


def test_a_query_that_is_not_read_is_named_by_its_line(
    run: Run, accentless_dir: Path, write: Write, tmp_path: Path
) -> None:
    problem = "holds nothing that the encoder reads"
    corpus = write("corpus.jsonl", '{"id": "a", "text": "my card"}\n')
    index = ("-i", tmp_path / "ix")
    assert run("index", corpus, *index, "--encoder", accentless_dir).code == 0
    queries = write("queries.txt", "my card\n\n" * 300 + f"the cat\n{ACCENT}\ncard\n")
    outcome = run("query", "--queries", queries, *index, "--json")
    assert (outcome.code, len(outcome.objects)) == (2, 256)
    assert f"{queries}:602: the query {problem}" in outcome.err
    assert f"{queries}:602: the query" in run("review", *index, "--queries", queries).refusal(2)
    assert run("query", "cat", ACCENT, *index).refusal(2) == f"query 2 {problem}"
    assert run("query", ACCENT, *index).refusal(2) == f"query {problem}"
    assert run("query", ACCENT, *index, "--mode", "lexical").code == 0


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"anchor": "my card", "positive": ACCENT}, "positive"),
        ({"anchor": ACCENT, "positive": "my card"}, "anchor"),
        ({"anchor": "my card", "positive": "the cat", "negative": ACCENT}, "negative"),
        ({"sentence1": "my card", "sentence2": ACCENT, "label": 1}, "sentence2"),
        ({"sentence1": ACCENT, "sentence2": "my card", "score": 0.5}, "sentence1"),
        ({"text": ACCENT, "label": "a"}, "text"),
        ({"text": ACCENT}, "text"),
    ],
)
def test_an_example_to_train_on_is_refused_by_line_and_field(
    run: Run,
    write: Write,
    accentless_dir: Path,
    tmp_path: Path,
    row: dict[str, object],
    field: str,
) -> None:
    good = {name: "the dog" if value == ACCENT else value for name, value in row.items()}
    path = write("data.jsonl", f"{json.dumps(good)}\n\n{json.dumps(row)}\n")
    arguments = ("finetune", path, "-o", tmp_path / "model", "--encoder", accentless_dir)
    assert run(*arguments).refusal(3) == (
        f"{path}:3: field {field!r} holds nothing that the encoder reads"
    )
    assert not (tmp_path / "model").exists()


def pair_lines(count: int) -> str:
    pairs = [{"anchor": f"my card {n}", "positive": f"the machine {n}"} for n in range(count)]
    return "".join(json.dumps(pair) + "\n" for pair in pairs)


def test_so_is_held_out_data_and_a_text_with_entities(
    run: Run, write: Write, accentless_dir: Path, tmp_path: Path
) -> None:
    path = write("pairs.jsonl", pair_lines(20))
    held_out = write("eval.csv", f"anchor,positive\nmy card,the cat\nthe dog,{ACCENT}\n")
    to = ("-o", tmp_path / "model", "--encoder", accentless_dir)
    assert run("finetune", path, *to, "--eval", held_out).refusal(3) == (
        f"{held_out}:3: field 'positive' holds nothing that the encoder reads"
    )
    tagged = write("tags.conll", f"cat B-PET\n\n{ACCENT} O\n")
    assert run("finetune", tagged, *to, "--objective", "tags").refusal(3) == (
        f"{tagged}:3: the text holds nothing that the encoder reads"
    )


def test_an_example_is_skipped_with_the_other_bad_rows(
    run: Run, write: Write, accentless_dir: Path, tmp_path: Path
) -> None:
    bad = [{"anchor": "my card", "positive": ACCENT}, {"anchor": "", "positive": "x"}]
    path = write("pairs.jsonl", pair_lines(20) + "".join(json.dumps(row) + "\n" for row in bad))
    arguments = ("finetune", path, "--encoder", accentless_dir, "--dry-run", "--json")
    outcome = run(*arguments, "--on-error", "skip")
    assert (outcome.code, outcome.object["rows"]) == (1, 20)
    assert "2 rows skipped" in outcome.err


def test_where_all_rows_are_skipped_nothing_is_left_to_train_on(
    run: Run, write: Write, accentless_dir: Path
) -> None:
    path = write("pairs.jsonl", json.dumps({"anchor": "my card", "positive": ACCENT}) + "\n")
    arguments = ("finetune", path, "--encoder", accentless_dir, "--dry-run")
    assert run(*arguments, "--on-error", "skip").refusal(3) == (
        "no training example is left: all rows were skipped"
    )


def test_evaluate_names_line_and_field_of_a_pair_and_skips_such_documents_of_a_folder(
    run: Run, write: Write, accentless_dir: Path
) -> None:
    rows = [["my card", "the cat", 1.0], ["my cat", ACCENT, 0.0]]
    names = ("sentence1", "sentence2", "score")
    lines = [json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows]
    path = write("sts.jsonl", "".join(lines))
    assert run("evaluate", "sts", path, "--encoder", accentless_dir).refusal(3) == (
        f"{path}:2: field 'sentence2' holds nothing that the encoder reads"
    )
    write("beir/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\ta\t1\n")
    write("beir/queries.jsonl", '{"_id": "q1", "text": "my card"}\n')
    documents = [{"_id": "a", "text": "my card here"}, {"_id": "b", "text": ACCENT}]
    lines = [json.dumps(document) + "\n" for document in documents]
    folder = write("beir/corpus.jsonl", "".join(lines)).parent
    outcome = run("evaluate", "retrieval", folder, "--encoder", accentless_dir, "--json")
    assert (outcome.code, outcome.object["metrics"]["ndcg@10"]) == (0, 1.0)
    assert "1 blank documents skipped" in outcome.err
    queries = write("beir/queries.jsonl", json.dumps({"_id": "q1", "text": ACCENT}) + "\n")
    assert run("evaluate", "retrieval", folder, "--encoder", accentless_dir).refusal(3) == (
        f"{queries}:1: field 'text' holds nothing that the encoder reads"
    )


def test_known_answers_are_named_by_line_and_field(
    run: Run, write: Write, accentless_dir: Path, tmp_path: Path
) -> None:
    first = write("first.jsonl", '{"id": "z", "text": "the cat"}\n')
    assert run("index", first, "-i", tmp_path / "ix", "--encoder", accentless_dir).code == 0
    path = write("known.csv", f"anchor,positive\nmy card,the cat\nthe dog,{ACCENT}\n")
    message = f"{path}:3: field 'positive' holds nothing that the encoder reads"
    assert run("mode", tmp_path / "ix", path).refusal(3) == message
    assert run("calibrate", path, "-i", tmp_path / "ix").refusal(3) == message
    Encoder.load(accentless_dir).save(tmp_path / "model")
    assert run("calibrate", path, "--encoder", tmp_path / "model").refusal(3) == message
    arguments = ("model", "export", accentless_dir, "--precision", "int8", "--eval", path)
    assert run(*arguments).refusal(3) == message


@pytest.fixture
def no_vector_of_birds(tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An encoder that gives NaN for every text with the word `bird`."""
    tokenizer = json.loads((tiny_encoder_dir / "tokenizer.json").read_text(encoding="utf-8"))
    bird = tokenizer["model"]["vocab"]["bird"]
    honest = OnnxRuntime.run

    def spoiled(self: OnnxRuntime, batch: Any, output: str) -> np.ndarray:
        found = honest(self, batch, output)
        found[(np.asarray(batch.ids) == bird).any(axis=1)] = np.nan
        return found

    monkeypatch.setattr(OnnxRuntime, "run", spoiled)
    return tiny_encoder_dir


def test_a_text_without_a_vector_is_named_by_line_and_field_before_anything_is_trained(
    run: Run, write: Write, no_vector_of_birds: Path, tmp_path: Path
) -> None:
    path = write("pairs.jsonl", pair_lines(20) + '{"anchor": "a bird", "positive": "my cat"}\n')
    arguments = ("finetune", path, "-o", tmp_path / "model", "--encoder", no_vector_of_birds)
    problem = "the encoder gives no finite, non-zero vector (leave it out, or take another encoder)"
    assert run(*arguments).refusal(7) == f"{path}:21: field 'anchor': {problem}"
    assert not (tmp_path / "model").exists()
    sts = write("sts.csv", "sentence1,sentence2,score\nmy card,the cat,1\nmy cat,bird sings,0\n")
    assert run("evaluate", "sts", sts, "--encoder", no_vector_of_birds).refusal(7) == (
        f"{sts}:3: field 'sentence2': {problem}"
    )
    write("beir/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\ta\t1\n")
    write("beir/queries.jsonl", '{"_id": "q1", "text": "my card"}\n')
    folder = write("beir/corpus.jsonl", '{"_id": "a", "text": "a bird"}\n').parent
    outcome = run("evaluate", "retrieval", folder, "--encoder", no_vector_of_birds)
    assert outcome.refusal(7) == f"document 'a': {problem}"


def test_two_rows_that_contradict_each_other_are_named_by_their_lines(
    run: Run, write: Write, tiny_encoder_dir: Path
) -> None:
    rows = [["my card", "the cat", n % 2] for n in range(2)]
    rows += [[f"the dog {n}", f"a bird {n}", n % 2] for n in range(20)]
    names = ("sentence1", "sentence2", "label")
    lines = [json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows]
    first, second = write("a.jsonl", lines[0]), write("b.jsonl", "\n" + "".join(lines[1:]))
    arguments = ("finetune", first, second, "--encoder", tiny_encoder_dir, "--dry-run", "--json")
    outcome = run(*arguments)
    assert outcome.object["contradicting_places"] == [f"{first}:1", f"{second}:2"]
    assert f"first {first}:1 and {second}:2 (keep the right one" in outcome.object["warnings"][0]


@pytest.fixture(scope="module")
def heads(accentless_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier, `c`, and a tagger, `n`, of that encoder."""
    from simsearch.cli import main

    folder = tmp_path_factory.mktemp("heads")
    rows = [{"text": "cat", "label": "a"}, {"text": "bank", "label": "b"}]
    spans = [{"start": 0, "end": 3, "label": "A"}]
    (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "n.jsonl").write_text(json.dumps({"text": "cat", "spans": spans}) + "\n")
    for command, name in (("classifier", "c"), ("ner", "n")):
        arguments = [command, "train", str(folder / f"{name}.jsonl"), "-o", str(folder / name)]
        assert main([*arguments, "--encoder", str(accentless_dir), "--quiet"]) == 0
    return folder


@pytest.mark.parametrize("command", ["classifier", "ner"])
def test_heads_refuse_it_by_its_line(
    run: Run, write: Write, heads: Path, accentless_dir: Path, command: str
) -> None:
    rows = [{"text": each, "label": "a", "spans": []} for each in ("cat", ACCENT)]
    column = {"classifier": "label", "ner": "spans"}[command]
    kept = [{name: row[name] for name in ("text", column)} for row in rows]
    data = write("data.jsonl", "".join(json.dumps(row) + "\n" for row in kept))
    texts, head = write("texts.txt", f"cat\n{ACCENT}\n"), heads / command[0]
    new = heads / "new"
    for arguments, where in (
        (("train", data, "-o", new, "--encoder", accentless_dir), f"{data}:2: "),
        (("evaluate", data, "--head", head), f"{data}:2: "),
        (("predict", "--texts", texts, "--head", head), f"{texts}:2: "),
        (("predict", "cat", ACCENT, "--head", head), "text 2 "),
    ):
        said = run(command, *arguments).refusal(3)
        assert said.startswith(where)
        assert said.endswith("holds nothing that the encoder reads")
    said = run("annotate", "--texts", texts, "--head", head).refusal(3)
    assert said.startswith(f"{texts}:2: ")
