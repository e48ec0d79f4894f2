"""finetune: what is kept and printed for each verdict, and what is refused before it costs time."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from pathlib import Path

import pytest
from command_line import FillStdin, Outcome, Run, Write

from simsearch.cli import main
from simsearch.encoder import Encoder

WORDS = ["card", "cash", "bank", "order", "parcel", "phone", "screen", "password", "email"]
PAIRS = [
    {"anchor": f"my {first} {second}", "positive": f"where is the {first} and the {second}"}
    for first, second in itertools.combinations(WORDS, 2)
]
# So small a step that no weight of the encoder changes: neither better nor worse is a reject.
NOTHING_LEARNT = ["--learning-rate", "1e-12", "--epochs", "1", "--batch-size", "16"]


def jsonl(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of pairs."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text(jsonl(PAIRS), encoding="utf-8")
    return path


def finetune(*arguments: str | Path) -> Outcome:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["finetune", *map(str, arguments)])
    return Outcome(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def rejected(
    pairs: Path, tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Outcome, Path]:
    """Return what a run said that ended in a reject, and its model directory."""
    target = tmp_path_factory.mktemp("rejected") / "model"
    named = ["--encoder", tiny_encoder_dir, "--metric", "mrr@10"]
    return finetune(pairs, "-o", target, *named, *NOTHING_LEARNT, "--json"), target


@pytest.fixture(scope="module")
def forced(
    pairs: Path, tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Outcome, Path]:
    """Return the same of a run that was told to keep the model all the same."""
    target = tmp_path_factory.mktemp("forced") / "model"
    named = ["--encoder", tiny_encoder_dir, "--force"]
    return finetune(pairs, "-o", target, *named, *NOTHING_LEARNT), target


def test_a_reject_prints_its_numbers_as_json_and_exits_1(
    rejected: tuple[Outcome, Path],
) -> None:
    outcome, target = rejected
    assert outcome.code == 1
    assert list(outcome.object) == [
        "before",
        "after",
        "difference",
        "verdict",
        "model",
        "objective",
        "seconds",
    ]
    assert outcome.object["verdict"] == "reject"
    assert outcome.object["model"] == str(target)
    assert outcome.object["objective"] == "in-batch"
    metrics = {"ndcg@10", "mrr@10", "recall@10", "recall@100", "map"}
    assert outcome.object["before"].keys() == outcome.object["after"].keys() == metrics
    assert outcome.object["difference"].keys() == metrics
    assert outcome.object["difference"]["mrr@10"].keys() == {"value", "low", "high", "p"}
    assert outcome.object["difference"]["mrr@10"]["value"] == 0.0


def test_a_reject_says_by_which_metric(rejected: tuple[Outcome, Path]) -> None:
    outcome, _ = rejected
    assert "verdict: reject (mrr@10 changed by +0.0000" in outcome.err


def test_a_reject_leaves_only_the_run_folder(rejected: tuple[Outcome, Path]) -> None:
    _, target = rejected
    assert [each.name for each in target.iterdir()] == ["run"]
    assert {each.name for each in (target / "run").iterdir()} >= {"report.md", "curves.png"}
    assert [each.name for each in target.parent.iterdir()] == ["model"]


def test_force_keeps_a_rejected_model_and_still_exits_1(forced: tuple[Outcome, Path]) -> None:
    outcome, target = forced
    assert outcome.code == 1
    assert "verdict: reject\n" in outcome.out
    assert Encoder.load(target).dim == 32
    description = json.loads((target / "simsearch.json").read_text(encoding="utf-8"))
    assert description["verdict"]["verdict"] == "reject"
    assert description["fingerprint"] == Encoder.load(target).fingerprint


def test_the_table_has_a_row_for_every_metric(forced: tuple[Outcome, Path]) -> None:
    outcome, _ = forced
    first_words = [line.split()[0] for line in outcome.out.splitlines()]
    assert first_words == [
        "metric",
        "ndcg@10",
        "mrr@10",
        "recall@10",
        "recall@100",
        "map",
        "verdict:",
    ]


@pytest.mark.parametrize("entry", ["folder/x", "file"])
def test_an_existing_directory_is_not_trained_into(
    run: Run, pairs: Path, write: Write, tmp_path: Path, tiny_encoder_dir: Path, entry: str
) -> None:
    kept = write(entry, "precious")
    target = tmp_path / entry.partition("/")[0]
    outcome = run("finetune", pairs, "-o", target, "--encoder", tiny_encoder_dir)
    message = f"{target} exists already (choose another name, or replace it: --replace)"
    assert outcome.refusal(2) == message
    assert kept.read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--learning-rate", "2"], 2, "learning_rate must be between 0 and 1, got 2.0"),
        (["--encoder", "./nowhere"], 7, "there is no encoder directory at ./nowhere"),
        (["--eval", "nowhere.csv"], 2, "nowhere.csv: no such file"),
    ],
)
def test_what_cannot_be_trained_leaves_nothing(
    run: Run, pairs: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    target = tmp_path / "model"
    outcome = run("finetune", pairs, "-o", target, *arguments, "--quiet")
    assert outcome.refusal(code) == message
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_metric_names_those_that_are_measured(
    run: Run, pairs: Path, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    named = ["--encoder", tiny_encoder_dir, "--metric", "accuracy", "--quiet"]
    outcome = run("finetune", pairs, "-o", tmp_path / "model", *named)
    assert outcome.refusal(2) == (
        "no metric 'accuracy' here (measured: ndcg@10, mrr@10, recall@10, recall@100, map)"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_bad_row_stops_and_names_its_line(
    run: Run, fill_stdin: FillStdin, tmp_path: Path
) -> None:
    fill_stdin(jsonl([*PAIRS[:3], {"anchor": "my card", "positive": " "}]).encode())
    outcome = run("finetune", "-", "-o", tmp_path / "model")
    assert outcome.refusal(3) == "stdin:4: field 'positive' is empty"
    assert list(tmp_path.iterdir()) == []
