"""add and upsert: by which encoder, in which numbers, and where."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import DOCUMENTS, Run, Write, as_jsonl
from conftest import write_tiny_encoder

from simsearch.encoder import Encoder, precision
from simsearch.encoder.int8 import int8_directory, note_gate, write_int8
from simsearch.encoder.openvino_runtime import openvino_is_installed
from simsearch.errors import EncoderMismatch, InvalidInput
from simsearch.records import Document
from simsearch.search_index import SearchIndex

MORE = [Document("0", "my cat sings"), Document("1", "the bird sat"), Document("2", "my late card")]


@pytest.fixture
def fast_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine be one where bf16 is worth its start for three documents."""
    monkeypatch.setattr(precision, "has_gpu", lambda: False)
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "_WORTH_OPENVINO", 3)
    monkeypatch.setattr(precision, "_WORTH_TORCH", 3)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a model directory with its export and an int8 form of it that passed its gate."""
    plain = write_tiny_encoder(tmp_path / "plain")
    Encoder.load(plain).save(tmp_path / "model")
    export = tmp_path / "model" / "onnx"
    int8_directory(export).mkdir()
    write_int8(export, int8_directory(export))
    note_gate(int8_directory(export), {"metric": "ndcg@10"})
    return tmp_path / "model"


@pytest.fixture
def int8_index(run: Run, write: Write, model: Path, tmp_path: Path) -> Path:
    corpus = write("corpus.jsonl", as_jsonl(DOCUMENTS))
    arguments = ["index", corpus, "-i", tmp_path / "int8", "--encoder", model]
    assert run(*arguments, "--precision", "int8").code == 0
    return tmp_path / "int8"


@pytest.fixture
def more(write: Write) -> Path:
    return write("more.jsonl", as_jsonl(MORE))


@pytest.mark.skipif(not openvino_is_installed(), reason="OpenVINO is an optional extra")
def test_many_documents_are_added_in_bf16_by_the_copy_where_openvino_is(
    run: Run, more: Path, index_dir: Path, fast_in_bf16: None
) -> None:
    outcome = run("add", more, "-i", index_dir, "--verbose")
    assert outcome.code == 0
    assert "documents are encoded in bf16 by openvino" in outcome.err


@pytest.mark.parametrize("command", ["add", "upsert"])
def test_without_openvino_the_copy_encodes_in_fp32_and_nothing_is_warned_of(
    run: Run,
    more: Path,
    index_dir: Path,
    fast_in_bf16: None,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    monkeypatch.setattr(precision, "openvino_is_installed", lambda: False)
    outcome = run(command, more, "-i", index_dir)
    assert (outcome.code, outcome.err) == (0, "")


def test_what_an_int8_index_gets_more_is_in_int8(
    run: Run, more: Path, int8_index: Path, model: Path, fast_in_bf16: None
) -> None:
    outcome = run("add", more, "-i", int8_index)
    assert (outcome.code, outcome.err) == (0, "")
    with SearchIndex.open(int8_index) as index:
        (hit,) = index.search(MORE[1].text, k=1)
        assert index.encoder.fingerprint == Encoder.load(model, precision="int8").fingerprint
    assert (hit.id, hit.score) == ("1", pytest.approx(1, abs=1e-5))


def test_int8_may_be_asked_for_again(run: Run, more: Path, int8_index: Path) -> None:
    assert run("add", more, "-i", int8_index, "--precision", "int8").code == 0


def test_the_numbers_of_an_index_are_told(run: Run, index_dir: Path, int8_index: Path) -> None:
    assert run("info", index_dir, "--json").object["precision"] == "fp32"
    told = run("info", int8_index, "--json").object
    assert told["precision"] == "int8"
    assert told["encoder"].endswith("/model (int8)")


@pytest.mark.parametrize("damage", ["{", "[]", None])
def test_an_index_without_its_encoder_can_still_be_told_of(
    run: Run, index_dir: Path, damage: str | None
) -> None:
    description = index_dir / "encoder" / "encoder.json"
    if damage is None:
        description.unlink()
    else:
        description.write_text(damage)
    told = run("info", index_dir, "--json").object
    assert (told["precision"], told["documents"]) == ("unknown", 3)


@pytest.mark.parametrize("numbers", ["fp32", "bf16"])
def test_an_int8_index_takes_no_other_numbers(
    run: Run, more: Path, int8_index: Path, numbers: str
) -> None:
    outcome = run("add", more, "-i", int8_index, "--precision", numbers)
    assert f"is an export in int8: no {numbers} of it" in outcome.refusal(2)


def test_an_index_in_fp32_takes_no_int8(run: Run, more: Path, index_dir: Path) -> None:
    outcome = run("add", more, "-i", index_dir, "--precision", "int8")
    assert "is an export in fp32: no int8 of it" in outcome.refusal(2)


def test_the_full_model_encodes_for_an_index_on_its_devices(
    run: Run, more: Path, index_dir: Path, tiny_encoder_dir: Path
) -> None:
    outcome = run(
        *("add", more, "-i", index_dir, "--encoder", tiny_encoder_dir, "--device", "cpu,cpu")
    )
    assert (outcome.code, outcome.err) == (0, "")
    (hit,) = run("query", MORE[2].text, "-i", index_dir, "-k", 1, "--json").object["hits"]
    assert (hit["id"], hit["score"]) == ("2", pytest.approx(1, abs=1e-5))


def test_another_model_does_not_encode_for_an_index(
    run: Run, more: Path, index_dir: Path, tmp_path: Path
) -> None:
    other = write_tiny_encoder(tmp_path / "other", seed=1)
    Encoder.load(other)  # exported, which is said the first time
    outcome = run("add", more, "-i", index_dir, "--encoder", other)
    assert "the index was built with encoder" in outcome.refusal(8)


def test_the_copy_runs_on_no_other_device(run: Run, more: Path, index_dir: Path) -> None:
    outcome = run("upsert", more, "-i", index_dir, "--device", "cuda")
    assert outcome.refusal(2) == (
        "an index's own copy of its encoder runs on the CPU: for --device cuda name the full "
        "model (--encoder)"
    )


def test_an_index_is_opened_with_an_encoder_by_name(
    index_dir: Path, tiny_encoder_dir: Path
) -> None:
    with SearchIndex.open(index_dir, encoder=str(tiny_encoder_dir)) as index:
        assert index.encoder.name == str(tiny_encoder_dir)
        assert index.search("the cat sat on the mat", k=1)[0].id == "cat"


def test_an_index_is_not_opened_with_another_encoder_by_name(
    index_dir: Path, tmp_path: Path
) -> None:
    other = write_tiny_encoder(tmp_path / "other", seed=1)
    with pytest.raises(EncoderMismatch, match="the index was built with encoder"):
        SearchIndex.open(index_dir, encoder=other)


def test_a_precision_is_looked_at_when_an_index_is_opened(
    index_dir: Path, tiny_encoder_dir: Path
) -> None:
    with pytest.raises(InvalidInput, match="no precision 'fp64'"):
        SearchIndex.open(index_dir, precision="fp64")
    with pytest.raises(InvalidInput, match="a loaded encoder has its precision already"):
        SearchIndex.open(index_dir, encoder=Encoder.load(tiny_encoder_dir), precision="bf16")
