from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from simsearch.errors import InvalidData, InvalidInput
from simsearch.records import (
    ClassPair,
    LabelledPair,
    LabelledText,
    Pair,
    ScoredPair,
    Triplet,
    UnlabelledText,
)
from simsearch.training.held_out import HeldOutPairs, check_metric, fit_pair_scorer, make_held_out

WORDS = [f"word{number}" for number in range(50)]


class NoisyEncoder:
    """Another encoder, with random vectors mixed into its embeddings."""

    def __init__(self, base, noise):
        self.base, self.noise, self.dim = base, noise, base.dim

    def encode_documents(self, texts, *, counts=None):
        rng = np.random.default_rng(sum(map(len, texts)))
        mixed = self.base.encode_documents(texts)
        mixed = mixed + self.noise * rng.standard_normal(mixed.shape).astype(np.float32)
        return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)

    encode_queries = encode_documents


def pairs(count):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=8)) for _ in range(count)]
    return [Pair(" ".join(text.split()[:5]), text) for text in texts]


def test_pairs_are_searched_among_answers_training_texts_and_distractors(hash_encoder):
    held_out = make_held_out(
        pairs(20),
        training=[Triplet("a", "training positive", "training negative")],
        distractors=["distractor one", "distractor two", pairs(20)[0].positive],
        distractor_limit=100,
        seed=0,
    )
    corpus = {document.text for document in held_out.task.corpus}
    assert {"training positive", "training negative", "distractor one"} <= corpus
    assert len(held_out.task.corpus) == len(corpus) == 24
    scores = held_out.score(hash_encoder)
    assert scores.metrics["ndcg@10"] > 0.95  # the anchors are the first words of their answers
    assert held_out.deciding_metric == "ndcg@10"


def test_distractors_are_limited_and_answers_are_not():
    held_out = make_held_out(
        pairs(20), distractors=[f"d{n}" for n in range(500)], distractor_limit=30, seed=0
    )
    assert len(held_out.task.corpus) == 50


def test_a_better_encoder_is_seen_to_be_better(hash_encoder):
    held_out = make_held_out(pairs(60), distractor_limit=0, seed=0)
    noisy = held_out.score(NoisyEncoder(hash_encoder, 0.15))
    clean = held_out.score(hash_encoder)
    difference = held_out.compare(noisy, clean)["ndcg@10"]
    assert difference.value == pytest.approx(clean.metrics["ndcg@10"] - noisy.metrics["ndcg@10"])
    assert difference.low > 0
    assert held_out.compare(clean, noisy)["ndcg@10"].high < 0


def test_an_anchor_with_several_answers_is_one_query():
    rows = [Pair("q", "first answer"), Pair("q", "second answer"), Pair("r", "third")]
    held_out = make_held_out(rows, distractor_limit=0, seed=0)
    assert sorted(len(answers) for answers in held_out.task.qrels.values()) == [1, 2]


def test_scored_pairs_are_judged_by_spearman(hash_encoder):
    rows = [
        ScoredPair(p.anchor, q.positive, float(n))
        for n, (p, q) in enumerate(zip(pairs(30), pairs(30)[::-1], strict=True))
    ]
    held_out = make_held_out(rows, distractor_limit=0, seed=0)
    scores = held_out.score(hash_encoder)
    first, second = (
        hash_encoder.encode_documents([getattr(row, side) for row in rows])
        for side in ("sentence1", "sentence2")
    )
    expected = stats.spearmanr(np.arange(30), (first * second).sum(axis=1)).statistic
    assert scores.metrics["spearman"] == pytest.approx(expected, abs=1e-6)
    assert (held_out.deciding_metric, set(scores.metrics)) == ("spearman", {"spearman", "pearson"})


def test_labelled_pairs_are_judged_by_average_precision(hash_encoder):
    rows = [LabelledPair(p.anchor, p.positive, 1) for p in pairs(20)]
    rows += [
        LabelledPair(p.anchor, q.positive, 0)
        for p, q in zip(pairs(20), pairs(20)[1:], strict=False)
    ]
    held_out = make_held_out(rows, distractor_limit=0, seed=0)
    scores = held_out.score(NoisyEncoder(hash_encoder, 0.3))
    expected = average_precision_score([row.label for row in rows], scores.units[""])
    assert scores.metrics["average_precision"] == pytest.approx(expected)
    assert set(held_out.compare(scores, scores)) == {"average_precision", "f1"}


