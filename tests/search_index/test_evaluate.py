from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval
from scipy import stats

from simsearch.encoder import Encoder
from simsearch.formats import read_beir, read_examples
from simsearch.records import Document, ScoredPair
from simsearch.search_index import (
    RetrievalTask,
    SearchIndex,
    evaluate_index,
    evaluate_retrieval,
    evaluate_sts,
)

CORPUS = [
    Document("d1", "the cat sat on the mat"),
    Document("d2", "the dog sat", title="on the mat"),
    Document("d3", "my card was swallowed"),
    Document("d4", "the cat"),
]
QUERIES = {"q1": "cat mat", "q2": "card swallowed", "d4": "the cat"}
QRELS = {"q1": {"d1": 2, "d2": 1}, "q2": {"d3": 1}, "d4": {"d1": 1}}


def exact_run(encoder, corpus, queries):
    """Score every document for every query by numpy, as the oracle."""
    documents = encoder.encode_documents([document.content for document in corpus])
    return {
        query_id: {
            document.id: float(score)
            for document, score in zip(
                corpus, documents @ encoder.encode_queries([text])[0], strict=True
            )
            if not (document.id == query_id and document.text == text)
        }
        for query_id, text in queries.items()
    }


def trec_means(qrels, run):
    evaluator = pytrec_eval.RelevanceEvaluator(
        {query: dict(judged) for query, judged in qrels.items()},
        {"ndcg_cut.10", "recall.10,100", "map_cut.1000"},
    )
    scores = evaluator.evaluate(run).values()
    return {
        "ndcg@10": np.mean([score["ndcg_cut_10"] for score in scores]),
        "recall@10": np.mean([score["recall_10"] for score in scores]),
        "recall@100": np.mean([score["recall_100"] for score in scores]),
        "map": np.mean([score["map_cut_1000"] for score in scores]),
    }


def test_an_encoder_is_scored_as_trec_eval_scores_exact_search(hash_encoder):
    scores = evaluate_retrieval(hash_encoder, RetrievalTask(QUERIES, CORPUS, QRELS)).means()
    expected = trec_means(QRELS, exact_run(hash_encoder, CORPUS, QUERIES))
    assert {name: scores[name] for name in expected} == pytest.approx(expected)


def test_an_index_is_scored_like_its_encoder(hash_encoder, tmp_path):
    expected = evaluate_retrieval(hash_encoder, RetrievalTask(QUERIES, CORPUS, QRELS)).means()
    with SearchIndex.create(tmp_path / "index", encoder=hash_encoder) as index:
        index.add(CORPUS)
        assert evaluate_index(index, QUERIES, QRELS).means() == pytest.approx(expected)


def test_a_query_that_stands_in_the_corpus_does_not_find_itself(hash_encoder):
    """d4 is the query d4 word for word; d1 is the answer and must be first."""
    task = RetrievalTask({"d4": "the cat"}, CORPUS, {"d4": {"d1": 1}})
    assert evaluate_retrieval(hash_encoder, task).means()["mrr@10"] == 1.0


def test_the_same_text_under_another_id_is_not_ignored(hash_encoder):
    task = RetrievalTask({"q": "the cat"}, CORPUS, {"q": {"d1": 1}})
    assert evaluate_retrieval(hash_encoder, task).means()["mrr@10"] == 0.5


def test_sts_is_the_correlation_of_cosines(hash_encoder):
    pairs = [
        ScoredPair("the cat sat", "the cat sat", 5.0),
        ScoredPair("the cat sat", "the dog sat", 3.0),
        ScoredPair("my card", "my late parcel", 2.0),
        ScoredPair("a bird", "lost phone", 0.0),
    ]
    first = hash_encoder.encode_documents([pair.sentence1 for pair in pairs])
    second = hash_encoder.encode_documents([pair.sentence2 for pair in pairs])
    cosines = (first * second).sum(axis=1)
    gold = [pair.score for pair in pairs]
    assert evaluate_sts(hash_encoder, pairs) == pytest.approx(
        {
            "spearman": stats.spearmanr(gold, cosines).statistic,
            "pearson": stats.pearsonr(gold, cosines).statistic,
        }
    )


class Known:
    """An encoder that has encoded these before: what is judged is what is made of the vectors."""

    def __init__(self, encoder, documents, queries):
        self.dim = encoder.dim
        self.documents = dict(zip(documents, encoder.encode_documents(documents), strict=True))
        self.queries = dict(zip(queries, encoder.encode_queries(queries), strict=True))

    def encode_documents(self, texts, *, counts=None):
        return np.stack([self.documents[text] for text in texts])

    def encode_queries(self, texts):
        return np.stack([self.queries[text] for text in texts])


@pytest.mark.slow
@pytest.mark.data
def test_a_part_of_scifact_is_scored_as_trec_eval_scores_it(data_dir):
    """300 queries, 400 documents: the 283 that answer a query, and others to fill up."""
    beir = read_beir(data_dir / "scifact", "test")
    needed = {document for judged in beir.qrels.values() for document in judged}
    corpus = [document for document in beir.corpus if document.id in needed]
    corpus += [document for document in beir.corpus if document.id not in needed]
    corpus = corpus[:400]
    texts = [document.content for document in corpus]
    encoder = Known(Encoder.load(), texts, list(beir.queries.values()))
    found = evaluate_retrieval(encoder, RetrievalTask(beir.queries, corpus, beir.qrels))
    expected = trec_means(beir.qrels, exact_run(encoder, corpus, beir.queries))
    assert len(found.query_ids) == 300
    means = found.means()
    assert {name: means[name] for name in expected} == pytest.approx(expected, abs=1e-4)
    assert means["ndcg@10"] > 0.70  # an easier task than the whole corpus, where it is 0.645


@pytest.mark.slow
@pytest.mark.data
def test_the_published_figure_of_stsb_is_reproduced(data_dir):
    pairs = [
        pair
        for pair in read_examples(data_dir / "stsb" / "test.jsonl")
        if isinstance(pair, ScoredPair)
    ]
    # MTEB's result for all-MiniLM-L6-v2.
    assert 100 * evaluate_sts(Encoder.load(), pairs)["spearman"] == pytest.approx(82.03, abs=0.1)
