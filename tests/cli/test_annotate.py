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
    assert documents["a"].metadata["entities.ANIMAL"] == ["the cat"]
    assert documents["b"].metadata["entities"] == []
    assert isinstance(documents["b"].metadata["topic"], str)
    hits = run("query", "the cat", "-i", target, "--json").object["hits"]
    assert hits[0]["metadata"]["entities"] == [{"start": 0, "end": 7, "label": "ANIMAL"}]
    where = ["--where", "entities.ANIMAL contains 'the cat'"]
    hits = run("query", "it", "-i", target, *where, "--json").object["hits"]
    assert [hit["id"] for hit in hits] == ["a"]


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


@pytest.fixture
def plain_index(run: Run, write: Write, tiny_encoder_dir: Path, tmp_path: Path) -> Path:
    corpus = write("corpus.jsonl", '{"id": "a", "text": "the cat sat"}\n')
    target = tmp_path / "index"
    assert run("index", corpus, "-i", target, "--encoder", tiny_encoder_dir).code == 0
    return target


def test_documents_of_an_index_are_annotated_where_they_are(
    run: Run, heads: list[str], plain_index: Path
):
    topics = heads[:2]
    outcome = run("annotate", "-i", plain_index, *topics, "--json")
    facts = outcome.object
    assert (facts["changed"], facts["encoded"], facts["reused"]) == (1, 0, 1)
    assert set(stored(plain_index)["a"].metadata) == {"topic", "topic_probability"}
    assert "has a field 'topic'" in run("annotate", "-i", plain_index, *topics).refusal(3)
    shown = run("annotate", "-i", plain_index, *heads, "--replace")
    assert shown.code == 0
    assert "1 document changed, 0 unchanged" in shown.out
    assert "1 text encoded, 0 vectors reused" in shown.out
    assert stored(plain_index)["a"].metadata["entities.ANIMAL"] == ["the cat"]


@pytest.mark.parametrize("more", [["a text"], ["--texts", "x"], ["--encoder", "x"]])
def test_an_index_brings_its_own_texts_and_encoder(
    run: Run, heads: list[str], plain_index: Path, more: list[str]
):
    assert "give no others" in run("annotate", "-i", plain_index, *heads, *more).refusal(2)
    assert "goes with -i" in run("annotate", "a text", *heads, "--replace").refusal(2)


def test_add_and_upsert_write_what_heads_find(
    run: Run, write: Write, heads: list[str], plain_index: Path
):
    more = write("more.jsonl", '{"id": "b", "text": "my the dog sat"}\n')
    assert run("add", more, "-i", plain_index, *heads, "--json").object["added"] == 1
    assert stored(plain_index)["b"].metadata["entities.ANIMAL"] == ["the dog"]
    whole = write(
        "whole.jsonl", '{"id": "a", "text": "the cat sat"}\n{"id": "b", "text": "my the dog sat"}\n'
    )
    facts = run("upsert", whole, "-i", plain_index, *heads, "--json").object
    assert (facts["replaced"], facts["unchanged"], facts["encoded"]) == (1, 1, 2)
    assert stored(plain_index)["a"].metadata["entities.ANIMAL"] == ["the cat"]
    ready = run("add", more, "-i", plain_index, *heads, "--embeddings", more)
    assert "--head reads the texts" in ready.refusal(2)
    taken = write("taken.jsonl", '{"id": "c", "text": "cat", "entities.X": 1}\n')
    assert "has a field 'entities.X'" in run("add", taken, "-i", plain_index, *heads).refusal(3)


def test_a_text_of_no_class_gets_no_label_where_that_is_asked_for(
    run: Run, write: Write, heads: list[str], tiny_encoder_dir: Path, tmp_path: Path
):
    corpus = write("corpus.jsonl", '{"id": "a", "text": "the cat sat"}\n')
    target = tmp_path / "index"
    never = ["--min-in-scope", "1"]
    arguments = ["-i", target, "--encoder", tiny_encoder_dir]
    assert "goes with --head" in run("index", corpus, *arguments, *never).refusal(2)
    assert run("index", corpus, *arguments, *heads, *never).code == 0
    assert stored(target)["a"].metadata["topic"] is None
    assert run("annotate", "-i", target, *heads, "--replace").code == 0
    assert isinstance(stored(target)["a"].metadata["topic"], str)
    assert run("annotate", "-i", target, *heads, "--replace", *never).code == 0
    assert stored(target)["a"].metadata["topic"] is None
    found = run("annotate", "the cat sat", *heads, *never, "--json").object
    assert found["classes"]["topic"]["label"] is None
    tagger = run("annotate", "the cat sat", *heads[2:], *never)
    assert "none of the heads has a scope" in tagger.refusal(2)


def test_an_index_with_heads_takes_their_encoder_where_none_is_named(
    run: Run, write: Write, heads: list[str], tiny_encoder_dir: Path, tmp_path: Path
):
    corpus = write("corpus.jsonl", '{"id": "a", "text": "the cat sat"}\n')
    assert run("index", corpus, "-i", tmp_path / "index", *heads).code == 0
    info = run("info", tmp_path / "index", "--json").object
    assert info["fingerprint"] == Encoder.load(tiny_encoder_dir).fingerprint


def test_nobody_is_advised_to_split_what_is_split(
    run: Run, write: Write, heads: list[str], tiny_encoder_dir: Path, tmp_path: Path
):
    corpus = write("corpus.jsonl", json.dumps({"id": "a", "text": "the cat sat. " * 200}) + "\n")
    arguments = ["index", corpus, "--encoder", tiny_encoder_dir, *heads[:2]]
    cut = run(*arguments, "-i", tmp_path / "cut")
    assert "`index --long-texts passages` splits them instead" in cut.err
    split = run(*arguments, "-i", tmp_path / "split", "--long-texts", "passages")
    assert split.code == 0
    assert "were cut for classifiers (taggers and the index have them whole)" in split.err
    more = write("more.jsonl", json.dumps({"id": "b", "text": "the dog sat. " * 200}) + "\n")
    for command in ("add", "upsert"):
        said = run(command, more, "-i", tmp_path / "split", *heads[:2])
        assert "were cut for classifiers (taggers and the index have them whole)" in said.err
        more.write_text(more.read_text().replace('"b"', '"c"'))
    both = run("annotate", "-i", tmp_path / "cut", *heads, "--replace")
    assert "window and were cut for classifiers (taggers have them whole)" in both.err
    tagger = run("annotate", "-i", tmp_path / "cut", *heads[2:], "--replace")
    assert "are longer than the encoder's window and are read piece by piece" in tagger.err
    arguments = ["index", corpus, "--encoder", tiny_encoder_dir, *heads[2:]]
    tagged = run(*arguments, "-i", tmp_path / "tagged", "--long-texts", "passages")
    assert "are longer than the encoder's window and are read piece by piece" in tagged.err
