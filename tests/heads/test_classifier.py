from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import write_tiny_encoder
from head_training import labelled_texts, same_classifier

from simsearch.encoder import Encoder
from simsearch.encoder.tensors import read_tensors, write_tensors
from simsearch.errors import (
    AlreadyExists,
    EncoderError,
    EncoderMismatch,
    InvalidInput,
    NotFound,
)
from simsearch.heads import Classifier, EncoderReference, train_classifier

REFERENCE = EncoderReference("nowhere", "f" * 64, dim=2)
HEAD = Classifier(
    REFERENCE,
    ("cold", "warm"),
    weight=np.array([[2.0, 0.0], [0.0, 2.0]], dtype=np.float32),
    bias=np.array([0.0, 1.0], dtype=np.float32),
)
POINTS = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)


@pytest.fixture(scope="module")
def trained_head(tiny_encoder_dir: Path) -> Classifier:
    return train_classifier(labelled_texts(50), Encoder.load(tiny_encoder_dir)).head


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    HEAD.save(tmp_path / "head")
    return tmp_path / "head"


def change(head: Path, **changes: object) -> None:
    """Change what head.json says."""
    content = json.loads((head / "head.json").read_text(encoding="utf-8"))
    (head / "head.json").write_text(json.dumps({**content, **changes}), encoding="utf-8")


def test_the_probability_of_a_class_by_hand():
    first, second = HEAD.classify(POINTS)
    assert first.label == "cold"  # logits 2 and 1
    assert first.probability == pytest.approx(1 / (1 + np.exp(-1.0)))
    assert second.label == "warm"  # logits 0 and 3
    assert second.probabilities["cold"] == pytest.approx(1 / (1 + np.exp(3.0)))


def test_several_labels_by_hand():
    head = replace(HEAD, several_labels=True, bias=np.array([-1.0, 0.5], dtype=np.float32))
    first, second = head.classify(POINTS)
    assert first.labels == ("cold", "warm")  # logits 1 and 0.5
    assert second.labels == ("warm",)  # logits -1 and 2.5
    assert first.probabilities["cold"] == pytest.approx(1 / (1 + np.exp(-1.0)))


def test_no_text_has_no_class():
    assert HEAD.classify(np.empty((0, 2), dtype=np.float32)) == []


def test_a_head_is_read_as_it_was_written(trained_head, tmp_path):
    trained_head.save(tmp_path / "head")
    again = Classifier.load(tmp_path / "head")
    assert same_classifier(again, trained_head)
    np.testing.assert_array_equal(again.scope.centroids, trained_head.scope.centroids)
    np.testing.assert_array_equal(again.scope.weight, trained_head.scope.weight)
    assert again.scope.bias == pytest.approx(trained_head.scope.bias, rel=1e-6)
    assert sorted(path.name for path in (tmp_path / "head").iterdir()) == [
        "head.json",
        "head.safetensors",
    ]


def test_a_head_finds_its_encoder_and_refuses_another(trained_head, tiny_encoder_dir, tmp_path):
    assert trained_head.encoder.load().fingerprint == trained_head.encoder.fingerprint
    other = write_tiny_encoder(tmp_path / "other", seed=1)
    with pytest.raises(EncoderMismatch, match=r"trained on encoder .* got .* train the head again"):
        trained_head.encoder.load(other)
    assert trained_head.encoder.load(tiny_encoder_dir).dim == 32


def test_a_head_whose_encoder_is_gone_says_how_to_name_it():
    with pytest.raises(EncoderError, match=r"not where it was, nowhere.*--encoder"):
        HEAD.encoder.load()


