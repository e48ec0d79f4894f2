"""The lexical index: which documents hold the words of a query, scored by BM25.

It is an FTS5 table in the database of the documents, so it belongs to the same commit. It keeps no
text of its own ("contentless"): what is removed from it is named by the stored text again, which
must therefore become the same terms as when it was added. So the rules that made them are a
setting, and where Python's differ now, the table is built anew before it is written to.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from simsearch.failpoints import failpoint
from simsearch.records import Document
from simsearch.storage.commit_memory import CommitMemory
from simsearch.storage.session import Session
from simsearch.storage.terms import TERMS_VERSION, document_terms, query_terms

IntArray = npt.NDArray[np.int64]
Numbered = tuple[int, Document]

SETTING: Final = "lexical_terms"
# Scoring takes 1.5 us for every document that a term is in (docs/log.md); so the rarest terms of a
# query are looked for, as long as they are in no more documents than this together.
BUDGET: Final = 20_000
# A query may be as long as a document: so many of its terms are counted, and the rarest of them
# looked for.
_COUNTED: Final = 4_096
_TERMS: Final = 256
HANDED: Final = 20_000  # numbers of documents that SQLite is given with a query
_KEPT_COUNTS: Final = 10_000
_PORTION: Final = 1_000  # rows read at once
_ALL: Final = "documents"

ADD: Final = "INSERT INTO lexical (rowid, terms) VALUES (?, ?)"
_REMOVE: Final = "INSERT INTO lexical (lexical, rowid, terms) VALUES ('delete', ?, ?)"


class LexicalIndex:
    """The lexical index of an open store; documents are named by their numbers."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._counts = CommitMemory[int](session)  # documents with a term, up to BUDGET + 1
        self._numbers = CommitMemory[int](session)  # of all documents

    def add(self, documents: Iterable[Numbered]) -> None:
        """Add documents; inside a transaction."""
        failpoint("lexical.add")
        self._connection.executemany(ADD, numbered_terms(documents))

    def remove(self, documents: Iterable[Numbered]) -> None:
        """Remove documents, which must be those that were added; inside a transaction."""
        failpoint("lexical.remove")
        self._connection.executemany(_REMOVE, numbered_terms(documents))

    def is_current(self) -> bool:
        """Whether a text becomes the same terms now as when the index was written."""
        found = self._connection.execute(
            "SELECT value FROM meta WHERE key = ?", (SETTING,)
        ).fetchone()
        return bool(found == (TERMS_VERSION,))

    def rebuild(self, documents: Iterable[Numbered]) -> None:
        """Make the index anew out of all documents; inside a transaction."""
        failpoint("lexical.rebuild")
        self._connection.execute("INSERT INTO lexical (lexical) VALUES ('delete-all')")
        self._connection.executemany(ADD, numbered_terms(documents))
        self._connection.execute(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)", (SETTING, TERMS_VERSION)
        )

    def search(
        self, query: str, n: int, *, among: IntArray | None = None, least: int = 0
    ) -> list[tuple[int, float]]:
        """Return the `n` documents that match best and their BM25 scores, best first.

        Equal scores are in the order of numbers. A document without a word of the query is none of
        them. Words that very many documents hold are left out; but if fewer than `least` are found
        so, all words are looked for. `among`: only the documents with these numbers, ascending.
        Call it inside a snapshot.
        """
        terms = self._looked_for(query)
        chosen = self._chosen(terms)
        found = self._matches(chosen, n, among)
        if len(found) < min(n, least) and len(chosen) < len(terms):
            found = self._matches(terms, n, among)
        return found

    def shares(
        self, query: str, numbers: Sequence[int], *, rarest: bool = True
    ) -> dict[int, dict[str, float]]:
        """Return what each term of a query adds to the BM25 score of these documents.

        By number and term, in the order of the query; a term that a document does not hold is not
        there. `rarest`: of the terms alone that a search looks for first. Call it inside a
        snapshot.
        """
        terms = self._looked_for(query)
        chosen = set(self._chosen(terms)) if rarest else set(terms)
        found: dict[int, dict[str, float]] = {number: {} for number in numbers}
        among = np.array(sorted(found), dtype=np.int64)
        for term in terms:
            if term in chosen:
                for number, score in self._matches([term], len(among), among):
                    found[number][term] = score
        return found

    def _looked_for(self, query: str) -> list[str]:
        """Return the terms of a query in order; of a long one the rarest that documents hold."""
        terms = query_terms(query)[:_COUNTED]
        if len(terms) <= _TERMS:
            return terms
        counts = self._counts_of(terms)
        held = sorted((term for term in terms if counts[term]), key=counts.__getitem__)
        rarest = set(held[:_TERMS])
        return [term for term in terms if term in rarest]

    def _chosen(self, terms: Sequence[str]) -> list[str]:
        """Return the rarest terms that can be scored in a short time, or one that takes longer.

        None that more than half of the documents hold: BM25 gives next to nothing for it, and a
        fusion would make the whole lexical share of that.
        """
        counts, half = self._counts_of(terms), self._documents() // 2
        chosen, rows = list[str](), 0
        found = sorted((term for term in terms if counts[term]), key=counts.__getitem__)
        if found and counts[found[0]] > BUDGET:  # what is over it was counted no further
            return self._rarest(found, most=half)
        for term in found:
            rows += counts[term]
            if counts[term] > half or (chosen and rows > BUDGET):
                break
            chosen.append(term)
        return chosen

    def _rarest(self, terms: Sequence[str], *, most: int) -> list[str]:
        """Return the term that fewest documents hold, none if they are more than `most`."""
        rarest: list[str] = []
        for term in terms:
            count = self._count(term, most + 1)
            if count <= most:
                rarest, most = [term], count - 1
        return rarest

    def _documents(self) -> int:
        """Return the number of documents, which may be fewer than their rows."""
        counted = "SELECT count(*) FROM documents"
        return self._numbers.value(_ALL, lambda: self._connection.execute(counted).fetchone()[0])

    def _counts_of(self, terms: Sequence[str]) -> dict[str, int]:
        counts = self._counts.values()
        if len(counts) > _KEPT_COUNTS:
            counts.clear()
        for term in terms:
            if term not in counts:
                counts[term] = self._count(term, BUDGET + 1)
        return {term: counts[term] for term in terms}

    def _count(self, term: str, most: int) -> int:
        limited = "SELECT 1 FROM lexical WHERE lexical MATCH ? LIMIT ?"
        (count,) = self._connection.execute(
            f"SELECT count(*) FROM ({limited})", (quoted(term), most)
        ).fetchone()
        return int(count)

    def _matches(
        self, terms: Sequence[str], n: int, among: IntArray | None
    ) -> list[tuple[int, float]]:
        if not terms or (among is not None and not len(among)):
            return []
        values: list[object] = [" OR ".join(map(quoted, terms))]
        condition = "lexical MATCH ?"
        if among is not None and len(among) <= HANDED:
            # The plus keeps FTS5 from beginning anew for every number; only what passes is scored.
            condition += " AND +rowid IN (SELECT value FROM json_each(?))"
            values.append(json.dumps(among.tolist()))
            among = None
        cursor = self._connection.execute(
            f"SELECT rowid, rank FROM lexical WHERE {condition} ORDER BY rank, rowid", values
        )
        found: list[tuple[int, float]] = []
        while len(found) < n and (rows := cursor.fetchmany(min(n, _PORTION))):
            found += rows if among is None else _passing(rows, among)
        cursor.close()
        return [(number, -rank) for number, rank in found[:n]]

    @property
    def _connection(self) -> sqlite3.Connection:
        return self._session.connection


def numbered_terms(documents: Iterable[Numbered]) -> Iterator[tuple[int, str]]:
    """Return what the table takes of documents: their numbers, and their terms as one text."""
    return ((number, " ".join(document_terms(each.content))) for number, each in documents)


def _passing(rows: list[tuple[int, float]], among: IntArray) -> list[tuple[int, float]]:
    """Return the rows whose number is among these, which are ascending and at least one."""
    numbers = np.array([number for number, _ in rows], dtype=np.int64)
    places = np.minimum(np.searchsorted(among, numbers), len(among) - 1)
    return [row for row, passes in zip(rows, among[places] == numbers, strict=True) if passes]


def quoted(term: str) -> str:
    """Return a term of a query as FTS5 is asked for it."""
    # Terms hold letters and digits alone, so the quotes hold.
    return f'"{term[:-1]}" *' if term.endswith("*") else f'"{term}"'
