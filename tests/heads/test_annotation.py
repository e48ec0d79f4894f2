from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import write_tiny_encoder
from head_training import labelled_texts, tagged_texts

from simsearch.encoder import Encoder
from simsearch.errors import EncoderMismatch, InvalidData, InvalidInput
from simsearch.heads import (
    Annotator,
    Classifier,
    Tagger,
    TaggerConfig,
    annotate,
    load_head,
    tag_texts,
    train_classifier,
    train_tagger,
)
from simsearch.records import ClassifiedText, Document
from simsearch.search_index import AnnotatingEncoder, SearchIndex

TEXTS = ["the cat sat the bank", "my money", "the dog sat late"]


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir):
    return Encoder.load(tiny_encoder_dir)


@pytest.fixture(scope="module")
def topics(encoder) -> Classifier:
    return replace(train_classifier(labelled_texts(60), encoder).head, field="topic")


@pytest.fixture(scope="module")
def entities(encoder) -> Tagger:
    config = TaggerConfig(hidden=32, epochs=6, batch_size=8, dropout=0.1, learning_rate=5e-3)
    return train_tagger(tagged_texts(150), encoder, config=config).head


@pytest.fixture
def passes(encoder, monkeypatch) -> list[int]:
    """Return a list that gets the number of texts of every pass through the encoder."""
    seen: list[int] = []
    run_many = type(encoder._exact.runtime).run_many

    def counting(self, batch, outputs):
        seen.append(len(batch.ids))
        return run_many(self, batch, outputs)

    monkeypatch.setattr(type(encoder._exact.runtime), "run_many", counting)
    return seen


def test_one_pass_gives_what_each_would_alone(encoder, topics, entities, passes):
    found = annotate(TEXTS, [topics, entities], encoder=encoder)
    assert sum(passes) == len(TEXTS)
    embeddings = encoder.encode_documents(TEXTS)
    np.testing.assert_allclose(np.stack([each.embedding for each in found]), embeddings, atol=1e-6)
    assert [each.classes["topic"].label for each in found] == [
        each.label for each in topics.classify(embeddings)
    ]
    assert [list(each.spans["entities"]) for each in found] == tag_texts(entities, encoder, TEXTS)


def test_metadata_are_labels_and_what_is_mentioned_once_each(encoder, topics, entities):
    (found,) = annotate(["the cat the bank the cat"], [topics, entities], encoder=encoder)
    fields = found.metadata()
    assert fields["entities"] == {"ANIMAL": ["the cat"], "PLACE": ["the bank"]}
    assert fields["topic"] == found.classes["topic"].label
    assert fields["topic_probability"] == pytest.approx(
        found.classes["topic"].probability, abs=1e-6
    )


def test_several_labels_become_a_list(encoder):
    texts = [ClassifiedText(each.text, each.labels) for each in labelled_texts(40)]
    head = train_classifier(texts, encoder, several_labels=True).head
    (found,) = annotate(["cat dog bird"], [head], encoder=encoder)
    assert found.metadata()["label"] == list(found.classes["label"].labels)


def test_heads_are_given_as_directories_and_bring_their_encoder(topics, entities, tmp_path):
    topics.save(tmp_path / "topics")
    entities.save(tmp_path / "entities")
    assert isinstance(load_head(tmp_path / "topics"), Classifier)
    assert isinstance(load_head(tmp_path / "entities"), Tagger)
    (found,) = annotate(["the cat"], [tmp_path / "topics", tmp_path / "entities"])
    assert set(found.metadata()) == {"topic", "topic_probability", "entities"}


def test_heads_that_cannot_go_together_are_refused(encoder, topics, entities, tmp_path):
    with pytest.raises(InvalidInput, match="two heads write to the field 'topic'"):
        Annotator([topics, replace(entities, field="topic")], encoder)
    with pytest.raises(InvalidInput, match="no head"):
        annotate(["a"], [])
    with pytest.raises(InvalidInput, match="one string"):
        annotate("a", [topics])
    other = Encoder.load(write_tiny_encoder(tmp_path / "other", seed=1))
    with pytest.raises(EncoderMismatch):
        annotate(["a"], [topics], encoder=other)


def test_an_index_gets_metadata_and_vectors_in_one_pass(
    encoder, topics, entities, passes, tmp_path
):
    documents = [Document(str(number), text) for number, text in enumerate(TEXTS)]
    annotating = AnnotatingEncoder(Annotator([topics, entities], encoder))
    with SearchIndex.create(tmp_path / "index", encoder=annotating) as index:
        report = annotating.writing(index.upsert)(documents)
        assert (report.added, report.encoded, sum(passes)) == (3, 3, 3)
        stored = index.get("0")
        assert stored.metadata["entities"] == {"ANIMAL": ["the cat"], "PLACE": ["the bank"]}
        again = annotating.writing(index.upsert)(documents)
        assert (again.unchanged, again.encoded) == (3, 0)
    with SearchIndex.create(tmp_path / "plain", encoder=encoder) as index:
        index.add(documents)
        plain = index.search("the cat", k=3)
    with SearchIndex.open(tmp_path / "index") as index:
        assert [(hit.id, pytest.approx(hit.score, abs=1e-6)) for hit in plain] == [
            (hit.id, hit.score) for hit in index.search("the cat", k=3)
        ]


def test_a_field_that_a_document_has_already_is_not_overwritten(encoder, topics, tmp_path):
    annotating = AnnotatingEncoder(Annotator([topics], encoder))
    with SearchIndex.create(tmp_path / "index", encoder=annotating) as index:
        document = Document("1", "the cat", metadata={"topic": "mine"})
        with pytest.raises(InvalidData, match="document '1' has a field 'topic', which a head"):
            annotating.writing(index.add)([document])
        assert len(index) == 0


def test_predicted_entities_are_the_gold_ones_on_a_corpus_that_is_known(
    encoder, entities, tmp_path
):
    gold = tagged_texts(80, seed=11)
    annotating = AnnotatingEncoder(Annotator([entities], encoder))
    with SearchIndex.create(tmp_path / "index", encoder=annotating) as index:
        annotating.writing(index.add)(
            [Document(str(number), each.text) for number, each in enumerate(gold)]
        )
        found = {
            document.id
            for document in index.iterate()
            if "the cat" in document.metadata["entities"].get("ANIMAL", [])
        }
    right = {
        str(number)
        for number, each in enumerate(gold)
        if any(each.text[span.start : span.end] == "the cat" for span in each.spans)
    }
    assert len(found & right) / len(found) > 0.95
    assert len(found & right) / len(right) > 0.95
