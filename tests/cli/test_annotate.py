from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Run, Write, stored
from head_training import labelled_texts, tagged_texts

from simsearch.encoder import Encoder
from simsearch.heads import ClassifierConfig, TaggerConfig, train_classifier, train_tagger


@pytest.fixture(scope="module")
def heads(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the options that name a classifier and a tagger."""
    folder = tmp_path_factory.mktemp("heads")
    encoder = Encoder.load(tiny_encoder_dir)
    config = ClassifierConfig(field="topic")
    train_classifier(labelled_texts(60), encoder, config=config).head.save(folder / "topics")
    settings = TaggerConfig(hidden=32, epochs=6, batch_size=8, dropout=0.1, learning_rate=5e-3)
    train_tagger(tagged_texts(150), encoder, config=settings).head.save(folder / "entities")
    return ["--head", str(folder / "topics"), "--head", str(folder / "entities")]


def test_annotate_prints_classes_and_spans_of_each_text(run: Run, heads: list[str]):
    outcome = run("annotate", "the cat sat", "my money", *heads, "--json")
    first, second = outcome.objects
    assert (outcome.code, list(first)) == (0, ["text", "classes", "spans"])
    assert {"label", "probability", "probabilities"} <= set(first["classes"]["topic"])
    assert [(span["text"], span["label"]) for span in first["spans"]["entities"]] == [
        ("the cat", "ANIMAL")
    ]
    assert second["spans"] == {"entities": []}
    shown = run("annotate", "the cat sat", *heads)
    assert "entities: ANIMAL  the cat" in shown.out


def test_index_writes_what_heads_find_into_the_metadata(
    run: Run, write: Write, heads: list[str], tiny_encoder_dir: Path, tmp_path: Path
):
    corpus = write(
        "corpus.jsonl",
        '{"id": "a", "text": "the cat sat", "lang": "en"}\n{"id": "b", "text": "my money"}\n',
    )
    target = tmp_path / "index"
    arguments = ["index", corpus, "-i", target, "--encoder", tiny_encoder_dir]
    outcome = run(*arguments, *heads, "--json")
    assert (outcome.code, outcome.object["encoded"]) == (0, 2)
    documents = stored(target)
    assert documents["a"].metadata["lang"] == "en"
    assert documents["a"].metadata["entities"] == {"ANIMAL": ["the cat"]}
    assert documents["b"].metadata["entities"] == {}
    assert isinstance(documents["b"].metadata["topic"], str)
    hits = run("query", "the cat", "-i", target, "--json").object["hits"]
    assert hits[0]["metadata"]["entities"] == {"ANIMAL": ["the cat"]}


def test_a_field_that_is_taken_stops_the_command_before_anything_is_written(
    run: Run, write: Write, heads: list[str], tiny_encoder_dir: Path, tmp_path: Path
):
    corpus = write("corpus.jsonl", json.dumps({"id": "a", "text": "cat", "topic": "mine"}))
    arguments = ["index", corpus, "-i", tmp_path / "index", "--encoder", tiny_encoder_dir]
    outcome = run(*arguments, *heads)
    assert "document 'a' has a field 'topic', which a head writes" in outcome.refusal(3)
    assert not (tmp_path / "index").exists()


def test_heads_do_not_go_with_ready_vectors_or_another_encoder(
    run: Run, write: Write, heads: list[str], tmp_path: Path
):
    from conftest import write_tiny_encoder

    corpus = write("corpus.jsonl", '{"id": "a", "text": "cat"}\n')
    target = tmp_path / "index"
    ready = run("index", corpus, "-i", target, *heads, "--embeddings", corpus)
    assert "--head reads the texts" in ready.refusal(2)
    other = write_tiny_encoder(tmp_path / "other", seed=1)
    Encoder.load(other)  # its first use would say that it is exported
    outcome = run("index", corpus, "-i", target, *heads, "--encoder", other)
    assert "the head was trained on encoder" in outcome.refusal(8)
    assert not target.exists()
