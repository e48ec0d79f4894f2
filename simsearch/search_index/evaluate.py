"""How good an encoder or an index is on queries with known answers, or on scored pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.ann import VectorIndex
from simsearch.encoder import EncodingCounts
from simsearch.evaluation import Qrels, RetrievalScores, pearson, score_run, spearman
from simsearch.query import Fusion, SearchMode
from simsearch.records import Document, ScoredPair
from simsearch.search_index.binding import Embedder, fitted
from simsearch.search_index.checks import check_dim
from simsearch.search_index.index import SearchIndex

FloatArray = npt.NDArray[np.float32]
Run = dict[str, dict[str, float]]

DEPTH = 1000  # hits per query that the metrics look at
_QUERIES = 256  # searched at once


@dataclass(frozen=True, slots=True)
class RetrievalTask:
    """Queries, a corpus, and which document answers which query (qrels: query -> id -> gain)."""

    queries: Mapping[str, str]
    corpus: Sequence[Document]
    qrels: Qrels
    name: str = ""


def evaluate_retrieval(
    encoder: Embedder,
    task: RetrievalTask,
    *,
    counts: EncodingCounts | None = None,
    dim: int | None = None,
) -> RetrievalScores:
    """Encode the corpus and the queries, search exactly, and score against the qrels.

    Errors and `dim` as `search_exactly`.
    """
    return score_run(task.qrels, search_exactly(encoder, task, counts=counts, dim=dim))


def search_exactly(
    encoder: Embedder,
    task: RetrievalTask,
    *,
    depth: int = DEPTH,
    counts: EncodingCounts | None = None,
    dim: int | None = None,
) -> Run:
    """Encode the corpus and the queries; return the `depth` nearest documents of each query.

    `dim` keeps the first so many components of every embedding, renormalised, as an index of
    that dim does; None keeps all.

    Raises:
        InvalidInput: `dim` is not 2 to the encoder's.
    """
    dim = encoder.dim if dim is None else dim
    check_dim(dim, encoder.dim)
    texts = [document.content for document in task.corpus]
    vectors = VectorIndex(dim)
    embeddings = fitted(encoder.encode_documents(texts, counts=counts), dim)
    vectors.add(np.arange(len(texts)), embeddings)
    query_ids = list(task.queries)
    asked = [task.queries[query_id] for query_id in query_ids]
    queries = fitted(encoder.encode_queries(asked), dim)
    run: Run = {}
    for start in range(0, len(query_ids), _QUERIES):
        chunk = query_ids[start : start + _QUERIES]
        rows, scores = vectors.search(queries[start : start + _QUERIES], depth + 1)
        for query_id, row_list, score_list in zip(chunk, rows, scores, strict=True):
            found = (
                (task.corpus[row], float(score))
                for row, score in zip(row_list, score_list, strict=True)
            )
            run[query_id] = {
                document.id: score
                for document, score in found
                if not _is_query_itself(
                    query_id, task.queries[query_id], document.id, document.text
                )
            }
    return run


def evaluate_index(
    index: SearchIndex,
    queries: Mapping[str, str],
    qrels: Qrels,
    *,
    mode: SearchMode | str | None = None,
    fusion: Fusion | None = None,
) -> RetrievalScores:
    """Search an index as it is, and score against qrels over its document ids.

    `mode` and `fusion` are those of `SearchIndex.search_many`.
    """
    run: Run = {}
    query_ids = list(queries)
    for start in range(0, len(query_ids), _QUERIES):
        chunk = query_ids[start : start + _QUERIES]
        texts = [queries[query_id] for query_id in chunk]
        found = index.search_many(texts, k=DEPTH + 1, mode=mode, fusion=fusion)
        for query_id, hits in zip(chunk, found, strict=True):
            run[query_id] = {
                hit.id: hit.score
                for hit in hits
                if not _is_query_itself(query_id, queries[query_id], hit.id, hit.text)
            }
    return score_run(qrels, run)


def pair_similarities(
    encoder: Embedder, first: Sequence[str], second: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Return the cosine similarity of each pair, (n,)."""
    left, right = embed_pairs(encoder, first, second)
    similarities: npt.NDArray[np.float64] = np.einsum("nd,nd->n", left, right)
    return similarities


def embed_pairs(
    encoder: Embedder, first: Sequence[str], second: Sequence[str]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the embeddings of both sides, (n, dim) each; each distinct text is encoded once."""
    distinct = list(dict.fromkeys([*first, *second]))
    position = {text: row for row, text in enumerate(distinct)}
    embeddings = encoder.encode_documents(distinct).astype(np.float64)
    return (
        embeddings[[position[text] for text in first]],
        embeddings[[position[text] for text in second]],
    )


def evaluate_sts(encoder: Embedder, pairs: Sequence[ScoredPair]) -> dict[str, float]:
    """Return the correlation of cosine similarity with the given scores."""
    similarities = pair_similarities(
        encoder, [pair.sentence1 for pair in pairs], [pair.sentence2 for pair in pairs]
    )
    gold = [pair.score for pair in pairs]
    return {"spearman": spearman(gold, similarities), "pearson": pearson(gold, similarities)}


def _is_query_itself(query_id: str, query: str, document_id: str, text: str) -> bool:
    """Whether the document is the query: in Quora-like sets the queries stand in the corpus."""
    return query_id == document_id and query == text
