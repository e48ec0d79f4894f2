"""The whole run, on a tiny random encoder: minutes become seconds, nothing else changes."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from conftest import WORDS

from simsearch.encoder import Encoder, load_pair_scorer, read_model_file
from simsearch.errors import AlreadyExists, EncoderError, InvalidData, InvalidInput
from simsearch.evaluation import Difference
from simsearch.records import (
    ClassPair,
    LabelledPair,
    LabelledText,
    Pair,
    ScoredPair,
    Triplet,
    UnlabelledText,
)
from simsearch.training import (
    TrainingConfig,
    TrainingData,
    Verdict,
    finetune,
    forgetting,
    read_run_file,
)
from simsearch.training.held_out import make_held_out
from simsearch.training.result import judge

pytestmark = pytest.mark.usefixtures("quick_pictures")

CONFIG = TrainingConfig(epochs=1, batch_size=16, learning_rate=1e-3, seed=0)


def make_pairs(count, seed=0):
    """Two halves of one shuffled sentence each: what a random encoder can learn to match."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        words = rng.sample(WORDS[:40], 8)
        rows.append(Pair(" ".join(words[:6]), " ".join(rng.sample(words, 6))))
    return rows


@pytest.fixture(scope="module")
def kept(tmp_path_factory, tiny_encoder_dir):
    """A run that ends with `keep`."""
    output = tmp_path_factory.mktemp("finetune") / "model"
    said, stages = [], []
    result = finetune(
        TrainingData(make_pairs(400)),
        output,
        encoder=str(tiny_encoder_dir),
        config=TrainingConfig(epochs=6, batch_size=16, learning_rate=2e-3, seed=0),
        say=said.append,
        progress=lambda *stage: stages.append(stage),
    )
    return output, result, said, stages


def test_training_on_real_pairs_is_kept(kept):
    _, result, _, _ = kept
    assert result.verdict is Verdict.KEEP
    assert result.after["ndcg@10"] > result.before["ndcg@10"] + 0.02
    assert result.difference["ndcg@10"].low > 0
    assert result.difference["ndcg@10"].value == pytest.approx(
        result.after["ndcg@10"] - result.before["ndcg@10"]
    )
    assert (result.objective, result.examples) == ("in-batch", 320)


def test_a_output_has_its_calibration_and_the_report_tells_of_it(kept):
    output, _, _, _ = kept
    content = read_model_file(output)["calibration"]
    encoder = Encoder.load(output)
    found = encoder.calibration
    assert found is not None
    assert content["fingerprint"] == encoder.fingerprint
    assert found.matches <= found.units <= 80
    report = (output / "run" / "report.md").read_text(encoding="utf-8")
    assert "## Calibration" in report
    assert "![reliability](reliability.png)" in report
    assert (output / "run" / "reliability.png").is_file()
    assert "(run/reliability.png)" in (output / "README.md").read_text(encoding="utf-8")
    scores = np.linspace(-1, 1, 50)
    chances = found.probabilities(scores)
    assert (np.diff(chances) >= 0).all()
    assert ((chances > 0) & (chances < 1)).all()


def test_the_kept_model_loads_here_and_in_sentence_transformers(kept, tiny_encoder_dir):
    from sentence_transformers import SentenceTransformer

    output, _, _, _ = kept
    tuned, base = Encoder.load(output), Encoder.load(tiny_encoder_dir)
    texts = ["my card was swallowed", "the cat sat"]
    plain = SentenceTransformer(str(output), device="cpu").encode(texts)
    np.testing.assert_allclose(tuned.encode(texts), plain, atol=1e-5)
    assert tuned.fingerprint != base.fingerprint
    assert tuned.max_length == base.max_length
    assert not np.allclose(tuned.encode(texts), base.encode(texts), atol=1e-2)


def test_the_model_brings_its_export(kept):
    output, _, _, _ = kept
    names = sorted(entry.name for entry in (output / "onnx").iterdir())
    assert names == ["encoder.json", "encoder.onnx", "tokenizer.json"]
    assert json.loads((output / "onnx" / "encoder.json").read_text())["name"] == ""
    assert Encoder.load(output / "onnx").name == str(output / "onnx")


