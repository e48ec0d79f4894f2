"""model export: the torch-free form made now; in int8 only where it ranks as well.

`model pull` is tested with a hub in tests/catalogue/test_models.py.
"""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
from command_line import PREFIX, FillStdin, Run, Write
from conftest import WORDS, write_tiny_encoder

from simsearch.encoder import Encoder
from simsearch.training import int8 as gate_module

PAIRS = [
    {"anchor": f"my {first} {second}", "positive": f"{first} {second} was late"}
    for first, second in itertools.combinations(WORDS[:18], 2)
]
TEXTS = [pair["positive"] for pair in PAIRS]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory of ours, which no test may write to."""
    folder = tmp_path_factory.mktemp("models")
    Encoder.load(write_tiny_encoder(folder / "made", seed=6)).save(folder / "ours")
    return folder / "ours"


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved, tmp_path / "model")


@pytest.fixture
def pairs(write: Write) -> Path:
    return write("pairs.jsonl", "".join(json.dumps(pair) + "\n" for pair in PAIRS))


@pytest.fixture
def texts(write: Write) -> Path:
    return write("texts.txt", "".join(f"{text}\n" for text in TEXTS))


def test_export_makes_what_queries_need(run: Run, model: Path) -> None:
    shutil.rmtree(model / "onnx")
    outcome = run("model", "export", model)
    assert outcome.code == 0
    assert outcome.out == f"{model / 'onnx'} agrees with torch; queries need no torch\n"
    files = sorted(path.name for path in (model / "onnx").iterdir())
    assert files == ["encoder.json", "encoder.onnx", "tokenizer.json"]


def test_export_of_an_exported_model_changes_nothing(run: Run, model: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in model.rglob("*")}
    outcome = run("model", "export", model, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.object == {
        "model": str(model),
        "fingerprint": Encoder.load(model).fingerprint,
        "export": str(model / "onnx"),
    }
    assert {path: path.stat().st_mtime_ns for path in model.rglob("*")} == before


def test_the_export_of_a_foreign_model_is_in_the_cache(
    run: Run, tiny_encoder_dir: Path, private_cache: Path
) -> None:
    fingerprint = Encoder.load(tiny_encoder_dir).fingerprint
    outcome = run("model", "export", tiny_encoder_dir, "--json")
    assert outcome.object["export"] == str(private_cache / "encoders" / fingerprint)


def test_int8_that_ranks_as_well_is_kept_and_its_figures_are_shown(
    run: Run, model: Path, pairs: Path
) -> None:
    outcome = run("model", "export", model, "--precision", "int8", "--eval", pairs)
    assert (outcome.code, outcome.err) == (0, "")
    gate = json.loads((model / "onnx-int8" / "encoder.json").read_text())["gate"]
    assert outcome.out.splitlines() == [
        f"ndcg@10: fp32 {gate['fp32']:.4f}, int8 {gate['int8']:.4f} "
        "(153 queries against 153 texts)",
        f"kept: use it with `--precision int8` and --encoder {model}",
    ]
    assert Encoder.load(model, precision="int8").fingerprint != Encoder.load(model).fingerprint


def test_without_answers_int8_is_measured_on_neighbours(run: Run, model: Path, texts: Path) -> None:
    outcome = run("model", "export", model, "--precision", "int8", "--texts", texts, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    gate = json.loads((model / "onnx-int8" / "encoder.json").read_text())["gate"]
    assert outcome.object == {
        "model": str(model),
        "metric": "neighbour overlap@10",
        "fp32": 1.0,
        "int8": gate["int8"],
        "measured_on": "153 texts",
        "passed": True,
    }
    assert 0.99 <= gate["int8"] <= 1


def test_texts_may_come_from_stdin(
    run: Run, model: Path, texts: Path, fill_stdin: FillStdin
) -> None:
    fill_stdin(texts.read_bytes())
    outcome = run("model", "export", model, "--precision", "int8", "--texts", "-", "--json")
    assert (outcome.code, outcome.object["measured_on"]) == (0, "153 texts")


def test_int8_is_measured_on_a_beir_folder(run: Run, model: Path, write: Write) -> None:
    corpus = [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(TEXTS)]
    queries = [{"_id": f"q{n}", "text": pair["anchor"]} for n, pair in enumerate(PAIRS[:20])]
    write("beir/corpus.jsonl", "".join(json.dumps(row) + "\n" for row in corpus))
    write("beir/queries.jsonl", "".join(json.dumps(row) + "\n" for row in queries))
    rows = "".join(f"q{n}\td{n}\t1\n" for n in range(20))
    folder = write("beir/qrels/dev.tsv", f"query-id\tcorpus-id\tscore\n{rows}").parents[1]
    arguments = ["model", "export", model, "--precision", "int8", "--eval", folder, "--json"]
    outcome = run(*arguments, "--eval-split", "dev")
    assert outcome.object["measured_on"] == "20 queries against 153 texts (beir/dev)"
    assert run(*arguments).code == 2  # there are no qrels of the split test


@pytest.mark.parametrize("form", ["text", "json"])
def test_int8_that_does_not_rank_as_well_is_a_reject_and_nothing_is_kept(
    run: Run, model: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(gate_module, "REQUIRED_SHARE", 1.01)
    before = sorted(model.parent.rglob("*"))
    arguments = ["model", "export", model, "--precision", "int8", "--eval", pairs]
    outcome = run(*arguments, *{"text": [], "json": ["--json"]}[form])
    assert (outcome.code, outcome.err) == (1, "")
    told = {
        "text": lambda: outcome.out.splitlines()[1].startswith(
            "not kept: int8 has to reach 99% of fp32"
        ),
        "json": lambda: outcome.object["passed"] is False,
    }
    assert told[form]()
    assert sorted(model.parent.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--precision", "int8"],
        ["--eval", "pairs.jsonl"],
        ["--texts", "texts.txt"],
        ["--precision", "int8", "--eval", "pairs.jsonl", "--texts", "texts.txt"],
    ],
)
def test_int8_and_only_int8_takes_data_to_be_measured_on(
    run: Run, model: Path, arguments: list[str]
) -> None:
    message = run("model", "export", model, *arguments).refusal(2)
    assert message == "int8, and only int8, takes --eval or --texts to be measured on"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "texts.txt is empty"),
        ("my card\n\nthe cat\n", "texts.txt:2: the text is empty"),
        ("my card\n" * 200, "1 distinct texts are too few to compare neighbours (at least 100)"),
    ],
)
def test_texts_that_cannot_be_measured_on_are_bad_data(
    run: Run, model: Path, write: Write, content: str, told: str
) -> None:
    path = write("texts.txt", content)
    message = run("model", "export", model, "--precision", "int8", "--texts", path).refusal(3)
    assert message.endswith(told)
    assert not (model / "onnx-int8").exists()


def test_a_handful_of_pairs_proves_nothing(run: Run, model: Path, write: Write) -> None:
    path = write("pairs.jsonl", json.dumps(PAIRS[0]) + "\n")
    message = run("model", "export", model, "--precision", "int8", "--eval", path).refusal(3)
    assert message == "1 examples are too few to be measured on (at least 100)"


@pytest.mark.parametrize("option", ["--eval", "--texts"])
def test_data_that_is_not_there_is_wrong_usage(
    run: Run, model: Path, tmp_path: Path, option: str
) -> None:
    message = run(
        "model", "export", model, "--precision", "int8", option, tmp_path / "none.jsonl"
    ).refusal(2)
    assert message == f"{tmp_path / 'none.jsonl'}: no such file"


def test_a_model_that_is_not_there_is_an_error_of_the_encoder(run: Run, tmp_path: Path) -> None:
    message = run("model", "export", tmp_path / "none").refusal(7)
    assert message == f"there is no encoder directory at {tmp_path / 'none'}"


def test_a_model_that_cannot_be_exported_is_an_error_of_the_encoder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simsearch.encoder import export

    monkeypatch.setattr(export, "PARITY_COSINE", 1.1)
    model = write_tiny_encoder(tmp_path / "model", seed=9)
    outcome = run("model", "export", model)
    assert (outcome.code, outcome.out) == (7, "")
    assert outcome.err.splitlines()[-1].startswith(f"{PREFIX}the exported graph disagrees with")


def test_an_index_is_built_and_asked_in_int8(
    run: Run, model: Path, texts: Path, write: Write
) -> None:
    run("model", "export", model, "--precision", "int8", "--texts", texts)
    rows = [{"id": f"{n}", "text": text} for n, text in enumerate(TEXTS[:5])]
    corpus = write("corpus.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    index = model.parent / "index"
    built = run("index", corpus, "-i", index, "--encoder", model, "--precision", "int8")
    assert built.code == 0, built
    asked = run("query", TEXTS[3], "-i", index, "--json", "-k", 1)
    assert asked.object["hits"][0]["id"] == "3"
    facts = run("info", index, "--json").object
    assert Encoder.load(model, precision="int8").fingerprint in json.dumps(facts)


def test_before_it_was_measured_int8_is_refused_and_the_command_is_named(
    run: Run, model: Path
) -> None:
    message = run("encode", "my card", "--encoder", model, "--precision", "int8").refusal(7)
    assert f"(`simsearch model export {model} --precision int8 --eval DATA` measures it" in message
