"""Which words tell some texts from the others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from simsearch.records import Document
from simsearch.storage import document_terms

_SHARE: Final = 0.1  # of the texts, at least, hold a word that says something about them
_LIFT: Final = 3  # so many times as often as elsewhere, at least: little words are in all texts


class Background:
    """In how many of a corpus's texts each word is, by a sample of them."""

    def __init__(self, documents: Iterable[Document]) -> None:
        terms = [_terms(document) for document in documents]
        self._texts = len(terms)
        self._counts = Counter(term for its in terms for term in its)

    def telling_terms(
        self, documents: Sequence[Document], n: int, *, part: float
    ) -> tuple[str, ...]:
        """Return up to `n` words that these texts hold three times as often as others, best first.

        These texts stand for a `part` of the corpus, over 0 to 1, which is not among the others.
        By what each adds to the Kullback-Leibler divergence of the two (Tomokiyo and Hurst, "A
        language model approach to keyphrase extraction", 2003), a word counting once a text;
        equal ones in alphabetical order.
        """
        counts = Counter(term for document in documents for term in _terms(document))
        least = max(min(2, len(documents)), _SHARE * len(documents))
        gains = {}
        own = part * self._texts  # of the sample, and so many of its words are of these texts
        for term, count in counts.items():
            share = count / len(documents)
            others = max(0.0, self._counts[term] - share * own)
            elsewhere = (others + 0.5) / (self._texts - own + 1)
            if count >= least and share >= _LIFT * elsewhere:
                gains[term] = share * math.log(share / elsewhere)
        return tuple(sorted(gains, key=lambda term: (-gains[term], term))[:n])


def _terms(document: Document) -> set[str]:
    # What has one letter is the rest of a word that was cut (it's), and tells nothing.
    return {term for term in document_terms(document.content) if len(term) > 1}
