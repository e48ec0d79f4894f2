from __future__ import annotations

import numpy as np
import pytest
from head_training import TOPICS, labelled_texts, same_classifier, trained
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from simsearch.errors import InvalidData, InvalidInput
from simsearch.evaluation import expected_calibration_error
from simsearch.heads import Classifier, ClassifierConfig, ClassWeight, train_classifier
from simsearch.heads.fitting import fit_temperature
from simsearch.heads.folds import stratified_folds
from simsearch.records import ClassifiedText

TRAIN, TEST = labelled_texts(200), labelled_texts(100, seed=9)
TEST_TEXTS = [each.text for each in TEST]
GOLD = [each.labels[0] for each in TEST]


def test_the_classes_are_those_of_logistic_regression_on_the_same_embeddings(hash_encoder):
    head = trained(hash_encoder).head
    oracle = LogisticRegression(C=10, max_iter=1000).fit(
        hash_encoder.encode_documents([each.text for each in TRAIN]),
        [each.labels[0] for each in TRAIN],
    )
    embeddings = hash_encoder.encode_documents(TEST_TEXTS)
    predicted = [each.label for each in head.classify(embeddings)]
    assert predicted == oracle.predict(embeddings).tolist()
    # A temperature leaves the order of the classes as it is, and divides all logits by one number.
    ratio = oracle.decision_function(embeddings) / head.logits(embeddings)
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0, 0], ratio.shape), rtol=1e-2)


def test_cross_validation_tells_the_accuracy_on_new_texts_and_probabilities_are_true(hash_encoder):
    training = trained(hash_encoder)
    found = training.head.classify(hash_encoder.encode_documents(TEST_TEXTS))
    right = np.array([each.label == gold for each, gold in zip(found, GOLD, strict=True)])
    assert training.metrics["accuracy"] == pytest.approx(right.mean(), abs=0.07)
    confidence = np.array([each.probability for each in found])
    assert expected_calibration_error(confidence, right) < 0.08
    assert all(sum(each.probabilities.values()) == pytest.approx(1, abs=1e-5) for each in found)


def test_two_classes_have_the_probabilities_of_a_sigmoid(hash_encoder):
    pair = labelled_texts(60, topics=("animal", "money"))
    training = train_classifier(pair, hash_encoder)
    embeddings = hash_encoder.encode_documents(TEST_TEXTS[:2])
    logits = training.head.logits(embeddings)
    for found, row in zip(training.head.classify(embeddings), logits, strict=True):
        expected = 1 / (1 + np.exp(row[0] - row[1]))
        assert found.probabilities["money"] == pytest.approx(expected, abs=1e-6)


def test_left_out_classes_teach_to_tell_a_text_of_no_class(hash_encoder):
    known = labelled_texts(160, topics=tuple(TOPICS)[:4])
    head = train_classifier(known, hash_encoder).head
    found = head.classify(hash_encoder.encode_documents(TEST_TEXTS))
    inside = [gold != "colour" for gold in GOLD]
    scope = [each.in_scope for each in found]
    assert roc_auc_score(inside, scope) > 0.85
    rejecting = head.classify(hash_encoder.encode_documents(TEST_TEXTS), min_in_scope=0.5)
    assert [each.label is None for each in rejecting] == [value < 0.5 for value in scope]
    assert 0 < sum(each.label is None for each in rejecting) < len(TEST)


def test_given_texts_out_of_scope_are_used_in_the_place_of_classes(hash_encoder):
    known = labelled_texts(120, topics=("animal", "money", "order"))
    outside = [each.text for each in labelled_texts(60, topics=("colour",))]
    assert train_classifier(known, hash_encoder).head.scope is None  # too few classes
    head = train_classifier(known, hash_encoder, out_of_scope=outside).head
    new = labelled_texts(30, seed=5, topics=("colour",))
    found = head.classify(hash_encoder.encode_documents([each.text for each in new]))
    assert np.mean([each.in_scope for each in found]) < 0.3


def test_a_text_is_not_near_to_a_mean_that_it_is_half_of(hash_encoder):
    known = tuple(TOPICS)[:4]
    train = labelled_texts(8, topics=known)  # two of each
    outside = [each.text for each in labelled_texts(20, seed=1, topics=("colour",))]
    head = train_classifier(train, hash_encoder, out_of_scope=outside).head
    new = hash_encoder.encode_documents([t.text for t in labelled_texts(100, seed=2, topics=known)])
    assert np.mean([each.in_scope >= 0.5 for each in head.classify(new)]) > 0.5


