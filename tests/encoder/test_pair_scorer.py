"""The pair scorer: its arithmetic, its file, and that it answers for its own encoder only."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from simsearch.encoder import Encoder, PairScorer, load_pair_scorer, write_pair_scorer
from simsearch.encoder.model_file import write_model_file
from simsearch.errors import EncoderError


def random_scorer(dim=32, classes=("no", "yes", "perhaps")):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((len(classes), 3 * dim)).astype(np.float32)
    return PairScorer(classes, weight, rng.standard_normal(len(classes)).astype(np.float32))


@pytest.fixture
def model_dir(tmp_path, tiny_encoder_dir):
    """Return a model directory of ours with a pair scorer."""
    encoder = Encoder.load(tiny_encoder_dir)
    encoder.save(tmp_path / "model")
    described = write_pair_scorer(tmp_path / "model", random_scorer())
    write_model_file(
        tmp_path / "model", {"fingerprint": encoder.fingerprint, "pair_scorer": described}
    )
    return tmp_path / "model"


def test_probabilities_are_the_softmax_of_a_linear_map_of_both_embeddings():
    scorer = random_scorer()
    first, second = np.random.default_rng(1).standard_normal((2, 5, 32)).astype(np.float32)
    u, v = torch.from_numpy(first), torch.from_numpy(second)
    features = torch.cat([u, v, (u - v).abs()], dim=1)
    logits = torch.nn.functional.linear(
        features, torch.from_numpy(scorer.weight), torch.from_numpy(scorer.bias)
    )
    np.testing.assert_allclose(
        scorer.probabilities(first, second), logits.softmax(dim=1).numpy(), atol=1e-6
    )


def test_large_logits_do_not_overflow():
    scorer = PairScorer(("a", "b"), np.full((2, 96), 1e4, dtype=np.float32), np.float32([0, 1]))
    ones = np.ones((1, 32), dtype=np.float32)
    found = scorer.probabilities(ones, ones)
    assert np.isfinite(found).all()
    assert found.sum() == pytest.approx(1.0)


def test_a_scorer_comes_back_as_it_was_written(model_dir):
    scorer, expected = load_pair_scorer(Encoder.load(model_dir)), random_scorer()
    assert scorer.classes == expected.classes
    np.testing.assert_array_equal(scorer.weight, expected.weight)
    np.testing.assert_array_equal(scorer.bias, expected.bias)


def test_an_encoder_without_a_scorer_says_how_to_get_one(tiny_encoder_dir):
    with pytest.raises(EncoderError, match=r"has no pair scorer .*--objective softmax"):
        load_pair_scorer(Encoder.load(tiny_encoder_dir))


def test_a_damaged_scorer_is_refused(model_dir):
    path = model_dir / "pair_scorer.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(EncoderError, match="is damaged: its SHA-256 has changed"):
        load_pair_scorer(Encoder.load(model_dir))
    path.unlink()
    with pytest.raises(EncoderError, match=r"pair_scorer\.safetensors"):
        load_pair_scorer(Encoder.load(model_dir))


def test_the_scorer_of_other_weights_is_refused(model_dir, tmp_path):
    description = json.loads((model_dir / "simsearch.json").read_text())
    other = shutil.copytree(model_dir, tmp_path / "other")
    (other / "simsearch.json").write_text(json.dumps(description | {"fingerprint": "0" * 64}))
    with pytest.raises(EncoderError, match="the weights beside it have changed"):
        load_pair_scorer(Encoder.load(other))


def test_a_scorer_of_another_width_is_refused(model_dir):
    encoder = Encoder.load(model_dir)
    described = write_pair_scorer(model_dir, random_scorer(dim=16))
    write_model_file(model_dir, {"fingerprint": encoder.fingerprint, "pair_scorer": described})
    with pytest.raises(EncoderError, match=r"shape is \(3, 48\), expected \(3, 96\)"):
        load_pair_scorer(encoder)
