"""Queries whose exact neighbours are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from simsearch.ann.built_index import BuiltIndex
from simsearch.ann.checks import checked_vectors
from simsearch.ann.exact import exact_neighbours
from simsearch.ann.recall import Recall, recall_of_each, recall_with_interval
from simsearch.errors import InvalidInput

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

LEAST_QUERIES: Final = 20
MOST_QUERIES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Questions:
    """Queries (n, dim), the rows that are no answers to them (n,), and what the exact ones are.

    `similarities` (n, k) are those of the exact neighbours in `vectors`.
    """

    vectors: FloatArray
    queries: FloatArray
    skip: IntArray
    similarities: FloatArray

    @classmethod
    def of_queries(cls, vectors: FloatArray, queries: FloatArray, k: int) -> Questions:
        """Ask real queries."""
        queries = checked_vectors(queries, vectors.shape[1])
        skip = np.full(len(queries), -1, dtype=np.int64)
        return cls(vectors, queries, skip, exact_neighbours(vectors, queries, k)[1])

    @classmethod
    def of_documents(cls, vectors: FloatArray, rows: IntArray, k: int) -> Questions:
        """Ask documents for their neighbours, of which they are none themselves."""
        queries = checked_vectors(vectors[rows], vectors.shape[1])
        _, similarities = exact_neighbours(vectors, queries, k, skip=rows)
        return cls(vectors, queries, rows, similarities)

    def __len__(self) -> int:
        return len(self.queries)

    def halves(self, seed: int) -> tuple[Questions, Questions]:
        """Divide them at random into those that tune and those that judge."""
        order = np.random.default_rng(seed).permutation(len(self))
        tuning, judging = np.array_split(order, 2)
        return self._part(tuning), self._part(judging)

    def _part(self, chosen: IntArray) -> Questions:
        return Questions(
            self.vectors, self.queries[chosen], self.skip[chosen], self.similarities[chosen]
        )

    def answers(self, index: BuiltIndex) -> IntArray:
        """Return the rows (n, k) that an index finds for them, best first."""
        skip = self.skip if (self.skip >= 0).any() else None
        return index.search(self.queries, self.similarities.shape[1], skip=skip)[0]

    def recall(self, answers: IntArray) -> Recall:
        """Return the recall of answers, and its interval."""
        of_each = recall_of_each(self.vectors, self.queries, answers, self.similarities)
        return recall_with_interval(of_each, max(1, self.similarities.shape[1]))


def make_questions(
    vectors: FloatArray, queries: FloatArray | None, k: int, *, seed: int
) -> Questions:
    """Return questions from given queries, or from a tenth of the documents; up to 1,000.

    Documents are easier than queries: what is asked comes from where the answers do, and in a graph
    it is a node with edges to them. So real queries give the truer figure.

    Raises:
        InvalidInput: there are fewer than 20 queries, which cannot tune and judge an index.
    """
    if queries is None:
        return Questions.of_documents(vectors, documents_to_ask(len(vectors), seed=seed), k)
    check_enough(queries)
    if len(queries) > MOST_QUERIES:
        rng = np.random.default_rng(seed)
        queries = queries[np.sort(rng.choice(len(queries), MOST_QUERIES, replace=False))]
    return Questions.of_queries(vectors, queries, k)


def documents_to_ask(rows: int, *, seed: int) -> IntArray:
    """Return the random rows that stand in for queries, ascending: a tenth, and up to 1,000.

    An index that is measured with them must not be trained on them: centroids lie near what they
    were trained on, and a document would find its neighbours in fewer lists than a query.
    """
    wanted = min(MOST_QUERIES, rows // 10 + 1)
    chosen = np.random.default_rng(seed).choice(rows, wanted, replace=False)
    return np.sort(chosen).astype(np.int64)


def check_enough(queries: FloatArray) -> None:
    """Refuse fewer queries than can be divided into those that tune and those that judge."""
    if len(queries) < LEAST_QUERIES:
        raise InvalidInput(
            f"{len(queries)} queries cannot tune an index and judge it too, {LEAST_QUERIES} are "
            "the least (give more, or none: then documents are asked)"
        )
