from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import Run, Write
from conftest import write_tiny_encoder
from head_training import labelled_texts
from sklearn.metrics import roc_auc_score

from simsearch.encoder import Encoder
from simsearch.evaluation import expected_calibration_error


def rows(count: int, **options) -> str:
    return "".join(
        json.dumps({"text": each.text, "label": each.labels[0]}) + "\n"
        for each in labelled_texts(count, **options)
    )


@pytest.fixture(scope="module")
def head(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a classifier over five topics, trained by the command line."""
    from simsearch.cli import main

    folder = tmp_path_factory.mktemp("classifier")
    (folder / "train.jsonl").write_text(rows(100), encoding="utf-8")
    arguments = ["train", str(folder / "train.jsonl"), "-o", str(folder / "head")]
    assert main(["classifier", *arguments, "--encoder", str(tiny_encoder_dir), "--quiet"]) == 0
    return folder / "head"


def test_training_tells_what_it_made(run: Run, write: Write, tiny_encoder_dir, tmp_path):
    data = write("train.csv", "text,label\ncat,a\ndog,a\nbird,a\ncash,b\nbank,b\nmoney,b\n")
    outcome = run(
        "classifier", "train", data, "-o", tmp_path / "h", "--encoder", tiny_encoder_dir, "--json"
    )
    facts = outcome.object
    assert outcome.code == 0
    assert (facts["labels"], facts["texts"], facts["scope"]) == (2, 6, False)
    assert set(facts["metrics"]) == {"accuracy", "macro_f1", "ece"}
    unsure = run("classifier", "predict", "hello", "--head", tmp_path / "h", "--json").object
    assert unsure["probability"] < 0.99
    assert (tmp_path / "h" / "head.json").is_file()


def test_prediction_prints_the_object_of_the_contract(run: Run, head: Path):
    outcome = run("classifier", "predict", "cat dog bird", "cash bank", "--head", head, "--json")
    first, second = outcome.objects
    assert outcome.code == 0
    assert list(first)[:4] == ["text", "label", "probability", "probabilities"]
    assert (first["text"], first["label"]) == ("cat dog bird", "animal")
    assert second["label"] == "money"
    assert second["probability"] == max(second["probabilities"].values())
    assert 0 <= second["in_scope"] <= 1


def test_prediction_reads_texts_from_a_file_and_rejects_what_is_out_of_scope(
    run: Run, write: Write, head: Path
):
    file = write("texts.txt", "cat dog bird\ncash bank\n")
    outcome = run("classifier", "predict", "--texts", file, "--head", head)
    assert [line.split("  ")[1] for line in outcome.out.splitlines()] == ["animal", "money"]
    rejecting = run("classifier", "predict", "cat", "--head", head, "--min-in-scope", "1", "--json")
    assert (rejecting.object["label"], rejecting.object["labels"]) == (None, [])


def test_evaluation_prints_the_object_of_the_contract_and_draws(
    run: Run, write: Write, head: Path, tmp_path
):
    data = write("test.jsonl", rows(50, seed=3))
    outcome = run(
        "classifier", "evaluate", data, "--head", head, "--against", head,
        "--plot", tmp_path / "m.png", "--json",
    )  # fmt: skip
    found = outcome.object
    assert (outcome.code, found["task"], found["n"]) == (0, "classifier", 50)
    assert found["metrics"]["accuracy"] > 0.6
    assert found["difference"]["accuracy"] == {"value": 0, "low": 0, "high": 0, "p": 1}
    assert sum(map(sum, found["confusion"])) == 50
    assert (tmp_path / "m.png").is_file()
    shown = run("classifier", "evaluate", data, "--head", head)
    assert f"accuracy  {found['metrics']['accuracy']:.4f}" in shown.out


def test_a_head_that_rejects_is_no_worse_than_itself(run: Run, write: Write, head: Path):
    data = write("test.jsonl", rows(50, seed=3))
    arguments = ["classifier", "evaluate", data, "--head", head, "--against", head, "--json"]
    found = run(*arguments, "--min-in-scope", "0.7").object
    assert found["metrics"]["accuracy"] < run(*arguments).object["metrics"]["accuracy"]
    assert found["difference"]["accuracy"] == {"value": 0, "low": 0, "high": 0, "p": 1}


def test_evaluation_tells_how_well_texts_of_no_class_are_rejected(
    run: Run, write: Write, head: Path
):
    known, outside = labelled_texts(50, seed=3), ["how do i", "where is it", "please come here"]
    data = write("test.jsonl", rows(50, seed=3))
    others = write("others.jsonl", "".join(json.dumps({"text": each}) + "\n" for each in outside))
    asked = [each.text for each in known] + outside
    given = run("classifier", "predict", *asked, "--head", head, "--json").objects
    scores = [each["in_scope"] for each in given]
    arguments = ["classifier", "evaluate", data, "--head", head, "--out-of-scope", others]
    found = run(*arguments, "--min-in-scope", "0.3", "--json").object["scope"]
    labels = [1] * 50 + [0] * 3
    assert found["auroc"] == pytest.approx(roc_auc_score(labels, scores))
    assert (found["threshold"], found["texts"]) == (0.3, 3)
    assert found["kept"] == pytest.approx(np.mean(np.array(scores[:50]) >= 0.3))
    assert found["rejected"] == pytest.approx(np.mean(np.array(scores[50:]) < 0.3))
    # Both kinds weigh the same: as if each text of no class were there 50 times, of any three.
    balanced = expected_calibration_error(
        np.repeat(scores, [3] * 50 + [50] * 3), np.repeat(labels, [3] * 50 + [50] * 3) > 0
    )
    assert found["ece"] == pytest.approx(balanced)
    assert "none rejected at 0.5" in run(*arguments).out
    twice = run("classifier", "evaluate", "-", "--head", head, "--out-of-scope", "-")
    assert "stdin can be read once" in twice.refusal(2)


def test_another_encoder_is_refused(run: Run, head: Path, tmp_path):
    other = write_tiny_encoder(tmp_path / "other", seed=1)
    Encoder.load(other)  # its first use would say that it is exported
    message = run("classifier", "predict", "cat", "--head", head, "--encoder", other).refusal(8)
    assert "the head was trained on encoder" in message


def test_a_head_that_is_compared_with_takes_the_encoder_that_is_named_if_it_is_its_own(
    run: Run, write: Write, head: Path, tiny_encoder_dir: Path, tmp_path: Path
):
    lost = shutil.copytree(head, tmp_path / "lost")
    content = json.loads((lost / "head.json").read_text(encoding="utf-8"))
    content["encoder"]["name"] = str(tmp_path / "nowhere")
    (lost / "head.json").write_text(json.dumps(content), encoding="utf-8")
    data = write("test.jsonl", rows(10, seed=3))
    arguments = ["classifier", "evaluate", data, "--head", lost, "--against", lost, "--json"]
    assert "name its place: --encoder" in run(*arguments).refusal(7)
    found = run(*arguments, "--encoder", tiny_encoder_dir).object
    assert found["difference"]["accuracy"]["value"] == 0


def test_wrong_use_and_wrong_data_have_their_exit_codes(run: Run, write: Write, head: Path):
    assert "no head" in run("classifier", "predict", "a", "--head", head.parent).refusal(2)
    assert "--replace" in run("classifier", "train", "x", "-o", head).refusal(2)
    assert "give texts" in run("classifier", "predict", "--head", head).refusal(2)
    several = write("several.jsonl", '{"text": "a", "labels": ["animal"]}')
    assert "trained on 'label'" in run("classifier", "evaluate", several, "--head", head).refusal(3)
    broken = write("broken.jsonl", '{"text": "a", "label": "b"}\n{"text": "", "label": "b"}\n')
    assert "broken.jsonl:2: field 'text' is empty" in run(
        "classifier", "train", broken, "-o", head.parent / "new"
    ).refusal(3)
    assert not (head.parent / "new").exists()


def test_several_labels_from_training_to_evaluation(
    run: Run, write: Write, tiny_encoder_dir, tmp_path
):
    texts = [
        ("cat dog", ["pet"]),
        ("cash bank", ["money"]),
        ("cat dog cash bank", ["money", "pet"]),
    ]
    data = write(
        "several.jsonl",
        "".join(json.dumps({"text": text, "labels": labels}) + "\n" for text, labels in texts * 9),
    )
    made = run("classifier", "train", data, "-o", tmp_path / "h", "--encoder", tiny_encoder_dir)
    assert made.code == 0
    found = run("classifier", "predict", "cat dog cash bank", "--head", tmp_path / "h", "--json")
    assert found.object["labels"] == ["money", "pet"]
    scored = run("classifier", "evaluate", data, "--head", tmp_path / "h", "--json").object
    assert scored["metrics"]["micro_f1"] > 0.9
    assert scored["confusion"] is None
    one_each = write("one.jsonl", '{"text": "cat dog cash bank", "labels": ["pet"]}\n' * 2)
    arguments = ["classifier", "evaluate", one_each, "--head", tmp_path / "h"]
    compared = run(*arguments, "--against", tmp_path / "h", "--json").object
    assert compared["difference"].keys() == {"accuracy"}
    missing = ["classifier", "evaluate", "no-such-data", "--head", tmp_path / "h"]
    assert "--plot is for one label" in run(*missing, "--plot", tmp_path / "m.png").refusal(2)
    for option, value in (("--min-in-scope", "0.5"), ("--out-of-scope", "no-such-texts")):
        said = run(*missing, option, value).refusal(2)
        assert f"has no scope: {option} needs one" in said


def test_the_command_line_predicts_without_torch_and_scikit_learn(head: Path):
    script = (
        "import sys\nfrom simsearch.cli import main\n"
        f"code = main(['classifier', 'predict', 'cat', '--head', {str(head)!r}])\n"
        "print(code, *{'torch', 'sklearn', 'transformers'} & sys.modules.keys(), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "0"


@pytest.mark.slow
@pytest.mark.data
def test_eight_texts_of_each_intent_beat_the_published_probe(run: Run, data_dir: Path, tmp_path):
    train, test = (data_dir / "banking77" / f"{name}.jsonl" for name in ("train", "test"))
    lines = train.read_text(encoding="utf-8").splitlines(keepends=True)
    kept: dict[str, list[str]] = {}
    for line in lines:
        label = json.loads(line)["label"]
        kept[label] = [*kept.get(label, []), line][-8:]
    few = tmp_path / "few.jsonl"
    few.write_text("".join(line for part in kept.values() for line in part), encoding="utf-8")
    assert run("classifier", "train", few, "-o", tmp_path / "head").code == 0
    sample = tmp_path / "sample.jsonl"
    sample.write_text(
        "".join(test.read_text(encoding="utf-8").splitlines(keepends=True)[::5]), encoding="utf-8"
    )
    found = run("classifier", "evaluate", sample, "--head", tmp_path / "head", "--json").object
    # all-MiniLM-L6-v2 with MTEB's linear probe, 8 texts a class: 80.04. A fifth of the test set
    # has a standard error of 1.6 points.
    assert found["metrics"]["accuracy"] > 0.77
    assert found["metrics"]["ece"] < 0.1


def test_a_place_where_no_head_can_be_is_refused_before_data_is_read(run: Run, write: Write):
    file = write("file", "x")
    said = run("classifier", "train", "no-such-data", "-o", file / "below" / "head").refusal(6)
    assert f"{file} is no directory" in said


def test_one_shot_of_each_class_says_that_nothing_could_be_left_out(
    run: Run, write: Write, tiny_encoder_dir, tmp_path
):
    arguments = ["-o", tmp_path / "h", "--encoder", tiny_encoder_dir, "--shots", "1"]
    outcome = run("classifier", "train", write("train.jsonl", rows(20)), *arguments)
    assert outcome.code == 0
    assert "no class has two different texts: nothing could be left out" in outcome.err
    assert outcome.out.splitlines() == [f"{tmp_path / 'h'}: 5 classes of 5 texts"]


def test_an_encoder_is_tuned_for_a_head_and_said_to_be_another(
    run: Run, write: Write, tiny_encoder_dir, tmp_path
):
    data = write("train.jsonl", rows(60))
    arguments = ["classifier", "train", data, "-o", tmp_path / "h", "--encoder", tiny_encoder_dir]
    arguments += ["--adapt", "last-1", "--model", tmp_path / "tuned", "--adapt-epochs", "1"]
    outcome = run(*arguments, "--force", "--field", "topic")
    assert outcome.code in (0, 1)  # kept either way
    assert "simsearch reindex INDEX_DIR --encoder" in outcome.err
    loaded = json.loads((tmp_path / "h" / "head.json").read_text())
    assert loaded["encoder"]["name"] == str(tmp_path / "tuned")
    assert loaded["encoder"]["fingerprint"] == Encoder.load(tmp_path / "tuned").fingerprint
    assert loaded["encoder"]["fingerprint"] != Encoder.load(tiny_encoder_dir).fingerprint
    assert loaded["field"] == "topic"
    assert run("classifier", "predict", "cat dog", "--head", tmp_path / "h").code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--adapt", "full"], "where is the tuned encoder to go"),
        (["--model", "m"], "go with --adapt"),
        (["--adapt", "half", "--model", "m"], "no adaptation 'half'"),
        (["--adapt", "full", "--model", "m", "--out-of-scope", "x"], "not with --adapt"),
        (["--no-scope", "--out-of-scope", "x"], "of no use with --no-scope"),
    ],
)
def test_tuning_is_asked_for_whole(run: Run, write: Write, tmp_path, options, message):
    data = write("train.jsonl", rows(20))
    outcome = run("classifier", "train", data, "-o", tmp_path / "h", *options)
    assert message in outcome.refusal(2)


def test_a_tuned_head_may_lie_in_its_model_and_no_model_in_its_head(
    run: Run, write: Write, tiny_encoder_dir, tmp_path
):
    data, model = write("train.jsonl", rows(40)), tmp_path / "m"
    common = ["classifier", "train", data, "--encoder", tiny_encoder_dir]
    common += ["--adapt", "last-1", "--adapt-epochs", "1", "--force", "--quiet"]
    for head, place in ((model, model), (tmp_path / "h", tmp_path / "h" / "m")):
        refused = run(*common, "-o", head, "--model", place).refusal(2)
        assert "would lie in the head's directory" in refused
        assert not head.exists()
    for head in (model / "heads", model / "run", model / "heads" / "a" / "b"):
        refused = run(*common, "-o", head, "--model", model).refusal(2)
        assert "would lie in the model's directory, where a head may lie in" in refused
        assert not model.exists()
    head = model / "heads" / "label"
    assert run(*common, "-o", head, "--model", model).code in (0, 1)  # kept either way
    assert run("classifier", "predict", "my card", "--head", head, "--json").object["label"]


def test_an_encoder_is_tuned_where_several_classes_may_hold(
    run: Run, write: Write, tiny_encoder_dir, tmp_path
):
    texts = [f"{word} {other}" for word in ("cat", "dog", "bird") for other in ("bank", "red", "x")]
    data = write(
        "several.jsonl",
        "".join(
            json.dumps({"text": f"{text} {number}", "labels": text.split()}) + "\n"
            for number in range(6)
            for text in texts
        ),
    )
    arguments = ["classifier", "train", data, "-o", tmp_path / "h", "--encoder", tiny_encoder_dir]
    arguments += ["--adapt", "last-1", "--model", tmp_path / "m", "--adapt-epochs", "1"]
    assert run(*arguments, "--shots", "3").refusal(2).endswith("--shots is for one label a text")
    assert run(*arguments, "--force").code in (0, 1)  # kept either way
    assert json.loads((tmp_path / "h" / "head.json").read_text())["several_labels"]
