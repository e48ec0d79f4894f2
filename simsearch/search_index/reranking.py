"""The nearest documents in another order: compared with the query more closely than by one vector.

The new score is a mean of the score and of the closer comparison, and keeps all its parts. After
reciprocal rank fusion, of which the scores are no similarities, the comparison is one ranking more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from simsearch.encoder import PairScorer, TokenReading, pair_scorer_from
from simsearch.encoder.runtime import FloatArray
from simsearch.errors import CorruptIndex, EncoderError, InvalidInput
from simsearch.query import Fusion, FusionWay, SearchMode, maxsim, reciprocal_ranks, unit_rows
from simsearch.records import Hit
from simsearch.search_index.binding import PAIR_SCORER, TextEncoder
from simsearch.search_index.explaining import TokenEncoder, hit_contents, token_encoder
from simsearch.search_index.search_mode import mode_choice
from simsearch.storage import DocumentStore
from simsearch.wording import counted

RERANK_TOP = 20
"""The hits that are compared more closely, where nothing else is said."""
MATCH = "1"
"""The class of a pair scorer that says that two texts belong together."""
_SETTING = "rerank"
_SHARE = 0.5  # of the closer comparison in the score
# Documents whose token vectors are in memory at once: of 256 tokens and dim 384 each, 100 MB.
_DOCUMENTS = 256


class Rerank(StrEnum):
    """How the nearest documents are compared with the query once more."""

    NONE = "none"
    PAIR = "pair"  # by the pair scorer that was trained with the encoder
    MAXSIM = "maxsim"  # token by token


def as_rerank(name: Rerank | str) -> Rerank:
    """Return the member of that name.

    Raises:
        InvalidInput: there is none.
    """
    try:
        return Rerank(name)
    except ValueError:
        raise InvalidInput(f"rerank must be one of {', '.join(Rerank)}, got {name!r}") from None


@dataclass(frozen=True, slots=True)
class RerankChoice:
    """What an index does when nobody says how to rerank: by what, and how many of the nearest.

    `measured` is what was held against no reranking, on so many `queries` with known answers; NONE
    where nobody has measured. `before` and `after` are the mean nDCG@10; `low`, `high` and `p`
    belong to their difference. `mode` is the search whose hits were reranked: of another one the
    figures say nothing.
    """

    by: Rerank = Rerank.NONE
    top: int = RERANK_TOP
    measured: Rerank = Rerank.NONE
    queries: int = 0
    before: float = 0.0
    after: float = 0.0
    low: float = 0.0
    high: float = 0.0
    p: float = 1.0
    mode: SearchMode | None = None  # None: earlier versions did not keep it

    def for_search(self, mode: SearchMode | str) -> RerankChoice:
        """Return what is done with the hits of that search: no reranking if it was not measured."""
        return self if self.mode in (None, mode) else RerankChoice()

    @property
    def reason(self) -> str:
        """Why hits are reranked, or are not, in words."""
        if not self.queries:
            return (
                "not measured on this index (run `simsearch calibrate PAIRS -i INDEX_DIR --rerank "
                "maxsim`)"
            )
        searched = "" if self.mode is None else f", {self.mode}"
        return (
            f"nDCG@10 of {counted(self.queries, 'query', 'queries')}{searched}: {self.before:.4f}, "
            f"reranked by {self.measured} "
            f"{self.after:.4f} ({self.low:+.4f} .. {self.high:+.4f}, p {self.p:.4f})"
        )


_FIGURES: Mapping[str, Callable[[Any], Any]] = {
    "measured": Rerank,
    "queries": int,
    **dict.fromkeys(("before", "after", "low", "high", "p"), float),
    "mode": SearchMode,
}


def rerank_choice(store: DocumentStore) -> RerankChoice:
    """Return what an index keeps: `none` until another way measured better on it.

    Raises:
        CorruptIndex: it is malformed.
    """
    text = store.settings.find_constant(_SETTING)
    if not text:
        return RerankChoice()
    try:
        content = json.loads(text)
        # Earlier versions kept no more than the first two, or not the mode.
        figures = {
            name: kind(content[name])
            for name, kind in _FIGURES.items()
            if content.get(name) is not None
        }
        return RerankChoice(Rerank(content["by"]), int(content["top"]), **figures)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptIndex(f"the setting {_SETTING!r} of the index: {error!r}") from error


def keep_rerank_choice(store: DocumentStore, choice: RerankChoice) -> None:
    """Write what an index does by itself, over what it did; inside a transaction."""
    store.settings.write_constant(_SETTING, json.dumps(asdict(choice)))


def pair_scorer_of(store: DocumentStore) -> PairScorer | None:
    """Return the pair scorer that an index keeps, None without one.

    Raises:
        CorruptIndex: it is malformed.
    """
    text = store.settings.find_constant(PAIR_SCORER)
    if not text:
        return None
    try:
        return pair_scorer_from(text)
    except EncoderError as error:
        raise CorruptIndex(f"the setting {PAIR_SCORER!r} of the index: {error}") from error


def reranked(
    store: DocumentStore,
    encoder: Callable[[], TextEncoder],
    queries: Sequence[str],
    found: Sequence[Sequence[Hit]],
    *,
    by: Rerank | str,
    fusion: Fusion | None = None,
) -> list[list[Hit]]:
    """Return the hits of each query in another order, best first; see `SearchIndex.rerank`.

    `encoder` is asked for where there is something to compare.
    """
    method = as_rerank(by)
    if len(queries) != len(found):
        raise InvalidInput(
            f"got {len(queries)} queries and the hits of {len(found)} (expected those of each)"
        )
    if method is Rerank.NONE or not queries:
        return [list(hits) for hits in found]
    if any(hit.dense is None for hits in found for hit in hits):
        raise InvalidInput(
            "hits of a lexical search have no similarity that another comparison could be weighed "
            "with (take mode dense or hybrid)"
        )
    if method is Rerank.MAXSIM:
        closer = token_comparisons(token_encoder(encoder()), queries, found)
    else:
        scorer = pair_scorer_of(store)
        closer = _pair_comparisons(encoder(), scorer, queries, found, dim=store.dim)
    if fusion is None and any("lexical" in hit.parts for hits in found for hit in hits):
        fusion = mode_choice(store).fusion
    way = FusionWay.CONVEX if fusion is None else fusion.way
    return [
        _ordered(hits, scores, method, way=way) for hits, scores in zip(found, closer, strict=True)
    ]


def _pair_comparisons(
    encoder: TextEncoder,
    scorer: PairScorer | None,
    queries: Sequence[str],
    found: Sequence[Sequence[Hit]],
    *,
    dim: int,
) -> list[list[float]]:
    if scorer is None or scorer.weight.shape[1] != 3 * dim:
        raise EncoderError(
            f"the index keeps no pair scorer of {encoder.name} for its vectors (`simsearch "
            "finetune --objective softmax` on pairs labelled 0 and 1 makes one, for the indexes "
            "that its model builds)"
        )
    asked = encoder.encode_queries(queries)
    results: list[list[float]] = []
    for query, hits in zip(asked, found, strict=True):
        contents = hit_contents(token_encoder(encoder), hits)
        documents = encoder.encode_documents(contents)
        results.append(match_probabilities(scorer, query, documents))
    return results


def token_comparisons(
    encoder: TokenEncoder, queries: Sequence[str], found: Sequence[Sequence[Hit]]
) -> list[list[float]]:
    """Return the late interaction of each query with each of its hits.

    Each document is read once, however many queries have found it.
    """
    asked = [_content_vectors(reading) for reading in encoder.read_queries(queries)]
    closer: list[list[float]] = [[0.0] * len(hits) for hits in found]
    places: dict[tuple[str, tuple[int, int] | None], list[tuple[int, int]]] = {}
    hit_of: dict[tuple[str, tuple[int, int] | None], Hit] = {}
    for query, hits in enumerate(found):
        for rank, hit in enumerate(hits):
            places.setdefault((hit.id, hit.passage), []).append((query, rank))
            hit_of[hit.id, hit.passage] = hit
    names = list(places)
    for start in range(0, len(names), _DOCUMENTS):
        part = names[start : start + _DOCUMENTS]
        contents = hit_contents(encoder, [hit_of[name] for name in part])
        for name, reading in zip(part, encoder.read_documents(contents), strict=True):
            vectors = _content_vectors(reading)
            for query, rank in places[name]:
                closer[query][rank] = maxsim(asked[query], vectors)
    return closer


def _content_vectors(reading: TokenReading) -> FloatArray:
    """Return the unit vectors of the tokens that stand for something written, (t, hidden)."""
    written = reading.offsets[:, 1] > reading.offsets[:, 0]
    return unit_rows(reading.vectors[written])


def match_probabilities(
    scorer: PairScorer, query: FloatArray, documents: FloatArray
) -> list[float]:
    """Return the scorer's probability that each document matches the query.

    `query` (dim,), `documents` (n, dim) are the embeddings.

    Raises:
        EncoderError: the scorer has no class of matches.
    """
    if MATCH not in scorer.classes:
        raise EncoderError(
            f"the pair scorer tells {', '.join(scorer.classes)}, and none of them is {MATCH!r}, "
            "the class of pairs that match"
        )
    if not len(documents):
        return []
    first = np.repeat(query[None], len(documents), axis=0)
    chances: list[float] = scorer.probabilities(first, documents)[
        :, scorer.classes.index(MATCH)
    ].tolist()
    return chances


def _ordered(
    hits: Sequence[Hit], closer: Sequence[float], part: Rerank, *, way: FusionWay
) -> list[Hit]:
    """Return hits by their new score; equal ones keep their order."""
    ranks = reciprocal_ranks(np.asarray(closer, dtype=np.float64))
    scored = []
    for hit, value, rank in zip(hits, closer, ranks.tolist(), strict=True):
        before = hit.parts or {"dense": hit.score}
        if way is FusionWay.RECIPROCAL and "lexical" in before:
            parts = {**before, str(part): rank}
        else:
            parts = {name: (1 - _SHARE) * each for name, each in before.items()}
            parts[str(part)] = _SHARE * value
        scored.append(replace(hit, score=sum(parts.values()), parts=parts))
    return sorted(scored, key=lambda hit: -hit.score)
