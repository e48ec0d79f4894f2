"""What do a hit's probability, its second look and its explanation hold, on SciFact and STS-B?

    python benchmarks/hits.py DATA_DIR [--encoder MODEL] [--queries N] [--rerank-queries N]

Calibration: fitted on SciFact's train questions, judged on its test questions; fitted on STS-B's
dev pairs (a score of 4 or more is a match), judged on its test pairs; and thresholds for a target
precision from a third of SciFact's questions, judged on the others, 100 times. Late interaction:
nDCG@10 of the nearest 15, in their order and reranked. Deletion: by how much the similarity of a
question to its answer falls when the tenth of the answer's words with the highest loss goes, the
tenth with the highest contribution, or a tenth by chance.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simsearch.encoder import Encoder
from simsearch.errors import SimsearchError
from simsearch.evaluation import calibration_error, log_loss, paired_bootstrap, score_run
from simsearch.formats import BeirSet, ReadOptions, read_beir, read_examples
from simsearch.heads.words import split_words
from simsearch.query import contributions, maxsim, token_sum, unit_rows, words_of_tokens
from simsearch.search_index import JudgedScores, RetrievalTask, calibrate, judge_hits, judge_pairs

TOP = 15
SHARE = 0.1


class Remembering:
    """An encoder that embeds no document twice."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.dim = encoder.dim
        self._known: dict[str, np.ndarray] = {}

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return self._encoder.encode_queries(texts)

    def encode_documents(self, texts: Sequence[str], *, counts: object = None) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known |= dict(zip(new, self._encoder.encode_documents(new), strict=True))
        return np.stack([self._known[text] for text in texts])


def main() -> None:
    """Print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--encoder")
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--rerank-queries", type=int, default=300)
    arguments = parser.parse_args()
    encoder = Encoder.load(arguments.encoder)
    scifact = {split: read_beir(arguments.data / "scifact", split) for split in ("train", "test")}
    deletion(encoder, scifact["test"], arguments.queries)
    sts(encoder, arguments.data / "stsb")
    remembering = Remembering(encoder)
    judged = {
        split: judge_hits(remembering, RetrievalTask(beir.queries, beir.corpus, beir.qrels))
        for split, beir in scifact.items()
    }
    report("SciFact, train questions to test questions", judged["train"], judged["test"])
    precision(judged["train"], judged["test"])
    rerank(encoder, remembering, scifact["test"], arguments.rerank_queries)


def report(name: str, fitting: JudgedScores, judging: JudgedScores) -> None:
    """Print the error of a calibration on what did not fit it."""
    found = calibrate(fitting, fingerprint="", dim=1).calibration
    chances = found.probabilities(judging.scores, judging.leads)
    print(
        f"{name}: {found.curve.method}, error cross-validated {found.error:.4f}, on the others "
        f"{calibration_error(chances, judging.matches):.4f}, log-loss "
        f"{log_loss(chances, judging.matches):.4f} (of the share alone "
        f"{log_loss(np.full(len(chances), judging.matches.mean()), judging.matches):.4f})",
        flush=True,
    )


def sts(encoder: Encoder, folder: Path) -> None:
    """Calibrate on the dev pairs of STS-B."""
    parts = []
    for split in ("dev", "test"):
        pairs = list(read_examples(folder / f"{split}.jsonl", ReadOptions()))
        parts.append(
            judge_pairs(
                encoder,
                [pair.sentence1 for pair in pairs],
                [pair.sentence2 for pair in pairs],
                [pair.score >= 4 for pair in pairs],
            )
        )
    report("STS-B, dev pairs to test pairs", *parts)


def precision(first: JudgedScores, second: JudgedScores) -> None:
    """Print what thresholds for a target precision deliver on questions that did not set them."""
    joined = JudgedScores(
        np.concatenate([first.scores, second.scores]),
        np.concatenate([first.matches, second.matches]),
        np.concatenate([first.units, second.units + first.units.max() + 1]),
        np.concatenate([first.leads, second.leads]),
        first.candidates,
    )
    units = joined.units
    for target in (0.6, 0.7, 0.8, 0.9):
        right, shown, refused = [], [], 0
        for seed in range(100):
            order = np.random.default_rng(seed).permutation(units.max() + 1)
            own = np.isin(units, order[: len(order) // 3])
            found = calibrate(joined.rows(own), fingerprint="", dim=1).calibration
            try:
                threshold = found.threshold(target)
            except SimsearchError:
                refused += 1
                continue
            others = joined.rows(~own)
            over = found.probabilities(others.scores, others.leads) >= threshold
            right.append(int(others.matches[over].sum()))
            shown.append(int(over.sum()))
        if shown:
            shares = np.array(right) / np.maximum(shown, 1)
            print(
                f"target precision {target}: delivered {sum(right) / sum(shown):.3f} on average, "
                f"{np.quantile(shares, 0.05):.3f} .. {np.quantile(shares, 0.95):.3f} in nine of "
                f"ten draws, {np.mean(shown):.0f} hits each, {refused} draws refused",
                flush=True,
            )


def rerank(encoder: Encoder, embedder: Remembering, beir: BeirSet, count: int) -> None:
    """Print nDCG@10 of the nearest as they are, and by a mean with late interaction."""
    names = list(beir.queries)[:count]
    asked = [beir.queries[name] for name in names]
    corpus = embedder.encode_documents([document.content for document in beir.corpus])
    similarities = encoder.encode_queries(asked) @ corpus.T
    nearest = np.argsort(-similarities, axis=1, kind="stable")[:, :TOP]
    own = [written(reading) for reading in encoder.read_queries(asked)]
    closer = np.zeros(nearest.shape)
    for row in np.unique(nearest).tolist():
        (reading,) = encoder.read_documents([beir.corpus[row].content])
        for query, rank in np.argwhere(nearest == row).tolist():
            closer[query, rank] = maxsim(own[query], written(reading))
    plain = np.take_along_axis(similarities, nearest, axis=1)
    results = {}
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        mixed = (1 - share) * plain + share * closer
        run = {
            name: {
                beir.corpus[row].id: float(value) for row, value in zip(rows, values, strict=True)
            }
            for name, rows, values in zip(names, nearest.tolist(), mixed.tolist(), strict=True)
        }
        qrels = {name: beir.qrels[name] for name in names}
        results[share] = score_run(qrels, run, metrics=["ndcg@10"]).per_query["ndcg@10"]
        change = paired_bootstrap(results[0.0], results[share])
        print(
            f"late interaction {share:.0%}: nDCG@10 {results[share].mean():.4f} "
            f"({change.value:+.4f}, {change.low:+.4f} .. {change.high:+.4f})",
            flush=True,
        )


def written(reading) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Return the unit vectors of the tokens that stand for something written."""
    return unit_rows(reading.vectors[reading.offsets[:, 1] > reading.offsets[:, 0]])