@pytest.mark.parametrize(
    "rows",
    [
        "x one a, y two a, x one b, z three c, w four d",
        "x one a, y two a, x one b, p five c, q six c, p five d",
    ],
)
def test_where_no_text_of_a_class_can_be_left_out_there_is_no_scope(hash_encoder, rows):
    texts = [ClassifiedText(row[:-2], (row[-1],)) for row in rows.split(", ")]
    for seed in range(8):
        config = ClassifierConfig(seed=seed)
        assert train_classifier(texts, hash_encoder, config=config).head.labels == tuple("abcd")


@pytest.mark.parametrize("labels", [(), ("animal", "money")])
def test_a_text_that_has_not_one_label_is_refused_where_each_has_one(hash_encoder, labels):
    other = ClassifiedText("cat cash", labels)
    with pytest.raises(
        InvalidData, match=rf"got {len(labels)} of 'cat cash' \(several_labels=True"
    ):
        train_classifier([*TRAIN, other], hash_encoder)


def test_balanced_weights_raise_the_recall_of_a_rare_class(hash_encoder):
    texts = [*labelled_texts(300, topics=("animal",)), *labelled_texts(12, topics=("money",))]
    new = hash_encoder.encode_documents(
        [each.text for each in labelled_texts(100, seed=7, topics=("money",))]
    )

    def found_money(weight: ClassWeight) -> int:
        config = ClassifierConfig(class_weight=weight, strength=0.1)
        head = train_classifier(texts, hash_encoder, config=config).head
        return sum(each.label == "money" for each in head.classify(new))

    assert found_money(ClassWeight.BALANCED) > found_money(ClassWeight.EQUAL) + 20


def test_shots_takes_so_many_texts_of_each_class(hash_encoder):
    training = trained(hash_encoder, shots=8)
    assert training.texts == 8 * len(TOPICS)
    found = training.head.classify(hash_encoder.encode_documents(TEST_TEXTS))
    assert np.mean([each.label == gold for each, gold in zip(found, GOLD, strict=True)]) > 0.7


def test_the_same_seed_gives_the_same_head_and_another_one_other_shots(hash_encoder):
    first, again, other = (trained(hash_encoder, shots=8, seed=seed).head for seed in (0, 0, 1))
    assert same_classifier(first, again)
    assert not same_classifier(first, other)


def test_several_labels_hold_at_once_and_none_may(hash_encoder):
    texts = []
    for one, two in zip(
        labelled_texts(120, topics=("animal",)),
        labelled_texts(120, topics=("money",)),
        strict=True,
    ):
        texts.append(ClassifiedText(one.text, ("animal",)))
        texts.append(ClassifiedText(two.text, ("money",)))
        texts.append(ClassifiedText(f"{one.text} {two.text}", ("animal", "money")))
        texts.append(ClassifiedText("red blue green", ()))
    training = train_classifier(texts, hash_encoder, several_labels=True)
    asked = ["cat dog bird", "cash bank pay", "cat dog cash bank", "red green blue"]
    found = training.head.classify(hash_encoder.encode_documents(asked))
    assert [each.labels for each in found] == [("animal",), ("money",), ("animal", "money"), ()]
    assert training.metrics["micro_f1"] > 0.85


def test_a_label_that_every_text_has_always_holds(hash_encoder):
    texts = [ClassifiedText(each.text, ("support", each.labels[0])) for each in TRAIN]
    head = train_classifier(texts, hash_encoder, several_labels=True).head
    found = head.classify(hash_encoder.encode_documents(TEST_TEXTS))
    assert all("support" in each.labels for each in found)


def test_the_temperature_is_the_one_of_the_least_loss():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(500, 3)) * 2
    raised = np.exp(logits)
    chances = raised / raised.sum(axis=1, keepdims=True)
    gold = np.array([rng.choice(3, p=row) for row in chances])
    members = np.eye(3, dtype=bool)[gold]
    found = fit_temperature((logits * 5).astype(np.float32), members, False)
    assert found == pytest.approx(5, rel=0.15)  # logits five times too large

    def loss(temperature: float) -> float:
        scaled = np.exp(logits * 5 / temperature)
        return log_loss(gold, scaled / scaled.sum(axis=1, keepdims=True))

    assert loss(found) <= min(loss(found * 1.05), loss(found / 1.05))


@pytest.mark.parametrize("several_labels", [False, True])
def test_six_texts_that_are_all_right_make_the_next_one_no_surer_than_seven_in_eight(
    several_labels,
):
    members = np.eye(2, dtype=bool)[[0, 0, 0, 1, 1, 1]]
    half = np.where(members, 0.5, -0.5).astype(np.float32)
    logits = half * 2 if several_labels else half  # a lead of 1 either way
    found = fit_temperature(logits, members, several_labels)
    assert found == pytest.approx(1 / np.log(7), rel=1e-3)  # 1 / (1 + exp(-log 7)) = 7/8


