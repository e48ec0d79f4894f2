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
from simsearch.records import Document
from simsearch.search_index import SearchIndex
from simsearch.training import held_out_of_run

pytestmark = pytest.mark.usefixtures("quick_exports", "quick_pictures")

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
        "reason",
        "model",
        "run",
        "objective",
        "kept",
        "forgetting",
        "augmentation",
        "seconds",
        "alone",
        "heads",
    ]
    assert outcome.object["verdict"] == "reject"
    assert outcome.object["reason"].startswith("mrr@10 changed by +0.0000")
    assert outcome.object["model"] == str(target)
    assert outcome.object["run"] == str(target / "run")
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


def test_what_a_run_held_out_measures_the_modes_of_an_index(
    rejected: tuple[Outcome, Path], run: Run, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    _, model = rejected
    index = tmp_path / "index"
    texts = [Document(str(n), pair["positive"]) for n, pair in enumerate(PAIRS)]
    with SearchIndex.create(index, encoder=Encoder.load(tiny_encoder_dir)) as opened:
        opened.add(texts)
    held_out = len(held_out_of_run(model))
    assert 0 < held_out < len(PAIRS)
    few = run("mode", index, model).refusal(3)
    assert f"{held_out} queries with an answer in the index, at least 10 are needed" in few


def test_force_keeps_a_rejected_model_and_still_exits_1(forced: tuple[Outcome, Path]) -> None:
    outcome, target = forced
    assert outcome.code == 1
    assert f"the model is in {target} all the same, as --force asked for" in outcome.err
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
        (
            ["--match-score", "4"],
            2,
            "match_score says from which score on two texts match, and no held-out pair has a "
            "score (leave it out)",
        ),
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


def test_a_dry_run_says_what_is_found_and_writes_nothing(
    run: Run, pairs: Path, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    target = tmp_path / "model"
    outcome = run("finetune", pairs, "-o", target, "--encoder", tiny_encoder_dir, "--dry-run")
    assert outcome.code == 0
    assert "36 rows of anchor, positive: two texts that belong together" in outcome.out
    assert "objective in-batch: chosen for pairs" in outcome.out
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_as_json_is_one_object_for_each_data_set(
    run: Run, write: Write, tiny_encoder_dir: Path
) -> None:
    alone = write(
        "pairs.jsonl", jsonl([{"anchor": f"my {n}", "positive": f"the {n}"} for n in range(20)])
    )
    scored = write(
        "scored.jsonl",
        jsonl([{"sentence1": f"a {n}", "sentence2": f"b {n}", "score": n} for n in range(20)]),
    )
    named = ["--encoder", tiny_encoder_dir, "--dry-run", "--json"]
    outcome = run("finetune", scored, alone, *named)
    kinds = [json.loads(line)["kind"] for line in outcome.out.splitlines()]
    assert (outcome.code, kinds) == (0, ["ScoredPair", "Pair"])


def test_settings_come_from_a_file_and_flags_go_before_it(
    run: Run, pairs: Path, write: Write, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    settings = write(
        "run.toml",
        f'data = ["{pairs}"]\nencoder = "{tiny_encoder_dir}"\n'
        "epochs = 3\nbatch_size = 8\nseed = 4\nlearning_rate = 1e-12\n",
    )
    outcome = run("finetune", "--config", settings, "-o", tmp_path / "model", "--epochs", "1")
    assert (outcome.code, outcome.out.splitlines()[-1]) == (1, "verdict: reject")
    told = f"the next run to {tmp_path / 'model'} takes the place of this report (--replace)"
    assert told in outcome.err.splitlines()
    written = (tmp_path / "model" / "run" / "config.toml").read_text(encoding="utf-8")
    lines = written.splitlines()
    assert {"epochs = 1", "batch_size = 8", "seed = 4", 'objective = "auto"'} <= set(lines)
    again = run(
        "finetune", "--config", tmp_path / "model/run/config.toml", "-o", tmp_path / "again"
    )
    assert again.code == 1
    assert (tmp_path / "again/run/config.toml").read_text(encoding="utf-8") == written
    losses = _losses(tmp_path / "model")
    assert len(set(losses)) > 1
    assert _losses(tmp_path / "again") == losses


def _losses(model: Path) -> list[float]:
    log = (model / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in log]


def test_how_the_files_were_read_is_kept_with_the_run(
    run: Run, write: Write, tmp_path: Path, tiny_encoder_dir: Path, rejected: tuple[Outcome, Path]
) -> None:
    rows = "".join(f"{pair['anchor']};{pair['positive']}\n" for pair in PAIRS)
    data = write("pairs.csv", f"anchor;positive\n{rows}my caf\xe9; \n".encode("latin-1"))
    read = ["--encoding", "latin-1", "--delimiter", ";", "--on-error", "skip"]
    named = ["--encoder", tiny_encoder_dir, *NOTHING_LEARNT, *read]
    assert run("finetune", data, "-o", tmp_path / "model", *named).code == 1
    assert _reading(tmp_path / "model") == {
        "encoding": "latin-1",
        "delimiter": ";",
        "on_error": "skip",
        "rows_skipped": 1,
    }
    assert _reading(rejected[1]) == {}


def _reading(model: Path) -> object:
    provenance = (model / "run" / "provenance.json").read_text(encoding="utf-8")
    return json.loads(provenance)["reading"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "loads"),
    [
        ("full", "and with `SentenceTransformer(path)`"),
        ("last-1", "and with `SentenceTransformer(path)`"),
        ("gradual", "and with `SentenceTransformer(path)`"),
        ("lora", "and with `SentenceTransformer(path)`"),
        ("dense", "`simsearch.Encoder.load(path)` only"),
        ("conv", "`simsearch.Encoder.load(path)` only"),
    ],
)
def test_a_model_of_every_method_is_indexed_and_answers_when_it_has_moved(
    run: Run,
    pairs: Path,
    write: Write,
    tmp_path: Path,
    tiny_encoder_dir: Path,
    method: str,
    loads: str,
) -> None:
    model, index = tmp_path / "model", tmp_path / "index"
    named = ["--encoder", tiny_encoder_dir, "--adapt", method, "--learning-rate", "1e-3"]
    options = ["--epochs", "2", "--batch-size", "8", "--force", "--quiet"]
    assert run("finetune", pairs, "-o", model, *named, *options).code in (0, 1)
    assert loads in (model / "README.md").read_text(encoding="utf-8")
    tuned = Encoder.load(model)
    assert tuned.fingerprint != Encoder.load(tiny_encoder_dir).fingerprint
    texts = ["my card was swallowed", "the parcel came late", "the cat sat on the mat"]
    corpus = write("corpus.jsonl", jsonl([{"id": text[:6], "text": text} for text in texts]))
    assert run("index", corpus, "-i", index, "--encoder", model).code == 0
    expected = tuned.encode(texts) @ tuned.encode_queries(["where is my parcel"])[0]
    model.rename(tmp_path / "moved")
    hits = run("query", "where is my parcel", "-i", index, "--json").object["hits"]
    assert {hit["id"]: hit["score"] for hit in hits} == pytest.approx(
        {text[:6]: score for text, score in zip(texts, expected, strict=True)}, abs=1e-5
    )


def test_a_dry_run_of_augmentation_says_that_it_trains_twice(
    run: Run, pairs: Path, tiny_encoder_dir: Path
) -> None:
    named = ["--encoder", tiny_encoder_dir, "--dry-run", "--augment", "dropout"]
    both = run("finetune", pairs, *named, "--json").object
    assert (both["added_rows"], both["control_steps"] > 0) == (both["training_rows"], True)
    once = run("finetune", pairs, *named, "--no-augment-control", "--json").object
    assert (once["steps"], once["control_steps"]) == (both["steps"], 0)


def test_the_effect_of_augmentation_is_told(
    run: Run, pairs: Path, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    named = ["--encoder", tiny_encoder_dir, "--augment", "swap", *NOTHING_LEARNT]
    outcome = run("finetune", pairs, "-o", tmp_path / "model", *named)
    assert "augmentation: ndcg@10 +0.0000, 95% interval +0.0000 .. +0.0000, p 1.0000" in outcome.err
    assert outcome.out.splitlines()[-1] == "verdict: reject"


def test_an_unknown_setting_is_refused_with_a_near_one(
    run: Run, write: Write, tmp_path: Path
) -> None:
    settings = write("run.toml", "epoch = 3\n")
    outcome = run("finetune", "--config", settings, "-o", tmp_path / "model")
    assert outcome.refusal(2) == f"{settings}: unknown key 'epoch' (did you mean 'epochs'?)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "model"], "there is no training data (name files, or give them in --config)"),
        (["pairs.jsonl"], "where is the model to go? (-o MODEL_DIR)"),
        (["pairs.jsonl", "-o", "m", "--adapt", "last-0"], "no adaptation 'last-0'"),
        (["pairs.jsonl", "-o", "m", "--augment", "noise"], "no augmentation 'noise'"),
        (["pairs.jsonl", "-o", "m", "--optimizer", "lion"], "no optimizer 'lion'"),
        (["pairs.jsonl", "-o", "m", "--negatives", "11"], "negatives must be at most 10, got 11"),
        (["pairs.jsonl", "-o", "m", "--seed", "5000000000"], "seed must be at most 4294967295"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    run: Run, arguments: list[str], message: str
) -> None:
    assert run("finetune", *arguments).refusal(2).startswith(message)


def test_similarity_names_the_relation_by_the_pair_scorer(
    run: Run, write: Write, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    rows = [
        {"sentence1": f"my {word} {n}", "sentence2": f"the {word} {n}", "label": label}
        for n, (word, label) in enumerate(itertools.product(WORDS, ("same", "other", "same", "x")))
    ]
    data = write("classes.jsonl", jsonl(rows))
    named = ["--encoder", tiny_encoder_dir, "--force", "--quiet", *NOTHING_LEARNT]
    assert run("finetune", data, "-o", tmp_path / "model", *named).code == 1
    texts = ["my card", "the card", "--scorer"]
    found = run("similarity", *texts, "--encoder", tmp_path / "model", "--json").object
    assert found["probabilities"].keys() == {"same", "other", "x"}
    assert sum(found["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
    assert found["label_probability"] == max(found["probabilities"].values())
    printed = run("similarity", *texts, "--encoder", tmp_path / "model").out.splitlines()
    assert printed[0] == f"{found['score']:.4f}"
    assert printed[1] == f"{found['label_probability']:.4f}  {found['label']}"
    refused = run("similarity", *texts, "--encoder", tiny_encoder_dir)
    assert "has no pair scorer" in refused.refusal(7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--freeze"], "freeze goes with adapt dense or conv, got full"),
        (["--adapt", "last-9"], "last-9"),
        (["--metric", "accuracy"], "no metric 'accuracy' here"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(
    run: Run, pairs: Path, tiny_encoder_dir: Path, arguments: list[str], message: str
) -> None:
    named = ["--encoder", tiny_encoder_dir, "--dry-run"]
    assert message in run("finetune", pairs, *named, *arguments).refusal(2)


def test_a_dry_run_counts_bad_rows_and_writes_no_file(
    run: Run, write: Write, tmp_path: Path, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write("pairs.jsonl", jsonl([*PAIRS, {"anchor": "my card", "positive": " "}]))
    monkeypatch.chdir(tmp_path)
    named = ["--encoder", tiny_encoder_dir, "--dry-run", "--on-error", "skip"]
    outcome = run("finetune", data, *named)
    assert (outcome.code, "1 row skipped" in outcome.err) == (1, True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["pairs.jsonl"]
