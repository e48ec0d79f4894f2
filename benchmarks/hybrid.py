"""Dense, lexical and hybrid search on collections with known answers, beside bm25s.

    python benchmarks/hybrid.py [COLLECTION...] [--encoder M] [--rerank]

COLLECTION is a folder in BEIR layout; by default SciFact and cmrc2018 of ../shared/data. Or a name:
stdlib and science are docstrings of Python and of five installed packages, 500 of which are asked
for by what they begin with; tickets are those of the examples, half of them asked for. Each is
indexed once, in the user's cache. nDCG@10 on qrels/test.tsv, with the 95% interval of the
difference to dense; milliseconds of one query at a time, its encoding included, where there is
one. "tuned": the weight was chosen on the queries of another split of the same collection, and so
was the default mode of the index. --rerank: the 20 best of dense and of hybrid search are compared
once more by late interaction, too, which reads most documents again. bm25s, with a Snowball stemmer
and its English stop words, where it is installed (Chinese: on the same pairs of characters as
ours).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from real_embeddings import table

import simsearch
from simsearch.cache import cache_directory
from simsearch.demo import (
    Definition,
    definitions_under,
    demo_pairs,
    sample,
    standard_library,
)
from simsearch.evaluation import RetrievalScores, paired_bootstrap, score_run
from simsearch.formats import BeirSet, Example, read_examples
from simsearch.query import Fusion, FusionWay, SearchMode
from simsearch.records import Document, Pair
from simsearch.search_index import RERANK_TOP, evaluate_index, tune_mode
from simsearch.storage.terms import document_terms, query_terms

METRIC = "ndcg@10"
OTHER_SPLITS = ("train", "dev")
TIMED = 50
ASKED = 500
EXAMPLE = Path(__file__).parents[1] / "examples" / "support_tickets" / "pairs.jsonl"


def main(folders: Sequence[Path], encoder: simsearch.Encoder, *, rerank: bool) -> None:
    """Print one table for each collection."""
    for folder in folders:
        named = NAMED.get(str(folder))
        beir = simsearch.read_beir(folder, "test") if named is None else named()
        print(f"\n{folder.name}: {len(beir.corpus):,} documents, {len(beir.qrels):,} queries")
        with indexed(folder.name, beir, encoder) as index:
            report(index, folder, beir, rerank=rerank)


def docstrings(definitions: list[Definition]) -> BeirSet:
    """Return a collection of definitions: what a docstring begins with finds the rest."""
    return _collection(demo_pairs(definitions), asked=ASKED)


def science() -> BeirSet:
    """Return the docstrings of five packages that the others need."""
    site = Path(sysconfig.get_paths()["purelib"])
    found = [
        replace(definition, name=f"{package}.{definition.name}")
        for package in ("numpy", "scipy", "sklearn", "pandas", "networkx")
        for definition in definitions_under(site / package).values()
    ]
    return docstrings(sample(found, 8_000, seed=0))


def tickets() -> BeirSet:
    """Return the pairs of the example."""
    pairs = list(read_examples(EXAMPLE))
    return _collection(pairs, asked=len(pairs) // 2)


def _collection(pairs: Sequence[Example], *, asked: int) -> BeirSet:
    """Return a collection of all answers, and so many of the questions."""
    pairs = [pair for pair in pairs if isinstance(pair, Pair)]
    answers = {text: f"d{row}" for row, text in enumerate(dict.fromkeys(p.positive for p in pairs))}
    corpus = [Document(name, text) for text, name in answers.items()]
    qrels: dict[str, dict[str, int]] = {}
    queries: dict[str, str] = {}
    for pair in sample(pairs, asked, seed=0):
        name = f"q {pair.anchor}"
        queries[name] = pair.anchor
        qrels.setdefault(name, {})[answers[pair.positive]] = 1
    return BeirSet(Path(), "test", corpus, queries, qrels, 0, 0, 0)


NAMED: Mapping[str, Callable[[], BeirSet]] = {
    "stdlib": lambda: docstrings(standard_library()),
    "science": science,
    "tickets": tickets,
}


def indexed(name: str, beir: BeirSet, encoder: simsearch.Encoder) -> simsearch.SearchIndex:
    """Return the index of a collection, built if it is not in the cache."""
    place = cache_directory() / "benchmarks" / f"hybrid-{name}-{encoder.fingerprint[:12]}"
    if place.exists():
        return simsearch.SearchIndex.open(place)
    begun = place.with_name(f"{place.name}.begun")  # cut short, it is no index to measure
    shutil.rmtree(begun, ignore_errors=True)
    started = time.perf_counter()
    begun.parent.mkdir(parents=True, exist_ok=True)
    with simsearch.SearchIndex.create(begun, encoder=encoder) as index:
        index.add(beir.corpus)
    begun.rename(place)
    print(f"indexed in {time.perf_counter() - started:.0f} s")
    return simsearch.SearchIndex.open(place)


def report(index: simsearch.SearchIndex, folder: Path, beir: BeirSet, *, rerank: bool) -> None:
    """Score every way to search, and print a table."""
    ways: dict[str, tuple[SearchMode, Fusion | None]] = {
        "dense": (SearchMode.DENSE, None),
        "lexical": (SearchMode.LEXICAL, None),
        "hybrid, convex": (SearchMode.HYBRID, Fusion()),
        "hybrid, reciprocal": (SearchMode.HYBRID, Fusion(FusionWay.RECIPROCAL)),
    }
    for split in OTHER_SPLITS:
        if (folder / "qrels" / f"{split}.tsv").is_file():
            other = simsearch.read_beir(folder, split)
            choice = tune_mode(index, other.queries, other.qrels)
            print(f"chosen on {split}: {choice.mode}; {choice.reason}")
            name = f"hybrid, tuned ({choice.fusion.way} {choice.fusion.weight})"
            ways[name] = (SearchMode.HYBRID, choice.fusion)
            break
    found = {
        name: evaluate_index(index, beir.queries, beir.qrels, mode=mode, fusion=fusion)
        for name, (mode, fusion) in ways.items()
    }
    times = {name: milliseconds(index, beir, *way) for name, way in ways.items()}
    for name in ("dense", "hybrid, convex", "hybrid, reciprocal") if rerank else ():
        mode, fusion = ways[name]
        found[f"{name}, reranked"] = reranked(index, beir, mode, fusion)
        times[f"{name}, reranked"] = milliseconds(index, beir, mode, fusion, rerank=True)
    if (peer := bm25s_run(beir)) is not None:
        found["bm25s"] = score_run(beir.qrels, peer)
    dense = found["dense"].per_query[METRIC]
    table(
        ["way", METRIC, "95% of difference", "to dense", "ms a query"],
        [line(name, scores, dense, times.get(name)) for name, scores in found.items()],
    )


def line(name: str, scores: RetrievalScores, dense: np.ndarray, time: float | None) -> list[str]:
    """Return a row of the table."""
    own = scores.per_query[METRIC]
    difference = paired_bootstrap(dense, own)
    return [
        name,
        f"{100 * own.mean():.2f}",
        f"{100 * difference.low:+.2f} .. {100 * difference.high:+.2f}",
        f"{100 * difference.value:+.2f}",
        "" if time is None else f"{time:.1f}",
    ]


def reranked(
    index: simsearch.SearchIndex, beir: BeirSet, mode: SearchMode, fusion: Fusion | None
) -> RetrievalScores:
    """Score what comes of a closer look at the best of every query."""
    names = [name for name in beir.queries if name in beir.qrels]
    texts = [beir.queries[name] for name in names]
    found = index.search_many(texts, RERANK_TOP, mode=mode, fusion=fusion)
    again = index.rerank(texts, found, by="maxsim", fusion=fusion)
    run = {
        name: {hit.id: hit.score for hit in hits} for name, hits in zip(names, again, strict=True)
    }
    return score_run(beir.qrels, run, metrics=[METRIC])


def milliseconds(
    index: simsearch.SearchIndex,
    beir: BeirSet,
    mode: SearchMode,
    fusion: Fusion | None,
    *,
    rerank: bool = False,
) -> float:
    """Return the median time of single queries."""
    times = []
    for text in list(beir.queries.values())[:TIMED]:
        before = time.perf_counter()
        found = index.search_many([text], k=RERANK_TOP if rerank else 10, mode=mode, fusion=fusion)
        if rerank:
            index.rerank([text], found, by="maxsim", fusion=fusion)
        times.append(time.perf_counter() - before)
    return 1000 * float(np.median(times))


def bm25s_run(beir: BeirSet) -> Mapping[str, Mapping[str, float]] | None:
    """Return the 100 best documents of each query by bm25s, None where it is not installed."""
    try:
        import bm25s
        import Stemmer
    except ImportError:
        return None
    texts = [document.content for document in beir.corpus]
    queries = list(beir.queries.values())
    if all(text.isascii() for text in queries[:20]):
        stemmer = Stemmer.Stemmer("english")
        options = {"stopwords": "en", "stemmer": stemmer, "show_progress": False}
        corpus = bm25s.tokenize(texts, **options)
        asked = bm25s.tokenize(queries, **options)
    else:
        corpus = [document_terms(text) for text in texts]
        asked = [query_terms(text) for text in queries]
    retriever = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    retriever.index(corpus, show_progress=False)
    rows, scores = retriever.retrieve(asked, k=min(100, len(texts)), show_progress=False)
    return {
        name: {
            beir.corpus[row].id: float(score)
            for row, score in zip(its_rows, its_scores, strict=True)
            if score > 0
        }
        for name, its_rows, its_scores in zip(beir.queries, rows, scores, strict=True)
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--encoder")
    parser.add_argument("--rerank", action="store_true")
    given = parser.parse_args()
    named = os.environ.get("SIMSEARCH_TEST_DATA")
    data = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    default = [data / "scifact", data / "cmrc2018_retrieval_zh"]
    main(given.folders or default, simsearch.Encoder.load(given.encoder), rerank=given.rerank)