def test_a_head_is_replaced_only_when_asked_and_nothing_else_ever_is(saved, tmp_path):
    with pytest.raises(AlreadyExists, match="--replace"):
        HEAD.save(saved)
    HEAD.save(saved, replace=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(AlreadyExists, match="is no head, which is never replaced"):
        HEAD.save(tmp_path / "notes", replace=True)
    assert (tmp_path / "notes" / "a.txt").read_text(encoding="utf-8") == "mine"


def test_what_is_no_head_is_said_to_be_none(tmp_path):
    with pytest.raises(NotFound, match="is no head"):
        Classifier.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "expected format 1"),
        ({"kind": "oracle"}, "oracle"),
        ({"labels": ["cold"]}, r"'weight' must be float32 \(1, 2\), got float32 \(2, 2\)"),
        ({"labels": ["cold", "cold"]}, "'labels' must be a list of names"),
        ({"labels": [1, 2]}, "'labels' must be a list of names"),
        ({"several_labels": "no"}, "'several_labels' must be of type bool, got 'no'"),
        ({"scope": True}, "'scope.centroids' must be float32 .* got nothing"),
        ({"encoder": {"name": "a"}}, "head.json"),
        ({"encoder": {"name": 1, "fingerprint": "a", "dim": 2}}, "names no encoder"),
        ({"encoder": {"name": "a", "fingerprint": "a", "dim": True}}, "no width"),
        ({"encoder": {"name": "", "fingerprint": "a", "dim": 2}}, "names no encoder"),
        (
            {"encoder": {"name": "a", "fingerprint": "a", "dim": 2, "beside": "../a\0"}},
            "head.json: .*null byte",
        ),
        (
            {"encoder": {"name": "a", "fingerprint": "a", "dim": 2, "beside": "a" * 5000}},
            "head.json: .*too long",
        ),
        ({"sha256": "0"}, "its SHA-256 has changed"),
    ],
)
def test_a_damaged_head_is_refused(saved, changes, message):
    change(saved, **changes)
    with pytest.raises(EncoderError, match=message):
        Classifier.load(saved)


def test_a_head_of_another_kind_is_refused(saved):
    change(saved, kind="tagger")
    with pytest.raises(InvalidInput, match="is a tagger, expected a classifier"):
        Classifier.load(saved)


def test_weights_that_are_not_finite_are_refused(saved):
    from simsearch.cache import hash_file

    tensors = read_tensors(saved / "head.safetensors")
    write_tensors(saved / "head.safetensors", {**tensors, "bias": np.float32([0, np.nan])})
    change(saved, sha256=hash_file(saved / "head.safetensors"))
    with pytest.raises(EncoderError, match="'bias' is not finite"):
        Classifier.load(saved)


@pytest.mark.parametrize("name", ["a\0", "a" * 5000, "nowhere"])
def test_an_encoder_that_is_not_where_the_head_says_is_named(saved, name):
    change(saved, encoder={"name": name, "fingerprint": "a", "dim": 2})
    with pytest.raises(EncoderError, match="the encoder of this head is not where it was"):
        Classifier.load(saved).encoder.load()


def test_embeddings_of_another_shape_are_refused():
    for shape in ((2,), (1, 3)):
        with pytest.raises(InvalidInput, match=r"expected embeddings of shape \(n, 2\)"):
            HEAD.classify(np.zeros(shape, dtype=np.float32))


def test_a_head_without_scope_rejects_nothing():
    with pytest.raises(InvalidInput, match="no scope"):
        HEAD.classify(POINTS, min_in_scope=0.5)


def test_a_border_that_is_no_probability_is_refused(trained_head):
    with pytest.raises(InvalidInput, match=r"must be 0..1, got 1.5"):
        trained_head.classify(np.zeros((1, 32), dtype=np.float32), min_in_scope=1.5)


def test_prediction_imports_neither_torch_nor_scikit_learn(trained_head, tmp_path):
    trained_head.save(tmp_path / "head")
    script = (
        "import sys\n"
        "from simsearch.heads import Classifier\n"
        f"head = Classifier.load({str(tmp_path / 'head')!r})\n"
        "found = head.classify(head.encoder.load().encode(['the cat sat']))\n"
        "assert found[0].label in head.labels\n"
        "print(*{'torch', 'sklearn', 'transformers', 'scipy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.parametrize("field", ["a b.c", "text", ""])
def test_a_field_of_no_document_in_a_head_is_refused(saved, field):
    change(saved, field=field)
    with pytest.raises(EncoderError, match=r"head.json: --field must"):
        Classifier.load(saved)


def test_a_head_without_its_numbers_is_said_to_lack_them(saved):
    (saved / "head.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"no head.safetensors in it \(copy the head again"):
        Classifier.load(saved)