def test_the_model_file_says_what_the_model_is(kept, tiny_encoder_dir):
    output, result, _, _ = kept
    content = read_model_file(output)
    assert content["fingerprint"] == Encoder.load(output).fingerprint
    assert content["base_fingerprint"] == Encoder.load(tiny_encoder_dir).fingerprint
    assert (content["objective"], content["verdict"]["verdict"]) == ("in-batch", "keep")
    assert content["verdict"]["after"] == result.after
    assert content["pair_scorer"] is None
    assert content["calibration"]["fingerprint"] == content["fingerprint"]


def test_the_run_folder_tells_how_it_came_about(kept):
    output, result, _, _ = kept
    run = output / "run"
    config = read_run_file(run / "config.toml").config
    assert (config.epochs, config.batch_size, config.learning_rate) == (6, 16, 2e-3)
    assert (config.optimizer, config.schedule) == ("adamw", "cosine")
    assert (config.negatives, config.temperature, config.margin) == (1, 0.05, None)
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["versions"]["torch"].startswith("2.")
    assert (provenance["warmup"], provenance["freeze"], provenance["augment"]) == (0.1, False, [])
    assert provenance["encoder"] == read_model_file(output)["base_fingerprint"]
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in log] == list(range(1, 121))
    assert np.mean([r["loss"] for r in log[-20:]]) < np.mean([r["loss"] for r in log[:20]])
    found = json.loads((run / "result.json").read_text())
    assert found["after"] == result.after
    assert found["dev"] == []
    (data,) = json.loads((run / "data.json").read_text())
    assert (data["rows"], data["training_rows"], data["dev_rows"]) == (400, 320, 0)
    report = (run / "report.md").read_text()
    assert "**verdict: keep**" in report
    assert f"{result.after['ndcg@10']:.4f}" in report
    assert "hard negatives mined before training" in report
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "verdict: keep" in (output / "README.md").read_text()


def test_a_run_that_is_done_leaves_no_checkpoints(kept):
    output, _, _, _ = kept
    assert [entry.name for entry in output.parent.iterdir()] == ["model"]


def test_the_run_is_told_and_its_progress_shown(kept):
    _, _, said, stages = kept
    assert said[1] == "320 to train on, 0 to choose checkpoints by, 80 held out for the verdict"
    assert "objective in-batch: chosen for pairs" in said
    assert ("train", 120, 120) in stages
    assert stages[-1] == ("score after", 400, 400)


def test_nothing_is_printed(tmp_path, tiny_encoder_dir, capfd):
    run(tmp_path, tiny_encoder_dir, make_pairs(60), force=True)
    assert capfd.readouterr() == ("", "")


def run(tmp_path, encoder_dir, examples, *, config=CONFIG, **options):
    return finetune(
        TrainingData(examples),
        tmp_path / "model",
        encoder=str(encoder_dir),
        config=config,
        **options,
    )


def test_the_same_seed_gives_the_same_weights(tmp_path, tiny_encoder_dir):
    prints = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run(tmp_path / name, tiny_encoder_dir, make_pairs(60), force=True)
        prints.append(Encoder.load(tmp_path / name / "model").fingerprint)
    assert prints[0] == prints[1]


def test_training_that_changes_nothing_is_rejected_and_leaves_only_the_run(
    tmp_path, tiny_encoder_dir
):
    config = TrainingConfig(epochs=1, learning_rate=1e-12, seed=0)
    result = run(tmp_path, tiny_encoder_dir, make_pairs(60), config=config)
    assert result.verdict is Verdict.REJECT
    assert "does not lie above 0" in result.reason
    assert sorted(entry.name for entry in (tmp_path / "model").iterdir()) == ["run"]
    with pytest.raises(EncoderError, match="rejected"):
        Encoder.load(tmp_path / "model")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shuffled_pairs_are_rejected(tmp_path, tiny_encoder_dir, seed):
    """What teaches nothing must not be kept."""
    rows = make_pairs(120, seed=seed)
    positives = [row.positive for row in rows]
    random.Random(seed).shuffle(positives)
    shuffled = [Pair(row.anchor, other) for row, other in zip(rows, positives, strict=True)]
    assert run(tmp_path, tiny_encoder_dir, shuffled).verdict is Verdict.REJECT


