"""Judgements of hits as training data."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import HashEncoder
from training_runs import make_pairs

from simsearch.encoder import Encoder
from simsearch.errors import EncoderError, InvalidData, InvalidInput
from simsearch.records import Document, Judgement, Pair
from simsearch.search_index import SearchIndex
from simsearch.training import DataSource, TrainingConfig, TrainingData, load_training_data
from simsearch.training.batches import DataSet
from simsearch.training.feedback import Feedback, read_feedback
from simsearch.training.identity import identity
from simsearch.training.mining import Miner
from simsearch.training.plan import make_plan
from simsearch.training.workers import Workers

DOCUMENTS = [
    Document("card", "my card was swallowed by the machine"),
    Document("cat", "the cat sat on the mat"),
    Document("parcel", "the parcel came late", title="lost order"),
    Document("copy", "The parcel came late!", title="Lost order"),
    Document("bird", "a bird sings"),
]


@pytest.fixture
def path(tmp_path, tiny_encoder_dir):
    with SearchIndex.create(tmp_path / "i", encoder=Encoder.load(tiny_encoder_dir)) as index:
        index.add(DOCUMENTS)
    return tmp_path / "i"


def judge(path, *judgements):
    with SearchIndex.open(path) as index:
        index.judge_many(Judgement(*each) for each in judgements)


def test_right_documents_are_pairs_and_wrong_ones_negatives_of_their_query(path):
    judge(
        path,
        ("where is my parcel", "parcel", True),
        ("where is my parcel", "cat", False),
        ("Where is my parcel?", "bird", False),
        ("card gone", "card", True),
        ("nothing right", "bird", False),
    )
    found = read_feedback(path)
    assert found.pairs == [
        Pair("where is my parcel", "lost order the parcel came late"),
        Pair("card gone", "my card was swallowed by the machine"),
    ]
    assert found.negatives == {"where is my parcel": ["the cat sat on the mat", "a bird sings"]}
    assert set(found.texts) == {document.content for document in DOCUMENTS}
    assert found.line() == (
        f"{path}: 5 judgements; 2 pairs of 2 queries, 2 texts known to be wrong for them"
    )


def test_a_text_that_was_found_right_elsewhere_is_no_negative_of_the_query(path):
    judge(path, ("my parcel", "parcel", True), ("my parcel", "copy", False))
    assert read_feedback(path).negatives == {}


def test_judgements_of_documents_that_are_gone_or_changed_are_left_out_and_counted(path):
    judge(
        path,
        ("card gone", "card", True),
        ("my parcel", "parcel", True),
        ("my parcel", "cat", False),
        ("sings", "bird", True),
    )
    with SearchIndex.open(path) as index:
        index.delete(["parcel", "cat"])
        index.upsert([Document("bird", "no bird sings")])
    found = read_feedback(path)
    assert found.pairs == [Pair("card gone", "my card was swallowed by the machine")]
    assert (found.judgements, found.deleted, found.changed) == (4, 2, 1)
    assert found.line().endswith(
        "; left out: 2 of documents that were deleted, 1 of documents that have changed"
    )


def test_of_a_long_document_the_passage_nearest_to_the_query_is_learnt(tmp_path, tiny_encoder_dir):
    encoder = Encoder.load(tiny_encoder_dir)
    text = " ".join(["the cat sat on the mat ."] * 6 + ["my card was swallowed ."] * 6)
    with SearchIndex.create(tmp_path / "i", encoder=encoder, long_texts="passages") as index:
        index.add([Document("long", text, title="news")])
        index.judge("my card was swallowed .", "long")
    (split,) = encoder.split_documents([Document("long", text, title="news")])
    vectors = encoder.encode_documents([passage.content for passage in split])
    similarities = vectors @ encoder.encode_queries(["my card was swallowed ."])[0]
    found = read_feedback(tmp_path / "i")
    assert len(split) > 2
    assert found.pairs == [
        Pair("my card was swallowed .", split[int(similarities.argmax())].content)
    ]
    assert found.texts == [found.pairs[0].positive]  # not the whole text, which has the answer


@pytest.mark.parametrize("judgements", [[], [("a bird", "bird", False)]])
def test_without_a_right_document_there_is_nothing_to_learn(path, judgements):
    judge(path, *judgements)
    message = rf"no document that is there was judged right, of {len(judgements)} judgement"
    with pytest.raises(InvalidData, match=message):
        read_feedback(path)


def feedback(queries):
    pairs = [Pair(f"query {number}", "text") for number in range(queries)]
    return Feedback(None, pairs, {}, [], queries, 0, 0, "model", "print")


def test_too_few_queries_are_refused_with_how_many_are_needed():
    message = r"49 queries have a document that was judged right, at least 50 are needed"
    with pytest.raises(InvalidData, match=message):
        feedback(49).refuse_too_few(held_out=0.2)
    feedback(50).refuse_too_few(held_out=0.2)
    with pytest.raises(InvalidData, match="at least 20 are needed"):
        feedback(19).refuse_too_few(held_out=0.5)


def test_the_encoder_of_the_index_is_trained_further_if_it_is_there(path, tiny_encoder_dir):
    judge(path, ("card gone", "card", True))
    found = read_feedback(path)
    assert found.encoder_name() == str(tiny_encoder_dir)
    with pytest.raises(EncoderError, match=r"is not the encoder any more that built .*--encoder"):
        replace(found, fingerprint="another").encoder_name()
    with pytest.raises(EncoderError, match=r"no encoder directory at .*--encoder"):
        replace(found, encoder="/nowhere/at/all").encoder_name()


def test_an_index_is_a_source_of_training_data_like_a_file(path, tmp_path):
    judge(path, ("card gone", "card", True), ("card gone", "cat", False))
    told = []
    (data,) = load_training_data([DataSource(path)], on_feedback=told.append)
    assert data.examples == [Pair("card gone", "my card was swallowed by the machine")]
    assert dict(data.negatives) == {"card gone": ["the cat sat on the mat"]}
    assert [each.path for each in told] == [path]
    with pytest.raises(InvalidInput, match=r"not a BEIR folder .* and no index"):
        load_training_data([DataSource(tmp_path)])


CONFIG = TrainingConfig(epochs=3, negatives=2, negatives_margin=0.0, held_out=0.1)


def drawn(folder, data, config=CONFIG):
    """Return the plan's part, and by epoch the negatives of each of its pairs."""
    (part,) = make_plan([data], None, config).parts
    dataset = DataSet(part.name, part.training, part.objective, added=part.added)
    miner = Miner(
        [part],
        [dataset],
        config,
        epochs=3,
        base=HashEncoder(),
        directory=folder,
        workers=Workers(),
        say=lambda _: None,
    )
    found = []
    for epoch in range(3):
        miner(epoch, None)
        found.append([list(each) for each in dataset.negatives])
    return part, found, miner.found