def deletion(encoder: Encoder, beir: BeirSet, count: int) -> None:
    """Print how far the similarity falls without the words that an explanation puts first."""
    rng = np.random.default_rng(0)
    document = {each.id: each.content for each in beir.corpus}
    pairs = [
        (beir.queries[query], document[name])
        for query, judged in beir.qrels.items()
        for name in judged
    ]
    pairs = [pairs[number] for number in rng.permutation(len(pairs))[:count].tolist()]
    queries = encoder.read_queries([query for query, _ in pairs])
    texts = encoder.read_documents([text for _, text in pairs])
    variants: list[str] = []
    for (query, text), asked, read in zip(pairs, queries, texts, strict=True):
        summed = []
        for written_text, reading in ((query, asked), (text, read)):
            words = split_words(written_text)
            word = words_of_tokens(reading.offsets, words)
            summed.append(
                token_sum(
                    reading.vectors, reading.pooled, reading.embedding, word=word, words=len(words)
                )
            )
        found = contributions(*summed)
        seen = [each for each in np.unique(word[word >= 0]) if text[slice(*words[each])].isalnum()]
        size = max(1, round(SHARE * len(seen)))
        chosen = (
            sorted(seen, key=lambda each: -found.losses[each])[:size],
            sorted(seen, key=lambda each: -found.words[each])[:size],
            rng.choice(seen, size, replace=False).tolist(),
        )
        variants += [without(text, words[sorted(each)].tolist()) for each in chosen]
    again = encoder.encode_queries(variants).reshape(len(pairs), 3, -1)
    asked = np.stack([reading.embedding for reading in queries])
    before = np.einsum("nd,nd->n", asked, np.stack([reading.embedding for reading in texts]))
    falls = before[:, None] - np.einsum("nd,nvd->nv", asked, again)
    for number, name in enumerate(("highest loss", "highest contribution", "by chance")):
        print(f"without a tenth of the words, {name}: similarity {-falls[:, number].mean():+.4f}")
    print(f"highest loss falls further than chance in {(falls[:, 0] > falls[:, 2]).mean():.0%}")


def without(text: str, ranges: Sequence[tuple[int, int]]) -> str:
    """Return a text without these ranges of characters, which are in order."""
    pieces, place = [], 0
    for start, end in ranges:
        pieces.append(text[place:start])
        place = end
    return "".join([*pieces, text[place:]])


if __name__ == "__main__":
    main()