def test_a_rejected_model_is_kept_by_force(tmp_path, tiny_encoder_dir):
    config = TrainingConfig(epochs=1, learning_rate=1e-12, seed=0)
    result = run(tmp_path, tiny_encoder_dir, make_pairs(60), config=config, force=True)
    assert result.verdict is Verdict.REJECT
    assert Encoder.load(tmp_path / "model").dim == 32


def rows_of(kind, count=96):
    """Examples of a kind, made of sentences of which some belong together."""
    base, others = make_pairs(count), make_pairs(count, seed=1)
    both = list(zip(base, others, strict=True))
    kinds = {
        "pairs": base,
        "triplets": [Triplet(one.anchor, one.positive, two.positive) for one, two in both],
        "labelled": [
            LabelledPair(one.anchor, (one, two)[n % 2].positive, 1 - n % 2)
            for n, (one, two) in enumerate(both)
        ],
        "classes": [
            ClassPair(one.anchor, (one, two)[n % 2].positive, ("same", "other")[n % 2])
            for n, (one, two) in enumerate(both)
        ],
        "scored": [
            ScoredPair(one.anchor, (one, two)[n % 2].positive, float(1 - n % 2))
            for n, (one, two) in enumerate(both)
        ],
        "texts with a class": [
            LabelledText(f"{3 * f'{WORDS[-1 - n % 4]} '}{one.anchor}", f"class {n % 4}")
            for n, one in enumerate(base)
        ],
        "texts": [UnlabelledText(one.anchor) for one in base],
    }
    return kinds[kind]


@pytest.mark.parametrize(
    ("objective", "kind", "metric"),
    [
        ("in-batch", "triplets", "ndcg@10"),
        ("contrastive", "labelled", "average_precision"),
        ("softmax", "classes", "accuracy"),
        ("softmax", "labelled", "average_precision"),
        ("cosine", "scored", "spearman"),
        ("triplet-hinge", "triplets", "ndcg@10"),
        ("triplet-softmax", "triplets", "ndcg@10"),
        ("triplet-margin-ranking", "pairs", "ndcg@10"),
        ("batch-hard", "texts with a class", "ndcg@10"),
    ],
)
def test_every_objective_lowers_its_loss(tmp_path, tiny_encoder_dir, objective, kind, metric):
    config = TrainingConfig(objective=objective, epochs=6, batch_size=16, learning_rate=1e-3)
    result = run(tmp_path, tiny_encoder_dir, rows_of(kind), config=config, force=True)
    assert result.objective == objective
    assert metric in result.difference
    assert np.mean(losses(tmp_path)[-5:]) < 0.9 * np.mean(losses(tmp_path)[:5])


def losses(tmp_path):
    log = (tmp_path / "model/run/log.jsonl").read_text().splitlines()
    return [json.loads(row)["loss"] for row in log]


def test_texts_alone_are_trained_on_and_judged_by_pairs(tmp_path, tiny_encoder_dir):
    config = TrainingConfig(epochs=2, batch_size=16, learning_rate=1e-3)
    pairs = make_pairs(40, seed=7)
    result = run(
        tmp_path,
        tiny_encoder_dir,
        rows_of("texts"),
        config=config,
        evaluation=pairs,
        force=True,
    )
    assert (result.objective, result.examples) == ("unlabelled", 96)
    assert np.mean(losses(tmp_path)[-3:]) < np.mean(losses(tmp_path)[:3])