def test_pairs_that_are_all_alike_measure_nothing():
    with pytest.raises(InvalidData, match=r"\(2\) all have the same label or score"):
        HeldOutPairs([LabelledPair("a", "b", 1), LabelledPair("c", "d", 1)])


def test_only_a_measured_metric_can_decide():
    held_out = make_held_out(pairs(5), distractor_limit=0, seed=0)
    assert check_metric(held_out, None) == "ndcg@10"
    assert check_metric(held_out, "mrr@10") == "mrr@10"
    with pytest.raises(InvalidInput, match=r"no metric 'bleu' here \(measured: ndcg@10"):
        check_metric(held_out, "bleu")


class Directions:
    """An encoder that sees only the first word: each has a direction of its own."""

    dim = 64

    def encode_documents(self, texts, *, counts=None):
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[sum(map(ord, text.split()[0])) % self.dim] = 1.0
        return rows

    encode_queries = encode_documents


def class_pairs(count, seed, *, informative=True):
    """Pairs of which the first word of the second text gives the class away, or does not."""
    rng = np.random.default_rng(seed)
    clue = {"yes": "same", "no": "other", "maybe": "third"}
    rows = []
    for number in range(count):
        label = str(rng.choice(list(clue)))
        word = clue[label] if informative else "word"
        rows.append(ClassPair(f"left {number}", f"{word} {number} {seed}", label))
    return rows


def test_a_probe_finds_classes_that_the_embeddings_tell_apart():
    held_out = make_held_out(
        class_pairs(60, 1), training=class_pairs(200, 2), distractor_limit=0, seed=0
    )
    assert held_out.deciding_metric == "accuracy"
    assert held_out.description == "60 pairs of 3 classes"
    assert held_out.score(Directions()).metrics == {"accuracy": 1.0}


def test_a_probe_finds_nothing_where_nothing_is_to_be_found():
    held_out = make_held_out(
        class_pairs(90, 1, informative=False),
        training=class_pairs(200, 2, informative=False),
        distractor_limit=0,
        seed=0,
    )
    assert held_out.score(Directions()).metrics["accuracy"] < 0.5


@pytest.mark.parametrize("classes", [2, 3])
def test_a_fitted_pair_scorer_is_logistic_regression(hash_encoder, classes):
    rows = [ClassPair(f"first {n}", f"second {n % 7}", f"class {n % classes}") for n in range(60)]
    scorer = fit_pair_scorer(hash_encoder, rows)
    first = hash_encoder.encode_documents([row.sentence1 for row in rows])
    second = hash_encoder.encode_documents([row.sentence2 for row in rows])
    features = np.hstack([first, second, abs(first - second)])
    oracle = LogisticRegression(C=10, max_iter=1000).fit(features, [row.label for row in rows])
    assert scorer.classes == tuple(oracle.classes_)
    found = scorer.probabilities(first, second)
    np.testing.assert_allclose(found, oracle.predict_proba(features), atol=2e-3)


def test_the_difference_of_two_probes_is_that_of_their_accuracies(hash_encoder):
    held_out = make_held_out(
        class_pairs(60, 1), training=class_pairs(200, 2), distractor_limit=0, seed=0
    )
    before, after = held_out.score(NoisyEncoder(Directions(), 2.0)), held_out.score(Directions())
    found = held_out.compare(before, after)["accuracy"]
    assert found.value == pytest.approx(1.0 - before.metrics["accuracy"])
    assert found.low > 0


def test_pairs_of_classes_need_two_classes_to_fit_a_probe_on():
    with pytest.raises(InvalidData, match="training pairs of two classes"):
        make_held_out(class_pairs(9, 1), training=[], distractor_limit=0, seed=0)


def test_texts_with_a_class_search_for_the_others_of_it():
    rows = [LabelledText(text, label) for text, label in zip("abcde", "xxyyz", strict=True)]
    held_out = make_held_out(rows, distractor_limit=0, seed=0)
    task = held_out.task
    named = {document.id: document.text for document in task.corpus}
    found = {
        query: sorted(named[answer] for answer in task.qrels[number])
        for number, query in task.queries.items()
    }
    assert found == {"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]}  # e is alone in its class
    assert sorted(named.values()) == list("abcde")


def test_texts_alone_cannot_judge():
    with pytest.raises(InvalidData, match="texts alone prove nothing"):
        make_held_out([UnlabelledText("a")], distractor_limit=0, seed=0)
