from __future__ import annotations

from collections import Counter
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
from simsearch.search_index import AnnotatingEncoder, SearchIndex, annotate_index, check_index

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
    assert fields["entities"] == [
        {"start": 0, "end": 7, "label": "ANIMAL"},
        {"start": 8, "end": 16, "label": "PLACE"},
        {"start": 17, "end": 24, "label": "ANIMAL"},
    ]
    assert (fields["entities.ANIMAL"], fields["entities.PLACE"]) == (["the cat"], ["the bank"])
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
    assert set(found.metadata()) == {"topic", "topic_probability", "entities", "entities.ANIMAL"}


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
        assert stored.metadata["entities.ANIMAL"] == ["the cat"]
        again = annotating.writing(index.upsert)(documents)
        assert (again.unchanged, again.encoded, again.reused) == (3, 3, 0)  # read, not written
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


def test_a_filter_on_predicted_entities_finds_the_gold_ones_of_a_known_corpus(
    encoder, entities, tmp_path
):
    gold = tagged_texts(80, seed=11)
    annotating = AnnotatingEncoder(Annotator([entities], encoder))
    where = "entities.ANIMAL contains 'the cat'"
    with SearchIndex.create(tmp_path / "index", encoder=annotating) as index:
        annotating.writing(index.add)(
            [Document(str(number), each.text) for number, each in enumerate(gold)]
        )
        found = {hit.id for hit in index.search("the cat", k=80, where=where)}
    right = {
        str(number)
        for number, each in enumerate(gold)
        if any(each.text[span.start : span.end] == "the cat" for span in each.spans)
    }
    assert len(found & right) / len(found) > 0.95
    assert len(found & right) / len(right) > 0.95


def test_a_filter_may_ask_for_a_class_and_an_entity_at_once(encoder, topics, entities, tmp_path):
    annotating = AnnotatingEncoder(Annotator([topics, entities], encoder))
    texts = [each.text for each in (*labelled_texts(60, seed=3), *tagged_texts(60, seed=3))]
    expected = {
        str(number)
        for number, each in enumerate(annotate(texts, [topics, entities], encoder=encoder))
        if each.classes["topic"].label == "animal"
        and any(
            (span.label, each.text[span.start : span.end]) == ("ANIMAL", "the dog")
            for span in each.spans["entities"]
        )
    }
    where = "topic = 'animal' and entities.ANIMAL contains 'the dog'"
    with SearchIndex.create(tmp_path / "index", encoder=annotating) as index:
        annotating.writing(index.add)([Document(str(n), text) for n, text in enumerate(texts)])
        assert {hit.id for hit in index.search("dog", k=200, where=where)} == expected
        assert 0 < len(expected) == index.count(where)


def test_facets_count_predicted_classes_and_entities(encoder, topics, entities, tmp_path):
    annotating = AnnotatingEncoder(Annotator([topics, entities], encoder))
    texts = [each.text for each in tagged_texts(40, seed=4)]
    found = [each.metadata() for each in annotate(texts, [topics, entities], encoder=encoder)]
    classes = Counter(each["topic"] for each in found)
    animals = Counter(animal for each in found for animal in each.get("entities.ANIMAL", []))
    with SearchIndex.create(tmp_path / "index", encoder=annotating) as index:
        annotating.writing(index.add)([Document(str(n), text) for n, text in enumerate(texts)])
        topic, animal = index.facet("topic"), index.facet("entities.ANIMAL")
    assert {each.value: each.count for each in topic.values} == dict(classes)
    assert {each.value: each.count for each in animal.values} == dict(animals)
    assert len(animals) == 3


def test_a_label_that_can_be_no_field_is_refused_by_name(encoder, entities):
    odd = replace(entities, labels=("ANIMAL", "a place"))
    with pytest.raises(InvalidInput, match="labelled 'a place' would go to the metadata field"):
        AnnotatingEncoder(Annotator([odd], encoder))


DOCUMENTS = [Document(str(number), text) for number, text in enumerate(TEXTS)]


def filled(path, encoder, **options) -> SearchIndex:
    index = SearchIndex.create(path, encoder=encoder, **options)
    index.add(DOCUMENTS)
    return index