def test_several_data_sets_train_one_encoder(tmp_path, tiny_encoder_dir):
    sets = [
        TrainingData(rows_of("pairs"), name="qa"),
        TrainingData(rows_of("scored"), name="sts"),
        TrainingData(rows_of("classes"), name="nli"),
    ]
    config = TrainingConfig(epochs=2, batch_size=16, learning_rate=1e-3, sampling="round-robin")
    result = finetune(
        sets, tmp_path / "model", encoder=str(tiny_encoder_dir), config=config, force=True
    )
    assert result.objective == "in-batch + cosine + softmax"
    assert next(iter(result.difference)) == "ndcg@10"
    assert {"sts: spearman", "nli: accuracy"} <= result.difference.keys()
    report = (tmp_path / "model/run/report.md").read_text()
    assert "objective of sts" in report
    assert "| nli: accuracy |" in report
    scorer = load_pair_scorer(Encoder.load(tmp_path / "model"))
    assert scorer.classes == ("other", "same")


def test_the_decoder_of_softmax_is_kept_and_tells_the_classes(tmp_path, tiny_encoder_dir):
    rows = rows_of("classes", 240)
    config = TrainingConfig(epochs=10, batch_size=16, learning_rate=2e-3)
    run(tmp_path, tiny_encoder_dir, rows, config=config, force=True)
    encoder = Encoder.load(tmp_path / "model")
    scorer = load_pair_scorer(encoder)
    first = encoder.encode([row.sentence1 for row in rows])
    second = encoder.encode([row.sentence2 for row in rows])
    found = scorer.probabilities(first, second).argmax(axis=1)
    right = np.mean([scorer.classes[n] == row.label for n, row in zip(found, rows, strict=True)])
    assert right > 0.8
    report = (tmp_path / "model/run/report.md").read_text()
    assert "| pair scorer | tells other, same, accuracy " in report
    described = read_model_file(tmp_path / "model")["pair_scorer"]
    assert described["classes"] == ["other", "same"]


def test_what_was_forgotten_is_brought_back_by_mixing(tmp_path, tiny_encoder_dir, monkeypatch):
    """On a general set of its own, which the tiny encoder knows and training spoils."""
    known = [Pair(f"please {pair.positive}", pair.positive) for pair in make_pairs(40, seed=3)]
    monkeypatch.setattr(forgetting, "general_task", lambda: as_task(known))
    # So large steps on pairs that do not belong together that little is left of the encoder.
    rows = [
        Pair(one.anchor, other.positive)
        for one, other in zip(make_pairs(120), make_pairs(120, seed=9), strict=True)
    ]
    config = TrainingConfig(epochs=4, batch_size=16, learning_rate=3e-2, negatives=0)
    result = run(tmp_path, tiny_encoder_dir, rows, config=config, force=True)
    found = result.forgetting
    assert found.before == 1.0
    spoilt = found.curve[-1]
    assert (spoilt.share, spoilt.general < 0.98) == (1.0, True)
    assert found.share < 1.0
    assert found.tuned == spoilt.general
    assert found.after > found.tuned
    assert [point.general for point in found.curve if point.share == found.share] == [found.after]
    report = (tmp_path / "model/run/report.md").read_text()
    assert f"the weights are mixed: {found.share:.0%} tuned" in report


def as_task(pairs):
    return make_held_out(pairs, distractor_limit=0, seed=0).task


def test_evaluation_data_of_its_own_is_used_and_kept_out_of_training(tmp_path, tiny_encoder_dir):
    rows = make_pairs(80)
    said = []
    result = run(
        tmp_path, tiny_encoder_dir, rows, evaluation=rows[:30], force=True, say=said.append
    )
    assert result.examples <= 50
    assert result.held_out.startswith("30 queries")
    assert "to train on, 0 to choose checkpoints by, 30 held out for the verdict" in said[1]
    report = (tmp_path / "model" / "run" / "report.md").read_text()
    assert "30 dropped because held-out data has them" in report


def test_the_window_is_kept_by_the_new_encoder(tmp_path, tiny_encoder_dir):
    config = TrainingConfig(epochs=1, max_length=8)
    run(tmp_path, tiny_encoder_dir, make_pairs(60), config=config, force=True)
    assert Encoder.load(tmp_path / "model").max_length == 8


