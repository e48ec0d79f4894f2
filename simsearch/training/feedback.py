"""What the judgements of an index teach: pairs, known negatives, and texts to search among.

A query and the text of a document that was found right is a pair; documents that were found wrong
for a query are its hard negatives. Where nothing was, negatives are mined as always, from the
documents nearest to the query.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from simsearch.encoder import Encoder
from simsearch.errors import EncoderError, InvalidData
from simsearch.records import Document, Hit, Pair
from simsearch.search_index import JudgedDocument, JudgementState, LongTexts, SearchIndex
from simsearch.training.examples import fold
from simsearch.wording import counted

NEAREST: Final = 100
"""Hits of each query that its negatives are mined from: more than `negatives_window`."""
SAMPLE: Final = 5_000
"""Documents beside them, that held-out queries search among: as many as `distractors`."""
# Held-out queries of which fewer prove nothing: no difference of theirs can have a small p.
_LEAST: Final = 10


@dataclass(frozen=True, slots=True)
class Feedback:
    """The judgements of an index as training data.

    `negatives` are texts that were found wrong, by the query, folded; `texts` those to search
    among. `deleted` and `changed` judgements were left out, because the document is not there any
    more, or has another text. `encoder` is the name that the encoder of the index had when it was
    built, and `fingerprint` its own.
    """

    path: Path
    pairs: Sequence[Pair]
    negatives: Mapping[str, Sequence[str]]
    texts: Sequence[str]
    judgements: int
    deleted: int
    changed: int
    encoder: str
    fingerprint: str

    @property
    def queries(self) -> int:
        """Queries with a right document."""
        return len({fold(pair.anchor) for pair in self.pairs})

    def line(self) -> str:
        """Return what was found, for a person."""
        wrong = sum(map(len, self.negatives.values()))
        skipped = [
            f"{count:,} of documents that {what}"
            for count, what in ((self.deleted, "were deleted"), (self.changed, "have changed"))
            if count
        ]
        return (
            f"{self.path}: {counted(self.judgements, 'judgement')}; "
            f"{counted(len(self.pairs), 'pair')} of "
            ""
            f"{counted(self.queries, 'query', 'queries')}, {counted(wrong, 'text')} known "
            "to be wrong for them" + (f"; left out: {', '.join(skipped)}" if skipped else "")
        )

    def encoder_name(self) -> str:
        """Return by which name the encoder of the index is loaded, to be trained further.

        Raises:
            EncoderError: by its name there is none any more, or another one.
        """
        try:
            found = Encoder.load(self.encoder).fingerprint
        except EncoderError as error:
            raise EncoderError(
                f"the encoder of {self.path}: {error} (name the model to train with --encoder)"
            ) from error
        if found != self.fingerprint:
            raise EncoderError(
                f"{self.encoder} is not the encoder any more that built {self.path} (name the "
                "model to train with --encoder)"
            )
        return self.encoder

    def refuse_too_few(self, *, held_out: float) -> None:
        """Refuse judgements that are too few for the share of them that is held out to prove much.

        Raises:
            InvalidData: saying how many there are and are needed.
        """
        needed = round(_LEAST / held_out)
        if self.queries < needed:
            raise InvalidData(
                f"{self.path}: {self.queries:,} queries have a document that was judged right, "
                f"at least {needed:,} are needed, of which {_LEAST} judge the new encoder (judge "
                "more hits, bring other data too, or data to judge by: --eval)"
            )


def read_feedback(path: str | os.PathLike[str], *, seed: int = 0) -> Feedback:
    """Read the judgements of an index, and the documents that are nearest to their queries.

    Raises:
        NotFound, IncompatibleIndex, CorruptIndex: there is no index at `path` that can be read.
        InvalidData: no document that is there was judged right.
    """
    with SearchIndex.open(path) as index:
        judged = index.judged_documents()
        current = [each for each in judged if each.state is JudgementState.CURRENT]
        texts = _judged_texts(index, current)
        right = [
            Pair(each.judgement.query, text)
            for each, text in zip(current, texts, strict=True)
            if each.judgement.relevant
        ]
        if not right:
            raise InvalidData(
                f"{index.path}: no document that is there was judged right, of "
                f"{counted(len(judged), 'judgement')} (`simsearch judge`, or `query --feedback`)"
            )
        negatives = _negatives(right, zip(current, texts, strict=True))
        info = index.info()
        return Feedback(
            path=index.path,
            pairs=list(dict.fromkeys(right)),
            negatives=negatives,
            texts=_texts_to_search(index, current, seed),
            judgements=len(judged),
            deleted=sum(each.state is JudgementState.DELETED for each in judged),
            changed=sum(each.state is JudgementState.CHANGED for each in judged),
            encoder=info.encoder,
            fingerprint=info.fingerprint,
        )


def _judged_texts(index: SearchIndex, judged: Sequence[JudgedDocument]) -> list[str]:
    """Return what of each document answers its query, or seemed to: what is encoded of it.

    Of a document in several passages that is the one nearest to the query.
    """
    documents = [each.document for each in judged if each.document is not None]
    if index.long_texts is not LongTexts.PASSAGES or not documents:
        return [document.content for document in documents]
    split = index.encoder.split_documents(documents)
    parts = [[passage.content for passage in passages] for passages in split]
    queries = index.encoder.encode_queries([each.judgement.query for each in judged])
    vectors = index.encoder.encode_documents([part for own in parts for part in own])
    ends = np.cumsum([len(own) for own in parts])
    return [
        own[int((rows @ query).argmax())]
        for own, rows, query in zip(parts, np.split(vectors, ends[:-1]), queries, strict=True)
    ]


def _negatives(
    right: Sequence[Pair], judged: Iterable[tuple[JudgedDocument, str]]
) -> dict[str, list[str]]:
    """Return the texts that were found wrong, by folded query, of queries with a right one.

    What was found right for the query, in another document or in other words, is none of them.
    """
    answers: defaultdict[str, set[str]] = defaultdict(set)
    for pair in right:
        answers[fold(pair.anchor)].add(fold(pair.positive))
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for each, text in judged:
        query, folded = fold(each.judgement.query), fold(text)
        if query in answers and not each.judgement.relevant and folded not in answers[query]:
            found[query].setdefault(folded, text)
    return {query: list(texts.values()) for query, texts in found.items()}


def _texts_to_search(index: SearchIndex, judged: Sequence[JudgedDocument], seed: int) -> list[str]:
    """Return the texts nearest to the queries, and those of documents drawn at random.

    Of a document in several passages one of them; of a judged one, that which is a hit.
    """
    queries = list(dict.fromkeys(each.judgement.query for each in judged))
    found = index.search_many(queries, NEAREST, mode="dense")
    near = [_hit_text(hit) for hits in found for hit in hits]
    rng = random.Random(seed)
    sample = _drawn(index.iterate(), rng)
    if index.long_texts is not LongTexts.PASSAGES:
        return list(dict.fromkeys([*near, *(document.content for document in sample)]))
    known = {each.judgement.document_id for each in judged}
    others = [document for document in sample if document.id not in known]
    split = index.encoder.split_documents(others)
    return list(dict.fromkeys([*near, *(rng.choice(own).content for own in split)]))


def _drawn(documents: Iterable[Document], rng: random.Random) -> list[Document]:
    """Return `SAMPLE` documents, or all if there are fewer (reservoir sampling, Vitter 1985)."""
    sample: list[Document] = []
    for number, document in enumerate(documents):
        if number < SAMPLE:
            sample.append(document)
        elif (place := rng.randrange(number + 1)) < SAMPLE:
            sample[place] = document
    return sample


def _hit_text(hit: Hit) -> str:
    text = hit.text if hit.passage is None else hit.text[slice(*hit.passage)]
    return Document(hit.id, text, hit.title).content.strip()