def test_a_classifier_annotates_an_index_from_its_stored_vectors(encoder, topics, passes, tmp_path):
    with filled(tmp_path / "index", encoder) as index:
        passes.clear()
        before = index.search_vectors(encoder.encode_queries(["the cat"]), k=3)[0]
        passes.clear()
        report = annotate_index(index, Annotator([topics], encoder))
        assert (report.changed, report.encoded, report.reused, passes) == (3, 0, 3, [])
        labels = [each.label for each in topics.classify(encoder.encode_documents(TEXTS))]
        assert [document.metadata["topic"] for document in index.iterate()] == labels
        after = index.search_vectors(encoder.encode_queries(["the cat"]), k=3)[0]
        assert [(hit.id, hit.score) for hit in after] == [(hit.id, hit.score) for hit in before]
        assert index.count(f"topic = '{labels[0]}'") == labels.count(labels[0])
        assert check_index(tmp_path / "index").findings == ()


def test_a_tagger_reads_every_text_of_an_index_again(encoder, entities, passes, tmp_path):
    with filled(tmp_path / "index", encoder) as index:
        report = annotate_index(index, Annotator([entities], encoder))
        assert (report.changed, report.encoded, report.reused) == (3, 3, 0)
        assert index.get("0").metadata["entities.PLACE"] == ["the bank"]
        again = annotate_index(index, Annotator([entities], encoder), replace_fields=True)
        assert (again.changed, again.unchanged) == (0, 3)


def test_a_new_head_replaces_what_an_old_one_wrote_only_if_asked(encoder, topics, tmp_path):
    with filled(tmp_path / "index", encoder) as index:
        annotate_index(index, Annotator([topics], encoder))
        renamed = replace(topics, labels=tuple(label.upper() for label in topics.labels))
        with pytest.raises(InvalidData, match="has a field 'topic', which a head writes"):
            annotate_index(index, Annotator([renamed], encoder))
        annotate_index(index, Annotator([renamed], encoder), replace_fields=True)
        assert all(document.metadata["topic"].isupper() for document in index.iterate())


def test_a_filter_that_was_asked_before_sees_what_a_new_head_wrote(encoder, topics, tmp_path):
    vector = encoder.encode_queries(["the cat"])
    loud = replace(topics, labels=tuple(label.upper() for label in topics.labels))
    with filled(tmp_path / "index", encoder) as index:
        annotate_index(index, Annotator([topics], encoder))
        label = index.get("0").metadata["topic"]
        asked = [f"topic = '{label}'", f"topic = '{label.upper()}'"]
        counts = [len(index.search_vectors(vector, k=3, where=where)[0]) for where in asked]
        annotate_index(index, Annotator([loud], encoder), replace_fields=True)
        again = [len(index.search_vectors(vector, k=3, where=where)[0]) for where in asked]
    assert counts[0] > 0
    assert again == counts[::-1] == [0, counts[0]]


def test_what_is_mentioned_no_more_is_in_no_field_any_more(encoder, entities, tmp_path):
    with filled(tmp_path / "index", encoder) as index:
        annotate_index(index, Annotator([entities], encoder))
        swapped = replace(entities, labels=("BEAST", "SPOT"))
        annotate_index(index, Annotator([swapped], encoder), replace_fields=True)
        assert set(index.get("0").metadata) == {"entities", "entities.BEAST", "entities.SPOT"}


def test_a_head_of_the_other_kind_leaves_nothing_of_the_former_one(
    encoder, topics, entities, tmp_path
):
    classes, spans = replace(topics, field="found"), replace(entities, field="found")
    with SearchIndex.create(tmp_path / "index", encoder=encoder) as index:
        mine = {"found.mine": 1, "mine_probability": 0.5, "found.PLACES": ["x"]}
        index.add([replace(DOCUMENTS[0], metadata=mine)])

        def written(head) -> set[str]:
            annotate_index(index, Annotator([head], encoder), replace_fields=True)
            return set(index.get("0").metadata) - {"mine_probability"}

        assert written(classes) == {"found", "found_probability", "found.mine", "found.PLACES"}
        assert written(spans) == {"found", "found.ANIMAL", "found.PLACE"}
        index.upsert(
            [
                replace(
                    index.get("0"),
                    metadata={**index.get("0").metadata, "found.mine": 1, "found_probability": "x"},
                )
            ]
        )
        assert written(classes) == {"found", "found_probability", "found.mine"}
        assert index.get("0").metadata["found_probability"] <= 1