def test_the_other_classes_share_the_doubt():
    members = np.eye(3, dtype=bool)[[0, 1, 2]]
    logits = members.astype(np.float32)
    # 3 texts: 4/5 for the right one of three, 1/10 for each other: a lead of log 8.
    assert fit_temperature(logits, members, False) == pytest.approx(1 / np.log(8), rel=1e-3)


def test_folds_spread_every_class_and_leave_a_single_text_in():
    members = np.eye(3, dtype=bool)[[0] * 10 + [1] * 5 + [2]]
    folds = stratified_folds(members, folds=5, seed=0)
    assert np.bincount(folds[:10]).tolist() == [2] * 5
    assert sorted(folds[10:15].tolist()) == [0, 1, 2, 3, 4]
    assert folds[15] == -1


def test_equal_texts_are_left_out_together_and_count_as_one():
    members = np.eye(3, dtype=bool)[[0, 0, 0, 1, 1, 1, 2, 2]]
    equal = np.array([0, 1, 0, 2, 3, 4, 5, 5])  # class 2 has one text, twice
    folds = stratified_folds(members, equal=equal, folds=5, seed=0)
    assert folds[0] == folds[2] != folds[1]
    assert folds[6:].tolist() == [-1, -1]
    assert len(set(folds[:6].tolist())) == 5
    distinct = stratified_folds(members[[0, 1, 3, 4, 5, 6]], folds=5, seed=0)
    assert folds[[0, 1, 3, 4, 5, 6]].tolist() == distinct.tolist()


def test_texts_that_stand_three_times_teach_nothing_of_new_ones(hash_encoder):
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(400)]
    texts = [
        ClassifiedText(" ".join(rng.choice(words, 4)), (str(rng.integers(5)),)) for _ in range(100)
    ]
    shouted = [ClassifiedText(f" {each.text.upper()}  ", each.labels) for each in texts]
    thrice = train_classifier([*texts, *shouted, *texts], hash_encoder)
    assert thrice.texts == 300
    assert thrice.metrics["accuracy"] < 0.35  # the labels are drawn: 0.2


def test_classes_that_cannot_be_left_out_do_not_count_as_never_found(hash_encoder):
    pair = labelled_texts(60, topics=("animal", "money"))
    single = [ClassifiedText("red blue green my", ("colour",))]
    training = train_classifier([*pair, *single], hash_encoder)
    alone = train_classifier(pair, hash_encoder)
    assert training.metrics["macro_f1"] == pytest.approx(alone.metrics["macro_f1"], abs=0.03)


def test_texts_out_of_scope_that_cannot_be_used_are_warned_of_or_refused(hash_encoder, caplog):
    config = ClassifierConfig(shots=1)
    head = train_classifier(TRAIN, hash_encoder, config=config, out_of_scope=["x y"]).head
    assert head.scope is None
    assert "the texts out of scope are left unused" in caplog.text
    with pytest.raises(InvalidInput, match="learns its scope"):
        train_classifier(
            TRAIN, hash_encoder, config=ClassifierConfig(scope=False), out_of_scope=["x y"]
        )


def test_where_nothing_can_be_left_out_there_are_no_scores(hash_encoder):
    texts = [ClassifiedText("cat", ("animal",)), ClassifiedText("cash", ("money",))]
    training = train_classifier(texts, hash_encoder)
    assert training.metrics == {}
    assert isinstance(training.head, Classifier)
    assert training.head.classify(hash_encoder.encode_documents(["cat"]))[0].label == "animal"


def test_one_class_only_is_refused(hash_encoder):
    with pytest.raises(InvalidData, match=r"3 texts have 1 different labels.*two at least"):
        train_classifier(labelled_texts(3, topics=("money",)), hash_encoder)
    with pytest.raises(InvalidData, match="one at least"):
        train_classifier([ClassifiedText("a", ())], hash_encoder, several_labels=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": 0.0}, "strength must be above 0, got 0"),
        ({"shots": 0}, "shots must be at least 1, got 0"),
        ({"seed": -1}, "seed must not be negative"),
        ({"field": "a.b"}, "--field must be 1 to 64"),
        ({"field": "title"}, "--field must not be 'title'"),
        ({"class_weight": "balanced"}, "must be a ClassWeight"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, message):
    with pytest.raises(InvalidInput, match=message):
        ClassifierConfig(**settings)


def test_shots_of_several_labels_are_refused(hash_encoder):
    with pytest.raises(InvalidInput, match="for one label a text"):
        train_classifier(TRAIN, hash_encoder, several_labels=True, config=ClassifierConfig(shots=2))
