"""Probabilities and explanations of the real encoder, on data whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simsearch.encoder import Encoder
from simsearch.evaluation import calibration_error
from simsearch.formats import read_beir, read_examples
from simsearch.records import Document, Hit
from simsearch.search_index import (
    JudgedScores,
    RetrievalTask,
    SearchIndex,
    calibrate,
    judge_hits,
    judge_pairs,
)

pytestmark = [pytest.mark.slow, pytest.mark.data]


def error_on(judged: JudgedScores, fitted: JudgedScores) -> float:
    calibration = calibrate(fitted, fingerprint="", dim=1).calibration
    chances = calibration.probabilities(judged.scores, judged.leads)
    return calibration_error(chances, judged.matches)


def test_probabilities_of_sts_pairs_are_true_of_pairs_that_did_not_fit_them(data_dir: Path):
    encoder = Encoder.load()
    parts = {}
    for split in ("dev", "test"):
        pairs = list(read_examples(data_dir / "stsb" / f"{split}.jsonl"))
        parts[split] = judge_pairs(
            encoder,
            [pair.sentence1 for pair in pairs],
            [pair.sentence2 for pair in pairs],
            [pair.score >= 4 for pair in pairs],
        )
    assert error_on(parts["test"], parts["dev"]) < 0.05


def test_probabilities_of_hits_are_true_of_queries_that_did_not_fit_them(data_dir: Path):
    """300 queries of SciFact among 400 of its documents: 283 that answer one, and others."""
    beir = read_beir(data_dir / "scifact", "test")
    needed = {document for judged in beir.qrels.values() for document in judged}
    corpus = [document for document in beir.corpus if document.id in needed]
    corpus += [document for document in beir.corpus if document.id not in needed]
    judged = judge_hits(Encoder.load(), RetrievalTask(beir.queries, corpus[:400], beir.qrels))
    half = np.random.default_rng(0).permutation(300)[:150]
    own = np.isin(judged.units, half)
    first, second = judged.rows(own), judged.rows(~own)
    assert error_on(second, first) < 0.05
    calibration = calibrate(first, fingerprint="", dim=1).calibration
    chances = calibration.probabilities(second.scores, second.leads)
    shown = second.matches[chances >= calibration.threshold(0.9)]
    spread = np.sqrt(0.9 * 0.1 / len(shown))
    assert len(shown) > 30
    assert shown.mean() > 0.9 - 2 * spread


def test_without_the_words_that_an_explanation_puts_first_a_hit_is_less_similar_than_without_others(
    data_dir: Path, tmp_path: Path
):
    beir = read_beir(data_dir / "scifact", "test")
    texts = {document.id: document for document in beir.corpus}
    pairs = [
        (beir.queries[query], texts[next(iter(judged))])
        for query, judged in list(beir.qrels.items())[:12]
    ]
    encoder, rng = Encoder.load(), np.random.default_rng(0)
    falls = []
    with SearchIndex.create(tmp_path / "index", encoder=encoder) as index:
        index.add({document.id: document for _, document in pairs}.values())
        for query, document in pairs:
            hits = index.search(query, k=12)
            (own,) = [hit for hit in hits if hit.id == document.id]
            (hit,) = index.explain(query, [own])
            assert hit.explanation.exact
            total = sum(word.contribution for word in hit.explanation.words)
            assert total + hit.explanation.rest == pytest.approx(hit.score, abs=1e-9)
            assert abs(hit.explanation.rest) < 0.1
            words = [word for word in hit.explanation.words if word.field == "text"]
            size = max(1, len(words) // 10)
            first = sorted(words, key=lambda word: -word.loss)[:size]
            others = [words[each] for each in rng.choice(len(words), size, replace=False)]
            kept = encoder.encode_queries([without(hit, first), without(hit, others)])
            falls.append(hit.score - kept @ encoder.encode_queries([query])[0])
    of_first, of_others = np.mean(falls, axis=0)
    assert of_first > of_others + 0.05


def without(hit: Hit, words: list) -> str:
    """Return the content of a hit without some words of its text."""
    text = hit.text
    for word in sorted(words, key=lambda word: -word.start):
        text = text[: word.start] + text[word.end :]
    return Document(hit.id, text, title=hit.title).content