def test_the_same_tagger_again_leaves_a_document_in_which_it_finds_nothing(
    encoder, entities, tmp_path
):
    spans = replace(entities, field="found")
    with SearchIndex.create(tmp_path / "index", encoder=encoder) as index:
        index.add([Document("0", "money was late", metadata={"found_probability": 0.25})])
        annotate_index(index, Annotator([spans], encoder), replace_fields=True)
        kept = {"found": [], "found_probability": 0.25}
        assert index.get("0").metadata == kept
        again = annotate_index(index, Annotator([spans], encoder), replace_fields=True)
        assert (again.changed, index.get("0").metadata) == (0, kept)


def test_a_document_that_somebody_changed_meanwhile_is_left_as_it_is(encoder, topics, tmp_path):
    with filled(tmp_path / "index", encoder) as index:
        old = index.get("1")
        index.upsert([replace(old, metadata={"mine": 1})])
        assert index.replace_documents([(old, replace(old, metadata={"topic": "x"}))]) == 0
        assert index.get("1").metadata == {"mine": 1}
        with pytest.raises(InvalidInput, match="only metadata can be replaced"):
            index.replace_documents([(old, replace(old, text="another"))])


def test_supplied_vectors_stay_and_their_texts_are_encoded_for_the_head(encoder, topics, tmp_path):
    vectors = encoder.encode_documents(["my money"] * 3)
    with SearchIndex.create(tmp_path / "index", encoder=encoder) as index:
        index.add(DOCUMENTS, vectors)
        report = annotate_index(index, Annotator([topics], encoder))
        assert (report.changed, report.encoded, report.reused) == (3, 3, 0)
        hits = index.search_vectors(vectors[:1], k=3)[0]
        assert [hit.score for hit in hits] == pytest.approx([1, 1, 1], abs=1e-6)
        labels = [each.label for each in topics.classify(encoder.encode_documents(TEXTS))]
        assert [document.metadata["topic"] for document in index.iterate()] == labels


def test_vectors_of_a_smaller_dim_are_not_enough_for_a_head(encoder, topics, tmp_path):
    with filled(tmp_path / "index", encoder, dim=16) as index:
        report = annotate_index(index, Annotator([topics], encoder))
        assert (report.encoded, report.reused) == (3, 0)


def test_documents_of_several_passages_are_encoded_whole_for_a_classifier(
    encoder, topics, tmp_path
):
    long = Document("long", ". ".join(["the cat sat on the mat"] * 12))
    with SearchIndex.create(tmp_path / "index", encoder=encoder, long_texts="passages") as index:
        index.add([*DOCUMENTS, long])
        report = annotate_index(index, Annotator([topics], encoder))
        assert (report.encoded, report.reused) == (1, 3)
        expected = topics.classify(encoder.encode_documents([long.text]))[0].label
        assert index.get("long").metadata["topic"] == expected


def test_an_index_of_another_encoder_is_not_annotated(encoder, topics, tmp_path):
    other = Encoder.load(write_tiny_encoder(tmp_path / "other", seed=1))
    with filled(tmp_path / "index", other) as index, pytest.raises(EncoderMismatch):
        annotate_index(index, Annotator([topics], encoder))


def test_upsert_with_a_classifier_encodes_only_what_the_index_does_not_have(
    encoder, topics, passes, tmp_path
):
    annotating = AnnotatingEncoder(Annotator([topics], encoder))
    with SearchIndex.create(tmp_path / "index", encoder=annotating) as index:
        index.add(DOCUMENTS)
        write = annotating.writing(index.upsert, known=index.embeddings_of_texts)
        report = write([*DOCUMENTS, Document("new", "a bird sings")])
        assert (report.added, report.replaced, report.encoded, report.reused) == (1, 3, 1, 3)