def test_known_negatives_come_first_in_every_epoch_and_mined_ones_fill_up(tmp_path):
    pairs = make_pairs(60)
    known = {pair.anchor: ["bank bank bank"] for pair in pairs[:30]}
    part, epochs, told = drawn(tmp_path, TrainingData(pairs, negatives=known))
    for number, pair in enumerate(part.training):
        own = [epoch[number] for epoch in epochs]
        assert [len(each) for each in own] == [2, 2, 2]
        assert [each[:1] == ["bank bank bank"] for each in own] == [pair.anchor in known] * 3
        assert len({text for each in own for text in each}) == (4 if pair.anchor in known else 6)
    count = sum(pair.anchor in known for pair in part.training)
    assert told[0].endswith(f"; {count} pairs have known negatives")


def test_more_known_negatives_than_are_wanted_take_turns(tmp_path):
    pairs = make_pairs(60)
    texts = ["bank bank", "cash cash", "order order"]
    known = {pair.anchor: texts for pair in pairs}
    _, epochs, _ = drawn(tmp_path, TrainingData(pairs, negatives=known))
    assert [epoch[0] for epoch in epochs] == [
        ["bank bank", "cash cash"],
        ["order order", "bank bank"],
        ["cash cash", "order order"],
    ]


def test_a_pair_that_was_added_has_the_known_negatives_of_its_original(tmp_path):
    pairs = make_pairs(60)
    known = {pair.anchor: [f"not {pair.positive}"] for pair in pairs}
    config = replace(CONFIG, augment=("deletion",))
    part, epochs, _ = drawn(tmp_path, TrainingData(pairs, negatives=known), config)
    assert len(part.added) > 20
    start = len(part.originals)
    for place, original in enumerate(part.added):
        assert epochs[0][start + place][0] == f"not {part.originals[original].positive}"


def test_no_known_negative_is_a_text_that_held_out_queries_ask_or_are_answered_with():
    pairs = make_pairs(60)
    texts = [pair.positive.upper() for pair in pairs]
    known = {pair.anchor: texts for pair in pairs}
    (part,) = make_plan([TrainingData(pairs, negatives=known)], None, CONFIG).parts
    held_out = {pair.positive.upper() for pair in part.held_out}
    assert held_out
    assert [set(own) for own in part.negatives.values()] == [set(texts) - held_out] * 60


def test_other_known_negatives_are_another_run():
    pairs = make_pairs(60)
    named = [
        identity(
            make_plan([TrainingData(pairs, negatives=known)], None, CONFIG),
            CONFIG,
            base_fingerprint="base",
        )
        for known in ({}, {pairs[0].anchor: ["a text"]}, {pairs[0].anchor: ["another"]})
    ]
    assert named[0] != named[1] != named[2]
