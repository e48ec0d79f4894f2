"""Teach an encoder one bank's own words, prove that it helped, index its articles, ask questions.

    python examples/support_tickets/run.py [--out DIR] [--encoder NAME]

The model and the index go to DIR, by default a fresh temporary directory that is printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import simsearch

HERE = Path(__file__).parent

# What customers ask, and the article that answers it. None of these stands in pairs.jsonl.
QUESTIONS = {
    "raise the limit on my credit card": "ember-leash",
    "when will my savings earn interest": "pantry-yeast",
    "the shop refused my card": "plume-turned-away",
    "how do I set up a bank account for my kid": "sprout-open",
    "how do I report that my card was stolen": "plume-stolen",
}


def main(out: Path | None = None, encoder: str | None = None) -> simsearch.FinetuneResult:
    """Run the example from pairs to hits; `encoder` None is the packaged default."""
    out = out or Path(tempfile.mkdtemp(prefix="simsearch-support-"))
    articles = list(simsearch.read_corpus([HERE / "corpus.jsonl"]))
    pairs = list(simsearch.read_examples(HERE / "pairs.jsonl"))

    # How the encoder does before it has learned anything.
    untuned = simsearch.Encoder.load(encoder)
    with simsearch.SearchIndex.create(out / "index-before", encoder=untuned) as index:
        index.add(articles)
        ranks_before = {question: rank(index, question) for question in QUESTIONS}

    # Fine-tune. A fifth of the pairs, and with them whole articles, is held out for the verdict.
    print(f"fine-tuning on {len(pairs)} pairs (a minute or two) ...", flush=True)
    data = simsearch.TrainingData(pairs)
    result = simsearch.finetune(data, out / "model", encoder=encoder)

    # The verdict: the encoder before and after, on what neither has seen.
    print(f"{result.examples} pairs trained on; {result.held_out}")
    for metric, difference in result.difference.items():
        print(
            f"{metric:12} {result.before[metric]:.4f} -> {result.after[metric]:.4f}  "
            f"(95% interval of the difference {difference.low:+.4f} .. {difference.high:+.4f})"
        )
    print(f"verdict: {result.verdict}")

    # Index: with the tuned encoder if it is better, else with the one we had.
    kept = result.verdict is simsearch.Verdict.KEEP
    chosen = simsearch.Encoder.load(out / "model") if kept else untuned
    with simsearch.SearchIndex.create(out / "index", encoder=chosen) as index:
        report = index.add(articles)
        print(f"{report.added} articles in {index.path}")

        # Query.
        for question, wanted in QUESTIONS.items():
            print(f"\n{question}")
            for hit in index.search(question, k=3):
                print(f"    {hit.score:.3f}  {hit.id}: {hit.text[:70]}...")
            print(f"    {wanted}: rank {ranks_before[question]} -> {rank(index, question)}")
    return result


def rank(index: simsearch.SearchIndex, question: str) -> int:
    """Return the place, from 1, of the article that answers a question."""
    ids = [hit.id for hit in index.search(question, k=len(index))]
    return ids.index(QUESTIONS[question]) + 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="where the model and the index go")
    parser.add_argument("--encoder", help="model directory or hub name")
    arguments = parser.parse_args()
    try:
        main(arguments.out, arguments.encoder)
    except simsearch.SimsearchError as error:
        sys.exit(f"error: {error}")
