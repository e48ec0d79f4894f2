from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from command_line import Run, Write
from conftest import write_tiny_encoder
from head_training import tagged_texts

from simsearch.encoder import Encoder


def rows(count: int, **options) -> str:
    return "".join(
        json.dumps(
            {
                "text": each.text,
                "spans": [
                    {"start": span.start, "end": span.end, "label": span.label}
                    for span in each.spans
                ],
            }
        )
        + "\n"
        for each in tagged_texts(count, **options)
    )


@pytest.fixture(scope="module")
def head(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tagger of two labels, trained by the command line."""
    from simsearch.cli import main

    folder = tmp_path_factory.mktemp("tagger")
    (folder / "train.jsonl").write_text(rows(80), encoding="utf-8")
    arguments = ["train", str(folder / "train.jsonl"), "-o", str(folder / "head"), "--quiet"]
    arguments += ["--encoder", str(tiny_encoder_dir), "--epochs", "8", "--learning-rate", "0.004"]
    assert main(["ner", *arguments]) == 0
    return folder / "head"


def test_prediction_prints_the_object_of_the_contract(run: Run, head: Path):
    outcome = run("ner", "predict", "my the cat was late", "my money", "--head", head, "--json")
    first, second = outcome.objects
    assert outcome.code == 0
    (span,) = first["spans"]
    assert list(span) == ["start", "end", "label", "text", "probability"]
    assert (span["start"], span["end"], span["label"], span["text"]) == (3, 10, "ANIMAL", "the cat")
    assert second == {"text": "my money", "spans": []}
    shown = run("ner", "predict", "my the cat was late", "--head", head)
    assert shown.out.split()[1:] == ["ANIMAL", "3..10", "the", "cat"]


def test_training_reads_conll_and_tells_what_it_made(
    run: Run, write: Write, tiny_encoder_dir, tmp_path
):
    data = write("train.conll", "the B-A\ncat I-A\nsat O\n\nmoney O\nbank B-B\n")
    outcome = run(
        "ner", "train", data, "-o", tmp_path / "h", "--encoder", tiny_encoder_dir,
        "--epochs", 1, "--layers", "mixed", "--field", "found", "--json",
    )  # fmt: skip
    facts = outcome.object
    assert (outcome.code, facts["labels"], facts["texts"]) == (0, ["A", "B"], 2)
    assert (facts["words"], facts["spans"], facts["steps"]) == (5, 2, 1)
    described = json.loads((tmp_path / "h" / "head.json").read_text(encoding="utf-8"))
    assert (described["kind"], described["field"]) == ("tagger", "found")


def test_spans_that_no_word_holds_are_counted_in_numbers(
    run: Run, write: Write, tiny_encoder_dir, tmp_path
):
    spans = [{"start": 0, "end": 3, "label": "A"}, {"start": 3, "end": 6, "label": "B"}]
    data = write("train.jsonl", json.dumps({"text": "catdog", "spans": spans}) + "\n")
    arguments = ["-o", tmp_path / "h", "--encoder", tiny_encoder_dir, "--epochs", 1, "--json"]
    outcome = run("ner", "train", data, *arguments)
    assert (outcome.object["cut_spans"], outcome.object["lost_spans"]) == (1, 1)
    assert "can never find B" in outcome.err


def test_the_command_line_trains_as_python_does():
    from simsearch.cli import ner
    from simsearch.heads import TaggerConfig

    options = inspect.signature(ner.train).parameters
    config = TaggerConfig()
    assert options["batch_size"].default == config.batch_size
    assert options["learning_rate"].default == config.learning_rate
    assert options["layers"].default == config.layers
    assert options["field"].default == config.field
    assert options["calibrate"].default == config.calibrate


def test_training_tells_what_texts_left_out_say(run: Run, write: Write, tiny_encoder_dir, tmp_path):
    data = write("train.jsonl", rows(60))
    arguments = ["ner", "train", data, "--encoder", tiny_encoder_dir, "--epochs", 2]
    facts = run(*arguments, "-o", tmp_path / "h", "--json").object
    assert {"span_f1", "precision", "recall"} <= set(facts["metrics"])
    assert facts["steps"] == 16  # those of the head that is kept
    shown = run(*arguments, "-o", tmp_path / "again").out
    assert f"span_f1    {facts['metrics']['span_f1']:.4f}" in shown
    plain = run(*arguments, "-o", tmp_path / "plain", "--no-calibrate", "--json").object
    assert plain["metrics"] == {}


def test_evaluation_prints_the_object_of_the_contract(run: Run, write: Write, head: Path):
    data = write("test.jsonl", rows(40, seed=3))
    found = run("ner", "evaluate", data, "--head", head, "--against", head, "--json").object
    assert (found["task"], found["n"]) == ("ner", 40)
    assert found["metrics"]["span_f1"] > 0.9
    assert set(found["labels"]) == {"ANIMAL", "PLACE"}
    assert 0 <= found["metrics"]["ece"] < 0.2
    assert found["difference"]["span_f1"] == {"value": 0, "low": 0, "high": 0, "p": 1}
    shown = run("ner", "evaluate", data, "--head", head)
    assert f"span_f1    {found['metrics']['span_f1']:.4f}" in shown.out


def test_wrong_use_and_wrong_data_have_their_exit_codes(run: Run, write: Write, head: Path):
    other = write_tiny_encoder(head.parent / "other", seed=1)
    Encoder.load(other)  # its first use would say that it is exported
    assert "the head was trained on" in run(
        "ner", "predict", "cat", "--head", head, "--encoder", other
    ).refusal(8)
    beyond = write(
        "beyond.jsonl", '{"text": "cat", "spans": [{"start": 0, "end": 9, "label": "A"}]}\n'
    )
    assert "beyond.jsonl:1: span 0..9 ('A') is not within the text" in run(
        "ner", "train", beyond, "-o", head.parent / "new"
    ).refusal(3)
    assert "--replace" in run("ner", "train", beyond, "-o", head).refusal(2)
    assert "no head" in run("ner", "predict", "a", "--head", head.parent).refusal(2)


def test_an_encoder_is_tuned_for_entities(run: Run, write: Write, tiny_encoder_dir, tmp_path):
    data = write("train.jsonl", rows(40))
    arguments = ["ner", "train", data, "-o", tmp_path / "h", "--encoder", tiny_encoder_dir]
    arguments += ["--adapt", "full", "--model", tmp_path / "tuned", "--adapt-epochs", "1"]
    facts = run(*arguments, "--epochs", "2", "--force", "--json").object
    assert set(facts["before"]) == set(facts["after"]) == {"span_f1"}
    assert facts["fingerprint"] == Encoder.load(tmp_path / "tuned").fingerprint
    assert facts["fingerprint"] != facts["base_fingerprint"]
    assert run("ner", "predict", "the cat", "--head", tmp_path / "h", "--json").code == 0


@pytest.mark.slow
@pytest.mark.data
def test_a_hundred_texts_teach_what_a_few_epochs_of_fine_tuning_do_not(
    run: Run, data_dir: Path, tmp_path
):
    folder = data_dir / "crossner_politics"
    test = tmp_path / "test.conll"
    texts = (folder / "test.conll").read_text(encoding="utf-8").split("\n\n")
    test.write_text("\n\n".join(texts[:150]), encoding="utf-8")
    assert run("ner", "train", folder / "train.conll", "-o", tmp_path / "head").code == 0
    found = run("ner", "evaluate", test, "--head", tmp_path / "head", "--json").object
    assert found["metrics"]["span_f1"] > 0.5