def test_an_existing_directory_is_refused_before_any_work(tmp_path, tiny_encoder_dir):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").write_text("keep me")
    with pytest.raises(AlreadyExists):
        run(tmp_path, tiny_encoder_dir, make_pairs(60))
    with pytest.raises(AlreadyExists, match="never replaced"):
        run(tmp_path, tiny_encoder_dir, make_pairs(60), replace=True)
    assert (tmp_path / "model" / "mine").read_text() == "keep me"


def test_a_model_directory_is_replaced_whole(tmp_path, tiny_encoder_dir):
    run(tmp_path, tiny_encoder_dir, make_pairs(60))  # rejected or not: a run folder is left
    (tmp_path / "model" / "stale").write_text("old")
    run(tmp_path, tiny_encoder_dir, make_pairs(60), replace=True, force=True)
    assert not (tmp_path / "model" / "stale").exists()
    assert Encoder.load(tmp_path / "model").dim == 32


def test_what_appeared_during_the_training_is_not_overwritten(tmp_path, tiny_encoder_dir):
    def put_something_there(stage, done, total):
        if (stage, done) == ("train", 1):
            (tmp_path / "model").mkdir()
            (tmp_path / "model" / "theirs").write_text("keep me")

    with pytest.raises(AlreadyExists, match="meanwhile"):
        run(tmp_path, tiny_encoder_dir, make_pairs(60), force=True, progress=put_something_there)
    assert (tmp_path / "model" / "theirs").read_text() == "keep me"


def test_a_run_that_fails_leaves_nothing_behind(tmp_path, tiny_encoder_dir):
    with pytest.raises(InvalidInput, match="no metric 'bleu'"):
        run(tmp_path, tiny_encoder_dir, make_pairs(60), config=TrainingConfig(metric="bleu"))
    with pytest.raises(InvalidData, match="got none"):
        run(tmp_path, tiny_encoder_dir, [])
    with pytest.raises(InvalidData, match="evaluation data is empty"):
        run(tmp_path, tiny_encoder_dir, make_pairs(60), evaluation=[])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("low", "p", "verdict"),
    [
        (0.001, 0.05, "keep"),
        (0.0, 0.001, "reject"),
        (-0.001, 0.001, "reject"),
        (0.001, 0.06, "reject"),  # few units: the interval is too narrow, p is not
    ],
)
def test_keep_needs_an_interval_above_zero_and_a_small_p(low, p, verdict):
    assert judge("ndcg@10", Difference(0.02, low, 0.04, p))[0] == verdict


def test_two_questions_prove_nothing(tmp_path, tiny_encoder_dir):
    config = TrainingConfig(epochs=8, batch_size=4, learning_rate=2e-3)
    result = run(tmp_path, tiny_encoder_dir, make_pairs(12), config=config)
    assert result.verdict is Verdict.REJECT


@pytest.mark.parametrize("count", [2, 5])
def test_too_few_pairs_are_refused_before_any_training(tmp_path, tiny_encoder_dir, count):
    with pytest.raises(InvalidData, match="only 1 question can be held out"):
        run(tmp_path, tiny_encoder_dir, make_pairs(count))
    assert list(tmp_path.iterdir()) == []


def test_a_rejected_run_does_not_replace_a_model(tmp_path, tiny_encoder_dir):
    run(tmp_path, tiny_encoder_dir, make_pairs(60), force=True)
    good = Encoder.load(tmp_path / "model").fingerprint
    config = TrainingConfig(epochs=1, learning_rate=1e-12, seed=0)
    result = run(tmp_path, tiny_encoder_dir, make_pairs(60), config=config, replace=True)
    assert result.verdict is Verdict.REJECT
    assert Encoder.load(tmp_path / "model").fingerprint == good
    assert result.run == str(tmp_path / "model.rejected" / "run")
    assert "**verdict: reject**" in (tmp_path / "model.rejected/run/report.md").read_text()


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": 2.0},
        {"held_out": 1.0},
        {"held_out_limit": 0},
        {"min_improvement": float("nan")},
        {"min_improvement": -0.1},
        {"seed": 2**32},
    ],
)
def test_a_setting_out_of_range_is_refused(wrong):
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        TrainingConfig(**wrong)
